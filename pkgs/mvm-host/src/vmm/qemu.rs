//! QEMU.

use super::{Launch, Machine, Origin, Platform, Vmm};
use crate::boot::accel::Accelerator;
use crate::boot::memo::{Fingerprint, Made, Request};
use crate::{Error, Result};
use mvm_spec::control::{HOME_SERIAL, PORT_NAME, TEMPLATE_WORD};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest version whose `microvm` machine boots a distribution's kernel with ACPI.
const OLDEST: Version = Version { major: 7, minor: 0 };

/// QEMU's own system call filter: no `fork`, no change of identity, of scheduling or of limits.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The address of every template's network interface, on networks where nobody else is; the first that is free for use by
/// anybody (IEEE 802c).
const TEMPLATE_MAC: &str = "02:00:00:00:00:00";

/// The port that devices are plugged into while a machine runs.
const PLUG: &str = "plug";

/// Our port, and the first one, which is kept for consoles: a guest makes two queues for each port that there may be, 31
/// unless told otherwise.
const SERIAL_PORTS: &str = ",max_ports=2";

/// Memory for translated code, in MiB, taken as it fills: most of what an emulated guest takes of the host besides its own
/// memory. Once it is full, all of it is thrown away: of a program that does not fit, a compiler at 48, everything is
/// translated again and again, which takes it five times as long.
const TRANSLATED_CODE_MIB: u32 = 128;

/// What kernels are not to do at their start, since it takes an emulated guest a seventh of its boot: a file system for
/// tracing the kernel, with ten thousand inodes (9 MB), and a test of itself that `cryptomgr.notests` does not skip.
const SKIPPED_INITCALLS: [&str; 2] = ["tracer_init_tracefs", "crypto_kdf108_init"];

/// A QEMU that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    program: PathBuf,
    version: Version,
    /// As it names itself: `7.2.22 (Debian 1:7.2+dfsg-7)`.
    version_text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Qemu {
    /// Finds QEMU: what `MVM_QEMU` names, else `qemu-system-x86_64` in `PATH`, else `/usr/libexec/qemu-kvm`; and asks
    /// it for its version, which takes some 20 ms.
    ///
    /// # Errors
    /// There is none, it does not run, or it is too old.
    pub fn find() -> Result<Self> {
        let program = find_program()?;
        let text = ask_version(&program)?;
        Self::new(program, &text)
    }

    /// The same, with the version remembered in `cache_dir` until the program changes.
    ///
    /// # Errors
    /// As those of [`find`](Self::find); or the cache can't be written.
    pub fn find_cached(cache_dir: &Path) -> Result<Self> {
        let program = find_program()?;
        let key = program.display().to_string();
        let path =
            Request { dir: cache_dir, kind: "qemu-version", extension: "", key: &key }.ensure(|| {
                let inputs = vec![Fingerprint::of(&program)?];
                Ok(Made { content: ask_version(&program)?.into_bytes(), inputs })
            })?;
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Self::new(program, &text)
    }

    /// The QEMU at `program`, which prints `output` when asked for its version.
    pub(crate) fn new(program: PathBuf, output: &str) -> Result<Self> {
        let (version, version_text) = parse_version(output).ok_or_else(|| {
            Error::Failed(format!(
                "{} does not say which version of QEMU it is; install qemu-system-x86, or name one by MVM_QEMU",
                program.display()
            ))
        })?;
        if version < OLDEST {
            return Err(Error::Failed(format!(
                "{} is QEMU {version_text}; {}.{} or newer is needed: install a newer qemu-system-x86, or name one by \
                 MVM_QEMU",
                program.display(),
                OLDEST.major,
                OLDEST.minor
            )));
        }
        Ok(Self { program, version, version_text })
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether this version, emulating, boots an uncompressed kernel by its PVH entry point: version 7 does, and under
    /// version 10 the kernel panics.
    pub fn boots_vmlinux_emulated(&self) -> bool {
        self.version.major == 7
    }
}

impl Vmm for Qemu {
    fn version(&self) -> Result<String> {
        Ok(format!("QEMU {}", self.version_text))
    }

    fn launch(&self, machine: &Machine) -> Result<Launch> {
        Ok(Launch { program: self.program.clone(), args: arguments(machine) })
    }

    fn plug(&self, machine: &Machine) -> Vec<(&'static str, Value)> {
        devices(machine).into_iter().map(|device| ("device_add", device)).collect()
    }
}

fn find_program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("MVM_QEMU").filter(|value| !value.is_empty()) {
        let path = std::path::absolute(&named).map_err(Error::io("find", PathBuf::from(&named)))?;
        return if is_executable(&path) {
            Ok(path)
        } else {
            Err(Error::Failed(format!(
                "MVM_QEMU names {}, which is no program; correct it, or unset it to use the installed QEMU",
                path.display()
            )))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("qemu-system-x86_64"))
        .chain([PathBuf::from("/usr/libexec/qemu-kvm")])
        .find(|path| is_executable(path))
        .ok_or_else(|| {
            Error::Failed(
                "QEMU is not installed: there is no qemu-system-x86_64 in PATH; install it (Debian, Ubuntu: `sudo apt \
                 install qemu-system-x86`; Fedora: `sudo dnf install qemu-system-x86-core`), or name one by MVM_QEMU"
                    .to_owned(),
            )
        })
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

fn ask_version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("execute QEMU", program))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`.
fn parse_version(output: &str) -> Option<(Version, String)> {
    let text = output.lines().next()?.split_once(" version ")?.1.trim();
    let mut numbers = text.split(['.', ' ', '(', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((Version { major, minor }, text.to_owned()))
}

/// The arguments for `machine`.
fn arguments(machine: &Machine) -> Vec<OsString> {
    let mut args = Arguments { args: Vec::new(), platform: machine.platform };
    args.add("-name", format!("mvm-{},debug-threads=on", machine.name));
    args.flag("-nodefaults");
    args.flag("-no-user-config");
    args.flag("-no-reboot");
    args.add("-display", "none");
    args.add("-sandbox", SANDBOX);

    args.add("-M", board(machine));
    args.add("-accel", accelerator(machine));
    args.add("-cpu", processor(machine.accelerator));
    args.add("-smp", machine.vcpu.to_string());
    args.add("-m", format!("{}M", machine.mem_mib));
    // Shared, so that file servers reach the guest's buffers.
    let memory = format!("id=mem,share=on,size={}M", machine.mem_mib);
    match &machine.origin {
        Origin::Boot => args.add("-object", format!("memory-backend-memfd,{memory}")),
        Origin::Template { memory: path } | Origin::Restore { memory: path } => {
            let path = escape(&path.to_string_lossy());
            args.add("-object", format!("memory-backend-file,{memory},mem-path={path}"));
        }
    }

    if let Origin::Restore { .. } = machine.origin {
        args.add("-incoming", "defer");
    } else {
        args.add("-kernel", &machine.kernel);
        args.add("-initrd", &machine.initramfs);
        args.add("-append", command_line(machine));
    }

    args.add("-chardev", "stdio,id=console,signal=off");
    args.add("-serial", "chardev:console");
    // virtiofs needs virtio 1.0, which the transport of microvm does not offer by default.
    if machine.platform == Platform::Microvm {
        args.add("-global", "virtio-mmio.force-legacy=off");
    }
    args.device("virtio-rng", "");
    let boots = machine.origin == Origin::Boot;
    if boots {
        args.device("virtio-serial", SERIAL_PORTS);
    } else {
        // By its other transport this device has queues of 1024 entries, each of which a guest fills with buffers: 8 MiB,
        // which every VM made from the template would copy. (hw/virtio/virtio-mmio.c, VIRTIO_MMIO_QUEUE_NUM_MAX)
        // In a slot whose interrupt is that of devices behind the port: setting it up is a matter of the template then.
        // (hw/pci-host/gpex-acpi.c: slot and pin, modulo 4)
        args.add("-device", format!("virtio-serial-pci,addr=5{SERIAL_PORTS}"));
    }
    args.add("-chardev", format!("socket,id=mux,fd={}", machine.mux));
    args.add("-device", format!("virtserialport,chardev=mux,name={PORT_NAME}"));
    if !boots {
        // Always on: nobody in the guest would switch it on. Without a window for ports, of which this board has none.
        let port = format!("pcie-root-port,id={PLUG},chassis=1,slot=1,addr=1");
        args.add("-device", format!("{port},power_controller_present=off,io-reserve=0"));
    }
    for (n, share) in machine.shares.iter().enumerate() {
        args.add("-chardev", format!("socket,id=fs{n},fd={}", share.fd));
        if boots {
            args.device("vhost-user-fs", &format!(",chardev=fs{n},tag={}", escape(&share.tag)));
        }
    }
    if let Some(tap) = &machine.tap {
        args.add("-netdev", format!("tap,id=net,fd={},vhost=off", tap.fd));
        // A boot by network is of no use, and its option ROM takes time.
        let rom = if machine.platform == Platform::Q35 { ",romfile=" } else { "" };
        if boots {
            args.device("virtio-net", &format!(",netdev=net,mac={}{rom}", tap.mac));
        } else {
            // On this bus for the size of its queues, as the serial port. The guest is not to announce itself after a restore
            // either: nobody has heard of it yet.
            let properties = format!("addr=2,netdev=net,mac={TEMPLATE_MAC},romfile=,guest_announce=off");
            args.add("-device", format!("virtio-net-pci,{properties}"));
        }
    }
    if let Some(home) = machine.home {
        args.add("-add-fd", format!("fd={home},set=1"));
        args.add("-blockdev", "driver=file,node-name=home-file,filename=/dev/fdset/1,discard=unmap");
        args.add("-blockdev", "driver=raw,node-name=home,file=home-file,discard=unmap");
        if boots {
            args.device("virtio-blk", &format!(",drive=home,serial={HOME_SERIAL}"));
        }
    }
    if let Some(qmp) = machine.qmp {
        args.add("-chardev", format!("socket,id=qmp,fd={qmp}"));
        args.add("-mon", "chardev=qmp,mode=control");
    }
    args.args
}

/// The devices of a restored machine that its template has not: functions of one device in one slot, so that the guest
/// looks for them once. The first function comes last, since it makes all of them appear.
fn devices(machine: &Machine) -> Vec<Value> {
    let mut devices = Vec::new();
    for (n, share) in machine.shares.iter().enumerate() {
        devices.push(json!({"driver": "vhost-user-fs-pci", "chardev": format!("fs{n}"), "tag": share.tag}));
    }
    if machine.home.is_some() {
        devices.push(json!({"driver": "virtio-blk-pci", "drive": "home", "serial": HOME_SERIAL}));
    }
    for (n, device) in devices.iter_mut().enumerate() {
        device["bus"] = json!(PLUG);
        device["addr"] = json!(format!("0.{n}"));
        device["multifunction"] = json!(true);
    }
    devices.reverse();
    devices
}

struct Arguments {
    args: Vec<OsString>,
    platform: Platform,
}

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.args.push(name.into());
    }

    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        self.args.extend([name.into(), value.into()]);
    }

    /// A virtio device, on the bus of the platform.
    fn device(&mut self, name: &str, properties: &str) {
        let bus = match self.platform {
            Platform::Microvm => "device",
            Platform::Q35 => "pci",
        };
        self.add("-device", format!("{name}-{bus}{properties}"));
    }
}

/// In QEMU's lists of properties a comma is written twice.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn board(machine: &Machine) -> String {
    // A bus that devices can be added to, where that is wanted: looking at it takes time at boot.
    let pcie = if machine.origin == Origin::Boot { "off" } else { "on" };
    match machine.platform {
        // ACPI, since distributions' kernels find virtio-mmio only by it. The clock, since kernels wait two seconds for
        // one that is missing.
        Platform::Microvm => {
            format!(
                "microvm,memory-backend=mem,acpi=on,pcie={pcie},pit=off,pic=off,rtc=on,isa-serial=on,x-option-roms=off"
            )
        }
        Platform::Q35 => {
            "q35,memory-backend=mem,usb=off,vmport=off,graphics=off,smbus=off,sata=off".to_owned()
        }
    }
}

fn accelerator(machine: &Machine) -> String {
    match machine.accelerator {
        Accelerator::Kvm => "kvm".to_owned(),
        Accelerator::Tcg => format!("tcg,thread=multi,tb-size={TRANSLATED_CODE_MIB}"),
    }
}

fn processor(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        // x86-64-v2, which distributions' software may ask for, and a source of randomness. More features cost: each
        // switch of processes saves the registers of AVX, and 5-level page tables are walked by a program.
        // `arat`, or the kernel never stops its periodic tick, and an idle guest costs 5 % of a processor.
        Accelerator::Tcg => "Nehalem-v1,+rdrand,+arat",
    }
}

/// The kernel command line (Linux, Documentation/admin-guide/kernel-parameters.txt).
fn command_line(machine: &Machine) -> String {
    let mut words = vec![
        "console=ttyS0".to_owned(),
        // Warnings and worse: enough to see why a guest did not come up, and each line costs time.
        "loglevel=4".to_owned(),
        // A triple fault ends QEMU (-no-reboot) on every platform; a panic is an end, too.
        "reboot=t".to_owned(),
        "panic=-1".to_owned(),
        "cryptomgr.notests=1".to_owned(),
        "random.trust_cpu=on".to_owned(),
        // What programs use to confine themselves. The others need a policy, which guests don't have, and take time at
        // each access to a file.
        "lsm=landlock,yama".to_owned(),
        format!("initcall_blacklist={}", SKIPPED_INITCALLS.join(",")),
    ];
    if machine.accelerator == Accelerator::Tcg {
        // Rewriting the kernel's code while it boots makes QEMU translate it again. What protects against speculation
        // does nothing for code that is emulated.
        words.extend(["noreplace-smp".to_owned(), "mitigations=off".to_owned()]);
        // Clearing a page takes QEMU 12 us; pages that a file is read into are overwritten anyway.
        words.push("init_on_alloc=0".to_owned());
        // QEMU keeps what it has translated by virtual address: at a random one, each process has its programs' and
        // libraries' code translated anew. Without, a shell's or git's work takes a third of the time.
        words.push("norandmaps".to_owned());
        // Each further processor takes half a second of the boot: the guest brings them up when it is ready.
        if machine.vcpu > 1 {
            words.push("maxcpus=1".to_owned());
        }
        if let Some(khz) = machine.tsc_khz {
            // The guest reads the host's counter: its rate is known, and what a busy host makes of a comparison of
            // clocks would be no reason to distrust it.
            words.extend([format!("tsc_early_khz={khz}"), "tsc=reliable".to_owned()]);
        }
    }
    if let Origin::Template { .. } = machine.origin {
        // The guest itself looks for devices, when it is told to: the ports' own drivers would only be in the way. No link
        // here saves power.
        words.extend(["pcie_ports=compat".to_owned(), "pcie_aspm=off".to_owned(), TEMPLATE_WORD.to_owned()]);
    }
    words.extend(machine.extra_cmdline.iter().cloned());
    words.join(" ")
}

#[cfg(test)]
mod tests;
