//! The process of a session, and the pumps between it and its channel.

use super::account::{Account, environment, start_dir};
use super::inbox::Chunk;
use super::pty;
use super::{Server, Surroundings, command_line, signals};
use crate::fd::FdStream;
use crate::reaper::Exit;
use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

/// Bytes read from a process at a time: the SSH library's packets.
const READ_SIZE: usize = 32 * 1024;
/// Extended data of this type is standard error (RFC 4254 §5.2).
const STDERR: u32 = 1;
/// How long after a process' end its output may still flow before the client is told of the end.
const LINGER: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The account's shell, as a login shell.
    Shell,
    /// A command line, for the account's shell.
    Command(OsString),
    /// The SFTP server.
    Sftp,
}

/// A process that is to be started.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Whose process.
    pub account: &'a Account,
    /// What to run.
    pub program: Program,
    /// The terminal it gets; without one, pipes.
    pub terminal: Option<pty::Request>,
    /// Variables that the client asked for.
    pub variables: &'a BTreeMap<String, String>,
}

/// A handle to the running process of a session.
#[derive(Debug)]
pub struct Process {
    group: Pid,
    running: Arc<AtomicBool>,
    terminal: Option<FdStream>,
}

impl Process {
    /// Sends `signal` to the process and those it started, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.running.load(Ordering::Relaxed) {
            let _ = killpg(self.group, signal);
        }
    }

    /// Changes the terminal's size, if there is a terminal.
    pub fn resize(&self, size: pty::Size) {
        if let Some(terminal) = &self.terminal {
            pty::resize(terminal, size);
        }
    }
}

/// Where the bytes of a started process go through.
struct Ends {
    input: Box<dyn AsyncWrite + Send + Unpin>,
    output: Box<dyn AsyncRead + Send + Unpin>,
    errors: Option<Box<dyn AsyncRead + Send + Unpin>>,
    terminal: Option<FdStream>,
}

/// The channel of a session, as its pumps see it.
#[derive(Debug)]
pub struct Wires {
    /// What the client sends; its end is the end of standard input.
    pub input: mpsc::UnboundedReceiver<Chunk>,
    /// Where output goes.
    pub output: ChannelWriteHalf<Msg>,
    /// For what the channel itself can't say.
    pub session: Handle,
}

/// Starts what `plan` says and connects it to `wires`.
pub fn start(server: &Server, plan: Plan<'_>, wires: Wires) -> io::Result<Process> {
    let launched = match without_shell(server, &plan) {
        // What can't be started this way, say for its permissions, the shell explains to the user.
        Some(command) => {
            launch(server, command, &plan).or_else(|_| launch(server, command_of(server, &plan), &plan))
        }
        None => launch(server, command_of(server, &plan), &plan),
    };
    let (ends, exit, group) = launched?;
    let running = Arc::new(AtomicBool::new(true));
    let process = Process { group, running: Arc::clone(&running), terminal: ends.terminal.clone() };
    tokio::spawn(async move {
        let Wires { input, output, session } = wires;
        tokio::spawn(feed(input, ends.input));
        let exit = async {
            let exit = exit.await;
            running.store(false, Ordering::Relaxed);
            exit
        };
        conduct(ends.output, ends.errors, exit, &output, &session).await;
    });
    Ok(process)
}

/// Pumps output until the process has ended and its output too, then says how and closes the channel.
async fn conduct(
    mut stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    exit: impl Future<Output = Result<Exit, oneshot::error::RecvError>>,
    channel: &ChannelWriteHalf<Msg>,
    session: &Handle,
) {
    let pumps = async {
        tokio::join!(drain(&mut stdout, |bytes| channel.data_bytes(bytes)), async {
            if let Some(mut stderr) = stderr {
                drain(&mut stderr, |bytes| channel.extended_data_bytes(STDERR, bytes)).await;
            }
        });
    };
    tokio::pin!(pumps, exit);
    let mut drained = false;
    let status = loop {
        tokio::select! {
            () = &mut pumps, if !drained => drained = true,
            status = &mut exit => break status,
        }
    };
    // Something in the background may hold the output open long after the command's end. Like OpenSSH's server, tell
    // of the end then, and go on with the output: whoever waits only for the command need not wait for that.
    if !drained {
        drained = tokio::time::timeout(LINGER, &mut pumps).await.is_ok();
    }
    if drained {
        let _ = channel.eof().await;
    }
    match status {
        Ok(Exit::Code(code)) => {
            let _ = channel.exit_status(code.cast_unsigned()).await;
        }
        Ok(Exit::Signal { signal, core_dumped }) => {
            let _ = session
                .exit_signal_request(
                    channel.id(),
                    signals::to_ssh(signal),
                    core_dumped,
                    format!("ended by {signal}"),
                    String::new(),
                )
                .await;
        }
        // The runtime ends, and with it the guest.
        Err(_) => {}
    }
    if !drained {
        pumps.await;
        let _ = channel.eof().await;
    }
    let _ = channel.close().await;
}

/// Passes on what `from` gives until it ends or nobody wants it.
async fn drain<F, E>(from: &mut (impl AsyncRead + Unpin), send: impl Fn(Bytes) -> F)
where
    F: Future<Output = Result<(), E>>,
{
    let mut buffer = BytesMut::new();
    loop {
        // A trickle of small reads shares one allocation, a flood fills one each.
        buffer.reserve(READ_SIZE / 4);
        if buffer.capacity() < READ_SIZE / 2 {
            buffer.reserve(READ_SIZE);
        }
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if send(buffer.split().freeze()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Feeds the client's data to the process until either ends. Data that the process doesn't want is dropped, so that
/// the client is not held up.
async fn feed(mut from: mpsc::UnboundedReceiver<Chunk>, mut to: Box<dyn AsyncWrite + Send + Unpin>) {
    while let Some(chunk) = from.recv().await {
        if to.write_all(&chunk).await.is_err() {
            break;
        }
    }
    // Closes the pipe: the process reads its end.
    drop(to);
    while from.recv().await.is_some() {}
}

/// The command for a line that needs no shell.
fn without_shell(server: &Server, plan: &Plan<'_>) -> Option<Command> {
    let Program::Command(line) = &plan.program else { return None };
    let words = command_line::words(line.as_bytes())?;
    let (program, arguments) = words.split_first()?;
    let surroundings = server.surroundings();
    let variables = variables(&surroundings, plan);
    let dir = start_dir(plan.account, &surroundings.directories);
    if !command_line::is_program(program.to_str()?, variables.get("PATH")?, dir) {
        return None;
    }
    let mut command = Command::new(program);
    // PWD is what the shell would have set, and some programs go by it.
    command.args(arguments).env_clear().envs(variables).env("PWD", dir).current_dir(dir);
    Some(command)
}

fn command_of(server: &Server, plan: &Plan<'_>) -> Command {
    let account = plan.account;
    let mut command = match &plan.program {
        Program::Shell => {
            let mut command = Command::new(&account.shell);
            // How a shell knows that it is a login shell (login(1)).
            let mut name = OsString::from("-");
            name.push(account.shell.file_name().unwrap_or(account.shell.as_os_str()));
            command.arg0(name);
            command
        }
        Program::Command(line) => {
            let mut command = Command::new(&account.shell);
            command.arg("-c").arg(line);
            command
        }
        Program::Sftp => {
            let mut command = Command::new(&server.program);
            command.arg("sftp");
            command
        }
    };
    let surroundings = server.surroundings();
    let dir = start_dir(account, &surroundings.directories);
    command.env_clear().envs(variables(&surroundings, plan)).current_dir(dir);
    command
}

fn variables(surroundings: &Surroundings, plan: &Plan<'_>) -> BTreeMap<String, String> {
    let term = plan.terminal.as_ref().map(|terminal| terminal.term.as_str());
    environment(plan.account, &surroundings.environment, plan.variables, term)
}

type Launched = (Ends, oneshot::Receiver<Exit>, Pid);

fn launch(server: &Server, mut command: Command, plan: &Plan<'_>) -> io::Result<Launched> {
    match &plan.terminal {
        Some(request) => start_on_terminal(server, command, request, plan.account),
        None => {
            become_session(&mut command, plan.account, None);
            start_on_pipes(server, command)
        }
    }
}

fn start_on_pipes(server: &Server, mut command: Command) -> io::Result<Launched> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, pid, exit) = server.reaper.spawn(&mut command)?;
    let missing = || io::Error::other("the process has no pipe");
    let input = pipe::Sender::from_owned_fd(OwnedFd::from(child.stdin.take().ok_or_else(missing)?))?;
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().ok_or_else(missing)?))?;
    let errors = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stderr.take().ok_or_else(missing)?))?;
    let ends = Ends {
        input: Box::new(input),
        output: Box::new(output),
        errors: Some(Box::new(errors)),
        terminal: None,
    };
    Ok((ends, exit, pid))
}

fn start_on_terminal(
    server: &Server,
    mut command: Command,
    request: &pty::Request,
    account: &Account,
) -> io::Result<Launched> {
    let (terminal, slave) = pty::open(request, account.uid)?;
    command
        .stdin(Stdio::from(slave.try_clone()?))
        .stdout(Stdio::from(slave.try_clone()?))
        .stderr(Stdio::from(slave));
    become_session(&mut command, account, Some(libc::STDIN_FILENO));
    let (_, pid, exit) = server.reaper.spawn(&mut command)?;
    // `command` held the slave open: the terminal ends only when nobody does.
    drop(command);
    let ends = Ends {
        input: Box::new(terminal.clone()),
        output: Box::new(terminal.clone()),
        errors: None,
        terminal: Some(terminal),
    };
    Ok((ends, exit, pid))
}

/// Makes the child the leader of a session, with `terminal` as its controlling terminal, and gives it the account's ids.
pub(crate) fn become_session(command: &mut Command, account: &Account, terminal: Option<RawFd>) {
    let (uid, gid) = (account.uid, account.gid);
    let change_ids = uid != nix::unistd::geteuid().as_raw() || nix::unistd::geteuid().is_root();
    let before_exec = move || {
        nix::unistd::setsid()?;
        if let Some(terminal) = terminal {
            #[expect(unsafe_code, reason = "an ioctl on an open descriptor, with a number as its argument")]
            if unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        if change_ids {
            nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(gid)])?;
            nix::unistd::setgid(nix::unistd::Gid::from_raw(gid))?;
            nix::unistd::setuid(nix::unistd::Uid::from_raw(uid))?;
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "between fork and exec only system calls are made, which is all that is allowed there"
    )]
    unsafe {
        command.pre_exec(before_exec);
    }
}
