//! From a stored VM to running processes: what is prepared once, and one attempt to launch.

use super::child::{Child, Launch};
use super::console;
use super::mux::{GuestStream, Mux};
use super::server::Keeper;
use crate::boot::accel::Accelerator;
use crate::boot::{accel, initramfs, kernel, tsc, vmlinux};
use crate::client::{read_frame, write_frame};
use crate::fileserver::{self, FsConfig, ProjectShare};
use crate::realm::Realm;
use crate::sandbox::scope;
use crate::store::{StoredVm, VmPaths};
use crate::vmm::qemu::Qemu;
use crate::vmm::{Machine, Platform, Share, Tap, Vmm};
use crate::vmm_process::{INITRAMFS, KERNEL, VmmConfig};
use crate::{Error, Result};
use mvm_spec::control::{
    GuestConfig, GuestNetwork, GuestSsh, PROJECT_TAG, SOFTWARE_TAG, Shares, StreamKind, ToGuest, ToHost,
};
use mvm_spec::latest::Guest;
use nix::unistd::{Gid, Uid};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a guest may take from its launch to readiness.
const BOOT_DEADLINE_KVM: Duration = Duration::from_secs(20);
/// The same under emulation, on a host that may be busy with other guests.
const BOOT_DEADLINE_TCG: Duration = Duration::from_secs(60);
/// Descriptors of children begin here, above the standard ones.
const FIRST_FD: i32 = 10;

/// What every attempt to start the VM uses.
pub struct Prepared {
    qemu: Arc<Qemu>,
    /// The kernel's own image: boots everywhere.
    kernel: PathBuf,
    /// The image that boots quickest on the microvm platform.
    quick_kernel: PathBuf,
    initramfs: PathBuf,
    /// How the guest is run.
    pub accelerator: Accelerator,
    tsc_khz: Option<u64>,
    /// How long the guest may take to come up.
    pub boot_deadline: Duration,
}

/// The processes of a VM, and the channel to its guest.
pub struct Attempt {
    /// The VMM.
    pub vmm: Child,
    /// The file server.
    pub files: Child,
    /// Opens streams to the guest.
    pub mux: Mux,
    /// The control stream.
    pub control: Control,
}

/// The control stream: frames are received by a task of their own, so that waiting for one can be given up without
/// losing part of it.
pub struct Control {
    /// For messages to the guest.
    pub writer: tokio::io::WriteHalf<GuestStream>,
    messages: tokio::sync::mpsc::Receiver<std::io::Result<ToHost>>,
}

impl Control {
    fn new(stream: GuestStream) -> Self {
        let (mut reader, writer) = tokio::io::split(stream);
        let (send, messages) = tokio::sync::mpsc::channel(64);
        tokio::task::spawn_local(async move {
            while let Some(message) = read_frame(&mut reader).await.transpose() {
                let failed = message.is_err();
                if send.send(message).await.is_err() || failed {
                    break;
                }
            }
        });
        Self { writer, messages }
    }

    /// The guest's next message; `None` when the channel is closed.
    pub async fn next(&mut self) -> std::io::Result<Option<ToHost>> {
        self.messages.recv().await.transpose()
    }
}

/// Finds what a start needs. The work is the file system's, so it has a thread.
pub async fn prepare(realm: Realm, guest: Guest) -> Result<Prepared> {
    let work = move || {
        let calibration = tsc::Calibration::start();
        let Guest::Embedded { kernel: explicit } = &guest else {
            return Err(Error::Failed(
                "a declared NixOS guest is run by systemd: `systemctl start microvm@NAME` starts it"
                    .to_owned(),
            ));
        };
        let explicit = explicit.as_deref().or(realm.config.kernel.as_deref());
        let qemu = Qemu::find_cached(&realm.cache_dir)?;
        let kernel = kernel::find(explicit, &realm.cache_dir)?;
        let init = initramfs::find_guest()?;
        let initramfs = initramfs::ensure(&realm.cache_dir, &kernel, &init)?;
        let detected = accel::detect(realm.config.accel, &realm.cache_dir, &kernel, &initramfs, &qemu)?;
        Ok(Prepared {
            quick_kernel: vmlinux::boot_image(&realm.cache_dir, &kernel, detected.accelerator, &qemu)?,
            kernel: kernel.image,
            initramfs,
            boot_deadline: match detected.accelerator {
                Accelerator::Kvm => BOOT_DEADLINE_KVM,
                Accelerator::Tcg => BOOT_DEADLINE_TCG,
            },
            accelerator: detected.accelerator,
            qemu: Arc::new(qemu),
            // Last: the longer it is since the start, the less this has to wait.
            tsc_khz: calibration.khz(),
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Failed(format!("the preparation of a start broke off: {error}")))?
}

/// Starts the file server and the VMM, and sends the guest who it is.
pub async fn launch(
    keeper: &Keeper,
    stored: &StoredVm,
    prepared: &Prepared,
    platform: Platform,
) -> Result<Attempt> {
    let spec = &stored.spec;
    let paths = keeper.store.paths(&spec.name);
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(paths.vmm_log())
        .map_err(Error::io("create", paths.vmm_log()))?;
    let second_log = || log.try_clone().map_err(Error::io("share", paths.vmm_log()));
    let owner = Owner::of(stored)?;
    let mem_mib = spec.resources.mem_mib;

    // The file server, with a listening socket a share; its other end is connected already, so that neither side
    // waits for the other and no path has to be seen by both.
    let mut fs_fds = FdTable::default();
    let mut vmm_fds = FdTable::default();
    let mut shares = Vec::new();
    let (listener, connected) = connected_pair(&keeper.realm.run_dir)?;
    let software_fd = fs_fds.add(listener);
    shares.push(Share { tag: SOFTWARE_TAG.to_owned(), fd: vmm_fds.add(connected) });
    let mut project = None;
    if let Some(mvm_spec::latest::Project { path }) = &spec.project {
        check_project(path)?;
        let (listener, connected) = connected_pair(&keeper.realm.run_dir)?;
        project = Some(ProjectShare {
            fd: fs_fds.add(listener),
            lower: path.clone(),
            overlay: paths.dir.join("overlay"),
        });
        shares.push(Share { tag: PROJECT_TAG.to_owned(), fd: vmm_fds.add(connected) });
    }
    let config = FsConfig {
        software_fd,
        project,
        uid: owner.uid.as_raw(),
        gid: owner.gid.as_raw(),
        guest_uid: spec.user.uid,
        guest_gid: spec.user.gid,
        mem_mib,
    };
    let config = json(&config)?;
    let files = Child::spawn(Launch {
        what: "file server",
        arguments: ["fs", &config],
        fds: fs_fds.0,
        stdout: Stdio::null(),
        stderr: second_log()?,
    })?;

    let tap = match &spec.network {
        None => None,
        Some(network) => {
            let fd = keeper.network.attach(&spec.name, network).await?;
            Some(Tap { fd: vmm_fds.add(fd), mac: network.mac })
        }
    };
    let home = home_disk(stored, &paths)?.map(|file| vmm_fds.add(file));
    let (port, port_of_vmm) = UnixStream::pair().map_err(Error::system("make a socket pair"))?;
    let machine = Machine {
        name: spec.name.to_string(),
        vcpu: spec.resources.vcpu,
        mem_mib,
        accelerator: prepared.accelerator,
        platform,
        kernel: KERNEL.into(),
        initramfs: INITRAMFS.into(),
        tsc_khz: prepared.tsc_khz,
        extra_cmdline: Vec::new(),
        shares,
        tap,
        home,
        mux: vmm_fds.add(port_of_vmm),
        qmp: None,
    };
    let launch = prepared.qemu.launch(&machine)?;
    let text = |text: &std::ffi::OsStr| {
        text.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Error::Failed(format!("{} is not UTF-8", text.display())))
    };
    let config = VmmConfig {
        program: launch.program,
        args: launch.args.iter().map(|argument| text(argument)).collect::<Result<_>>()?,
        kernel: match platform {
            Platform::Microvm => prepared.quick_kernel.clone(),
            Platform::Q35 => prepared.kernel.clone(),
        },
        initramfs: prepared.initramfs.clone(),
        kvm: prepared.accelerator == Accelerator::Kvm,
        uid: owner.uid.as_raw(),
        gid: owner.gid.as_raw(),
        mem_mib,
    };
    let config = json(&config)?;
    let (console_out, console_in) = std::io::pipe().map_err(Error::system("make a pipe"))?;
    let console_out = tokio::net::unix::pipe::Receiver::from_owned_fd(console_out.into())
        .map_err(Error::system("read the console"))?;
    tokio::task::spawn_local(console::copy(console_out, paths.console_log()));
    let vmm = Child::spawn(Launch {
        what: "VMM",
        arguments: ["vmm", &config],
        fds: vmm_fds.0,
        stdout: Stdio::from(OwnedFd::from(console_in)),
        stderr: second_log()?,
    })?;

    if let Some(manager) = scope::Manager::of(keeper.realm.kind) {
        let unit = scope::Unit::of_vm(&spec.name, &spec.resources);
        let pids: Vec<i32> = [&vmm, &files].iter().filter_map(|child| child.host_pid).collect();
        // Beside the boot: a limit a few milliseconds late limits all the same.
        tokio::task::spawn_local(async move {
            if let Err(error) = scope::enter(manager, &unit, &pids).await {
                tracing::warn!("{} could not be made; the VM is limited by process only: {error}", unit.name);
            }
        });
    }

    port.set_nonblocking(true).map_err(Error::system("prepare the guest's port"))?;
    let mux = Mux::start(
        tokio::net::UnixStream::from_std(port).map_err(Error::system("prepare the guest's port"))?,
    );
    let mut control = Control::new(mux.open(StreamKind::Control).await?);
    let config = guest_config(keeper, stored, &paths)?;
    write_frame(&mut control.writer, &ToGuest::Configure(Box::new(config)))
        .await
        .map_err(Error::system("send the guest its configuration"))?;
    Ok(Attempt { vmm, files, mux, control })
}

/// Who the guest is.
fn guest_config(keeper: &Keeper, stored: &StoredVm, paths: &VmPaths) -> Result<GuestConfig> {
    let spec = &stored.spec;
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(Error::io("read", &path));
    let mut entropy = [0; 64];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut entropy))
        .map_err(Error::io("read", "/dev/urandom"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(GuestConfig {
        hostname: spec.name.to_string(),
        machine_id: stored.state.machine_id.clone(),
        time_unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        entropy: hex::encode(entropy),
        shares: Shares {
            software: SOFTWARE_TAG.to_owned(),
            project: spec.project.as_ref().map(|_| PROJECT_TAG.to_owned()),
        },
        file_quota: fileserver::guest_files(1 + usize::from(spec.project.is_some()))?,
        home_disk: spec.persistence.enable,
        network: spec.network.as_ref().map(|network| GuestNetwork {
            mac: network.mac,
            address: network.address,
            gateway: network.gateway,
            dns: keeper.network.dns(network),
            domain: Some("mvm".to_owned()),
            mtu: keeper.network.mtu(),
        }),
        user: spec.user.clone(),
        ssh: GuestSsh {
            host_key: read(paths.host_key())?,
            authorized_keys: vec![read(paths.dir.join("ssh/user_key.pub"))?],
        },
        environment: spec.environment.clone(),
    })
}

/// Host ids of a VM's processes: the project owner's, as far as this realm has them.
struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    fn of(stored: &StoredVm) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self { uid: Uid::effective(), gid: Gid::effective() });
        }
        let Some(mvm_spec::latest::Project { path }) = &stored.spec.project else {
            return Ok(Self {
                uid: Uid::from_raw(stored.spec.user.uid),
                gid: Gid::from_raw(stored.spec.user.gid),
            });
        };
        let project = std::fs::metadata(path).map_err(Error::io("examine the project", path))?;
        Ok(Self { uid: Uid::from_raw(project.uid()), gid: Gid::from_raw(project.gid()) })
    }
}

fn check_project(path: &Path) -> Result<()> {
    match std::fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::Failed(format!(
            "the project directory {} is gone; bring it back, or delete the VM",
            path.display()
        ))),
        Err(error) => Err(Error::io("read the project", path)(error)),
    }
}

/// The image of the home disk of a VM with persistence, made when missing; sparse.
fn home_disk(stored: &StoredVm, paths: &VmPaths) -> Result<Option<File>> {
    let persistence = &stored.spec.persistence;
    if !persistence.enable {
        return Ok(None);
    }
    let path = paths.home_image();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open the home disk", &path))?;
    let size = persistence.home_mib << 20;
    if file.metadata().map_err(Error::io("examine", &path))?.len() < size {
        file.set_len(size).map_err(Error::io("size the home disk", &path))?;
    }
    Ok(Some(file))
}

/// A listening socket and a stream connected to it; no path stays.
fn connected_pair(dir: &Path) -> Result<(UnixListener, UnixStream)> {
    let place = tempfile::Builder::new()
        .prefix("vu")
        .tempdir_in(dir)
        .map_err(Error::io("create a directory in", dir))?;
    let path = place.path().join("s");
    let listener = UnixListener::bind(&path).map_err(Error::io("listen at", &path))?;
    let stream = UnixStream::connect(&path).map_err(Error::io("connect to", &path))?;
    Ok((listener, stream))
}

/// Descriptors for a child, numbered as they come.
#[derive(Default)]
struct FdTable(Vec<(i32, OwnedFd)>);

impl FdTable {
    fn add(&mut self, fd: impl Into<OwnedFd>) -> i32 {
        let number = FIRST_FD + i32::try_from(self.0.len()).unwrap_or(0);
        self.0.push((number, fd.into()));
        number
    }
}

fn json(config: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(config)
        .map_err(|error| Error::Failed(format!("can't write a configuration: {error}")))
}
