//! `mvm-devenv export`.

use super::background;
use super::bring_up::Files;
use crate::envrc::{SHIM, exports};
use crate::plan::{self, Plan};
use crate::project::Project;
use crate::vm::{Program, ThisHost, VmStatus, compare, status};
use anyhow::{Context as _, bail};
use mvm_spec::VmName;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long a prompt may be kept waiting in all; direnv itself takes a part of the 5 s after which it complains.
const PATIENCE: Duration = Duration::from_millis(4200);
/// How long it may be for what is good to know only.
const ASIDE: Duration = Duration::from_millis(100);
/// A start that failed is not tried again before, unless the project changed.
const AGAIN: Duration = Duration::from_secs(60);

/// Prints what a shell on the host should know of a project's VM: its address, ports, and its services' variables.
#[derive(clap::Args)]
pub struct Args {
    /// The VM's name.
    name: VmName,
    /// The project: a directory of it.
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Also put the program `vm`, which runs commands in the VM, into this directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    shim: Option<PathBuf>,
    /// Make the VM if there is none, and start it if it does not run: in the background, if it takes longer than a prompt can
    /// wait. Its log is in this directory.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    start: Option<PathBuf>,
}

impl Args {
    /// Asks `mvm`, and prints lines for a shell.
    pub fn run(self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let project = crate::detect::detect(&self.dir)?;
        let planned = plan::plan(&project, self.name.clone());
        if let Some(dir) = &self.shim {
            install(dir).with_context(|| format!("can't put vm into {}", dir.display()))?;
        }
        let program = Program::find();
        let mut now = status(&program, &planned.name, Some(left(deadline)))?;
        if let Some(other) = now.as_ref().and_then(|status| status.other_project(&planned.project)) {
            bail!(
                "VM {} works on {other}, not on {}; write the .envrc with another name: create-microvm-env NAME",
                planned.name,
                planned.project.display()
            );
        }
        match &now {
            Some(status) if status.runs() => {
                if !status.declared() {
                    tell_outdated(&planned, &program);
                }
            }
            _ => match &self.start {
                Some(keep) => now = self.started(&project, &planned, &program, keep, deadline, now)?,
                None => tell_command(&planned, now.as_ref(), &self.dir),
            },
        }
        super::print(&exports(&planned, now.as_ref()))
    }

    /// Has the VM brought up, and waits for that as long as a prompt can.
    fn started(
        &self,
        project: &Project,
        planned: &Plan,
        program: &Program,
        keep: &Path,
        deadline: Instant,
        before: Option<VmStatus>,
    ) -> anyhow::Result<Option<VmStatus>> {
        let name = &planned.name;
        std::fs::create_dir_all(keep).with_context(|| format!("can't make {}", keep.display()))?;
        let keep = keep.canonicalize().with_context(|| format!("can't find {}", keep.display()))?;
        let files = Files::of(&keep);
        if let Some(why) = failed_lately(project, &files) {
            eprintln!(
                "mvm-devenv: VM {name} did not start: {why}; mvm-devenv tries again, {} has more",
                files.log.display()
            );
            return Ok(before);
        }
        let args = ["bring-up".as_ref(), name.as_str().as_ref(), self.dir.as_os_str(), keep.as_os_str()];
        let mut child = background::spawn(&args, &files.log)?;
        loop {
            let ended = child.try_wait().context("can't wait for the start of the VM")?;
            if let Some(ended) = ended.filter(|ended| !ended.success()) {
                let why = std::fs::read_to_string(&files.failed).unwrap_or_else(|_| ended.to_string());
                eprintln!(
                    "mvm-devenv: VM {name} did not start: {}; {} has more",
                    why.trim(),
                    files.log.display()
                );
                return Ok(before);
            }
            let now = match left(deadline) {
                Duration::ZERO => None,
                left => status(program, name, Some(left)).unwrap_or_default(),
            };
            // Those who made it may still add forwards; those who only started it are done.
            if let Some(now) = now.filter(VmStatus::runs)
                && (ended.is_some() || before.is_some())
            {
                eprintln!("mvm-devenv: VM {name} runs");
                return Ok(Some(now));
            }
            if left(deadline) < Duration::from_millis(150) {
                eprintln!(
                    "mvm-devenv: VM {name} is being started in the background; its variables come with the next prompt after \
                     that, {} says how far it is",
                    files.log.display()
                );
                return Ok(before);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Why the last start failed, if that was a short while ago and the project is still the same.
fn failed_lately(project: &Project, files: &Files) -> Option<String> {
    let at = files.failed.metadata().and_then(|meta| meta.modified()).ok()?;
    if SystemTime::now().duration_since(at).is_ok_and(|ago| ago > AGAIN) {
        return None;
    }
    let changed = crate::detect::governing_files(project).iter().any(|file| {
        let modified = project.root.join(file).metadata().and_then(|meta| meta.modified());
        modified.is_ok_and(|modified| modified > at)
    });
    let why = std::fs::read_to_string(&files.failed).ok()?;
    (!changed).then(|| why.trim().to_owned())
}

/// Says whether the VM is as the project says. That is an aside, which a prompt does not wait for.
fn tell_outdated(planned: &Plan, program: &Program) {
    match compare(planned, program, &ThisHost, Some(ASIDE)) {
        Ok(differences) if differences.is_empty() => {}
        Ok(differences) => eprintln!(
            "mvm-devenv: VM {} is outdated: {}; mvm-devenv applies it",
            planned.name,
            plan::printable(&differences.join(", "))
        ),
        Err(error) => eprintln!("mvm-devenv: {error:#}"),
    }
}

fn tell_command(planned: &Plan, status: Option<&VmStatus>, dir: &Path) {
    let name = &planned.name;
    match status {
        Some(status) => {
            eprintln!("mvm-devenv: VM {name} is {}; to start it: mvm start {name}", status.status)
        }
        None => eprintln!(
            "mvm-devenv: there is no VM {name} yet; to make it: mvm-devenv {} {name}",
            crate::quote::shell(&dir.to_string_lossy())
        ),
    }
}

/// Writes `vm`, unless it is there as it should be.
fn install(dir: &Path) -> std::io::Result<()> {
    let path = dir.join("vm");
    if std::fs::read(&path).is_ok_and(|there| there == SHIM.as_bytes()) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    // Shells may be calling the old one meanwhile.
    let temporary = dir.join(format!(".vm-{}", std::process::id()));
    let written = (|| {
        std::fs::write(&temporary, SHIM)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
