//! An SSH server that runs commands on this host by `/bin/sh`, as a guest's does in a guest.

use mvm_host::store::VmPaths;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelMsg, Pty, Sig};
use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

/// What a test can set, and what it can see.
#[derive(Default)]
pub struct Guest {
    /// Shows a host key that is not the VM's.
    pub impostor: AtomicBool,
    /// Never finishes booting.
    pub stuck: AtomicBool,
    /// What stands for the guest's own program, which is not on this host.
    pub tool: Mutex<String>,
    /// What happened, one line each.
    pub seen: Mutex<Vec<String>>,
}

impl Guest {
    pub fn stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst)
    }
    pub fn saw(&self, line: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|seen| seen == line)
    }
    fn note(&self, line: impl Into<String>) {
        self.seen.lock().unwrap().push(line.into());
    }
}

/// Serves one connection.
pub async fn serve(stream: UnixStream, paths: VmPaths, guest: Arc<Guest>) {
    // For an impostor any other key will do.
    let key = if guest.impostor.load(Ordering::SeqCst) { paths.user_key() } else { paths.host_key() };
    let config = russh::server::Config {
        keys: vec![PrivateKey::read_openssh_file(&key).unwrap()],
        auth_rejection_time: std::time::Duration::ZERO,
        ..Default::default()
    };
    let user_key = std::fs::read_to_string(paths.dir.join("ssh/user_key.pub")).unwrap();
    let connection = Connection {
        guest,
        user_key: PublicKey::from_openssh(&user_key).unwrap(),
        channels: HashMap::new(),
        environment: Vec::new(),
        signals: HashMap::new(),
    };
    if let Ok(session) = russh::server::run_stream(Arc::new(config), stream, connection).await {
        let _ = session.await;
    }
}

struct Connection {
    guest: Arc<Guest>,
    user_key: PublicKey,
    channels: HashMap<ChannelId, Channel<Msg>>,
    environment: Vec<(String, String)>,
    signals: HashMap<ChannelId, tokio::sync::mpsc::UnboundedSender<i32>>,
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.guest.note(format!("login {user}"));
        Ok(if key.public_key.key_data() == self.user_key.key_data() { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        _: ChannelId,
        name: &str,
        value: &str,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.environment.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    async fn pty_request(
        &mut self,
        _: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.guest.note(format!("pty {term} {columns}x{rows}"));
        Ok(())
    }

    async fn window_change_request(
        &mut self,
        _: ChannelId,
        columns: u32,
        rows: u32,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.guest.note(format!("window {columns}x{rows}"));
        Ok(())
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _: &mut Session) -> Result<(), russh::Error> {
        self.guest.note(format!("signal {signal:?}"));
        let number = match signal {
            Sig::INT => libc::SIGINT,
            Sig::TERM => libc::SIGTERM,
            Sig::HUP => libc::SIGHUP,
            _ => libc::SIGQUIT,
        };
        if let Some(sender) = self.signals.get(&id) {
            let _ = sender.send(number);
        }
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        self.command(id, b"exec /bin/sh", session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.command(id, line, session)
    }
}

impl Connection {
    fn command(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        use std::os::unix::ffi::OsStrExt;
        session.channel_success(id)?;
        let channel = self.channels.remove(&id).unwrap();
        let mut line = line.to_vec();
        let (own, tool) = (b"/run/mvm/mvm-guest", self.guest.tool.lock().unwrap().clone());
        if let Some(at) = line.windows(own.len()).position(|window| window == own) {
            line.splice(at..at + own.len(), tool.into_bytes());
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(std::ffi::OsStr::from_bytes(&line)).envs(self.environment.clone());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        let (sender, signals) = tokio::sync::mpsc::unbounded_channel();
        self.signals.insert(id, sender);
        tokio::spawn(run(command, channel, session.handle(), signals, self.guest.clone()));
        Ok(())
    }
}

async fn run(
    mut command: Command,
    channel: Channel<Msg>,
    handle: russh::server::Handle,
    mut signals: tokio::sync::mpsc::UnboundedReceiver<i32>,
    guest: Arc<Guest>,
) {
    let mut child = command.spawn().unwrap();
    let group = nix::unistd::Pid::from_raw(-(child.id().unwrap() as i32));
    let (mut incoming, outgoing) = channel.split();
    let (mut stdin, mut stdout, mut stderr) =
        (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let outgoing = Arc::new(outgoing);
    // Taken off the connection at once: while input waits here, the window for output must still be heard of.
    let (inbox, mut pending) = tokio::sync::mpsc::unbounded_channel();
    let input = tokio::spawn(async move {
        let mut inbox = Some(inbox);
        while let Some(message) = incoming.wait().await {
            match (message, &inbox) {
                (ChannelMsg::Data { data }, Some(inbox)) => {
                    let _ = inbox.send(data);
                }
                (ChannelMsg::Eof, _) => inbox = None,
                _ => {}
            }
        }
    });
    tokio::spawn(async move {
        while let Some(data) = pending.recv().await {
            if stdin.write_all(&data).await.is_err() {
                break;
            }
        }
    });
    let output = async {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = stdout.read(&mut buffer).await.unwrap();
            if length == 0 || outgoing.data_bytes(buffer[..length].to_vec()).await.is_err() {
                break;
            }
        }
    };
    let errors = async {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let length = stderr.read(&mut buffer).await.unwrap();
            if length == 0 || outgoing.extended_data_bytes(1, buffer[..length].to_vec()).await.is_err() {
                break;
            }
        }
    };
    let signalled = async {
        while let Some(number) = signals.recv().await {
            let signal = nix::sys::signal::Signal::try_from(number).unwrap();
            let _ = nix::sys::signal::kill(group, signal);
        }
        std::future::pending::<()>().await
    };
    let gone = async {
        let _ = input.await;
    };
    tokio::select! {
        _ = async { tokio::join!(output, errors) } => {}
        () = signalled => {}
        () = gone => {
            guest.note("hung up");
            let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGHUP);
        }
    }
    let status = child.wait().await.unwrap();
    match (status.code(), status.signal()) {
        (Some(code), _) => {
            let _ = outgoing.exit_status(code as u32).await;
        }
        (None, signal) => {
            let name = match signal.unwrap_or(0) {
                libc::SIGINT => Sig::INT,
                libc::SIGTERM => Sig::TERM,
                libc::SIGKILL => Sig::KILL,
                libc::SIGHUP => Sig::HUP,
                _ => Sig::Custom("SEGV".into()),
            };
            guest.note(format!("ended by {name:?}"));
            let _ =
                handle.exit_signal_request(outgoing.id(), name, false, String::new(), String::new()).await;
        }
    }
    let _ = outgoing.eof().await;
    let _ = outgoing.close().await;
}
