//! What has to change so that a VM is as planned. Pure.

use super::{Taken, VmStatus};
use crate::plan::Plan;
use mvm_spec::workload::Workload;
use std::collections::BTreeSet;

/// A change of a VM, which is one call of `mvm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is made, with these forwards and the workload.
    Create {
        /// `HOST:GUEST`.
        ports: Vec<String>,
    },
    /// Forwards are taken away.
    RemovePorts(Vec<String>),
    /// Forwards are added.
    AddPorts(Vec<String>),
    /// The workload is replaced.
    Workload,
    /// It is started.
    Start,
}

/// The changes that lead from what there is to the plan, in their order. `now` is the VM with its workload; forwards of the
/// plan before are known by that.
pub fn reconcile(
    plan: &Plan,
    workload: &Workload,
    now: Option<(&VmStatus, &Workload)>,
    taken: &Taken,
) -> Vec<Change> {
    let wanted = |guest: u16, host: u16| {
        let host = if host == 0 || taken.has(host) { 0 } else { host };
        format!("{host}:{guest}")
    };
    let Some((status, there)) = now else {
        let ports = plan.forwards.iter().map(|one| wanted(one.forward.guest, one.forward.host)).collect();
        return vec![Change::Create { ports }, Change::Start];
    };
    let mut changes = Vec::new();
    let planned: BTreeSet<u16> = plan.forwards.iter().map(|one| one.forward.guest).collect();
    let before: BTreeSet<u16> = there.processes.iter().flat_map(|one| one.ports.iter().copied()).collect();
    let mut remove = Vec::new();
    let mut add = Vec::new();
    for forward in status.forwards.iter().filter(|one| one.proto == "tcp") {
        let gone = before.contains(&forward.guest) && !planned.contains(&forward.guest);
        // A running VM's ports are taken by itself.
        let lost = !status.runs() && planned.contains(&forward.guest) && taken.has(forward.host);
        if gone || lost {
            remove.push(format!("{}:{}", forward.host, forward.guest));
        }
        if lost {
            add.push(format!("0:{}", forward.guest));
        }
    }
    for one in &plan.forwards {
        if status.host_port(one.forward.guest).is_none() {
            add.push(wanted(one.forward.guest, one.forward.host));
        }
    }
    if !remove.is_empty() {
        changes.push(Change::RemovePorts(remove));
    }
    if !add.is_empty() {
        changes.push(Change::AddPorts(add));
    }
    if workload != there {
        changes.push(Change::Workload);
    }
    if !status.runs() {
        changes.push(Change::Start);
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{detect::detect, plan};

    fn planned(text: &str) -> (Plan, Workload) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join("devenv.nix"), text).unwrap();
        let project = detect(dir.path()).unwrap();
        let plan = plan::plan(&project, mvm_spec::VmName::new("shop").unwrap());
        let workload = plan::workload(&plan, &|_| true).unwrap();
        (plan, workload)
    }

    const SHOP: &str = "{ services.redis.enable = true; processes.web = { exec = \"serve\"; ports.http.allocate = 3000; }; }";

    fn status(text: &str) -> VmStatus {
        serde_json::from_str(text).unwrap()
    }

    fn taken(ports: &[u16]) -> Taken {
        Taken { claimed: ports.iter().copied().collect(), listening: None }
    }

    #[test]
    fn a_vm_is_made_and_ports_that_are_taken_become_free_ones() {
        let (plan, workload) = planned(SHOP);
        let ports = vec!["6379:6379".to_owned(), "0:3000".to_owned()];
        assert_eq!(
            reconcile(&plan, &workload, None, &taken(&[3000])),
            [Change::Create { ports }, Change::Start]
        );
    }

    #[test]
    fn nothing_changes_when_all_is_as_planned() {
        let (plan, workload) = planned(SHOP);
        let status = status(
            r#"{ "status": "running", "forwards": [ { "host": 1, "guest": 6379, "proto": "tcp" }, { "host": 2, "guest": 3000, "proto": "tcp" } ] }"#,
        );
        assert_eq!(reconcile(&plan, &workload, Some((&status, &workload)), &taken(&[1, 2])), []);
    }

    #[test]
    fn forwards_of_the_plan_before_go_and_those_of_the_user_stay() {
        let (plan, workload) =
            planned("{ processes.web = { exec = \"serve\"; ports.http.allocate = 4000; }; }");
        let (_, before) = planned(SHOP);
        let status = status(
            r#"{ "status": "stopped", "forwards": [ { "host": 6379, "guest": 6379, "proto": "tcp" },
                 { "host": 3000, "guest": 3000, "proto": "tcp" }, { "host": 9, "guest": 22, "proto": "tcp" } ] }"#,
        );
        assert_eq!(
            reconcile(&plan, &workload, Some((&status, &before)), &taken(&[])),
            [
                Change::RemovePorts(vec!["6379:6379".to_owned(), "3000:3000".to_owned()]),
                Change::AddPorts(vec!["4000:4000".to_owned()]),
                Change::Workload,
                Change::Start,
            ]
        );
    }

    #[test]
    fn a_port_that_was_taken_while_the_vm_was_stopped_is_replaced() {
        let (plan, workload) = planned(SHOP);
        let status = status(
            r#"{ "status": "stopped", "forwards": [ { "host": 6379, "guest": 6379, "proto": "tcp" }, { "host": 3000, "guest": 3000, "proto": "tcp" } ] }"#,
        );
        assert_eq!(
            reconcile(&plan, &workload, Some((&status, &workload)), &taken(&[3000])),
            [
                Change::RemovePorts(vec!["3000:3000".to_owned()]),
                Change::AddPorts(vec!["0:3000".to_owned()]),
                Change::Start,
            ]
        );
    }
}
