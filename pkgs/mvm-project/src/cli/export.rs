//! `mvm-devenv export`.

use crate::envrc::{SHIM, VmStatus, create_command, exports};
use crate::plan;
use anyhow::Context as _;
use mvm_spec::VmName;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a prompt may be kept waiting for what `mvm` says.
const PATIENCE: Duration = Duration::from_secs(5);

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
}

impl Args {
    /// Asks `mvm`, and prints lines for a shell.
    pub fn run(self) -> anyhow::Result<()> {
        let project = crate::detect::detect(&self.dir)?;
        let planned = plan::plan(&project, self.name);
        if let Some(dir) = &self.shim {
            install(dir).with_context(|| format!("can't put vm into {}", dir.display()))?;
        }
        let status = status(&planned.name)?;
        match status.as_ref().map(|status| status.status.as_str()) {
            Some("running") => {}
            Some(other) => {
                eprintln!(
                    "mvm-devenv: VM {} is {other}; to start it: mvm start {}",
                    planned.name, planned.name
                );
            }
            None => {
                eprintln!(
                    "mvm-devenv: there is no VM {} yet; to make it: {}",
                    planned.name,
                    create_command(&planned)
                );
            }
        }
        super::print(&exports(&planned, status.as_ref()))
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
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(SHIM.as_bytes())?;
        file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// What `mvm status` says; nothing if there is no such VM.
fn status(name: &VmName) -> anyhow::Result<Option<VmStatus>> {
    let mut child = Command::new("mvm")
        .args(["status", name.as_str(), "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't run mvm, which should be on the search path beside mvm-devenv")?;
    let Some(mut stdout) = child.stdout.take() else { anyhow::bail!("mvm has no output") };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        // Nobody listens any more when it took too long.
        let _ = sender.send(read);
    });
    let Ok(read) = receiver.recv_timeout(PATIENCE) else {
        child.kill().context("can't end mvm status")?;
        child.wait().context("can't end mvm status")?;
        anyhow::bail!("mvm status {name} took more than {} s; see `mvm doctor`", PATIENCE.as_secs());
    };
    let text = read.context("can't read what mvm status says")?;
    if !child.wait().context("can't wait for mvm status")?.success() {
        return Ok(None);
    }
    Ok(Some(
        serde_json::from_str(&text).context("mvm status says what is not understood; update mvm-devenv")?,
    ))
}
