//! One command, or one shell, in a VM: its streams, its terminal, its signals, its end.

use super::Pinned;
use super::signals::{Arrived, Endings, from_ssh, to_ssh};
use super::terminal::{self, RawMode};
use crate::exit::{Exit, OutputClosed};
use anyhow::{Context as _, bail};
use russh::ChannelMsg;
use russh::client::{Handle, Msg};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of input on their way at once.
const CHUNK: usize = 32 * 1024;
/// Extended data of type 1 is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The user's login shell.
    Shell,
    /// A command line for the user's shell.
    Command(Vec<u8>),
}

/// How to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to run.
    pub what: What,
    /// Whether on a terminal of its own.
    pub terminal: bool,
    /// Variables for it.
    pub environment: Vec<(String, String)>,
    /// How long it may go on after a SIGTERM or SIGHUP to this process; without a limit if `None`.
    pub grace: Option<Duration>,
}

/// The streams of a command that are no terminal.
pub struct Streams<I, O, E> {
    /// Its standard input; `None` for none at all.
    pub stdin: Option<I>,
    /// Its standard output.
    pub stdout: O,
    /// Its standard error.
    pub stderr: E,
}

/// This process' own standard streams, without standard input if `input` is false.
pub fn standard_streams(input: bool) -> Streams<tokio::io::Stdin, tokio::io::Stdout, tokio::io::Stderr> {
    Streams { stdin: input.then(tokio::io::stdin), stdout: tokio::io::stdout(), stderr: tokio::io::stderr() }
}

/// Runs `plan` with `streams` to its end, and returns its exit code (128+n for signal n).
pub async fn run<I, O, E>(
    handle: &Handle<Pinned>,
    plan: &Plan,
    streams: Streams<I, O, E>,
) -> anyhow::Result<Exit>
where
    I: AsyncRead + Unpin + Send + 'static,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let mut endings = Endings::new().context("can't handle signals")?;
    let channel = tokio::select! {
        channel = handle.channel_open_session() => channel.context("the VM opened no session")?,
        Arrived { number, .. } = endings.next() => return Ok(Exit::signal(number)),
    };
    let (mut incoming, outgoing) = channel.split();
    let raw = request(&outgoing, plan).await?;
    // Its own task: output must flow while input waits, and the other way round.
    let outgoing = std::sync::Arc::new(outgoing);
    let input = match streams.stdin {
        Some(stdin) => Some(tokio::spawn(forward(stdin, outgoing.clone()))),
        None => {
            outgoing.eof().await.context("the connection to the VM broke off")?;
            None
        }
    };
    let mut resized = signal(SignalKind::window_change()).context("can't handle signals")?;
    let (mut stdout, mut stderr) = (streams.stdout, streams.stderr);
    let mut exit = None;
    let mut deadline = None;
    let result = loop {
        let overdue = async {
            match deadline {
                Some((when, number)) => {
                    tokio::time::sleep_until(when).await;
                    number
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = incoming.wait() => match message {
                Some(ChannelMsg::Data { data }) => {
                    if let Err(error) = write(&mut stdout, &data).await {
                        break Err(error);
                    }
                }
                Some(ChannelMsg::ExtendedData { data, ext: STDERR }) => {
                    // A closed standard error stops nothing: the command's result matters more.
                    let _ = write(&mut stderr, &data).await;
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    // Linux has 8 bits of exit status.
                    exit = Some(Exit(u8::try_from(exit_status & 0xff).unwrap_or(u8::MAX)));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    exit = Some(from_ssh(&signal_name).map_or(Exit(255), Exit::signal));
                }
                Some(ChannelMsg::Failure) => {
                    break Err(anyhow::anyhow!("the VM refused to run the command; its SSH server said no more"));
                }
                Some(ChannelMsg::Close) | None => {
                    break exit.context("the connection to the VM broke off; `mvm list` shows whether it still runs");
                }
                Some(_) => {}
            },
            Some(()) = resized.recv(), if plan.terminal => {
                let size = terminal::size();
                let _ = outgoing.window_change(size.columns, size.rows, size.width, size.height).await;
            },
            Arrived { number, again } = endings.next() => {
                // On a terminal of its own the command is hung up by the end of the connection.
                if again || plan.terminal || outgoing.signal(to_ssh(number)).await.is_err() {
                    break Ok(Exit::signal(number));
                }
                if let (Some(grace), libc::SIGTERM | libc::SIGHUP) = (plan.grace, number) {
                    deadline = Some((tokio::time::Instant::now() + grace, number));
                }
            },
            number = overdue => break Ok(Exit::signal(number)),
        }
    };
    if let Some(input) = input {
        input.abort();
    }
    drop(raw);
    result
}

/// Asks for the terminal, the variables and the command in one go. Only the command's request is answered, and the
/// answer is awaited with everything else that comes.
async fn request(outgoing: &russh::ChannelWriteHalf<Msg>, plan: &Plan) -> anyhow::Result<Option<RawMode>> {
    let lost = "the connection to the VM broke off";
    let mut raw = None;
    if plan.terminal {
        let size = terminal::size();
        let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        let modes = terminal::modes();
        outgoing
            .request_pty(false, &term, size.columns, size.rows, size.width, size.height, &modes)
            .await
            .context(lost)?;
        raw = Some(RawMode::enter().context("can't switch the terminal to raw mode")?);
    }
    for (name, value) in &plan.environment {
        outgoing.set_env(false, name, value).await.context(lost)?;
    }
    match &plan.what {
        What::Shell => outgoing.request_shell(true).await,
        What::Command(line) => outgoing.exec(true, line.clone()).await,
    }
    .context(lost)?;
    Ok(raw)
}

/// Sends `stdin` until it ends, then its end.
async fn forward(mut stdin: impl AsyncRead + Unpin, outgoing: std::sync::Arc<russh::ChannelWriteHalf<Msg>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stdin.read(&mut buffer).await {
            // An unreadable input is an ended one, as it is to a local command.
            Ok(0) | Err(_) => break,
            Ok(length) => {
                let Some(bytes) = buffer.get(..length) else { break };
                // Waits while the guest takes no more.
                if outgoing.data_bytes(bytes.to_vec()).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = outgoing.eof().await;
}

async fn write(output: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> anyhow::Result<()> {
    let written = async {
        output.write_all(data).await?;
        output.flush().await
    };
    match written.await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => bail!(OutputClosed),
        Err(error) => Err(anyhow::Error::new(error).context("can't write the command's output")),
    }
}
