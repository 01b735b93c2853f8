//! What a change comes to, decided from what VMs have; nothing is touched here.

use crate::removal::Removal;
use crate::{Error, Result};
use mvm_host::store::StoredForward;
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, ForwardRequest, Protocol};
use std::collections::HashMap;

/// The forwards of all VMs on a port of the host.
pub type Held = Vec<(VmName, StoredForward)>;

/// Tells who has a port of the host.
pub type Holders<'a> = &'a dyn Fn(Protocol, u16) -> Result<Held>;

/// Forwards to be added to a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// New ones with their port.
    pub fixed: Vec<Forward>,
    /// New ones that take any free port; their `host` is 0.
    pub any: Vec<Forward>,
    /// Those that the VM has already.
    pub already: Vec<Forward>,
}

/// Plans to add what is asked for to VM `vm`, which may not exist yet.
///
/// Errors: a port is taken by another VM, by the VM itself for something else, or twice by the requests.
pub fn additions(vm: &VmName, requests: &[ForwardRequest], holders: Holders<'_>) -> Result<Additions> {
    let mut plan = Additions::default();
    // By port, so that a range of all ports is planned in one pass.
    let mut seen: HashMap<(Protocol, u16), Vec<Forward>> = HashMap::new();
    for wanted in requests.iter().flat_map(ForwardRequest::forwards) {
        if wanted.host == 0 {
            // Asked for twice, they are two.
            plan.any.push(wanted);
            continue;
        }
        let same_port = seen.entry((wanted.proto, wanted.host)).or_default();
        if let Some(first) = same_port.iter().find(|first| first.conflicts(&wanted)) {
            return Err(Error::Twice { first: first.clone(), second: wanted });
        }
        same_port.push(wanted.clone());
        match conflict(vm, &wanted, &holders(wanted.proto, wanted.host)?)? {
            Standing::Free => plan.fixed.push(wanted),
            Standing::There => plan.already.push(wanted),
        }
    }
    Ok(plan)
}

enum Standing {
    Free,
    There,
}

fn conflict(vm: &VmName, wanted: &Forward, held: &[(VmName, StoredForward)]) -> Result<Standing> {
    for (holder, StoredForward { forward, declared }) in held {
        if !forward.conflicts(wanted) {
            continue;
        }
        let (wanted, held) = (wanted.clone(), forward.clone());
        return match holder == vm {
            true if wanted == held => Ok(Standing::There),
            true => Err(Error::TakenBySelf { wanted, vm: vm.clone(), held, declared: *declared }),
            false => Err(Error::TakenByVm { wanted, vm: holder.clone(), held }),
        };
    }
    Ok(Standing::Free)
}

/// Whether no VM has a forward that speaks against `wanted`.
pub fn is_free(wanted: &Forward, holders: Holders<'_>) -> Result<bool> {
    Ok(holders(wanted.proto, wanted.host)?.iter().all(|(_, held)| !held.forward.conflicts(wanted)))
}

/// Forwards to be removed from a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// Those there are.
    pub remove: Vec<Forward>,
    /// What matched nothing.
    pub absent: Vec<Removal>,
}

/// Plans to remove what is asked for from VM `vm`, which has `stored`.
///
/// Errors: one of them comes from the VM's spec.
pub fn removals(vm: &VmName, requests: &[Removal], stored: &[StoredForward]) -> Result<Removals> {
    let mut plan = Removals::default();
    for request in requests {
        let mut matched = false;
        for StoredForward { forward, declared } in stored.iter().filter(|s| request.matches(&s.forward)) {
            matched = true;
            if *declared {
                return Err(Error::Declared { vm: vm.clone(), forward: forward.clone() });
            }
            if !plan.remove.contains(forward) {
                plan.remove.push(forward.clone());
            }
        }
        if !matched {
            plan.absent.push(request.clone());
        }
    }
    Ok(plan)
}

/// Plans to remove all that can be removed.
pub fn remove_all(stored: &[StoredForward]) -> Removals {
    let remove = stored.iter().filter(|stored| !stored.declared).map(|stored| stored.forward.clone());
    Removals { remove: remove.collect(), absent: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VmName {
        VmName::new(text).unwrap()
    }

    fn requests(texts: &[&str]) -> Vec<ForwardRequest> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn forward(text: &str) -> Forward {
        requests(&[text])[0].forwards().next().unwrap()
    }

    /// A world in which web has 8080:3000 and, declared, 53:53/udp, and shop-1 has 9000:80 and 10.0.0.1:7000:7.
    fn held(proto: Protocol, port: u16) -> Result<Held> {
        let all = [
            ("web", "8080:3000", false),
            ("web", "53:53/udp", true),
            ("shop-1", "9000:80", false),
            ("shop-1", "10.0.0.1:7000:7", false),
        ];
        Ok(all
            .iter()
            .map(|(vm, text, declared)| {
                (name(vm), StoredForward { forward: forward(text), declared: *declared })
            })
            .filter(|(_, stored)| stored.forward.proto == proto && stored.forward.host == port)
            .collect())
    }

    fn plan(texts: &[&str]) -> Result<Additions> {
        additions(&name("web"), &requests(texts), &held)
    }

    fn problem(texts: &[&str]) -> String {
        plan(texts).unwrap_err().to_string()
    }

    #[test]
    fn what_is_free_is_added_and_what_is_there_stays() {
        let plan = plan(&["8080:3000", "8081-8082:1-2", "0:3000", "0:3000", "7000:7", "53:53/udp"]).unwrap();
        assert_eq!(plan.already, [forward("8080:3000"), forward("53:53/udp")]);
        assert_eq!(plan.fixed, ["8081:1", "8082:2", "7000:7"].map(forward));
        assert_eq!(plan.any.len(), 2);
    }

    #[test]
    fn conflicts_name_the_other_side_and_the_fix() {
        assert_eq!(
            problem(&["9000:1"]),
            "port 9000 is taken by VM shop-1 (9000:80); choose another, or 0 for any free one"
        );
        assert_eq!(
            problem(&["0.0.0.0:7000:1"]),
            "port 0.0.0.0:7000 is taken by VM shop-1 (10.0.0.1:7000:7); choose another, or 0 for any free one"
        );
        assert_eq!(
            problem(&["8080:1"]),
            "VM web has the forward 8080:3000 already; remove it first (mvm port web --remove 8080:3000), or choose \
             another port than 8080"
        );
        assert!(problem(&["53:54/udp"]).contains("comes from the VM's spec"));
        assert_eq!(
            problem(&["1000-1010:1-11", "1005:9"]),
            "1005:6 and 1005:9 both take port 1005 of the host; leave one out"
        );
    }

    #[test]
    fn removal_is_by_pattern_and_spares_what_is_declared() {
        let stored: Vec<StoredForward> = ["8080:3000", "127.0.0.2:8080:1", "8081:1"]
            .map(|text| StoredForward { forward: forward(text), declared: text == "8081:1" })
            .to_vec();
        let removal = |text: &str| -> Removal { text.parse().unwrap() };
        let plan = |texts: &[&str]| {
            let requests: Vec<_> = texts.iter().map(|text| removal(text)).collect();
            removals(&name("web"), &requests, &stored)
        };
        assert_eq!(plan(&["8080"]).unwrap().remove, ["8080:3000", "127.0.0.2:8080:1"].map(forward));
        assert_eq!(plan(&["8080:3000", "8080:3000"]).unwrap().remove, [forward("8080:3000")]);
        let absent = plan(&["8080/udp", "127.0.0.2:8080"]).unwrap();
        assert_eq!(absent.absent, [removal("8080/udp")]);
        assert_eq!(absent.remove, [forward("127.0.0.2:8080:1")]);
        assert!(matches!(plan(&["8080", "8081"]), Err(Error::Declared { .. })));
        assert_eq!(remove_all(&stored).remove.len(), 2);
    }
}
