//! Renders dnsmasq's configuration files (dnsmasq(8)). Paths in them are those of the sandbox's view.

use super::{DOMAIN, DnsmasqPlan, GATEWAY, ResolverPlan};
use crate::net::ruleset::TABLE;
use crate::{Error, Result};
use mvm_spec::egress::Destination;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Where the view has the instance's configuration directory.
pub const CONF_DIR: &str = "/conf";
/// Where it has the directory that the instance may write to.
pub const RUN_DIR: &str = "/run";
/// Where it has the names of VMs.
pub const HOSTS_DIR: &str = "/hosts";
/// The configuration file.
pub const CONF_FILE: &str = "dnsmasq.conf";
/// Name servers in the form of resolv.conf(5), in the configuration directory.
pub const RESOLV_FILE: &str = "resolv.conf";
/// Name servers of a resolver, a line for each name and server.
pub const SERVERS_FILE: &str = "servers.conf";

/// Seconds after which a restricted VM has to ask for a name again at the latest: the time in which it sees that a name
/// has moved, and in which its nft set fills again after a reload of the rules.
const MAX_TTL: u32 = 60;

/// Of both kinds of instance.
fn common(bridge: &str, gateway: Ipv4Addr, log_queries: bool) -> Result<String> {
    let bridge = word("bridge", bridge)?;
    let log = if log_queries { "log-queries\nlog-dhcp\n" } else { "quiet-dhcp\n" };
    Ok(format!(
        "# Written by mvm; changed by nobody else.\n\
         keep-in-foreground\n\
         log-facility=-\n\
         {log}\
         # The sandbox has changed the user already, and has no list of users.\n\
         user=\n\
         group=\n\
         pid-file={RUN_DIR}/pid\n\
         # On the bridge's address only.\n\
         interface={bridge}\n\
         except-interface=lo\n\
         bind-interfaces\n\
         # Names of VMs; the rest of their domain does not exist.\n\
         no-hosts\n\
         hostsdir={HOSTS_DIR}\n\
         host-record={GATEWAY}.{DOMAIN},{gateway}\n\
         local=/{DOMAIN}/\n\
         # As the host's own resolver asks: the first server, and the next when it does not answer. With a VPN they don't\n\
         # all know the same names.\n\
         strict-order\n\
         domain-needed\n\
         bogus-priv\n\
         # Guests have no IPv6.\n\
         filter-AAAA\n\
         dns-forward-max=1000\n"
    ))
}

/// The configuration of a bridge's instance.
///
/// Deliberately absent: `stop-dns-rebind`, for a development VM may need names of the local network, whose addresses
/// are private; what guests may reach is for the nft rules to say. `domain` and names in leases: a lease that knows its
/// name would keep it in the DNS after the VM is gone.
///
/// Errors: the bridge's name has characters that no interface of ours has.
pub fn bridge(plan: &DnsmasqPlan) -> Result<String> {
    let DnsmasqPlan { bridge, address, mtu, upstream, log_queries, .. } = plan;
    let gateway = address.address;
    let mut text = common(bridge, gateway, *log_queries)?;
    match upstream {
        super::Upstream::Servers(servers) => {
            text.push_str("no-resolv\n");
            for server in servers {
                let _ = writeln!(text, "server={}#{}", server.ip(), server.port());
            }
        }
        super::Upstream::ResolvConf(_) => {
            // Other servers, other answers: nothing of what the old ones said is kept.
            let _ = writeln!(text, "resolv-file={CONF_DIR}/{RESOLV_FILE}\nclear-on-reload");
        }
    }
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(address.prefix)).unwrap_or(0));
    let leases = 1u32.checked_shl(32 - u32::from(address.prefix)).unwrap_or(u32::MAX).min(1 << 16);
    let _ = write!(
        text,
        "cache-size=10000\n\
         # Addresses for VMs that are known, by their MAC address, and for nobody else.\n\
         dhcp-range={network},static,{mask},12h\n\
         dhcp-hostsdir={CONF_DIR}/dhcp\n\
         dhcp-ignore=tag:!known\n\
         dhcp-leasefile={RUN_DIR}/leases\n\
         dhcp-lease-max={leases}\n\
         dhcp-authoritative\n\
         # A guest does not choose its name.\n\
         dhcp-ignore-names\n\
         no-ping\n\
         dhcp-option=option:router,{gateway}\n\
         dhcp-option=option:dns-server,{gateway}\n\
         dhcp-option=option:domain-name,{DOMAIN}\n\
         dhcp-option=option:domain-search,{DOMAIN}\n\
         dhcp-option=option:mtu,{mtu}\n",
        network = address.network(),
    );
    Ok(text)
}

/// The configuration of a restricted VM's resolver, but for its upstream ([`servers`]).
///
/// It has no server for names in general, so that none but the allowed ones can leave.
///
/// Errors: a name is no DNS name; bridge or set have characters that ours don't have.
pub fn resolver(plan: &ResolverPlan) -> Result<String> {
    let ResolverPlan { bridge, address, port, names, set, log_queries, .. } = plan;
    let set = word("nft set", set)?;
    let mut text = common(bridge, *address, *log_queries)?;
    let _ = write!(
        text,
        "port={port}\n\
         no-resolv\n\
         servers-file={CONF_DIR}/{SERVERS_FILE}\n\
         # Every other name does not exist: the answer that programs deal with fastest.\n\
         address=/#/\n\
         # Addresses get into the set with answers from upstream only, so that each question is asked there.\n\
         cache-size=0\n\
         max-ttl={MAX_TTL}\n"
    );
    for name in names {
        let _ = writeln!(text, "nftset=/{}/4#inet#{TABLE}#{set}", dns_name(name)?);
    }
    Ok(text)
}

/// The upstream of a resolver: `servers` for each of `names`, and for nothing else. A line for each, since dnsmasq's
/// lines have at most 1,024 characters.
///
/// Errors: a name is no DNS name.
pub fn servers(names: &[String], servers: &[String]) -> Result<String> {
    let mut text = String::new();
    for name in names {
        let name = dns_name(name)?;
        for server in servers {
            let _ = writeln!(text, "server=/{name}/{server}");
        }
    }
    Ok(text)
}

fn dns_name(name: &str) -> Result<String> {
    match name.parse() {
        Ok(Destination::Name(name)) => Ok(name),
        Ok(Destination::Network(network)) => {
            Err(Error::Failed(format!("`{network}` among the allowed names is a network, not a name")))
        }
        Err(error) => Err(Error::Failed(error.to_string())),
    }
}

/// `text`, if it can stand in a line of the configuration.
fn word<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text);
    }
    Err(Error::Failed(format!("the {what} has the name {text:?}; use a-z, A-Z, 0-9, `-`, `_` and `.`")))
}

#[cfg(test)]
mod tests {
    use super::super::Upstream;
    use super::*;
    use mvm_spec::VmName;

    fn plan() -> DnsmasqPlan {
        DnsmasqPlan {
            bridge: "virbr-mvm".into(),
            address: "192.168.100.1/24".parse().unwrap(),
            mtu: 1500,
            dir: "/run/x/dns".into(),
            upstream: Upstream::Servers(vec!["127.0.0.1:5301".parse().unwrap(), "[::1]:53".parse().unwrap()]),
            log_queries: false,
        }
    }

    fn resolver_plan(names: &[&str]) -> ResolverPlan {
        ResolverPlan {
            name: VmName::new("shop").unwrap(),
            bridge: "virbr-mvm".into(),
            address: Ipv4Addr::new(192, 168, 100, 1),
            port: 5400,
            dir: "/run/x/dns-shop".into(),
            names: names.iter().map(ToString::to_string).collect(),
            set: "allow-shop".into(),
            upstream: Upstream::Servers(Vec::new()),
            hosts: "/run/x/dns/conf/hosts".into(),
            log_queries: false,
        }
    }

    #[test]
    fn a_bridge_has_dns_and_dhcp() {
        insta::assert_snapshot!(bridge(&plan()).unwrap());
    }

    #[test]
    fn the_hosts_servers_come_from_a_file() {
        let plan = DnsmasqPlan { upstream: Upstream::ResolvConf("/etc/resolv.conf".into()), ..plan() };
        let text = bridge(&plan).unwrap();
        assert!(text.contains("\nresolv-file=/conf/resolv.conf\nclear-on-reload\n"), "{text}");
        assert!(!text.contains("no-resolv") && !text.contains("server="), "{text}");
    }

    #[test]
    fn subnets_have_their_mask() {
        let plan = DnsmasqPlan { address: "10.3.16.1/20".parse().unwrap(), ..plan() };
        let text = bridge(&plan).unwrap();
        assert!(text.contains("\ndhcp-range=10.3.16.0,static,255.255.240.0,12h\n"), "{text}");
        assert!(text.contains("\ndhcp-lease-max=4096\n"), "{text}");
    }

    #[test]
    fn a_resolver_knows_allowed_names_only() {
        insta::assert_snapshot!(resolver(&resolver_plan(&["example.com", "Deb.Debian.org."])).unwrap());
    }

    #[test]
    fn each_allowed_name_has_each_server() {
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let text = servers(&names, &["127.0.0.1#5301".into(), "fd00::1".into()]).unwrap();
        assert_eq!(
            text,
            "server=/a.example/127.0.0.1#5301\nserver=/a.example/fd00::1\n\
             server=/b.example/127.0.0.1#5301\nserver=/b.example/fd00::1\n"
        );
        assert_eq!(servers(&[], &["127.0.0.1#5301".into()]).unwrap(), "");
    }

    #[test]
    fn nothing_gets_into_the_configuration_by_a_name() {
        for bad in ["", "#", "a.example/1.2.3.4", "a.example\nserver=1.2.3.4", "10.0.0.0/8", "a b"] {
            assert!(resolver(&resolver_plan(&[bad])).is_err(), "{bad:?}");
            assert!(servers(&[bad.to_owned()], &["::1".into()]).is_err(), "{bad:?}");
        }
        for bad in ["", "br0\nconf-file=/etc/passwd", "br,lo", "*"] {
            let error = bridge(&DnsmasqPlan { bridge: bad.into(), ..plan() }).unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
            assert!(resolver(&ResolverPlan { set: bad.into(), ..resolver_plan(&[]) }).is_err());
        }
    }
}
