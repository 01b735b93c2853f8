//! `mvm cp`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use crate::ssh::session::{self, Plan as Session, Streams, What};
use crate::ssh::{self, Login, command};
use crate::transfer::pack::{self, Item};
use crate::transfer::paths::{self, Plan};
use crate::transfer::unpack::{self, Destination};
use crate::units::count;
use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use mvm_spec::VmName;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Copies smaller than this many bytes are over before a bar is read.
const BAR_FROM: u64 = 4 * 1024 * 1024;

/// What the guest does for a copy into it: says what the destination is (`d` a directory, `f` something else, `n`
/// nothing, in an existing directory), then unpacks standard input there, by the command that follows.
const RECEIVE: &str = r#"dir=$(dirname -- "$1")
if [ -d "$1" ]; then echo d; dir=$1
elif [ -e "$1" ]; then echo f
elif [ -d "$dir" ]; then echo n
else echo "there is no directory $dir in the VM" >&2; exit 1
fi
"#;

/// The guest's end of copies: its own program in an embedded guest, GNU tar in a declared one.
struct Peer {
    declared: bool,
    /// Where relative paths begin, if the guest doesn't know.
    dir: Option<&'static OsStr>,
}

impl Peer {
    fn of(context: &Context, name: &VmName) -> anyhow::Result<Self> {
        let declared = declared::is_declared(context, name);
        Ok(Self { declared, dir: declared::start_dir(context, name)? })
    }

    /// Unpacks standard input at `destination`, after a word on what that is.
    fn receive(&self, destination: &OsStr) -> anyhow::Result<Vec<u8>> {
        let extract = match self.declared {
            true => {
                r#"exec tar --extract --preserve-permissions --no-same-owner --file=- --directory="$dir""#
            }
            false => r#"exec /run/mvm/mvm-guest tar-extract "$dir""#,
        };
        self.sh(&format!("{RECEIVE}{extract}"), destination)
    }

    /// Writes an archive of `source` to standard output; names in it begin with the last component of `source`.
    fn send(&self, source: &OsStr) -> anyhow::Result<Vec<u8>> {
        match self.declared {
            true => self.sh(PACK, source),
            false => command::line(
                &["/run/mvm/mvm-guest".into(), "tar-create".into(), source.to_owned()],
                self.dir,
            ),
        }
    }

    fn sh(&self, script: &str, argument: &OsStr) -> anyhow::Result<Vec<u8>> {
        let argv: Vec<OsString> =
            ["sh", "-c", script, "sh"].iter().map(OsString::from).chain([argument.to_owned()]).collect();
        command::line(&argv, self.dir)
    }
}

/// As mvm-guest's tar-create: `.` and the like, which have no name of their own, give names without one.
const PACK: &str = r#"case $1 in
. | .. | / | */. | */..) dir=$1 base=. ;;
*) dir=$(dirname -- "$1") base=$(basename -- "$1") ;;
esac
exec tar --create --format=gnu --file=- --directory="$dir" -- "$base""#;

/// Copies files and directories into a VM, or out of it.
///
/// Modes, times and symbolic links are kept. As with cp, what is copied goes into DST if that is a directory, and
/// becomes DST otherwise. A relative path in a VM begins where commands start: in /project, if there is one.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm cp web:dist .                   the directory dist, out of the VM
  mvm cp notes.txt data web:/tmp/     into the VM
  mvm cp web:/etc/os-release web-os   under another name
  mvm cp ./a:b web:                   a file here with a colon in its name")]
pub struct Args {
    /// What to copy: PATH here, NAME:PATH in a VM.
    #[arg(required = true, value_name = "SRC", add = crate::complete::vm_prefixes())]
    sources: Vec<OsString>,
    /// Where to: the other side.
    #[arg(value_name = "DST", add = crate::complete::vm_prefixes())]
    destination: OsString,
    /// As root in the VM.
    #[arg(long)]
    root: bool,
    /// Accepted for those used to cp -r: directories are always copied as a whole.
    #[arg(long, short, short_aliases = ['r', 'a'], hide = true)]
    recursive: bool,
}

impl Args {
    /// Copies.
    pub fn run(self, context: &Context) -> Outcome {
        let sources = self.sources.iter().map(|source| paths::place(source)).collect();
        let plan = paths::plan(sources, paths::place(&self.destination))?;
        let login = Login::from_root(self.root);
        block_on(async {
            match plan {
                Plan::Into { name, sources, destination } => {
                    into_vm(context, &name, login, &sources, &destination).await
                }
                Plan::OutOf { name, sources, destination } => {
                    let several = sources.len() > 1;
                    for source in &sources {
                        out_of_vm(context, &name, login, source, &destination, several).await?;
                    }
                    Ok(Exit::SUCCESS)
                }
            }
        })
    }
}

async fn into_vm(
    context: &Context,
    name: &VmName,
    login: Login,
    sources: &[PathBuf],
    destination: &OsStr,
) -> Outcome {
    // Before the VM is bothered: everything is there.
    for source in sources {
        std::fs::symlink_metadata(source).with_context(|| format!("can't copy {}", source.display()))?;
    }
    let destination = if destination.is_empty() { OsStr::new(".") } else { destination };
    let line = Peer::of(context, name)?.receive(destination)?;
    let total = pack::total(sources);
    let bar = if total >= BAR_FROM { context.progress.bar(Some(total)) } else { None };
    let (ours, theirs) = UnixStream::pair().context("can't make a stream")?;
    let work = {
        let (sources, destination, bar) = (sources.to_owned(), PathBuf::from(destination), bar.clone());
        tokio::task::spawn_blocking(move || send(&sources, &destination, ours, bar.as_ref()))
    };
    let skipped = transfer(context, name, login, line, theirs, work).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    warn_skipped(context, &skipped?);
    Ok(Exit::SUCCESS)
}

/// Waits for the guest's word on the destination, then sends the files under the right names.
fn send(
    sources: &[PathBuf],
    destination: &Path,
    stream: UnixStream,
    bar: Option<&ProgressBar>,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut reader = BufReader::new(stream.try_clone().context("can't make a stream")?);
    let mut word = String::new();
    reader.read_line(&mut word).context("the VM did not answer")?;
    let items = match (word.trim(), sources) {
        // The session's end says why.
        ("", _) => return Ok(Vec::new()),
        ("d", sources) => sources.iter().map(|source| Item::own(source)).collect::<Vec<_>>(),
        (_, [source]) => {
            if word.trim() == "f" && source.is_dir() {
                bail!(
                    "{} is no directory in the VM, and {} is one here",
                    destination.display(),
                    source.display()
                );
            }
            let Some(name) = destination.file_name() else {
                bail!("{} can't be made in the VM", destination.display());
            };
            vec![Item { source: source.clone(), name: name.into() }]
        }
        _ => bail!("{} is no directory in the VM; several sources need one to go to", destination.display()),
    };
    let mut output = std::io::BufWriter::with_capacity(64 * 1024, &stream);
    let skipped = pack::pack(&items, &mut output, bar)?;
    output.flush().context("can't send the files")?;
    stream.shutdown(std::net::Shutdown::Write).context("can't send the files")?;
    Ok(skipped)
}

async fn out_of_vm(
    context: &Context,
    name: &VmName,
    login: Login,
    source: &OsStr,
    destination: &Path,
    several: bool,
) -> anyhow::Result<()> {
    let source = if source.is_empty() { OsStr::new(".") } else { source };
    let to = Destination::find(destination, paths::own_name(Path::new(source)), several)?;
    let line = Peer::of(context, name)?.send(source)?;
    let bar = context.progress.bar(None);
    let (ours, theirs) = UnixStream::pair().context("can't make a stream")?;
    let work = {
        let bar = bar.clone();
        tokio::task::spawn_blocking(move || {
            ours.shutdown(std::net::Shutdown::Write).context("can't make a stream")?;
            let mut input = BufReader::with_capacity(64 * 1024, ours);
            // Nothing at all is the session's to explain.
            if input.fill_buf().context("can't read what the VM sent")?.is_empty() {
                return Ok(Vec::new());
            }
            Ok(unpack::unpack(input, &to, bar.as_ref())?.skipped)
        })
    };
    let skipped = transfer(context, name, login, line, theirs, work).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    warn_skipped(context, &skipped?);
    Ok(())
}

/// Runs `line` in the VM with `stream` as standard input and output, while `work` serves its other end.
async fn transfer(
    context: &Context,
    name: &VmName,
    login: Login,
    line: Vec<u8>,
    stream: UnixStream,
    work: tokio::task::JoinHandle<anyhow::Result<Vec<PathBuf>>>,
) -> anyhow::Result<Vec<PathBuf>> {
    stream.set_nonblocking(true).context("can't make a stream")?;
    let stream = tokio::net::UnixStream::from_std(stream).context("can't make a stream")?;
    let (stdin, stdout) = stream.into_split();
    let plan = Session { what: What::Command(line), terminal: false, environment: Vec::new(), grace: None };
    let session = async {
        let handle = ssh::connect(context, name, login).await?;
        let streams = Streams { stdin: Some(stdin), stdout, stderr: tokio::io::stderr() };
        session::run(&handle, &plan, streams).await
    };
    let exit = session.await;
    let worked = work.await.context("the copy broke off")?;
    match (exit, worked) {
        (Ok(Exit::SUCCESS), worked) => worked,
        // The files' side knows better what failed: the session only lost its other end.
        (Ok(_) | Err(_), Err(error)) => Err(error),
        (Err(error), Ok(_)) => Err(error),
        (Ok(Exit(code)), Ok(_)) => bail!("the copy failed in the VM `{name}` (exit code {code})"),
    }
}

fn warn_skipped(context: &Context, skipped: &[PathBuf]) {
    if let Some(first) = skipped.first() {
        let what = count(skipped.len() as u64, "entry").replace("entrys", "entries");
        context.progress.warn(&format!(
            "{what} left out, {} first: only files, directories and links are copied",
            first.display()
        ));
    }
}
