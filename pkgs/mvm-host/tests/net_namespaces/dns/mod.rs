//! DNS and DHCP by the real dnsmasq, in its sandbox, for guests on a bridge.

mod addresses;
mod confined;
mod dhcp;
mod names;
mod restricted;
mod server;
mod upstream;
mod wire;

use crate::support::{NetThread, Place};
use mvm_host::net::dnsmasq::{Dnsmasq, DnsmasqPlan, Launcher, Upstream, VmHost};
use mvm_spec::VmName;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::Reply;

const BRIDGE: &str = "virbr-mvm";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 1);
const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait before asking again, as resolvers do.
const AGAIN: Duration = Duration::from_millis(700);

/// The process that the tests here start instead of `mvm internal dnsmasq`.
#[test]
#[ignore = "a process that other tests start, with its configuration as last argument"]
fn sandboxed() {
    let config = std::env::args().next_back().unwrap();
    let Err(error) = mvm_host::dnsmasq_process::main(&config) else { unreachable!("it executes dnsmasq") };
    eprintln!("mvm: {error}");
    std::process::exit(1);
}

fn launcher() -> Launcher {
    let arguments = ["dns::sandboxed", "--exact", "--ignored", "--nocapture"];
    Launcher { program: std::env::current_exe().unwrap(), arguments: arguments.map(Into::into).to_vec() }
}

/// A realm's namespace with a bridge.
fn realm() -> NetThread {
    let realm = NetThread::spawn(Place::New);
    realm.shell(&format!(
        "ip link set lo up; ip link add {BRIDGE} type bridge; ip address add {GATEWAY}/24 dev {BRIDGE}
         ip link set {BRIDGE} up"
    ));
    realm
}

/// A machine on the bridge, with the interface `eth0`, and with an address if it has one.
fn guest(realm: &NetThread, address: Option<&str>) -> NetThread {
    let guest = NetThread::spawn(Place::New);
    realm.shell(&format!(
        "ip link add port{tid} type veth peer name eth0 netns {tid}
         ip link set port{tid} master {BRIDGE} up",
        tid = guest.tid
    ));
    guest.shell("ip link set lo up; ip link set eth0 up");
    if let Some(address) = address {
        guest.shell(&format!("ip address add {address}/24 dev eth0"));
    }
    guest
}

fn plan(dir: &Path, upstream: Upstream) -> DnsmasqPlan {
    DnsmasqPlan {
        bridge: BRIDGE.into(),
        address: "192.168.100.1/24".parse().unwrap(),
        mtu: 1400,
        dir: dir.join("dns"),
        upstream,
        log_queries: false,
    }
}

fn servers(addresses: &[&str]) -> Upstream {
    Upstream::Servers(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn start(realm: &NetThread, plan: &DnsmasqPlan) -> Arc<Dnsmasq> {
    let plan = plan.clone();
    Arc::new(realm.run(async move { Dnsmasq::start(&plan, &launcher()).await }).unwrap())
}

fn name(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

fn host(vm: &str, last: u8) -> VmHost {
    VmHost { name: name(vm), mac: name(vm).mac(), address: Ipv4Addr::new(192, 168, 100, last) }
}

fn add(realm: &NetThread, dnsmasq: &Arc<Dnsmasq>, host: VmHost) {
    let dnsmasq = dnsmasq.clone();
    realm.run(async move { dnsmasq.add(&host).await }).unwrap();
}

fn remove(realm: &NetThread, dnsmasq: &Arc<Dnsmasq>, vm: &str) {
    let (dnsmasq, vm) = (dnsmasq.clone(), name(vm));
    realm.run(async move { dnsmasq.remove(&vm).await }).unwrap();
}

/// Asks from within a guest, by UDP, again and again as resolvers do.
fn ask(guest: &NetThread, name: &str, kind: u16) -> Reply {
    ask_port(guest, 53, name, kind)
}

fn ask_port(guest: &NetThread, port: u16, name: &str, kind: u16) -> Reply {
    let socket = socket(guest, port);
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(reply) = try_once(&socket, name, kind) {
            return reply;
        }
    }
    panic!("no answer about {name}");
}

/// Asks until the answer is as `wanted`.
fn ask_until(guest: &NetThread, port: u16, name: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
    let socket = socket(guest, port);
    let end = Instant::now() + DEADLINE;
    let mut last = None;
    while Instant::now() < end {
        last = try_once(&socket, name, wire::A);
        match last {
            Some(reply) if wanted(&reply) => return reply,
            Some(_) => std::thread::sleep(Duration::from_millis(20)),
            None => {}
        }
    }
    panic!("the last answer about {name}: {last:?}");
}

fn socket(guest: &NetThread, port: u16) -> UdpSocket {
    let socket = guest.call(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(SocketAddr::from((GATEWAY, port))).unwrap();
        socket
    });
    socket.set_read_timeout(Some(AGAIN)).unwrap();
    socket
}

fn try_once(socket: &UdpSocket, name: &str, kind: u16) -> Option<Reply> {
    static ID: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(100);
    let id = ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    socket.send(&wire::query(id, name, kind)).ok()?;
    let mut buffer = [0; 2000];
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        // Not the late answer to a question that was given up.
        if buffer[..2] == id.to_be_bytes() {
            return Some(wire::reply(&buffer[..length]));
        }
    }
}

/// The addresses of a name.
fn addresses(guest: &NetThread, name: &str) -> Vec<Ipv4Addr> {
    ask(guest, name, wire::A).addresses
}
