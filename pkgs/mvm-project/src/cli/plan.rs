//! `mvm-devenv [DIR] [NAME]`.

use crate::plan::{self, Plan};
use crate::vm::{Change, Host as _, Program, ThisHost, Up, missing, reach};
use anyhow::{Context as _, bail};
use mvm_spec::VmName;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// A VM for a project: planned, made, changed, started.
#[derive(clap::Args)]
pub struct Args {
    /// The project: a directory of it [default: the current directory].
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// The VM's name [default: the project's].
    name: Option<VmName>,
    /// Show the plan and change nothing.
    #[arg(long, conflicts_with_all = ["json", "nix", "yes"])]
    plan: bool,
    /// Print the plan as JSON, an object, and change nothing.
    #[arg(long, conflicts_with_all = ["nix", "yes"])]
    json: bool,
    /// Print the declaration `services.microvm-dev.vms.NAME` for NixOS, and change nothing.
    #[arg(long, conflicts_with_all = ["yes", "copies"])]
    nix: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// VMs NAME-1 to NAME-N, alike.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    copies: Option<u32>,
    /// Do not wait until services and processes are ready.
    #[arg(long)]
    no_wait: bool,
    /// Have the project's Nix evaluated for what can't be known by reading it, by the real devenv or nix in a throw-away VM.
    #[arg(long)]
    evaluate: bool,
}

impl Args {
    /// Plans, and does it or prints it.
    pub fn run(self) -> anyhow::Result<()> {
        let mut project = crate::detect::detect(self.dir.as_deref().unwrap_or(Path::new(".")))?;
        if self.evaluate {
            super::evaluate::resolve(&mut project)?;
        }
        let name = self.name.clone().unwrap_or_else(|| plan::default_name(&project));
        let planned = plan::plan(&project, name);
        if self.json {
            return super::print_json(&planned);
        } else if self.nix {
            return super::print(&plan::declaration(&planned));
        }
        super::print(&plan::show(&planned))?;
        super::print(&advice(&planned))?;
        if self.plan { Ok(()) } else { self.bring_up(planned) }
    }

    fn bring_up(&self, planned: Plan) -> anyhow::Result<()> {
        let plans = match self.copies {
            None => vec![planned],
            Some(copies) => (1..=copies)
                .map(|index| Ok(planned.clone().named(planned.name.copy(index)?)))
                .collect::<anyhow::Result<_>>()?,
        };
        let program = Program::find();
        let up = Up { mvm: &program, host: &ThisHost };
        // All of them are looked at before anything changes.
        let mut all = Vec::new();
        for plan in &plans {
            all.push((plan, up.changes(plan)?));
        }
        let pending: Vec<&(&Plan, Vec<Change>)> =
            all.iter().filter(|(_, changes)| !changes.is_empty()).collect();
        if !pending.is_empty() {
            let what: Vec<String> =
                pending.iter().map(|(plan, changes)| format!("{} {}", verbs(changes), plan.name)).collect();
            self.confirm(&what.join(", "))?;
        }
        let mut ending = std::collections::BTreeMap::new();
        for (plan, changes) in &pending {
            ending.insert(&plan.name, up.ending(plan, changes)?);
            // Anew: ports that a copy before took are others now.
            up.apply(plan, &up.changes(plan)?)?;
        }
        let start: Vec<&Plan> = pending
            .iter()
            .filter(|(_, changes)| changes.contains(&Change::Start))
            .map(|(plan, _)| *plan)
            .collect();
        up.start(&start)?;
        let mut failed = Vec::new();
        for (plan, changes) in &all {
            let status = match self.no_wait {
                true => crate::vm::status(&program, &plan.name, None)?.context("the VM is gone")?,
                false => up.settled(plan, ending.get(&plan.name).map_or(&[], Vec::as_slice))?,
            };
            let how = if changes.is_empty() { "runs, as planned" } else { "runs" };
            super::print(&format!("{} {how}\n{}", plan.name, reach(plan, &status)))?;
            let failure = |one: &&mvm_spec::workload::ProcessStatus| {
                one.phase == mvm_spec::workload::ProcessPhase::Failed
            };
            failed.extend(
                status.processes.iter().find(failure).map(|one| format!("{} of {}", one.name, plan.name)),
            );
        }
        if !failed.is_empty() {
            bail!("not everything runs: {}", failed.join(", "));
        }
        Ok(())
    }

    /// Asks, where somebody is there to answer.
    fn confirm(&self, what: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            bail!(
                "nothing was changed, since nobody can be asked here; --yes would {what}, --plan only shows the plan"
            );
        }
        eprint!("mvm-devenv: {what}? [Y/n] ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "" | "y" | "yes" if read > 0 => Ok(()),
            _ => bail!("nothing was changed"),
        }
    }
}

/// What changes do, in few words.
fn verbs(changes: &[Change]) -> String {
    let verb = |change: &Change| match change {
        Change::Create { .. } => "make",
        Change::RemovePorts(_) | Change::AddPorts(_) => "change the forwards of",
        Change::Workload => "change what runs in",
        Change::Start => "start",
    };
    let mut verbs: Vec<&str> = changes.iter().map(verb).collect();
    verbs.dedup();
    verbs.join(" and ")
}

/// What the host lacks for a plan, and what else it could do.
fn advice(plan: &Plan) -> String {
    let mut text = String::new();
    for one in missing(plan, &ThisHost) {
        let _ = writeln!(text, "{:<10} {}", "missing", plan::printable(&one.to_string()));
    }
    if let Some(devenv) = ThisHost.devenv()
        && matches!(plan.kind, crate::project::Kind::Devenv | crate::project::Kind::FlakeDevenv)
    {
        let devenv = crate::quote::shell(&devenv.to_string_lossy());
        let _ = writeln!(
            text,
            "{:<10} the VM sees this host's devenv: mvm exec {} -- {devenv} up runs the project by itself",
            "devenv", plan.name
        );
    }
    text
}
