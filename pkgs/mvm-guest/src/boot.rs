//! PID 1: from the kernel's hand-over to the point where the guest waits for its host.

use crate::configure::Booted;
use crate::console::{say, uptime};
use crate::mux::Mux;
use crate::reaper::{Reaper, Scope};
use crate::{housekeeping, modules, mounts, network, port, power, serve, template};
use anyhow::Context;
use mvm_spec::control::{PORT_NAME, PROTOCOL, ToHost, WAITING};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Word of the kernel command line that asks for a probe boot.
const PROBE: &str = "mvm.probe";
/// How long devices and the host may take to appear.
const DEVICE_LIMIT: Duration = Duration::from_secs(60);

/// Whether the kernel command line `cmdline` asks for a probe boot.
pub fn is_probe(cmdline: &str) -> bool {
    cmdline.split_ascii_whitespace().any(|word| word == PROBE)
}

/// The life of PID 1. Ends the machine, never returns: the kernel panics when PID 1 exits.
pub fn init() -> ! {
    let started = uptime();
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("fatal: {panic}"));
        power::off();
    }));
    if let Err(error) = boot(started) {
        say(format_args!("fatal: {error:#}"));
    }
    power::off();
}

fn boot(started: Duration) -> anyhow::Result<()> {
    for mount in mounts::early() {
        mount.apply()?;
    }
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if is_probe(&cmdline) {
        println!("mvm-guest: probe ok");
        return Ok(());
    }
    let warnings = modules::load_all(Path::new("/modules.load"));
    for warning in &warnings {
        say(format_args!("warning: {warning}"));
    }
    say("modules loaded");
    mounts::prepare()?;
    raise_limits();
    // New files have the modes that programs ask for, less what others may write.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?
        .block_on(run(started, warnings, template::is_asked_for(&cmdline)))
}

async fn run(started: Duration, warnings: Vec<String>, as_template: bool) -> anyhow::Result<()> {
    let reaper = Reaper::start(Scope::All).context("can't watch for child processes")?;
    let mut stream = port::open(PORT_NAME, DEVICE_LIMIT).await?;
    let hello = ToHost::Hello {
        protocol: PROTOCOL,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| "unknown".to_owned(), |release| release.trim_end().to_owned()),
        init_started_us: micros(started),
        connected_us: micros(uptime()),
    };
    say("connected to the host");
    let mut opening = vec![hello];
    opening.extend(warnings.into_iter().map(|message| ToHost::Warning { message }));
    network::loopback()?;
    let mut interface = None;
    if as_template {
        interface = network::bring_up()?;
        // Once here, rather than in each of its lives, where it would be in the way of the first command.
        housekeeping::bring_up_processors();
        template::tidy();
        // From here on this life may be one of many.
        stream.write_all(WAITING).await.context("can't tell the host that the template waits")?;
    }
    serve::serve(Mux::serve(stream), Booted::new(reaper, DEVICE_LIMIT, interface), opening).await;
    Ok(())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The kernel gives its first process a hard limit of 4096 open files; programs expect what systemd gives.
fn raise_limits() {
    use nix::sys::resource::{Resource, setrlimit};
    if let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, 1024, 524_288) {
        say(format_args!("warning: can't raise the limit of open files: {errno}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_asked_for_by_a_whole_word() {
        assert!(is_probe("console=ttyS0 mvm.probe reboot=t\n"));
        assert!(!is_probe("console=ttyS0 mvm.probed"));
        assert!(!is_probe(""));
    }
}
