//! From a configuration to a running guest: what a booted machine does when it learns who it is.

use crate::control::Reporter;
use crate::mux::Stream;
use crate::reaper::Reaper;
use crate::serve::Machine;
use crate::workload::{Places, Settings, Supervisor};
use crate::{devices, home, housekeeping, identity, mounts, network, power, seed, software, ssh};
use anyhow::Context;
use mvm_spec::control::{GuestConfig, HOME_SERIAL, SSH_PORT};
use mvm_spec::workload::Workload;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// The machine that this program booted as PID 1.
#[derive(Debug)]
pub struct Booted {
    reaper: Reaper,
    device_limit: Duration,
    /// The interface that the template had.
    interface: Option<network::Idle>,
    /// What the workload runs with, once that is known.
    settings: OnceLock<(Settings, Reporter)>,
    /// Started with the first workload: most guests have none.
    supervisor: OnceLock<Supervisor>,
}

impl Booted {
    /// A machine whose processes `reaper` waits for, and whose devices may take `device_limit` to appear; `interface` is
    /// there already.
    pub fn new(reaper: Reaper, device_limit: Duration, interface: Option<network::Idle>) -> Self {
        let (settings, supervisor) = (OnceLock::new(), OnceLock::new());
        Self { reaper, device_limit, interface, settings, supervisor }
    }

    fn supervisor(&self) -> Option<&Supervisor> {
        let (settings, report) = self.settings.get()?;
        Some(self.supervisor.get_or_init(|| Supervisor::start(settings.clone(), report.clone())))
    }
}

impl Machine for Booted {
    async fn configure(&self, config: GuestConfig, report: &Reporter) -> anyhow::Result<Arc<ssh::Server>> {
        let mut step = Instant::now();
        let mut done = |name: &str| {
            report.step(name, step);
            step = Instant::now();
        };
        // Before anything that notes the time or draws randomness. The clock first: it is right at this moment.
        if let Err(error) = seed::set_clock(config.time_unix_ns) {
            report.warn(format_args!("{error:#}; the guest's clock is wrong"));
        }
        // Of one template's many lives each would otherwise draw the same.
        seed::credit_entropy(&config.entropy)?;
        done("clock and entropy");
        if config.plugged {
            devices::rescan()?;
            done("devices");
        }
        let shell = mounts_and_files(&config)?;
        done("mounts and files");
        if config.home_disk {
            home::mount_disk(HOME_SERIAL, &self.reaper, self.device_limit).await?;
            identity::make_home(Path::new("/"), &config.user, Path::new("/etc/skel"))?;
            done("home disk");
        }
        identity::make_runtime_dirs(&config.user)?;
        if let Some(network) = &config.network {
            network::configure(network, self.interface, self.device_limit).await?;
            done("network");
        }
        let server = Arc::new(ssh::Server::new(ssh::Settings {
            keys: &config.ssh,
            accounts: accounts(&config, shell),
            program: PathBuf::from(mounts::PROGRAM),
            surroundings: surroundings(&config.environment, config.workload.as_deref()),
            reaper: self.reaper.clone(),
        })?);
        let settings = settings(&config, shell, self.reaper.clone());
        if self.settings.set((settings, report.clone())).is_err() {
            anyhow::bail!("the guest was configured before");
        }
        if config.network.is_some() {
            let listener = TcpListener::bind(("0.0.0.0", SSH_PORT))
                .await
                .with_context(|| format!("can't listen on TCP port {SSH_PORT} for SSH"))?;
            tokio::spawn(Arc::clone(&server).serve_listener(listener));
        }
        done("ssh");
        // A template has brought its processors up.
        housekeeping::start(config.plugged, config.file_quota);
        Ok(server)
    }

    fn run_workload(&self, workload: Workload, server: &ssh::Server) {
        let Some((settings, report)) = self.settings.get() else { return };
        let surroundings = surroundings(&settings.environment, Some(&workload));
        if let Err(error) = identity::write_profile(Path::new("/"), &surroundings.environment) {
            report.warn(format_args!("{error:#}; login shells lack variables"));
        }
        server.surround(surroundings);
        if let Some(supervisor) = self.supervisor() {
            supervisor.run(workload);
        }
    }

    fn send_output(&self, stream: Stream) {
        if let Some(supervisor) = self.supervisor() {
            supervisor.send_output(stream);
        }
    }

    async fn wind_down(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.stop().await;
        }
        power::end_processes().await;
        power::detach_disks();
    }
}

/// Mounts the root and writes what makes it this guest's; returns the shell of its accounts.
fn mounts_and_files(config: &GuestConfig) -> anyhow::Result<&'static str> {
    let mut shell = "/bin/sh";
    mounts::enter_root(&config.shares, || {
        let (shared, upper) = (Path::new(mounts::SOFTWARE), Path::new(mounts::UPPER));
        shell = identity::shell(shared);
        // In the initramfs' `/run`, which becomes the guest's.
        software::link_system(shared, Path::new("/"))?;
        identity::write_files(upper, config, shell)?;
        if !config.home_disk {
            identity::make_home(upper, &config.user, &shared.join("etc/skel"))?;
        }
        Ok(())
    })?;
    nix::unistd::sethostname(&config.hostname)
        .with_context(|| format!("can't set the host name {}", config.hostname))?;
    Ok(shell)
}

/// What sessions find: the VM's variables and those of its workload, which says where they start.
fn surroundings(environment: &BTreeMap<String, String>, workload: Option<&Workload>) -> ssh::Surroundings {
    let project = PathBuf::from(mounts::PROJECT);
    let mut surroundings = ssh::Surroundings { environment: environment.clone(), directories: vec![project] };
    if let Some(workload) = workload {
        surroundings.environment.extend(workload.environment.clone());
        surroundings.directories.insert(0, PathBuf::from(&workload.working_directory));
    }
    surroundings
}

/// What the processes of a workload have in common.
fn settings(config: &GuestConfig, shell: &str, reaper: Reaper) -> Settings {
    let account = |uid, gid, name: &str, home: PathBuf, shell: &str| ssh::Account {
        name: name.to_owned(),
        uid,
        gid,
        home,
        shell: shell.into(),
    };
    let user = &config.user;
    Settings {
        account: account(user.uid, user.gid, &user.name, identity::home(user), shell),
        unprivileged: account(65534, 65534, "nobody", "/nonexistent".into(), "/bin/sh"),
        environment: config.environment.clone(),
        places: Places::of_guest(config.home_disk),
        reaper,
    }
}

/// Who may log in: the ordinary user, and root.
fn accounts(config: &GuestConfig, shell: &str) -> Vec<ssh::Account> {
    let user = &config.user;
    let home = identity::home(user);
    let shell = PathBuf::from(shell);
    let root = ssh::Account {
        name: "root".to_owned(),
        uid: 0,
        gid: if user.uid == 0 { user.gid } else { 0 },
        home: if user.uid == 0 { home.clone() } else { PathBuf::from("/root") },
        shell: shell.clone(),
    };
    let user = ssh::Account { name: user.name.clone(), uid: user.uid, gid: user.gid, home, shell };
    vec![user, root]
}
