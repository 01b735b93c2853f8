//! From a stored VM to running processes: one attempt to launch.

use super::child::{Child, Launch};
use super::logs::Logs;
use super::mux::{GuestStream, Mux};
use super::network::Port;
use super::prepare::Prepared;
use super::restore::Restoring;
use super::server::Keeper;
use super::vmm::{FdTable, Owner, VmmLaunch, json};
use crate::client::{read_frame, write_frame};
use crate::fileserver::{self, FsConfig, ProjectShare};
use crate::sandbox::scope;
use crate::store::{StoredVm, VmPaths};
use crate::template::Template;
use crate::vmm::{Machine, Origin, Platform, Share, Tap};
use crate::vmm_process::{INITRAMFS, KERNEL, MEMORY};
use crate::{Error, Result, keys};
use mvm_spec::control::{
    GuestConfig, GuestNetwork, GuestSsh, PROJECT_TAG, SOFTWARE_TAG, Shares, StreamKind, ToGuest, ToHost,
};
use mvm_spec::workload::Workload;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
    /// The machine.
    pub machine: Machine,
    /// What is left to do before a restored machine runs.
    pub restoring: Option<Restoring>,
    /// Its port on the realm's network, until that is made.
    pub port: Option<Port>,
    /// What the guest was told to run by itself.
    pub workload: Workload,
    /// What its processes print, once they run.
    pub logs: Option<Logs>,
}

/// How a VM is started.
#[derive(Clone, Debug)]
pub enum Start {
    /// Its kernel boots, on this board.
    Cold(Platform),
    /// From this template.
    Warm(Box<Template>),
}

/// The control stream: frames are received by a task of their own, so that waiting for one can be given up without
/// losing part of it.
pub struct Control {
    /// For messages to the guest.
    pub writer: tokio::io::WriteHalf<GuestStream>,
    messages: tokio::sync::mpsc::Receiver<std::io::Result<(Instant, ToHost)>>,
}

impl Control {
    fn new(stream: GuestStream) -> Self {
        let (mut reader, writer) = tokio::io::split(stream);
        let (send, messages) = tokio::sync::mpsc::channel(64);
        tokio::task::spawn_local(async move {
            while let Some(message) = read_frame(&mut reader).await.transpose() {
                let failed = message.is_err();
                let message = message.map(|message| (Instant::now(), message));
                if send.send(message).await.is_err() || failed {
                    break;
                }
            }
        });
        Self { writer, messages }
    }

    /// The guest's next message, and when it came; `None` when the channel is closed.
    pub async fn next(&mut self) -> std::io::Result<Option<(Instant, ToHost)>> {
        self.messages.recv().await.transpose()
    }
}

/// Starts the file server and the VMM, and opens the control stream to the guest.
pub async fn launch(
    keeper: &Keeper,
    stored: &StoredVm,
    prepared: &Prepared,
    start: &Start,
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
    // First, since others do it, beside all else: the copy of the memory, and the port of the network.
    let mut restoring = match start {
        Start::Warm(template) => Some(Restoring::begin(template, mem_mib, &owner)?),
        Start::Cold(_) => None,
    };
    let mut port =
        spec.network.as_ref().map(|network| keeper.network.attach(&spec.name, network)).transpose()?;

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

    let home = home_disk(stored, &paths)?.map(|file| vmm_fds.add(file));
    let (channel, channel_of_vmm) = UnixStream::pair().map_err(Error::system("make a socket pair"))?;
    let tap = match (&mut port, &spec.network) {
        (Some(port), Some(network)) => Some(Tap { fd: vmm_fds.add(port.tap().await?), mac: network.mac }),
        _ => None,
    };
    let machine = Machine {
        name: spec.name.to_string(),
        vcpu: spec.resources.vcpu,
        mem_mib,
        accelerator: prepared.accelerator,
        platform: match start {
            Start::Cold(platform) => *platform,
            Start::Warm(_) => Platform::Microvm,
        },
        origin: match &restoring {
            None => Origin::Boot,
            Some(_) => Origin::Restore { memory: MEMORY.1.into() },
        },
        kernel: KERNEL.into(),
        initramfs: INITRAMFS.into(),
        tsc_khz: prepared.tsc_khz,
        extra_cmdline: Vec::new(),
        shares,
        tap,
        home,
        mux: vmm_fds.add(channel_of_vmm),
        qmp: restoring.as_mut().and_then(Restoring::take_channel).map(|channel| vmm_fds.add(channel)),
    };
    let vmm = VmmLaunch {
        prepared,
        machine: &machine,
        owner: &owner,
        fds: vmm_fds,
        memory: restoring.as_mut().and_then(Restoring::take_mount),
        console: paths.console_log(),
        log: second_log()?,
    }
    .spawn()?;
    // After the VMM, which is longer in starting.
    let files = Child::spawn(Launch {
        what: "file server",
        arguments: ["fs", &config],
        fds: fs_fds.0,
        user: owner.uid,
        stdout: Stdio::null(),
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

    let failed = || Error::system("prepare the guest's channel");
    channel.set_nonblocking(true).map_err(failed())?;
    let mux = Mux::start(tokio::net::UnixStream::from_std(channel).map_err(failed())?);
    let control = Control::new(mux.open(StreamKind::Control).await?);
    let (workload, logs) = (Workload::empty(), None);
    Ok(Attempt { vmm, files, mux, control, machine, restoring, port, workload, logs })
}

/// Tells the guest, whose `Hello` came at `heard`, who it is.
pub async fn configure(
    keeper: &Keeper,
    stored: &StoredVm,
    attempt: &mut Attempt,
    heard: Instant,
) -> Result<()> {
    let paths = keeper.store.paths(&stored.spec.name);
    let mut config = guest_config(keeper, stored, &paths)?;
    // Read now: it may have changed since the start began.
    if let Some(workload) = keeper.store.workload(&stored.spec.name)? {
        attempt.workload = workload.clone();
        config.workload = Some(Box::new(workload));
    }
    config.plugged = attempt.machine.origin != Origin::Boot;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    config.time_unix_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    config.held_ns = u64::try_from(heard.elapsed().as_nanos()).unwrap_or(u64::MAX);
    write_frame(&mut attempt.control.writer, &ToGuest::Configure(Box::new(config)))
        .await
        .map_err(Error::system("send the guest its configuration"))
}

/// Who the guest is.
fn guest_config(keeper: &Keeper, stored: &StoredVm, paths: &VmPaths) -> Result<GuestConfig> {
    let spec = &stored.spec;
    let mut entropy = [0; 64];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut entropy))
        .map_err(Error::io("read", "/dev/urandom"))?;
    Ok(GuestConfig {
        hostname: spec.name.to_string(),
        machine_id: stored.state.machine_id.clone(),
        // These three are known when it is sent.
        time_unix_ns: 0,
        held_ns: 0,
        plugged: false,
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
            host_key: keys::private_for_guest(&paths.host_key())?,
            authorized_keys: vec![keys::public_for_guest(&paths.dir.join("ssh/user_key.pub"))?],
        },
        environment: spec.environment.clone(),
        workload: None,
    })
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
