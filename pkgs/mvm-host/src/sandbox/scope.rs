//! Resource limits of a VM as a whole, where systemd runs: its processes become the unit `mvm-NAME.scope`, of the
//! system's manager in the host realm and of the user's in a user realm (systemd.scope(5)).
//!
//! Elsewhere the limits of each process ([`super::limits`]) are all there is. They are set in any case.

use crate::realm::RealmKind;
use mvm_spec::VmName;
use mvm_spec::latest::Resources;
use std::path::Path;
use std::process::Stdio;

/// Memory beyond the guest's own that a VM's processes may use, in bytes: code, translated code, page cache.
const MEMORY_BESIDE: u64 = 1 << 30;
/// Processes and threads of a VM.
const TASKS: u64 = 512;
/// Microseconds of CPU a second that a VM may use beside its vCPUs': for I/O threads and the file server.
const CPU_BESIDE: u64 = 1_000_000;

/// Which manager a realm's units belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The system's.
    System,
    /// The user's.
    User,
}

impl Manager {
    /// The manager of a realm of `kind`, if it runs (sd_booted(3); the user manager's private socket).
    pub fn of(kind: RealmKind) -> Option<Self> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        match kind {
            RealmKind::Host => Some(Self::System),
            RealmKind::User => {
                let runtime = std::env::var_os("XDG_RUNTIME_DIR")?;
                Path::new(&runtime).join("systemd/private").exists().then_some(Self::User)
            }
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::System => "--system",
            Self::User => "--user",
        }
    }
}

/// A unit to make of running processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, ending in `.scope`.
    pub name: String,
    /// What it is, for `systemctl status`.
    pub description: String,
    /// What the processes may use together; all there is, if not given.
    pub limits: Option<Resources>,
}

impl Unit {
    /// The unit of VM `name`.
    pub fn of_vm(name: &VmName, resources: &Resources) -> Self {
        Self {
            name: format!("mvm-{name}.scope"),
            description: format!("microVM {name}"),
            limits: Some(resources.clone()),
        }
    }
}

/// Arguments of busctl(1) that put the processes `pids` (as the host numbers them) into `unit`.
pub fn arguments(manager: Manager, unit: &Unit, pids: &[i32]) -> Vec<String> {
    // Properties: each a name, the signature of its value, and the value.
    let mut properties = vec![
        vec!["Description".to_owned(), "s".to_owned(), unit.description.clone()],
        vec!["CollectMode".to_owned(), "s".to_owned(), "inactive-or-failed".to_owned()],
    ];
    if let Some(limits) = &unit.limits {
        for (name, value) in [
            ("MemoryMax", (limits.mem_mib << 20) + MEMORY_BESIDE),
            ("CPUQuotaPerSecUSec", u64::from(limits.vcpu) * 1_000_000 + CPU_BESIDE),
            ("TasksMax", TASKS),
        ] {
            properties.push(vec![name.to_owned(), "t".to_owned(), value.to_string()]);
        }
    }
    let numbers = pids.iter().map(i32::to_string);
    properties.push(
        ["PIDs".to_owned(), "au".to_owned(), pids.len().to_string()].into_iter().chain(numbers).collect(),
    );

    let mut arguments: Vec<String> = [
        manager.option(),
        "--quiet",
        "call",
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        &unit.name,
        "fail",
        &properties.len().to_string(),
    ]
    .map(str::to_owned)
    .into();
    arguments.extend(properties.into_iter().flatten());
    // No auxiliary units.
    arguments.push("0".to_owned());
    arguments
}

/// Puts the processes into `unit`; an error says what systemd said.
pub async fn enter(manager: Manager, unit: &Unit, pids: &[i32]) -> Result<(), String> {
    let output = tokio::process::Command::new("busctl")
        .args(arguments(manager, unit, pids))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| format!("can't run busctl: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_the_limits_of_its_vm() {
        let name = VmName::new("shop").unwrap();
        let unit = Unit::of_vm(&name, &Resources { vcpu: 2, mem_mib: 512 });
        let line = arguments(Manager::User, &unit, &[10, 11]).join(" ");
        assert!(line.starts_with("--user --quiet call org.freedesktop.systemd1 "), "{line}");
        assert!(line.contains("mvm-shop.scope fail 6 Description s microVM shop CollectMode s"), "{line}");
        assert!(
            line.contains("MemoryMax t 1610612736 CPUQuotaPerSecUSec t 3000000 TasksMax t 512"),
            "{line}"
        );
        assert!(line.ends_with("PIDs au 2 10 11 0"), "{line}");
        let keeper = Unit { name: "k.scope".to_owned(), description: "k".to_owned(), limits: None };
        let line = arguments(Manager::System, &keeper, &[7]).join(" ");
        assert!(
            line.ends_with("k.scope fail 3 Description s k CollectMode s inactive-or-failed PIDs au 1 7 0"),
            "{line}"
        );
    }
}
