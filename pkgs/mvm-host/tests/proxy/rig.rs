//! A host, a guest, and a proxy between them.

use crate::support::{NetThread, Place};
use mvm_host::net::uplink::pin_namespace;
use mvm_host::ports::proxy::protocol::Served;
use mvm_host::ports::proxy::{Added, Client, ProxyConfig};
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, ForwardRequest};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Holds the configuration of the proxy that the test binary is to be.
pub const CONFIG: &str = "MVM_TEST_PROXY";
/// The guest's address, and another that it could have.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
pub const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);
/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Guest's ports: says back what it hears; says how much it heard when it has heard all; resets once it has heard
/// something; says its own address. UDP: says back what it hears.
pub const ECHO: u16 = 7001;
pub const COUNT: u16 = 7002;
pub const RESET: u16 = 7003;
pub const WHO: u16 = 7004;

/// A host with a proxy, and a guest with servers.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub guest: NetThread,
    pub config: ProxyConfig,
    pub proxy: Proxy,
    runtime: tokio::runtime::Runtime,
}

/// A proxy process; killed when dropped.
pub struct Proxy(pub Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    pub fn new() -> Self {
        let guest = NetThread::spawn(Place::New);
        guest.shell(&format!(
            "ip link set lo up; ip address add {GUEST}/32 dev lo; ip address add {OTHER}/32 dev lo"
        ));
        guest.call(serve);
        let dir = tempfile::tempdir().unwrap();
        let namespace = dir.path().join("netns");
        let pinned = namespace.clone();
        guest.call(move || pin_namespace(&pinned)).unwrap();
        let config = ProxyConfig {
            socket: dir.path().join("proxy.sock"),
            guest_namespace: Some(namespace),
            resolv_conf: Some(dir.path().join("resolv.conf")),
            run_as: None,
            die_with_parent: true,
        };
        let proxy = start(&config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, guest, config, proxy, runtime }
    }

    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.unwrap() })
    }

    pub fn client(&self) -> Client {
        self.run(Client::connect(&self.config.socket)).unwrap().unwrap()
    }

    /// Sets the forwards of VM `a`; returns what is said of those that are blocked.
    pub fn set(&self, forwards: &[&str]) -> Vec<String> {
        self.set_vm("a", GUEST, forwards)
    }

    pub fn set_vm(&self, vm: &str, address: Ipv4Addr, texts: &[&str]) -> Vec<String> {
        let blocked = self.run(self.client().set(&name(vm), address, forwards(texts))).unwrap();
        blocked.iter().map(ToString::to_string).collect()
    }

    pub fn add(&self, vm: &str, texts: &[&str]) -> Added {
        self.run(self.client().add(&name(vm), forwards(texts))).unwrap()
    }

    /// Adds one forward with any free port; returns the port.
    pub fn add_any(&self, vm: &str, text: &str) -> u16 {
        match self.add(vm, &[text]) {
            Added::Served(served) => served[0].host,
            other => panic!("{text}: {other:?}"),
        }
    }

    pub fn remove(&self, vm: &str, texts: &[&str]) -> usize {
        self.run(self.client().remove(&name(vm), forwards(texts))).unwrap().len()
    }

    pub fn list(&self, vm: &str) -> Vec<Served> {
        let vms = self.run(self.client().list(Some(&name(vm)))).unwrap();
        vms.into_iter().flat_map(|vm| vm.forwards).collect()
    }

    pub fn served(&self, vm: &str, text: &str) -> Served {
        let forward = forwards(&[text]).remove(0);
        self.list(vm).into_iter().find(|served| served.forward == forward).unwrap()
    }

    /// How many files the proxy has open.
    pub fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.proxy.0.id())).unwrap().count()
    }
}

/// Starts a proxy; returns when it is ready.
pub fn start(config: &ProxyConfig) -> Proxy {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["process", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CONFIG, serde_json::to_string(config).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let proxy = Proxy(child);
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the proxy did not start");
    proxy
}

pub fn name(vm: &str) -> VmName {
    VmName::new(vm).unwrap()
}

pub fn forwards(texts: &[&str]) -> Vec<Forward> {
    let requests = texts.iter().map(|text| text.parse::<ForwardRequest>().unwrap());
    requests.flat_map(|request| request.forwards().collect::<Vec<_>>()).collect()
}

/// A connection from the host, that gives up on silence.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends `bytes` and expects them back.
pub fn echoes(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "the echo of {} bytes differs", bytes.len());
}

/// All that comes until the end.
pub fn rest(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The socket of a UDP client, that gives up on silence.
pub fn udp_client(to: &str) -> UdpSocket {
    let to: SocketAddr = to.parse().unwrap();
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// Waits until `done`.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts the guest's servers, in the calling thread's namespace; they end with the process.
fn serve() {
    tcp_server(ECHO, |mut stream| {
        let mut buffer = vec![0; 65536];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
    tcp_server(COUNT, |mut stream| {
        let heard = std::io::copy(&mut stream, &mut std::io::sink());
        let _ = write!(stream, "heard {} bytes", heard.unwrap_or(0));
    });
    tcp_server(RESET, |mut stream| {
        let _ = stream.read(&mut [0]);
        let _ = rustix::net::sockopt::set_socket_linger(stream.as_fd(), Some(Duration::ZERO));
    });
    tcp_server(WHO, |mut stream| {
        let address = stream.local_addr().unwrap().ip();
        let _ = write!(stream, "{address}");
    });
    for port in [ECHO, WHO] {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let _ = match port {
                    ECHO => socket.send_to(&buffer[..length], from),
                    _ => socket.send_to(from.to_string().as_bytes(), from),
                };
            }
        });
    }
}

pub fn tcp_server(port: u16, serve: fn(TcpStream)) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// A TCP server in the guest that hands its connections out.
pub fn handed_out(guest: &NetThread, port: u16) -> mpsc::Receiver<TcpStream> {
    guest.call(move || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        let (hand, connections) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                if hand.send(stream).is_err() {
                    return;
                }
            }
        });
        connections
    })
}

/// The file that the proxy believes to be the host's resolv.conf.
pub fn resolv_conf(rig: &Rig) -> PathBuf {
    rig.dir.path().join("resolv.conf")
}
