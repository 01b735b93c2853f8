//! A host for tests: the other end of the guest's connection.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, which may fail like tests do")]

use anyhow::Result;
use futures::future::poll_fn;
use mvm_guest::control::Reporter;
use mvm_guest::mux::{Mux, Stream};
use mvm_guest::reaper::{Reaper, Scope};
use mvm_guest::serve::{Machine, serve};
use mvm_guest::ssh::{Account, Server, Settings, Surroundings};
use mvm_guest::workload::{self, Places, Supervisor};
use mvm_spec::control::{GuestConfig, GuestSsh, PROTOCOL, Shares, StreamKind, ToGuest, ToHost};
use mvm_spec::workload::Workload;
use russh::client::{AuthResult, Handle, Msg};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Sig};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

/// A machine that stays what it is.
struct ThisMachine {
    reaper: Reaper,
    project: PathBuf,
    supervisor: OnceLock<Supervisor>,
}

impl Machine for ThisMachine {
    async fn configure(&self, config: GuestConfig, report: &Reporter) -> Result<Arc<Server>> {
        report.step("nothing", Instant::now());
        let account = Account {
            name: config.user.name.clone(),
            uid: config.user.uid,
            gid: config.user.gid,
            home: self.project.clone(),
            shell: "/bin/sh".into(),
        };
        let settings = workload::Settings {
            account: account.clone(),
            unprivileged: account.clone(),
            environment: config.environment.clone(),
            places: Places { state: self.project.join("state"), runtime: self.project.join("run") },
            reaper: self.reaper.clone(),
        };
        let _ = self.supervisor.set(Supervisor::start(settings, report.clone()));
        Ok(Arc::new(Server::new(Settings {
            keys: &config.ssh,
            accounts: vec![account],
            program: env!("CARGO_BIN_EXE_mvm-guest").into(),
            surroundings: Surroundings {
                environment: config.environment,
                directories: vec![self.project.clone()],
            },
            reaper: self.reaper.clone(),
        })?))
    }

    fn run_workload(&self, workload: Workload, server: &Server) {
        let environment = workload.environment.clone();
        server.surround(Surroundings { environment, directories: vec![self.project.clone()] });
        self.supervisor.get().unwrap().run(workload);
    }

    fn send_output(&self, stream: Stream) {
        self.supervisor.get().unwrap().send_output(stream);
    }

    async fn wind_down(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.stop().await;
        }
    }
}

/// Login name in tests.
pub fn user_name() -> String {
    "dev".to_owned()
}

/// A new key.
pub fn key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

/// A running guest.
pub struct Guest {
    /// What it has told up to now.
    pub heard: Vec<ToHost>,
    opener: mpsc::Sender<oneshot::Sender<Stream>>,
    control: Stream,
    host_key: PrivateKey,
    user_key: PrivateKey,
    project: tempfile::TempDir,
    serving: JoinHandle<()>,
    connection: JoinHandle<()>,
}

impl Guest {
    /// Starts a guest and configures it.
    pub async fn start() -> Self {
        let project = tempfile::tempdir().unwrap();
        let (host, guest) = UnixStream::pair().unwrap();
        let machine = ThisMachine {
            reaper: Reaper::start(Scope::Own).unwrap(),
            project: project.path().to_owned(),
            supervisor: OnceLock::new(),
        };
        let hello = ToHost::Hello {
            protocol: PROTOCOL,
            kernel: "test".to_owned(),
            init_started_us: 0,
            connected_us: 0,
        };
        let serving = tokio::spawn(serve(Mux::serve(guest), machine, vec![hello]));
        let (opener, connection) = connect(host);
        let mut control = open(&opener).await;
        control.write_all(&[StreamKind::Control as u8]).await.unwrap();
        control.flush().await.unwrap();
        let mut guest = Self {
            heard: Vec::new(),
            opener,
            control,
            host_key: key(),
            user_key: key(),
            project,
            serving,
            connection,
        };
        let config = guest.config();
        guest.tell(&ToGuest::Configure(Box::new(config))).await;
        while guest.heard.last() != Some(&ToHost::Ready) {
            let message = guest.hear().await.expect("the guest ended");
            guest.heard.push(message);
        }
        guest
    }

    /// The configuration it got.
    pub fn config(&self) -> GuestConfig {
        GuestConfig {
            hostname: "guest".to_owned(),
            machine_id: "0".repeat(32),
            time_unix_ns: 0,
            held_ns: 0,
            plugged: false,
            entropy: String::new(),
            shares: Shares { software: String::new(), project: None },
            file_quota: 0,
            home_disk: false,
            network: None,
            user: mvm_spec::v1::User {
                name: user_name(),
                uid: nix::unistd::getuid().as_raw(),
                gid: nix::unistd::getgid().as_raw(),
            },
            ssh: GuestSsh {
                host_key: hex::encode(self.host_key.to_bytes().unwrap()),
                authorized_keys: vec![hex::encode(self.user_key.public_key().to_bytes().unwrap())],
            },
            environment: BTreeMap::from([("FROM_VM".to_owned(), "vm value".to_owned())]),
            workload: None,
        }
    }

    /// Sends a control message.
    pub async fn tell(&mut self, message: &ToGuest) {
        let json = serde_json::to_vec(message).unwrap();
        self.control.write_u32(json.len() as u32).await.unwrap();
        self.control.write_all(&json).await.unwrap();
        self.control.flush().await.unwrap();
    }

    /// The next control message; none at the end.
    pub async fn hear(&mut self) -> Option<ToHost> {
        let length = self.control.read_u32().await.ok()?;
        let mut json = vec![0; length as usize];
        self.control.read_exact(&mut json).await.unwrap();
        Some(serde_json::from_slice(&json).unwrap())
    }

    /// Waits for the guest's end.
    pub async fn ended(self) {
        self.serving.await.unwrap();
    }

    /// Closes the host's end, and returns the wait for the guest's.
    pub fn hang_up(self) -> impl Future<Output = ()> {
        self.connection.abort();
        async move { self.serving.await.unwrap() }
    }

    /// The directory that stands for project and home.
    pub fn project(&self) -> &Path {
        self.project.path()
    }

    /// The key that may log in.
    pub fn user_key(&self) -> PrivateKey {
        self.user_key.clone()
    }

    /// A new stream.
    pub async fn open(&self) -> Stream {
        open(&self.opener).await
    }

    /// An SSH connection as `user` with `key`, if the guest accepts them.
    pub async fn login(&self, user: &str, key: PrivateKey) -> Option<Ssh> {
        let mut stream = self.open().await;
        stream.write_all(&[StreamKind::Ssh as u8]).await.unwrap();
        let check = CheckHostKey(self.host_key.public_key().clone());
        let mut handle = russh::client::connect_stream(Arc::default(), stream, check).await.unwrap();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let verdict = handle.authenticate_publickey(user, key).await.unwrap();
        matches!(verdict, AuthResult::Success).then_some(Ssh { handle })
    }

    /// An SSH connection as the ordinary user.
    pub async fn ssh(&self) -> Ssh {
        self.login(&user_name(), self.user_key.clone()).await.expect("the guest refused the user")
    }
}

/// Accepts the key that the guest was given, and no other.
pub struct CheckHostKey(russh::keys::PublicKey);

impl russh::client::Handler for CheckHostKey {
    type Error = russh::Error;
    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.key_data() == self.0.key_data())
    }
}

/// A logged-in client.
pub struct Ssh {
    /// The library's handle.
    pub handle: Handle<CheckHostKey>,
}

impl Ssh {
    /// A session channel.
    pub async fn session(&self) -> Channel<Msg> {
        self.handle.channel_open_session().await.unwrap()
    }

    /// Runs a command line to its end, with `input`.
    pub async fn exec(&self, line: &str, input: &[u8]) -> Outcome {
        let channel = self.session().await;
        channel.exec(true, line).await.unwrap();
        let (mut reader, writer) = channel.split();
        let feed = async {
            // The command may end without having read it all.
            let _ = writer.data(input).await;
            let _ = writer.eof().await;
        };
        let mut outcome = Outcome::default();
        let gather = async {
            while let Some(message) = reader.wait().await {
                outcome.add(message);
            }
        };
        tokio::join!(feed, gather);
        outcome
    }
}

/// What became of a command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its exit status.
    pub status: Option<u32>,
    /// The signal that ended it, as its name in SSH.
    pub signal: Option<String>,
}

impl Outcome {
    /// Reads `channel` to its end.
    pub async fn of(mut channel: Channel<Msg>) -> Self {
        let mut outcome = Self::default();
        while let Some(message) = channel.wait().await {
            outcome.add(message);
        }
        outcome
    }

    fn add(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { data } => self.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => self.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => self.signal = Some(signal_text(signal_name)),
            _ => {}
        }
    }
}

fn signal_text(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        known => format!("{known:?}"),
    }
}

/// Waits until `channel` has given `expected`, no less and nothing else.
pub async fn expect_output(channel: &mut Channel<Msg>, expected: &[u8]) {
    let mut output = Vec::new();
    while output.len() < expected.len() {
        match channel.wait().await {
            Some(ChannelMsg::Data { data }) => output.extend_from_slice(&data),
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(expected));
}

async fn open(opener: &mpsc::Sender<oneshot::Sender<Stream>>) -> Stream {
    let (sender, receiver) = oneshot::channel();
    opener.send(sender).await.unwrap();
    receiver.await.unwrap()
}

/// Drives the host's end of the multiplexed connection.
fn connect(stream: UnixStream) -> (mpsc::Sender<oneshot::Sender<Stream>>, JoinHandle<()>) {
    let (opener, mut requests) = mpsc::channel::<oneshot::Sender<Stream>>(8);
    let mut connection =
        yamux::Connection::new(stream.compat(), yamux::Config::default(), yamux::Mode::Client);
    let driver = tokio::spawn(async move {
        loop {
            tokio::select! {
                inbound = poll_fn(|context| connection.poll_next_inbound(context)) => match inbound {
                    Some(Ok(_)) => {}
                    _ => break,
                },
                Some(request) = requests.recv() => {
                    let stream = poll_fn(|context| connection.poll_new_outbound(context)).await.unwrap();
                    let _ = request.send(stream.compat());
                }
            }
        }
    });
    (opener, driver)
}
