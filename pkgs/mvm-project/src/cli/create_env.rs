//! The command line of `create-microvm-env`.

use crate::envrc::{Start, block, insert, remove};
use crate::{detect, plan};
use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, Parser};
use mvm_spec::VmName;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes an .envrc that binds a directory to a VM, for direnv.
///
/// When you enter the directory, the VM is made if it is missing and started if it does not run; your shell knows its
/// address, its ports and its services' variables, and `vm COMMAND` runs a command in it. The lines stand between two marks; lines of your own stay as they are.
#[derive(Parser)]
#[command(
    name = "create-microvm-env",
    version,
    max_term_width = 100,
    after_help = "Examples:
  create-microvm-env && direnv allow
  create-microvm-env shop --print     show what would be written
  create-microvm-env --remove         take it out again

Exit codes: 0 success, 1 failure, 2 wrong usage."
)]
pub struct Cli {
    /// The VM's name [default: the project's].
    name: Option<VmName>,
    /// Write it although the .envrc is a symbolic link, which becomes a file.
    #[arg(long)]
    force: bool,
    /// Do not make or start the VM when the directory is entered; say how.
    #[arg(long, conflicts_with = "remove")]
    no_start: bool,
    /// Print the .envrc; write nothing.
    #[arg(long)]
    print: bool,
    /// Take our lines out.
    #[arg(long, conflicts_with = "name")]
    remove: bool,
    /// Write man pages into a directory.
    #[arg(long, hide = true, value_name = "DIR")]
    man: Option<PathBuf>,
}

/// Parses the arguments, and runs what they say.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("create-microvm-env: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(dir) = cli.man {
        let failed = || format!("can't write man pages to {}", dir.display());
        std::fs::create_dir_all(&dir).with_context(failed)?;
        return clap_mangen::generate_to(Cli::command(), &dir).with_context(failed);
    }
    let project = detect::detect(Path::new("."))?;
    // Where the project is governed from: a shell in a directory below has it, too.
    let directory = project.root.join(&project.directory);
    let path = directory.join(".envrc");
    let there = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_| anyhow::anyhow!("{} is not UTF-8 text; mend it, or move it away", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let name = cli.name.unwrap_or_else(|| plan::default_name(&project));
    let edit = match cli.remove {
        true => remove(&there)?,
        false => {
            let start = if cli.no_start { Start::Never } else { Start::Always };
            insert(&there, &block(&name, &watched(&project), start)?)?
        }
    };
    if cli.print {
        return super::print(&edit.text);
    }
    if edit.text == there {
        eprintln!("create-microvm-env: {} is as it should be", path.display());
        return Ok(());
    }
    if !cli.force && path.is_symlink() {
        bail!("{} is a symbolic link; --force replaces it by a file", path.display());
    }
    write(&path, &edit.text).with_context(|| format!("can't write {}", path.display()))?;
    for line in &edit.kept {
        eprintln!("create-microvm-env: `{line}` stays: it is for the host, ours are for the VM");
    }
    match cli.remove {
        true => eprintln!("create-microvm-env: our lines are out of {}", path.display()),
        false => eprintln!("create-microvm-env: wrote {} for VM {name}; next: direnv allow", path.display()),
    }
    Ok(())
}

/// The files that govern, relative to the directory of the `.envrc`.
fn watched(project: &crate::project::Project) -> Vec<PathBuf> {
    let up: PathBuf = project.directory.iter().map(|_| "..").collect();
    let relative = |file: PathBuf| match file.strip_prefix(&project.directory) {
        Ok(inside) => inside.to_owned(),
        Err(_) => up.join(file),
    };
    detect::governing_files(project).into_iter().map(relative).collect()
}

/// Replaces the file at once; an empty one is removed.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if text.trim().is_empty() {
        return Ok(std::fs::remove_file(path)?);
    }
    let temporary = path.with_file_name(format!(".envrc.{}", std::process::id()));
    let written = (|| -> anyhow::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Ok(meta) = std::fs::metadata(path) {
            file.set_permissions(meta.permissions())?;
        }
        file.sync_all()?;
        Ok(std::fs::rename(&temporary, path)?)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
