//! The largest packet on the host's way out, which guests of the host realm share.

use std::path::Path;

/// Ethernet's, in bytes: of a user realm, whose uplink cuts larger ones to size, and where nothing else is known.
pub const ETHERNET: u32 = 1500;
/// No larger one is taken over, in bytes: jumbo frames.
const LARGEST: u32 = 9000;
/// No smaller one is taken over, in bytes: what every host must take (RFC 791).
const SMALLEST: u32 = 576;

/// The largest packet, in bytes, of the interface with the default route of the calling process's network namespace.
pub fn of_default_route() -> u32 {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mtu = default_route(&routes).and_then(|interface| {
        let file = Path::new("/sys/class/net").join(interface).join("mtu");
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    bounded(mtu)
}

fn bounded(mtu: Option<u32>) -> u32 {
    mtu.map_or(ETHERNET, |mtu| mtu.clamp(SMALLEST, LARGEST))
}

/// The interface of the default route with the lowest metric in a table of the form of `/proc/net/route`: interface,
/// destination, gateway, flags, reference count, use, metric, mask.
fn default_route(table: &str) -> Option<&str> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields.as_slice() {
                [interface, "00000000", _, _, _, _, metric, "00000000", ..] => {
                    Some((metric.parse::<u32>().ok()?, *interface))
                }
                _ => None,
            }
        })
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, interface)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t01000A0A\t0003\t0\t0\t100\t00000000\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
eth0\t00000A0A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
";

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        assert_eq!(default_route(TABLE), Some("eth0"));
        assert_eq!(default_route(TABLE.lines().next().unwrap()), None);
    }

    #[test]
    fn a_strange_mtu_is_bounded() {
        assert_eq!([None, Some(1280), Some(65520), Some(68)].map(bounded), [1500, 1280, 9000, 576]);
    }
}
