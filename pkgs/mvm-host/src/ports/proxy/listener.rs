//! Which process listens on a port of the host: from `/proc/net/{tcp,tcp6,udp,udp6}` the socket's inode, from
//! `/proc/PID/fd` the process that has it open (proc(5)). Of other users' processes only root sees that.

use super::protocol::{Listener, Reason, Refusal};
use mvm_spec::forward::Protocol;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How long the search may take, on a host with very many processes.
const DEADLINE: Duration = Duration::from_millis(500);
/// State of a listening TCP socket (`TCP_LISTEN`, linux/tcp_states.h).
const LISTEN: &str = "0A";

/// Names the listeners in `refusals` that are not named yet, as far as they can be seen.
pub fn name(refusals: &mut [Refusal]) {
    let unnamed = |refusal: &Refusal| matches!(refusal.reason, Reason::PortTaken { by: None });
    if !refusals.iter().any(unnamed) {
        return;
    }
    let mut inodes: HashMap<u64, Vec<usize>> = HashMap::new();
    for proto in [Protocol::Tcp, Protocol::Udp] {
        if !refusals.iter().any(|refusal| unnamed(refusal) && refusal.forward.proto == proto) {
            continue;
        }
        let mut by_port: HashMap<u16, Vec<(IpAddr, u64)>> = HashMap::new();
        for (address, inode) in listening(proto) {
            by_port.entry(address.port()).or_default().push((address.ip(), inode));
        }
        for (index, refusal) in refusals.iter().enumerate() {
            if unnamed(refusal) && refusal.forward.proto == proto {
                let wanted = refusal.forward.addresses();
                let found = by_port.get(&refusal.forward.host).into_iter().flatten();
                let found = found.filter(|(taken, _)| wanted.iter().any(|wanted| overlap(*wanted, *taken)));
                found.for_each(|(_, inode)| inodes.entry(*inode).or_default().push(index));
            }
        }
    }
    for (inode, listener) in owners(&inodes) {
        for index in inodes.get(&inode).into_iter().flatten() {
            if let Some(refusal) = refusals.get_mut(*index) {
                refusal.reason = Reason::PortTaken { by: Some(listener.clone()) };
            }
        }
    }
}

/// Whether sockets at both addresses are in each other's way; one at `::` may serve IPv4 too.
fn overlap(wanted: IpAddr, taken: IpAddr) -> bool {
    wanted == taken
        || taken == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        || (wanted.is_ipv4() == taken.is_ipv4() && (wanted.is_unspecified() || taken.is_unspecified()))
}

/// Local addresses and inodes of the sockets that listen; for UDP, of all.
fn listening(proto: Protocol) -> Vec<(SocketAddr, u64)> {
    let mut found = Vec::new();
    for family in ["", "6"] {
        // Absent without IPv6.
        let table = std::fs::read_to_string(format!("/proc/self/net/{proto}{family}")).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(|line| socket(line, proto)));
    }
    found
}

/// A line of the table: `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`.
fn socket(line: &str, proto: Protocol) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    if proto == Protocol::Tcp && *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each the number that its bytes in network order are to this machine.
    let word = |index: usize| -> Option<[u8; 4]> {
        Some(u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = if address.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let bytes: Vec<u8> = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
    };
    Some((SocketAddr::new(address, port), fields.get(9)?.parse().ok()?))
}

/// The processes that have the sockets open.
fn owners(inodes: &HashMap<u64, Vec<usize>>) -> Vec<(u64, Listener)> {
    let mut found = Vec::new();
    let start = Instant::now();
    let Ok(processes) = std::fs::read_dir("/proc") else { return found };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        if found.len() == inodes.len() || start.elapsed() > DEADLINE {
            break;
        }
        // Not ours to see, or gone.
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for file in files.flatten() {
            let Ok(link) = std::fs::read_link(file.path()) else { continue };
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
            let Some(inode) = inode.and_then(|inode| inode.parse().ok()) else { continue };
            if inodes.contains_key(&inode) {
                let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                found.push((inode, Listener { pid, program: program.trim_end().to_owned() }));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernels_tables_are_read() {
        let tcp = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1";
        assert_eq!(socket(tcp, Protocol::Tcp), Some(("127.0.0.1:8080".parse().unwrap(), 4711)));
        let connected = tcp.replace(" 0A ", " 01 ");
        assert_eq!(socket(&connected, Protocol::Tcp), None);
        let udp6 = "  12: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 \
                    00000000:00000000 00:00000000 00000000     0        0 815 2";
        assert_eq!(socket(udp6, Protocol::Udp), Some(("[::1]:53".parse().unwrap(), 815)));
        assert_eq!(socket("", Protocol::Udp), None);
    }

    #[test]
    fn this_process_is_found_by_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!("{}:80", listener.local_addr().unwrap().port());
        let request: mvm_spec::forward::ForwardRequest = text.parse().unwrap();
        let forward = request.forwards().next().unwrap();
        let mut refusals = [Refusal { forward, reason: Reason::PortTaken { by: None } }];
        name(&mut refusals);
        let Reason::PortTaken { by: Some(by) } = &refusals[0].reason else { panic!("{refusals:?}") };
        assert_eq!(by.pid, i32::try_from(std::process::id()).unwrap());
    }
}
