//! What VMs print: it is in the journal, which not everybody who may use a VM may read.

use crate::protocol::{Call, Log};
use mvm_spec::VmName;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::OwnedSemaphorePermit;

/// Somebody who reads a log after the answer.
pub struct Reader {
    call: Call,
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// Who asked by `call`, on `stream`, and is one of the many that `permit` is for.
    pub fn new(call: Call, stream: UnixStream, permit: OwnedSemaphorePermit) -> Self {
        Self { call, stream, _permit: permit }
    }

    /// Returns when the log is at its end, or the caller has gone.
    pub async fn run(self) {
        let Call::Logs { vm, what, lines, follow } = &self.call else { return };
        let written = async {
            let stream = self.stream.into_std()?;
            stream.set_nonblocking(false)?;
            write(vm, *what, *lines, *follow, stream.into())?.wait().await
        };
        if let Err(error) = written.await {
            tracing::warn!("the log of {vm}: {error}");
        }
    }
}

/// Has journalctl(1) write the log to `stream`, until it is at its end or nobody reads. It is killed when dropped.
fn write(
    vm: &VmName,
    what: Log,
    lines: Option<u32>,
    follow: bool,
    stream: OwnedFd,
) -> std::io::Result<Child> {
    let program = mvm_host::net::spawn::find("journalctl")
        .ok_or_else(|| std::io::Error::other("there is no program `journalctl`"))?;
    let machine = std::fs::read_to_string("/etc/machine-id")?;
    Command::new(program)
        .args(arguments(vm, what, lines, follow.then_some(machine.trim())))
        .stdin(Stdio::null())
        .stdout(stream)
        // To the gate's own log.
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
}

/// Each of a name that is a VM's, so that no pattern and no option of a caller gets here. `follow` is the id of this
/// machine, to go on with what it prints.
fn arguments(vm: &VmName, what: Log, lines: Option<u32>, follow: Option<&str>) -> Vec<OsString> {
    let mut arguments = vec!["--quiet".to_owned(), "--no-pager".to_owned()];
    arguments.push(match lines {
        Some(lines) => format!("--lines={lines}"),
        // Else those who follow get ten.
        None => "--lines=all".to_owned(),
    });
    if let Some(machine) = follow {
        // --follow alone is for this boot, whose id is in a part of /proc that is not for the gate; with --merge it is not,
        // but for the journals of other machines, too.
        arguments.extend(["--follow".to_owned(), "--merge".to_owned(), format!("_MACHINE_ID={machine}")]);
    }
    match what {
        // By the unit that printed it: what systemd says of the unit is not on the console.
        Log::Console => {
            arguments.extend(["--output=cat".to_owned(), format!("_SYSTEMD_UNIT=microvm@{vm}.service")]);
        }
        Log::Units => {
            let units = ["microvm", "microvm-virtiofsd", "microvm-dev-prepare", "microvm-dev-attach"];
            arguments.extend(units.map(|unit| format!("--unit={unit}@{vm}.service")));
        }
    }
    arguments.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_one_vms_and_as_much_of_it_as_asked_for() {
        let vm = VmName::new("web").unwrap();
        assert_eq!(
            arguments(&vm, Log::Console, Some(3), None),
            ["--quiet", "--no-pager", "--lines=3", "--output=cat", "_SYSTEMD_UNIT=microvm@web.service"]
        );
        let units = arguments(&vm, Log::Units, None, Some("2a1f"));
        assert!(
            units.contains(&"--follow".into())
                && units.contains(&"_MACHINE_ID=2a1f".into())
                && units.contains(&"--lines=all".into())
        );
        assert!(units.contains(&"--unit=microvm-virtiofsd@web.service".into()));
    }
}
