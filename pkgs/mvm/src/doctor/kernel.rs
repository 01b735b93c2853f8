//! What the host's kernel allows.

use super::{Check, find_program};
use crate::context::Context;
use mvm_host::boot;
use mvm_host::boot::accel::{Accelerator, Detected};
use mvm_host::realm::Accel;
use mvm_host::sandbox::scope::Manager;
use mvm_host::vmm::qemu::Qemu;
use rustix::fs::Access;
use std::path::Path;
use std::process::{Command, Stdio};

/// New user, mount and network namespaces, tried in a child.
pub fn namespaces(_: &Context) -> Check {
    const NAME: &str = "user namespaces";
    let Some(unshare) = find_program("unshare") else {
        return Check::warn(NAME, "not tried: unshare is not installed", "apt install util-linux");
    };
    match quiet(Command::new(unshare).args(["-Urmn", "true"])) {
        Ok(()) => Check::ok(NAME, "usable"),
        Err(problem) => Check::fail(NAME, problem, namespace_advice()),
    }
}

/// Which of the usual switches is off.
fn namespace_advice() -> String {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "as root: sysctl kernel.unprivileged_userns_clone=1".to_owned()
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "as root: sysctl user.max_user_namespaces=10000".to_owned()
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give mvm an AppArmor profile with `userns`"
            .to_owned()
    } else {
        "inside a container, allow new user namespaces (seccomp, max_user_namespaces)".to_owned()
    }
}

/// An overlay in a user namespace, with its layers in the state directory, as the project's is.
pub fn overlay(context: &Context) -> Check {
    const NAME: &str = "overlayfs";
    let Some(unshare) = find_program("unshare") else {
        return Check::warn(NAME, "not tried: unshare is not installed", "apt install util-linux");
    };
    let dir = context.realm.state_dir.join(format!(".doctor-{}", std::process::id()));
    // The files are removed in the namespace, too: the kernel leaves a directory there that only root may enter.
    let script = "set -e; mkdir \"$1\"; cd \"$1\"; mkdir lower upper work merged; : >lower/file
        trap 'cd /; rm -rf \"$1\"' EXIT
        mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work overlay merged
        rm merged/file; mkdir merged/dir; umount merged; test -c upper/file";
    match quiet(Command::new(unshare).args(["-Urm", "sh", "-c", script, "sh"]).arg(dir)) {
        Ok(()) => Check::ok(NAME, "works in a user namespace, on the state directory's file system"),
        Err(problem) => Check::fail(
            NAME,
            problem,
            "needs Linux 5.11, and a state directory on ext4, xfs, btrfs or tmpfs: set MVM_STATE_DIR to one",
        ),
    }
}

/// The device that taps are made with.
pub fn tun(_: &Context) -> Check {
    const NAME: &str = "/dev/net/tun";
    let path = Path::new(NAME);
    if rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).is_ok() {
        Check::ok(NAME, "usable")
    } else if path.exists() {
        Check::warn(
            NAME,
            "not allowed to you: VMs run with --no-network only",
            "as root: chmod 0666 /dev/net/tun",
        )
    } else {
        Check::warn(NAME, "missing: VMs run with --no-network only", "as root: modprobe tun")
    }
}

/// Hardware virtualisation: what the next start will use. Boots a guest if that was not tried yet.
pub fn acceleration(context: &Context) -> Check {
    const NAME: &str = "acceleration";
    let realm = &context.realm;
    let detected = || {
        let kernel = boot::kernel::find(realm.config.kernel.as_deref(), &realm.cache_dir)?;
        let guest = boot::initramfs::find_guest()?;
        let initramfs = boot::initramfs::ensure(&realm.cache_dir, &kernel, &guest)?;
        let qemu = Qemu::find_cached(&realm.cache_dir)?;
        boot::accel::detect(realm.config.accel, &realm.cache_dir, &kernel, &initramfs, &qemu)
    };
    match detected() {
        Ok(Detected { accelerator: Accelerator::Kvm, reason }) => Check::ok(NAME, format!("KVM: {reason}")),
        Ok(Detected { reason, .. }) if realm.config.accel == Accel::Tcg => {
            Check::ok(NAME, format!("emulation: {reason}"))
        }
        Ok(Detected { reason, .. }) => Check::warn(
            NAME,
            format!("emulation, at a fraction of the speed: {reason}"),
            kvm_advice(Path::new("/dev/kvm")),
        ),
        Err(error) => Check::fail(NAME, error.to_string(), "mend what failed above, or set MVM_ACCEL=auto"),
    }
}

/// What there is to do about KVM.
fn kvm_advice(device: &Path) -> &'static str {
    if !device.exists() {
        "turn virtualisation on in the firmware, or nested virtualisation in the cloud's settings; as root: modprobe \
         kvm_intel or kvm_amd"
    } else if rustix::fs::access(device, Access::READ_OK | Access::WRITE_OK).is_err() {
        "as root: usermod -aG kvm YOU, and log in anew"
    } else {
        "nothing, if this host is itself a virtual machine without nested virtualisation"
    }
}

/// How a VM's use of the host is limited.
pub fn limits(context: &Context) -> Check {
    const NAME: &str = "limits";
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let by = match Manager::of(context.realm.kind) {
        Some(Manager::System) => "systemd units (memory, CPU, tasks) and rlimits",
        Some(Manager::User) => "units of your systemd manager (memory, CPU, tasks) and rlimits",
        None => "rlimits of each process; no systemd to limit a VM as a whole",
    };
    let finding = format!("{by}; {files} open files");
    if files < 100_000 {
        let advice = "raise the hard limit of open files (limits.conf(5), DefaultLimitNOFILE= of systemd): the file server \
                      holds one for each file a guest has in its cache, and guests empty theirs often now";
        return Check::warn(NAME, finding, advice);
    }
    Check::ok(NAME, finding)
}

/// Runs a command; its complaint if it fails.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("can't run {}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let complaint = stderr.lines().map(str::trim).find(|line| !line.is_empty());
    Err(complaint.map_or_else(|| format!("failed with {}", output.status), str::to_owned))
}
