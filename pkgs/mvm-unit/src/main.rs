//! `mvm-unit`: what the units of declared VMs run; people use `mvm` and `systemctl`.

mod watch;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::DECLARED_DIR;
use mvm_host::{client, declared, keeper};
use mvm_spec::VmName;
use std::path::PathBuf;
use std::process::ExitCode;

/// Does what the units of declared VMs need, in the host realm, as root.
///
/// A VM is declared by its spec, which NixOS installs as /etc/microvm-dev/vms/NAME.json. Each command may be run again at
/// any time: what is so already is success.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Files: /etc/microvm-dev/vms/NAME.json, /etc/microvm-dev/config.toml, /var/lib/microvm-dev/NAME/.
Exit codes: 0 success, 1 failure, 2 wrong usage."
)]
struct Cli {
    /// Where VMs are declared.
    #[arg(long, global = true, value_name = "DIR", default_value = DECLARED_DIR)]
    declared: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves the network of declared VMs until SIGTERM: bridges, rules, names, port forwards. Tells systemd when it is
    /// ready (Type=notify).
    Network,
    /// Puts a VM, whose tap is there, on the network, and forwards its ports.
    Attach {
        /// The VM.
        name: VmName,
    },
    /// Takes a VM off the network.
    Detach {
        /// The VM.
        name: VmName,
    },
    /// Makes everything ready for a VM to start: its files, its copy of the project, its identity.
    Prepare {
        /// The VM.
        name: VmName,
    },
    /// Unmounts a VM's copy of the project. What the VM changed in it is gone, unless its state persists.
    Undo {
        /// The VM.
        name: VmName,
    },
    /// Watches a VM's project until SIGTERM, and marks the VM as outdated when the project says something else than when
    /// the VM was started. Executes nothing of the project.
    Watch {
        /// The VM.
        name: VmName,
    },
}

fn main() -> ExitCode {
    // The network's own children are of this program, too.
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|what| what == "internal") {
        return mvm_host::internal::main(args);
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm-unit: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { declared: dir, verb }: Cli) -> anyhow::Result<()> {
    let realm = Realm::resolve(Some(RealmKind::Host))?;
    match verb {
        Verb::Network => {
            tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
            keeper::units::main(realm, || {
                // Without systemd there is nobody to tell, which is success.
                sd_notify::notify(false, &[sd_notify::NotifyState::Ready])
                    .map_err(mvm_host::Error::system("tell systemd that the network is ready"))
            })?;
        }
        Verb::Attach { name } => {
            for warning in wait_for(client::attach(&realm, &name))? {
                eprintln!("mvm-unit: {warning}");
            }
        }
        Verb::Detach { name } => wait_for(client::detach(&realm, &name))?,
        Verb::Prepare { name } => {
            let prepared = declared::prepare(&realm, &dir, &name)?;
            if let Some(project) = prepared.project {
                eprintln!("mvm-unit: the project of `{name}` is at {}", project.display());
            }
        }
        Verb::Watch { name } => watch::run(&dir, &name)?,
        Verb::Undo { name } => declared::undo(&realm, &name)?,
    }
    Ok(())
}

fn wait_for<T>(work: impl Future<Output = mvm_host::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    Ok(runtime.block_on(work)?)
}
