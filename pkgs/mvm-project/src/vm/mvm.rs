//! The program `mvm`, through which everything happens to VMs.

use anyhow::Context as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a call of `mvm` gave.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Whether it succeeded.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error; empty where that was passed on.
    pub stderr: String,
}

/// The door to `mvm`.
pub trait Mvm {
    /// Calls it with `args`, and `input` at its standard input, and takes what it says.
    ///
    /// Errors: it can't be run, or it takes longer than `patience`, and is ended.
    fn call(&self, args: &[&str], input: Option<&str>, patience: Option<Duration>) -> anyhow::Result<Said>;

    /// Calls it with its progress and notes on our standard error, and takes its output.
    ///
    /// Errors: it can't be run.
    fn tell(&self, args: &[&str], input: Option<&str>) -> anyhow::Result<Said>;
}

/// The program itself.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The `mvm` beside this program, or else that on the search path.
    pub fn find() -> Self {
        let own = std::env::args_os().next().unwrap_or_default();
        let beside = called_in(&own).into_iter().chain(std::env::current_exe().ok());
        let found = beside.filter_map(|path| Some(path.parent()?.join("mvm"))).find(|path| path.is_file());
        Self { path: found.unwrap_or_else(|| "mvm".into()) }
    }

    fn command(&self, args: &[&str], input: Option<&str>) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args).stdout(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command
    }

    fn spawn(&self, command: &mut Command, input: Option<&str>) -> anyhow::Result<std::process::Child> {
        let mut child = command.spawn().with_context(|| {
            format!("can't run {}; it belongs beside mvm-devenv, or on the search path", self.path.display())
        })?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // It may end before it has read all, and says why.
            let _ = stdin.write_all(input.as_bytes());
        }
        Ok(child)
    }
}

impl Mvm for Program {
    fn call(&self, args: &[&str], input: Option<&str>, patience: Option<Duration>) -> anyhow::Result<Said> {
        let mut command = self.command(args, input);
        let mut child = self.spawn(command.stderr(Stdio::piped()), input)?;
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::spawn(move || {
            let errors = std::thread::spawn(move || text(stderr));
            let said = (text(stdout), errors.join().unwrap_or_default());
            // Nobody listens any more when it took too long.
            let _ = sender.send(said);
        });
        let said = match patience {
            None => receiver.recv().ok(),
            Some(patience) => receiver.recv_timeout(patience).ok(),
        };
        let shown = || args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        let Some((stdout, stderr)) = said else {
            child.kill().with_context(|| format!("can't end mvm {}", shown()))?;
            child.wait().with_context(|| format!("can't end mvm {}", shown()))?;
            let limit = patience.unwrap_or_default().as_secs_f32();
            anyhow::bail!("mvm {} took more than {limit:.1} s; see mvm doctor", shown());
        };
        let ok = child.wait().with_context(|| format!("can't wait for mvm {}", shown()))?.success();
        Ok(Said { ok, stdout, stderr })
    }

    fn tell(&self, args: &[&str], input: Option<&str>) -> anyhow::Result<Said> {
        let mut command = self.command(args, input);
        let mut child = self.spawn(&mut command, input)?;
        let stdout = text(child.stdout.take());
        let ok = child.wait().context("can't wait for mvm")?.success();
        Ok(Said { ok, stdout, stderr: String::new() })
    }
}

fn text(source: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // What was read before an error is what there is.
        let _ = source.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where a program called as `own` was found: links are not followed, since `mvm` lies beside the link.
fn called_in(own: &OsString) -> Option<PathBuf> {
    let own = Path::new(own);
    if own.components().count() > 1 {
        return Some(own.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(own)).find(|path| path.is_file())
}

/// The last line of what a program said: its error.
pub fn last_line(text: &str) -> &str {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    line.strip_prefix("mvm: error: ").unwrap_or(line)
}
