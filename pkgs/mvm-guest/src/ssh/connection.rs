//! One client: what it may do, and its channels.

use super::inbox::{Backlog, Chunk};
use super::process::{self, Plan, Process, Program};
use super::{Account, Server, forward, pty, signals};
use bytes::Bytes;
use nix::sys::signal::Signal;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf, Pty, Sig};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Variables that a client may set on one channel, at most.
const VARIABLES_MAX: usize = 256;

/// The handler of one client.
#[derive(Debug)]
pub struct Connection {
    server: Arc<Server>,
    backlog: Arc<Backlog>,
    account: Option<Account>,
    channels: HashMap<ChannelId, OpenChannel>,
}

#[derive(Debug)]
struct OpenChannel {
    /// Where the client's data goes; gone when the client has sent its last.
    input: Option<mpsc::UnboundedSender<Chunk>>,
    stage: Stage,
}

/// How far a channel is.
#[derive(Debug)]
enum Stage {
    /// A session that nothing runs in yet.
    Preparing {
        wires: Option<(mpsc::UnboundedReceiver<Chunk>, ChannelWriteHalf<Msg>)>,
        terminal: Option<pty::Request>,
        variables: BTreeMap<String, String>,
    },
    /// A session with a process.
    Running(Process),
    /// A forwarded connection.
    Forward,
}

impl Connection {
    /// A handler for a client of `server`, which counts what waits in `backlog`.
    pub fn new(server: Arc<Server>, backlog: Arc<Backlog>) -> Self {
        Self { server, backlog, account: None, channels: HashMap::new() }
    }

    fn judge(&self, user: &str, key: &russh::keys::PublicKey) -> Auth {
        if self.server.account(user).is_some() && self.server.authorizes(key) {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }

    /// Runs `program` on the channel `id`, and answers the request.
    fn start(&mut self, id: ChannelId, program: Program, session: &mut Session) -> Result<(), russh::Error> {
        let Some(account) = &self.account else { return session.channel_failure(id) };
        let Some(OpenChannel { stage: Stage::Preparing { wires, terminal, variables }, .. }) =
            self.channels.get_mut(&id)
        else {
            return session.channel_failure(id);
        };
        let Some((input, output)) = wires.take() else { return session.channel_failure(id) };
        let plan = Plan { account, program, terminal: terminal.take(), variables };
        // Replies overtake what the process writes: those are queued, this is not.
        session.channel_success(id)?;
        match process::start(&self.server, plan, process::Wires { input, output, session: session.handle() })
        {
            Ok(process) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.stage = Stage::Running(process);
                }
                Ok(())
            }
            Err(error) => {
                let shell = account.shell.display();
                let message = format!("mvm-guest: can't start {shell} for {}: {error}\n", account.name);
                session.extended_data(id, 1, message.into_bytes())?;
                // What a shell answers for a program that can't be run (POSIX, 2.8.2).
                session.exit_status_request(id, 126)?;
                session.close(id)
            }
        }
    }

    fn forward(&mut self, channel: Channel<Msg>, target: forward::Target, reply: ChannelOpenHandle) {
        let id = channel.id();
        let (sender, input) = mpsc::unbounded_channel();
        let (_, output) = channel.split();
        self.channels.insert(id, OpenChannel { input: Some(sender), stage: Stage::Forward });
        let reaper = self.server.reaper.clone();
        tokio::spawn(forward::run(target, forward::Wires { input, output }, reply, reaper));
    }

    fn process(&self, id: ChannelId) -> Option<&Process> {
        match &self.channels.get(&id)?.stage {
            Stage::Running(process) => Some(process),
            Stage::Preparing { .. } | Stage::Forward => None,
        }
    }
}

/// A client that is gone takes its processes along, as a terminal that is hung up does.
impl Drop for OpenChannel {
    fn drop(&mut self) {
        if let Stage::Running(process) = &self.stage {
            process.signal(Signal::SIGHUP);
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, offer.public_key))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let verdict = self.judge(user, key.public_key);
        if verdict == Auth::Accept {
            self.account = self.server.account(user).cloned();
        }
        Ok(verdict)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let id = channel.id();
        let (sender, input) = mpsc::unbounded_channel();
        // Without its reading half: the library would queue data there, and wait for somebody to take it.
        let (_, output) = channel.split();
        let stage =
            Stage::Preparing { wires: Some((input, output)), terminal: None, variables: BTreeMap::new() };
        self.channels.insert(id, OpenChannel { input: Some(sender), stage });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        match u16::try_from(port) {
            Ok(port) => self.forward(channel, forward::Target::Tcp(host.to_owned(), port), reply),
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.forward(channel, forward::Target::Socket(path.to_owned()), reply);
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        if let Some(OpenChannel { input: Some(input), .. }) = self.channels.get(&id) {
            // A receiver that is gone doesn't want it.
            let _ = input.send(Chunk::new(Bytes::copy_from_slice(data), &self.backlog));
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.backlog.window()
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.input = None;
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.get_mut(&id) {
            Some(OpenChannel { stage: Stage::Preparing { terminal, .. }, .. }) => {
                let size = pty::Size { columns, rows, width, height };
                *terminal = Some(pty::Request { term: term.to_owned(), size, modes: modes.to_vec() });
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.get_mut(&id) {
            Some(OpenChannel { stage: Stage::Preparing { variables, .. }, .. })
                if mvm_spec::v1::is_variable_name(name)
                    && !value.contains('\0')
                    && variables.len() < VARIABLES_MAX =>
            {
                variables.insert(name.to_owned(), value.to_owned());
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start(id, Program::Shell, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Program::Command(OsString::from_vec(line.to_vec())), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match name {
            "sftp" => self.start(id, Program::Sftp, session),
            _ => session.channel_failure(id),
        }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let size = pty::Size { columns, rows, width, height };
        match self.channels.get_mut(&id).map(|channel| &mut channel.stage) {
            Some(Stage::Running(process)) => process.resize(size),
            Some(Stage::Preparing { terminal: Some(terminal), .. }) => terminal.size = size,
            _ => {}
        }
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Self::Error> {
        if let (Some(process), Some(signal)) = (self.process(id), signals::from_ssh(&signal)) {
            process.signal(signal);
        }
        Ok(())
    }
}
