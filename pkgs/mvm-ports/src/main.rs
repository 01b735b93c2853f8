//! `mvm-ports`: port forwards for units and scripts; people use `mvm port`.

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use mvm_host::ports::proxy::ProxyConfig;
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::Store;
use mvm_ports::change::{self, Which};
use mvm_ports::list::{self, State};
use mvm_ports::removal::Removal;
use mvm_ports::sync::{self, Report};
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, ForwardRequest};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps the port forwards of VMs as they are stored.
///
/// A forward leads from a port of this host to one of a VM. It is stored with the VM, and served while the VM runs.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:
  mvm-ports sync                      after the firewall was reloaded, or a crash
  mvm-ports list
  mvm-ports add web 8080:3000 0:5432
  mvm-ports remove web 8080

Forwards are written [ADDRESS:]HOST[-HOST]:GUEST[-GUEST][/tcp|/udp]; without an address the host's loopback is meant,
and 0 is any free port. Exit codes: 0 success, 1 failure, 2 wrong usage."
)]
struct Cli {
    /// Where VMs live: namespaces of your own (user), or the host's (host, needs root).
    #[arg(long, global = true, value_name = "REALM")]
    realm: Option<RealmArg>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, ValueEnum)]
enum RealmArg {
    User,
    Host,
}

#[derive(Subcommand)]
enum Verb {
    /// Makes what is served be what is stored, and says what was different.
    Sync {
        /// Print JSON: an object.
        #[arg(long)]
        json: bool,
    },
    /// Lists the forwards of all VMs.
    List {
        /// Print JSON: an array of objects, one for each VM that has forwards.
        #[arg(long)]
        json: bool,
    },
    /// Adds forwards to a VM: all of them or none.
    Add {
        /// The VM.
        vm: VmName,
        /// Forwards.
        #[arg(required = true, value_name = "FORWARD")]
        forwards: Vec<ForwardRequest>,
    },
    /// Removes forwards from a VM; what is not there is already removed.
    Remove {
        /// The VM.
        vm: VmName,
        /// Forwards, or their host's side alone.
        #[arg(required = true, value_name = "FORWARD")]
        forwards: Vec<Removal>,
    },
    /// Serves forwards, until SIGTERM: the process that the realm's keeper starts by itself.
    Proxy {
        /// The Unix socket it is controlled by.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// The network namespace that the guests are in, if it is not this one; needs CAP_SYS_ADMIN.
        #[arg(long, value_name = "PATH")]
        guest_namespace: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm-ports: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Verb::Proxy { socket, guest_namespace } = cli.verb {
        let config =
            ProxyConfig { socket, guest_namespace, resolv_conf: None, run_as: None, die_with_parent: false };
        return Ok(mvm_host::ports::proxy::main(&serde_json::to_string(&config)?)?);
    }
    let realm = Realm::resolve(cli.realm.map(|realm| match realm {
        RealmArg::User => RealmKind::User,
        RealmArg::Host => RealmKind::Host,
    }))?;
    let store = Store::open(&realm.state_dir);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    runtime.block_on(async {
        match cli.verb {
            Verb::Sync { json } => {
                let report = sync::sync(&realm, &store).await?;
                if json { print(&serde_json::to_string_pretty(&report)?) } else { print(&told(&report)) }
            }
            Verb::List { json } => list_all(&realm, &store, json).await,
            Verb::Add { vm, forwards } => {
                let added = change::add(&realm, &store, &vm, &forwards).await?;
                print(&lines(&vm, added.already.iter().chain(&added.new)))
            }
            Verb::Remove { vm, forwards } => {
                let removed = change::remove(&realm, &store, &vm, &Which::These(forwards)).await?;
                print(&lines(&vm, &removed.removed))
            }
            // Dealt with above, without an event loop of ours.
            Verb::Proxy { .. } => Ok(()),
        }
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    let text = text.trim_end();
    if text.is_empty() {
        return Ok(());
    }
    writeln!(std::io::stdout().lock(), "{text}").context("can't write to standard output")
}

fn lines<'a>(vm: &VmName, forwards: impl IntoIterator<Item = &'a Forward>) -> String {
    forwards.into_iter().map(|forward| list::line(vm, forward) + "\n").collect()
}

async fn list_all(realm: &Realm, store: &Store, json: bool) -> anyhow::Result<()> {
    let mut all = Vec::new();
    let mut text = String::new();
    for name in store.names()? {
        let forwards = list::forwards(realm, store, &name).await?.forwards;
        for listed in &forwards {
            text.push_str(&list::line(&name, &listed.forward));
            match (listed.state, &listed.reason) {
                (State::Active, _) => {}
                (State::Blocked, Some(reason)) => text.push_str(&format!("  (blocked: {reason})")),
                (state, _) => text.push_str(&format!("  ({})", state.word())),
            }
            text.push('\n');
        }
        if !forwards.is_empty() {
            all.push(serde_json::json!({ "name": name, "forwards": forwards }));
        }
    }
    if json { print(&serde_json::to_string_pretty(&all)?) } else { print(&text) }
}

/// What a synchronization changed, in lines.
fn told(report: &Report) -> String {
    if !report.running {
        return "no VM runs: nothing is served\n".to_owned();
    }
    let mut text = String::new();
    for vm in &report.vms {
        let name = &vm.name;
        let mut line = |what: &str, forward: &Forward| {
            text.push_str(&format!("{what} {}\n", list::line(name, forward)));
        };
        vm.removed.iter().for_each(|forward| line("removed", forward));
        vm.added.iter().for_each(|forward| line("added", forward));
        if let Some(from) = vm.moved_from {
            text.push_str(&format!("{name}: forwards led to {from}, and follow it to its address now\n"));
        }
        for blocked in &vm.blocked {
            text.push_str(&format!("blocked {}: {}\n", list::line(name, &blocked.forward), blocked.reason));
        }
    }
    let maps = &report.maps;
    if maps.added + maps.removed > 0 {
        text.push_str(&format!("nft maps: {} added, {} removed\n", maps.added, maps.removed));
    }
    if report.unchanged() {
        text.push_str("all forwards are as stored\n");
    }
    text
}
