//! Whether the host gives a port: tried out in this process, which is in the host's network namespace as the proxy is.

use crate::{Error, Result};
use mvm_host::ports::proxy::protocol::{Reason, Refusal};
use mvm_host::ports::proxy::{bind, listener};
use mvm_host::realm::RealmKind;
use mvm_spec::forward::Forward;

/// Checks that `forward`, which has a port, can be listened for.
///
/// In a user realm the proxy has no privilege on the host, whoever started it, so that a port that root can have is
/// refused all the same.
pub fn check(kind: RealmKind, forward: &Forward) -> Result<()> {
    if let (RealmKind::User, Some(start)) = (kind, first_unprivileged())
        && forward.host < start
    {
        return Err(unavailable(forward, Reason::Privileged { start }));
    }
    bind::bind(forward, |_| false).map(drop).map_err(|reason| unavailable(forward, reason))
}

/// Gives `forward`, whose port is 0, a port that is free and not to be avoided.
pub fn choose(forward: &Forward, avoid: &dyn Fn(&Forward) -> Result<bool>) -> Result<Forward> {
    let failed = std::cell::RefCell::new(None);
    let avoided = |candidate: &Forward| {
        avoid(candidate).unwrap_or_else(|error| {
            failed.borrow_mut().get_or_insert(error);
            false
        })
    };
    let bound = bind::bind(forward, avoided);
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    match bound {
        Ok((chosen, _sockets)) => Ok(chosen),
        Err(Reason::PortTaken { .. }) => Err(Error::NoneFree { forward: forward.clone() }),
        Err(reason) => Err(unavailable(forward, reason)),
    }
}

/// The error about a forward that the host, or the proxy, refuses; names the process in the way where it can be seen.
pub fn unavailable(forward: &Forward, reason: Reason) -> Error {
    let mut refusals = [Refusal { forward: forward.clone(), reason }];
    listener::name(&mut refusals);
    let [Refusal { forward, reason }] = refusals;
    Error::Unavailable { forward, reason: reason.to_string() }
}

/// The first port that needs no privilege (ip(7)).
fn first_unprivileged() -> Option<u16> {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok()
}
