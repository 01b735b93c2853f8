//! What goes on behind a prompt: watchers, and VMs that are brought up while a shell has gone on.

use anyhow::{Context as _, bail};
use mvm_spec::VmName;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a watcher says that it watches.
pub const WATCHING: &str = "mvm-devenv: watching";
/// How long a watcher in the background may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// Closes what a caller may have left open beside the standard streams: direnv waits until its pipe, descriptor 3, is
/// closed by everybody.
const ALONE: &str = r#"exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-"#;

/// Starts this program with `args`, its output in the new file `log`, in a session of its own.
///
/// Errors: it can't be started, or `log` can't be written.
pub fn spawn(args: &[&std::ffi::OsStr], log: &Path) -> anyhow::Result<Child> {
    let failed = || format!("can't write {}", log.display());
    let file = File::create(log).with_context(failed)?;
    let own = std::env::current_exe().context("can't find this program's own path")?;
    // As it was called: `mvm` is looked for beside that.
    let called = std::env::args_os().next().filter(|called| Path::new(called).components().count() > 1);
    Command::new("/bin/sh")
        .args(["-c", ALONE, "sh"])
        .arg(called.unwrap_or_else(|| found(&own)))
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone().with_context(failed)?)
        .stderr(file)
        .spawn()
        .context("can't run /bin/sh")
}

/// This program by its name if the search path leads to it, else by its path.
fn found(own: &Path) -> std::ffi::OsString {
    let name = std::env::args_os().next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    match !name.is_empty() && std::env::split_paths(&path).any(|dir| dir.join(&name).is_file()) {
        true => name,
        false => own.as_os_str().to_owned(),
    }
}

/// Leaves the caller's session, so that its end is not ours.
pub fn detach() {
    // It fails where we lead one already.
    let _ = nix::unistd::setsid();
}

/// Where watchers keep their logs and locks.
fn watch_dir() -> anyhow::Result<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = var("MVM_CACHE_DIR")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("microvm-dev")))
        .or_else(|| Some(var("HOME")?.join(".cache/microvm-dev")))
        .context("HOME is not set; set it, or MVM_CACHE_DIR")?;
    let dir = cache.join("watch");
    // As `mvm` makes it.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("can't make {}", dir.display()))?;
    Ok(dir)
}

/// Makes sure that a VM has one watcher; the file stays locked as long as it is open.
pub fn only_watcher(name: &VmName) -> anyhow::Result<File> {
    let path = watch_dir()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("VM {name} is being watched already"),
    }
}

/// Starts a watcher in the background and waits until it watches.
pub fn watch(dir: &Path, name: &VmName, apply: bool) -> anyhow::Result<()> {
    drop(only_watcher(name)?);
    let log = watch_dir()?.join(format!("{name}.log"));
    let dir = dir.canonicalize().with_context(|| format!("can't find {}", dir.display()))?;
    let mut args = vec![
        "watch".as_ref(),
        "--foreground".as_ref(),
        "--detached".as_ref(),
        dir.as_os_str(),
        name.as_str().as_ref(),
    ];
    if apply {
        args.push("--apply".as_ref());
    }
    let mut child = spawn(&args, &log)?;
    let deadline = Instant::now() + BEGIN;
    loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.lines().any(|line| line.starts_with(WATCHING)) {
            eprintln!("{WATCHING} in the background, process {}; its log is {}", child.id(), log.display());
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("can't wait for the watcher")? {
            bail!("the watcher ended ({status}): {}", said.lines().last().unwrap_or("it does not say why"));
        }
        if Instant::now() >= deadline {
            child.kill().context("can't end the watcher")?;
            bail!("the watcher did not begin within {} s; its log is {}", BEGIN.as_secs(), log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
