//! KVM or emulation.
//!
//! `/dev/kvm` may open, and even create a machine, on a host that still can't run a guest (nested virtualisation that
//! is half there). So `auto` uses KVM only after a real boot with it, whose result is kept.

use super::kernel::Kernel;
use super::memo::{self, Fingerprint};
use crate::realm::Accel;
use crate::vmm::qemu::Qemu;
use crate::vmm::{Machine, Origin, Platform, Vmm};
use crate::{Error, Result};
use command_fds::{CommandFdExt, FdMapping};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How guests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// By the host's processor.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accelerator {
    /// Its name, as QEMU has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// What to use.
    pub accelerator: Accelerator,
    /// Why, for people.
    pub reason: String,
}

/// The device.
const KVM: &str = "/dev/kvm";
/// How long a probe boot may take. One that works takes half a second.
const PROBE_DEADLINE: Duration = Duration::from_secs(4);
/// What the guest prints on its console in a probe boot.
const PROBE_OK: &str = "mvm-guest: probe ok";
/// What asks for a probe boot on the kernel command line.
const PROBE_ARGUMENT: &str = "mvm.probe";
/// The descriptor number of the guest's port in the probing VMM.
const PORT_FD: i32 = 3;

/// Decides how guests with `kernel` and `initramfs` are run; boots one with KVM if that is wanted and was not tried yet.
///
/// # Errors
/// KVM is demanded and does not work, or the cache can't be written.
pub fn detect(
    want: Accel,
    cache_dir: &Path,
    kernel: &Kernel,
    initramfs: &Path,
    qemu: &Qemu,
) -> Result<Detected> {
    let kvm = match want {
        Accel::Tcg => return Ok(Detected { accelerator: Accelerator::Tcg, reason: "asked for".to_owned() }),
        Accel::Auto | Accel::Kvm => kvm_works(cache_dir, kernel, initramfs, qemu)?,
    };
    decide(want, kvm)
}

/// What follows from a wish and from whether KVM works.
fn decide(want: Accel, kvm: Probed) -> Result<Detected> {
    match (want, kvm) {
        (_, Probed { works: true, detail }) => Ok(Detected { accelerator: Accelerator::Kvm, reason: detail }),
        (Accel::Kvm, Probed { detail, .. }) => Err(Error::Failed(format!(
            "KVM is asked for but does not work: {detail}; use `accel = \"auto\"` (MVM_ACCEL=auto) to fall back to \
             emulation"
        ))),
        (_, Probed { detail, .. }) => Ok(Detected { accelerator: Accelerator::Tcg, reason: detail }),
    }
}

/// Whether KVM works, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Probed {
    works: bool,
    detail: String,
}

/// A probe's result, and what it holds for.
#[derive(Serialize, Deserialize)]
struct Cached {
    key: Key,
    probed: Probed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    kernel: Fingerprint,
    host_kernel: String,
    cpu: String,
    qemu: String,
}

fn kvm_works(cache_dir: &Path, kernel: &Kernel, initramfs: &Path, qemu: &Qemu) -> Result<Probed> {
    // Permissions change without any of what a result is kept by, so this is not kept.
    if let Err(error) = std::fs::File::options().read(true).write(true).open(KVM) {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "no virtualisation here, or its kernel module is not loaded",
            std::io::ErrorKind::PermissionDenied => {
                "`sudo usermod -aG kvm $USER` and a new login give access"
            }
            _ => "its kernel module does not work here",
        };
        return Ok(Probed { works: false, detail: format!("{KVM} can't be opened ({error}); {hint}") });
    }
    let key = Key {
        kernel: Fingerprint::of(&kernel.image)?,
        host_kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        cpu: cpu_model(),
        qemu: qemu.version()?,
    };
    let path = cache_dir.join("kvm-probe.json");
    if let Some(probed) = recall(&path, &key) {
        return Ok(probed);
    }
    let probed = probe(kernel, initramfs, qemu, PROBE_DEADLINE)?;
    let cached = serde_json::to_vec(&Cached { key, probed: probed.clone() })
        .map_err(|error| Error::Failed(format!("can't describe the probe of KVM: {error}")))?;
    memo::write(cache_dir, &path, &cached)?;
    Ok(probed)
}

fn recall(path: &Path, key: &Key) -> Option<Probed> {
    let cached: Cached = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (cached.key == *key).then_some(cached.probed)
}

fn cpu_model() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    model.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
}

/// Boots a small guest with KVM.
fn probe(kernel: &Kernel, initramfs: &Path, qemu: &Qemu, limit: Duration) -> Result<Probed> {
    let launch = qemu.launch(&Machine {
        name: "probe".to_owned(),
        vcpu: 1,
        mem_mib: 256,
        accelerator: Accelerator::Kvm,
        platform: Platform::Microvm,
        origin: Origin::Boot,
        kernel: kernel.image.clone(),
        initramfs: initramfs.to_owned(),
        tsc_khz: None,
        extra_cmdline: vec![PROBE_ARGUMENT.to_owned()],
        shares: Vec::new(),
        tap: None,
        home: None,
        mux: PORT_FD,
        qmp: None,
    })?;
    let (port, _guest_port) = UnixStream::pair().map_err(Error::system("make a socket pair"))?;
    let (output, input) = std::io::pipe().map_err(Error::system("make a pipe"))?;
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .stdin(Stdio::null())
        .stdout(input.try_clone().map_err(Error::system("share a pipe"))?)
        .stderr(input)
        .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(port), child_fd: PORT_FD }])
        .map_err(|error| {
            Error::Failed(format!("can't pass descriptors to {}: {error}", launch.program.display()))
        })?;
    let child = command.spawn().map_err(Error::io("execute the VMM", &launch.program))?;
    // Dropped on every way out, and with it the writing end of the pipe.
    drop(command);
    let vmm = Killed(child);
    let begun = Instant::now();
    let (console, outcome) = listen(output, limit);
    drop(vmm);
    let took = begun.elapsed();
    Ok(match outcome {
        Outcome::Ok => {
            Probed { works: true, detail: format!("a guest booted with KVM in {} ms", took.as_millis()) }
        }
        Outcome::Ended | Outcome::TimedOut => {
            let how = match outcome {
                Outcome::TimedOut => format!("did not come up within {} s", limit.as_secs()),
                _ => "ended before it came up".to_owned(),
            };
            let last = console.lines().rfind(|line| !line.trim().is_empty());
            let last = last.map(|line| format!(" (last output: {})", line.trim())).unwrap_or_default();
            Probed { works: false, detail: format!("{KVM} opens, but a guest booted with it {how}{last}") }
        }
    })
}

/// A child that is killed and reaped when this is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Either fails only when the child is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Ended,
    TimedOut,
}

/// Reads a console until the probe's message, its end, or the deadline.
fn listen(mut output: std::io::PipeReader, limit: Duration) -> (String, Outcome) {
    let end = Instant::now() + limit;
    let mut console = Vec::new();
    let outcome = loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        if left.is_zero() {
            break Outcome::TimedOut;
        }
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => break Outcome::Ended,
        }
        let mut buffer = [0; 4096];
        match output.read(&mut buffer) {
            Ok(0) | Err(_) => break Outcome::Ended,
            Ok(length) => console.extend_from_slice(buffer.get(..length).unwrap_or_default()),
        }
        if String::from_utf8_lossy(&console).contains(PROBE_OK) {
            break Outcome::Ok;
        }
    };
    (String::from_utf8_lossy(&console).into_owned(), outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// A VMM that is a script; it writes its process id to `pid` first.
    struct Fake {
        dir: tempfile::TempDir,
    }

    impl Fake {
        fn probe(script: &str, limit: Duration) -> (Self, Probed) {
            let fake = Self { dir: tempfile::tempdir().unwrap() };
            let program = fake.dir.path().join("qemu");
            let pid = fake.dir.path().join("pid");
            std::fs::write(&program, format!("#!/bin/sh\necho $$ > {}\n{script}\n", pid.display())).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let qemu = Qemu::new(program, "QEMU emulator version 7.2.0").unwrap();
            let kernel = Kernel { image: "/kernel".into(), release: "6.1".to_owned(), modules: None };
            let probed = probe(&kernel, Path::new("/initramfs"), &qemu, limit).unwrap();
            (fake, probed)
        }

        fn is_gone(&self) -> bool {
            let pid = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
            !PathBuf::from(format!("/proc/{}", pid.trim())).exists()
        }
    }

    #[test]
    fn a_guest_that_comes_up_proves_kvm_and_is_ended() {
        let (fake, probed) =
            Fake::probe("echo booting; echo 'mvm-guest: probe ok'; exec sleep 600", PROBE_DEADLINE);
        assert!(probed.works, "{}", probed.detail);
        assert!(fake.is_gone());
    }

    #[test]
    fn a_vmm_that_fails_is_quoted() {
        let (fake, probed) = Fake::probe("echo 'kvm: failed to set MSR 0x10a' >&2; exit 1", PROBE_DEADLINE);
        assert!(!probed.works);
        assert!(probed.detail.contains("ended before it came up"), "{}", probed.detail);
        assert!(probed.detail.contains("failed to set MSR 0x10a"), "{}", probed.detail);
        assert!(fake.is_gone());
    }

    #[test]
    fn a_guest_that_hangs_is_ended_at_the_deadline() {
        let script = "echo 'Probing EDD'; exec sleep 600";
        let (fake, probed) = Fake::probe(script, Duration::from_secs(1));
        assert!(!probed.works);
        assert!(probed.detail.contains("did not come up within 1 s"), "{}", probed.detail);
        assert!(probed.detail.contains("Probing EDD"), "{}", probed.detail);
        assert!(fake.is_gone());
    }

    #[test]
    fn the_probing_vmm_gets_the_guests_port_and_is_told_to_probe() {
        let script = r#"
            [ -S /proc/self/fd/3 ] || exit 1
            case "$*" in *"fd=3"*"mvm.probe"* | *"mvm.probe"*"fd=3"*) echo 'mvm-guest: probe ok' ;; esac"#;
        let (_, probed) = Fake::probe(script, PROBE_DEADLINE);
        assert!(probed.works, "{}", probed.detail);
    }

    #[test]
    fn auto_falls_back_and_kvm_insists() {
        let works = Probed { works: true, detail: "booted".to_owned() };
        let fails = Probed { works: false, detail: "it hangs".to_owned() };
        assert_eq!(decide(Accel::Auto, works.clone()).unwrap().accelerator, Accelerator::Kvm);
        assert_eq!(decide(Accel::Kvm, works).unwrap().accelerator, Accelerator::Kvm);
        let fallen_back = decide(Accel::Auto, fails.clone()).unwrap();
        assert_eq!((fallen_back.accelerator, fallen_back.reason.as_str()), (Accelerator::Tcg, "it hangs"));
        let error = decide(Accel::Kvm, fails).unwrap_err().to_string();
        assert!(error.contains("it hangs") && error.contains("MVM_ACCEL=auto"), "{error}");
    }

    #[test]
    fn a_result_is_remembered_for_what_it_was_found_with() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("kernel");
        std::fs::write(&image, "kernel").unwrap();
        let key = Key {
            kernel: Fingerprint::of(&image).unwrap(),
            host_kernel: "6.1".to_owned(),
            cpu: "a".to_owned(),
            qemu: "QEMU 7.2".to_owned(),
        };
        let path = dir.path().join("kvm-probe.json");
        let probed = Probed { works: true, detail: "booted".to_owned() };
        assert_eq!(recall(&path, &key), None);
        let cached = Cached { key: key.clone(), probed: probed.clone() };
        std::fs::write(&path, serde_json::to_vec(&cached).unwrap()).unwrap();
        assert_eq!(recall(&path, &key), Some(probed));
        assert_eq!(recall(&path, &Key { qemu: "QEMU 8.0".to_owned(), ..key }), None);
    }
}
