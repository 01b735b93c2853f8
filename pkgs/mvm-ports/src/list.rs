//! What forwards a VM has, and how they fare.

use crate::Result;
use crate::serving::Serving;
use mvm_host::ports::proxy::protocol::{Reason, Served};
use mvm_host::realm::Realm;
use mvm_host::store::{Store, StoredForward};
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, Protocol};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A forward of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// The forward.
    #[serde(flatten)]
    pub forward: Forward,
    /// Whether it comes from the VM's spec.
    pub declared: bool,
    /// How it fares.
    pub state: State,
    /// Why it is blocked, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Open connections; none unless it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Bytes towards the guest through the proxy; none unless it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes from the guest through the proxy; none unless it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
}

/// How a forward fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is served.
    Active,
    /// The VM runs, but the port can't be had; it is tried again.
    Blocked,
    /// The VM does not run.
    Stored,
    /// The VM runs, and the forward should be served but is not: `mvm-ports sync` mends it.
    Missing,
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Blocked => "blocked",
            Self::Stored => "stored",
            Self::Missing => "missing",
        }
    }
}

/// The forwards of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Whether the VM runs, so that they are served.
    pub running: bool,
    /// The forwards, sorted.
    pub forwards: Vec<Listed>,
}

/// The forwards of VM `vm`.
pub async fn forwards(realm: &Realm, store: &Store, vm: &VmName) -> Result<Listing> {
    let stored = store.forwards(vm)?;
    let served = Serving::open(realm).await?.list(Some(vm)).await?.unwrap_or_default();
    let served = served.into_iter().next().map(|vm| vm.forwards);
    Ok(Listing { running: served.is_some(), forwards: listed(stored, served) })
}

/// Joins what is stored with what is served, which is none for a VM that does not run.
pub fn listed(stored: Vec<StoredForward>, served: Option<Vec<Served>>) -> Vec<Listed> {
    let runs = served.is_some();
    let mut served: HashMap<Forward, Served> =
        served.into_iter().flatten().map(|served| (served.forward.clone(), served)).collect();
    stored
        .into_iter()
        .map(|StoredForward { forward, declared }| {
            let found = served.remove(&forward);
            let reason = found.as_ref().and_then(|served| served.blocked.as_ref().map(Reason::to_string));
            let state = match (&found, runs, &reason) {
                (Some(_), _, Some(_)) => State::Blocked,
                (Some(_), _, None) => State::Active,
                (None, true, _) => State::Missing,
                (None, false, _) => State::Stored,
            };
            let traffic = found.filter(|_| state == State::Active);
            Listed {
                forward,
                declared,
                state,
                reason,
                connections: traffic.as_ref().map(|served| served.connections),
                bytes_in: traffic.as_ref().map(|served| served.bytes_in),
                bytes_out: traffic.as_ref().map(|served| served.bytes_out),
            }
        })
        .collect()
}

/// How to reach a forward: `127.0.0.1:8080 -> web:3000/tcp`.
pub fn line(vm: &VmName, forward: &Forward) -> String {
    let Forward { proto, address, host, guest } = forward;
    let at = SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), *host);
    format!("{at} -> {vm}:{guest}/{proto}")
}

/// Forwards in few words: `8080->3000, 5353->53/udp, +3`, at most about `width` characters.
pub fn summary<'a>(forwards: impl IntoIterator<Item = &'a Forward>, width: usize) -> String {
    let shown: Vec<String> = forwards.into_iter().map(short).collect();
    let mut text = String::new();
    for (index, forward) in shown.iter().enumerate() {
        let rest = shown.len() - index;
        // Room for what must follow if this is not the last.
        let more = if rest > 1 { format!(", +{}", rest - 1).len() } else { 0 };
        if index > 0 && text.len() + 2 + forward.len() + more > width {
            let _ = write!(text, ", +{rest}");
            break;
        }
        if index > 0 {
            text.push_str(", ");
        }
        text.push_str(forward);
    }
    text
}

fn short(forward: &Forward) -> String {
    let Forward { proto, address, host, guest } = forward;
    let proto = match proto {
        Protocol::Tcp => "",
        Protocol::Udp => "/udp",
    };
    match address {
        None => format!("{host}->{guest}{proto}"),
        Some(address) => format!("{}->{guest}{proto}", SocketAddr::new(*address, *host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(text: &str) -> Forward {
        text.parse::<mvm_spec::forward::ForwardRequest>().unwrap().forwards().next().unwrap()
    }

    #[test]
    fn lines_say_where_to_go() {
        let web = VmName::new("web").unwrap();
        assert_eq!(line(&web, &forward("8080:3000")), "127.0.0.1:8080 -> web:3000/tcp");
        assert_eq!(line(&web, &forward("[::1]:53:53/udp")), "[::1]:53 -> web:53/udp");
        assert_eq!(line(&web, &forward("0.0.0.0:80:80")), "0.0.0.0:80 -> web:80/tcp");
    }

    #[test]
    fn summaries_are_short_and_say_how_much_is_left_out() {
        let all: Vec<Forward> = ["8080:3000", "5353:53/udp", "[::1]:1:2"].map(forward).to_vec();
        assert_eq!(summary(&all, 60), "8080->3000, 5353->53/udp, [::1]:1->2");
        assert_eq!(summary(&all, 30), "8080->3000, 5353->53/udp, +1");
        assert_eq!(summary(&all, 5), "8080->3000, +2");
        assert_eq!(summary(&[], 5), "");
        let many: Vec<Forward> = (1000..2000).map(|port| forward(&format!("{port}"))).collect();
        let text = summary(&many, 40);
        assert_eq!(text, "1000->1000, 1001->1001, 1002->1002, +997");
    }

    #[test]
    fn every_state_is_told() {
        let stored = |text: &str| StoredForward { forward: forward(text), declared: false };
        let served = |text: &str, blocked| Served {
            forward: forward(text),
            blocked,
            connections: 2,
            bytes_in: 3,
            bytes_out: 4,
        };
        let all = vec![stored("1"), stored("2"), stored("3")];
        let runs = vec![served("1", None), served("2", Some(Reason::NoSuchAddress))];
        let states = |listed: Vec<Listed>| listed.iter().map(|l| l.state).collect::<Vec<_>>();
        let listing = listed(all.clone(), Some(runs));
        assert_eq!(listing[0].bytes_out, Some(4));
        assert!(listing[1].reason.as_ref().unwrap().contains("no such address"));
        assert_eq!(states(listing), [State::Active, State::Blocked, State::Missing]);
        assert_eq!(states(listed(all, None)), [State::Stored; 3]);
    }
}
