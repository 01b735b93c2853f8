//! `mvm logs`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use crate::output;
use anyhow::{Context as _, bail};
use inotify::{EventMask, Inotify, WatchMask};
use mvm_gate::protocol::{Answer, Call, Log};
use mvm_spec::VmName;
use mvm_spec::workload::{Workload, is_process_name};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Shows what a VM printed on its console, or what one of its processes printed.
///
/// On a terminal, control characters are shown as ^X: what a guest prints must not steer your terminal. Of a VM that this
/// host declares it is in the journal, which members of the group microvm-dev need not be able to read for that.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm logs web
  mvm logs web -n 20 -f               the last 20 lines, and what follows
  mvm logs web --process api -f       one process of its workload
  mvm logs web --vmm                  what QEMU and the file server said")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
    /// Go on with what is printed from now on, until Ctrl-C or the VM's deletion.
    #[arg(long, short)]
    follow: bool,
    /// Begin with the last N lines only.
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// What process P of its workload printed, instead.
    #[arg(long, short, value_name = "P", conflicts_with = "vmm", add = crate::complete::process_names())]
    process: Option<String>,
    /// The messages of the VMM and the file server instead.
    #[arg(long)]
    vmm: bool,
}

impl Args {
    /// Shows the log.
    pub fn run(self, context: &Context) -> Outcome {
        context.expect_vm(&self.name)?;
        if declared::is_declared(context, &self.name) {
            return block_on(self.journal(context));
        }
        let paths = context.store.paths(&self.name);
        let path = match &self.process {
            Some(process) => process_log(context, &self.name, process)?,
            None if self.vmm => paths.vmm_log(),
            None => paths.console_log(),
        };
        // Watched before it is read, so that nothing falls between.
        let dir = path.parent().unwrap_or(&paths.dir);
        let watch = if self.follow { Some(watch(dir)?) } else { None };
        let mut log = Growing { path, open: None };
        let text = log.more()?;
        show(last_lines(&text, self.lines))?;
        let Some(mut inotify) = watch else {
            if text.is_empty() {
                let who = self.process.as_deref().unwrap_or(self.name.as_str());
                context.progress.note(&format!("{who} printed nothing yet"));
            }
            return Ok(Exit::SUCCESS);
        };
        let mut buffer = [0; 4096];
        loop {
            let events = inotify.read_events_blocking(&mut buffer).context("can't watch the log")?;
            let end = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED;
            let ended = events.into_iter().any(|event| event.mask.intersects(end));
            show(&log.more()?)?;
            if ended {
                context.progress.note(&format!("{} was deleted", self.name));
                return Ok(Exit::SUCCESS);
            }
        }
    }
}

impl Args {
    /// A declared VM's console, and what its units say, is in the journal, which the gate reads for members of the group.
    async fn journal(&self, context: &Context) -> Outcome {
        if let Some(process) = &self.process {
            bail!(
                "VM `{0}` is declared: what its units print is in its own journal: mvm exec {0} -- journalctl --unit {process}",
                self.name
            );
        }
        let call = Call::Logs {
            vm: self.name.clone(),
            what: if self.vmm { Log::Units } else { Log::Console },
            lines: self.lines.map(|lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            follow: self.follow,
        };
        let (answer, stream) = declared::open(&call).await?;
        if answer != Answer::Logs {
            bail!(declared::unexpected(&answer));
        }
        let mut text = BufReader::new(stream);
        let mut line = Vec::new();
        let mut nothing = true;
        // Whole lines, so that no character is shown in halves.
        while text.read_until(b'\n', &mut line).await.context("the gate broke off")? > 0 {
            show(&line)?;
            line.clear();
            nothing = false;
        }
        if nothing {
            context.progress.note(&format!("{} printed nothing yet", self.name));
        }
        Ok(Exit::SUCCESS)
    }
}

/// The log of a process of VM `name`'s workload.
fn process_log(context: &Context, name: &VmName, process: &str) -> anyhow::Result<PathBuf> {
    let workload = context.store.workload(name)?.unwrap_or_else(Workload::empty);
    let path = context.store.paths(name).process_log(process);
    let known: Vec<&str> = workload.processes.iter().map(|process| process.name.as_str()).collect();
    // One that was taken out of the workload while the VM ran has its log still.
    if known.contains(&process) || (is_process_name(process) && path.exists()) {
        return Ok(path);
    }
    match known.as_slice() {
        [] => bail!("VM `{name}` has no processes of its own; `mvm workload {name} FILE` gives it some"),
        known => bail!("VM `{name}` has no process `{process}`; there are: {}", known.join(", ")),
    }
}

fn watch(dir: &Path) -> anyhow::Result<Inotify> {
    let inotify = Inotify::init()
        .context("can't watch files; fs.inotify.max_user_instances (sysctl) may be too low")?;
    let mask = WatchMask::MODIFY
        | WatchMask::CREATE
        | WatchMask::MOVED_TO
        | WatchMask::MOVED_FROM
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF;
    inotify.watches().add(dir, mask).with_context(|| format!("can't watch {}", dir.display()))?;
    Ok(inotify)
}

/// A file that may be renamed away and begun anew, or emptied, while it is read.
struct Growing {
    path: PathBuf,
    open: Option<File>,
}

impl Growing {
    /// What was added since the last call.
    fn more(&mut self) -> anyhow::Result<Vec<u8>> {
        let failed = || format!("can't read {}", self.path.display());
        let mut text = Vec::new();
        if let Some(file) = &mut self.open {
            // Shorter than what was read: emptied in place.
            let position = file.stream_position().with_context(failed)?;
            if file.metadata().with_context(failed)?.len() < position {
                file.seek(SeekFrom::Start(0)).with_context(failed)?;
            }
            file.read_to_end(&mut text).with_context(failed)?;
        }
        let current = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(text),
            Err(error) => return Err(error).with_context(failed),
        };
        let id = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let same = match &self.open {
            Some(open) => id(open).with_context(failed)? == id(&current).with_context(failed)?,
            None => false,
        };
        if !same {
            let file = self.open.insert(current);
            file.read_to_end(&mut text).with_context(failed)?;
        }
        Ok(text)
    }
}

/// The last `count` lines of `text`, or all of it.
fn last_lines(text: &[u8], count: Option<usize>) -> &[u8] {
    let Some(count) = count else { return text };
    if count == 0 {
        return &[];
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match ends.map(|(index, _)| index).nth(count - 1) {
        Some(index) => text.get(index + 1..).unwrap_or_default(),
        None => text,
    }
}

fn show(text: &[u8]) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    if std::io::stdout().is_terminal() {
        let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
        output::print(output::printable(&text))
    } else {
        output::print(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let text = b"a\nb\nc\n";
        assert_eq!(last_lines(text, None), text);
        assert_eq!(last_lines(text, Some(0)), b"");
        assert_eq!(last_lines(text, Some(1)), b"c\n");
        assert_eq!(last_lines(text, Some(2)), b"b\nc\n");
        assert_eq!(last_lines(text, Some(9)), text);
        assert_eq!(last_lines(b"a\nunfinished", Some(1)), b"unfinished");
        assert_eq!(last_lines(b"", Some(3)), b"");
    }

    #[test]
    fn a_log_is_followed_through_rotation_and_emptying() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = Growing { path: path.clone(), open: None };
        assert_eq!(log.more().unwrap(), b"");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        assert_eq!(log.more().unwrap(), b"one\n");
        file.write_all(b"two\n").unwrap();
        std::fs::rename(&path, dir.path().join("console.log.1")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(log.more().unwrap(), b"two\nthree\n");
        std::fs::write(&path, "4\n").unwrap();
        assert_eq!(log.more().unwrap(), b"4\n");
        assert_eq!(log.more().unwrap(), b"");
    }
}
