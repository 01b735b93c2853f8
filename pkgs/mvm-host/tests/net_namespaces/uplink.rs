//! The way out through `pasta`.

use crate::guest::{Guest, TcpAnswer, tcp_answer};
use crate::isolation::{boot, dropped, plan, set_up, set_up_as};
use crate::support::{NetThread, Place, in_namespaces, shell};
use mvm_host::net::uplink::{self, Uplink};
use mvm_host::net::{Network, NetworkPlan, ruleset};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The "host" (this process's namespace) and the "internet", connected by [`go_online`].
struct World {
    host: NetThread,
    realm: NetThread,
    internet: NetThread,
    network: Arc<Network>,
    guest: Guest,
    /// The host's services: on all its addresses.
    service: TcpListener,
    server: TcpListener,
}

fn world() -> World {
    let (host, realm, internet) =
        (NetThread::spawn(Place::Host), NetThread::spawn(Place::New), NetThread::spawn(Place::New));
    internet.shell(&format!("ip link set lo up; ip address add {SERVER}/32 dev lo"));
    let server = internet.call(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    let service = TcpListener::bind("0.0.0.0:8081").unwrap();
    service.set_nonblocking(true).unwrap();
    // A mount namespace of the test's own: the host's resolver is one on loopback, as systemd-resolved is.
    shell(
        "file=$(mktemp); echo nameserver 127.0.0.53 > $file; mount --bind $file /etc/resolv.conf; rm $file",
    );
    // Nobody answers DNS on the bridge: guests ask the uplink's resolver.
    let network = set_up_as(&realm, NetworkPlan { services: Vec::new(), ..plan() });
    let guest = boot(&realm, &network, "a", 10);
    World { host, realm, internet, network, guest, service, server }
}

fn go_online(world: &World) {
    let tid = world.internet.tid;
    shell(&format!(
        "ip link add wan type veth peer name inet netns {tid}
         ip link set wan up; ip address add 203.0.113.2/24 dev wan; ip route add default via 203.0.113.1"
    ));
    world.internet.shell("ip link set inet up; ip address add 203.0.113.1/24 dev inet");
}

fn attach(world: &World) -> Uplink {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("netns");
    let (host, network) = (world.host.handle.clone(), world.network.clone());
    world.realm.run(async move {
        uplink::pin_namespace(&file).unwrap();
        let plan = network.uplink_plan(file.clone()).unwrap();
        let uplink = uplink::attach(&host, &network, &plan).await.unwrap();
        uplink::unpin_namespace(&file).unwrap();
        uplink::unpin_namespace(&file).unwrap();
        uplink
    })
}

/// Connects until the server accepts: a path that has just come about takes its time.
fn connects(guest: &Guest, mut from_port: u16) {
    let send = || {
        guest.send_syn(from_port, SERVER, 8080);
        from_port += 1;
    };
    guest.ask("the server's answer", send, |frame| {
        tcp_answer(frame).filter(|answer| answer.by == SERVER && answer.accepted)
    });
}

#[test]
fn the_uplink_leads_out_and_not_to_the_host() {
    in_namespaces("uplink::the_uplink_leads_out_and_not_to_the_host", || {
        let world = world();
        go_online(&world);
        let mut uplink = attach(&world);
        assert_eq!(uplink.dns, [uplink::RESOLVER]);
        let guest = &world.guest;
        connects(guest, 5000);
        world.server.accept().unwrap();

        // Another address of the host appears while VMs run.
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = std::sync::mpsc::channel();
        let network = world.network.clone();
        world.realm.handle.spawn(async move {
            let ended = tokio::select! {
                error = uplink.run(&network) => Some(error.to_string()),
                _ = stopped => None,
            };
            done.send((uplink, ended)).unwrap();
        });
        shell("ip address add 198.18.5.5/32 dev lo");
        let end = Instant::now() + Duration::from_secs(20);
        let rules = || {
            world.realm.run(async { mvm_host::net::nft::read_back("inet", ruleset::TABLE).await.unwrap() })
        };
        while !rules().contains("198.18.5.5") {
            assert!(Instant::now() < end, "the host's new address did not get into the rules");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(rules().contains("203.0.113.2"));

        let host = [
            [203, 0, 113, 2],
            [198, 18, 5, 5],
            [127, 0, 0, 1],
            [127, 0, 0, 53],
            [0, 0, 0, 0],
            [169, 254, 1, 1],
            [192, 0, 0, 1],
            [192, 0, 0, 2],
            [192, 0, 0, 3],
            [192, 168, 100, 1],
        ];
        for (port, address) in (6000..).zip(host) {
            guest.send_syn(port, address.into(), 8081);
        }
        guest.send_syn(7000, SERVER, 8080);
        // Late answers to the first attempts to connect may come before it.
        let answer = loop {
            let answer = guest.receive_tcp("the server's answer");
            if !(5000..6000).contains(&answer.port) {
                break answer;
            }
        };
        assert_eq!(answer, TcpAnswer { by: SERVER, port: 7000, accepted: true });
        world.server.accept().unwrap();
        assert_eq!(world.service.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(dropped(&world.realm, "inet", "the host by its other names"), 2);
        assert_eq!(dropped(&world.realm, "inet", "the uplink itself"), 2);

        stop.send(()).unwrap();
        let (mut uplink, ended) = is_done.recv().unwrap();
        assert_eq!(ended, None);
        let pid = nix::unistd::Pid::from_raw(uplink.pid().unwrap().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let network = world.network.clone();
        let ended = world.realm.run(async move { uplink.run(&network).await.to_string() });
        assert!(ended.contains("`pasta` ended"), "{ended}");
    });
}

#[test]
fn guests_ask_the_hosts_resolver_on_its_loopback() {
    in_namespaces("uplink::guests_ask_the_hosts_resolver_on_its_loopback", || {
        let world = world();
        let resolver = UdpSocket::bind("127.0.0.53:53").unwrap();
        resolver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let _uplink = attach(&world);
        let mut buffer = [0; 100];
        let end = Instant::now() + Duration::from_secs(30);
        let (length, peer) = loop {
            world.guest.send_udp(uplink::RESOLVER, 53, b"question");
            match resolver.recv_from(&mut buffer) {
                Ok(received) => break received,
                Err(error) => assert!(Instant::now() < end, "no question reached the resolver: {error}"),
            }
        };
        assert_eq!(&buffer[..length], b"question");
        resolver.send_to(b"answer", peer).unwrap();
        assert_eq!(world.guest.receive_udp("the resolver's answer", uplink::RESOLVER), b"answer");
    });
}

#[test]
fn a_host_that_comes_online_later_takes_its_guests_along() {
    in_namespaces("uplink::a_host_that_comes_online_later_takes_its_guests_along", || {
        let world = world();
        let _uplink = attach(&world);
        go_online(&world);
        connects(&world.guest, 5000);
        world.server.accept().unwrap();
    });
}

#[test]
fn a_missing_program_is_named_and_leaves_guests_without_a_way_out() {
    in_namespaces("uplink::a_missing_program_is_named_and_leaves_guests_without_a_way_out", || {
        let host = NetThread::spawn(Place::Host);
        let handle = host.handle.clone();
        let hide = "for dir in $(echo $PATH | tr : ' '); do test ! -e $dir/PROGRAM || mount --bind /dev/null $dir/PROGRAM; done";
        shell(&hide.replace("PROGRAM", "pasta"));
        let realm = NetThread::spawn(Place::New);
        realm.run({
            let handle = handle.clone();
            async move {
                let (network, _) = Network::set_up(plan()).await.unwrap();
                let plan = network.uplink_plan("/nowhere".into()).unwrap();
                let error = uplink::attach(&handle, &network, &plan).await.unwrap_err().to_string();
                assert!(error.contains("`passt`"), "{error}");
                let rules = mvm_host::net::nft::read_back("inet", ruleset::TABLE).await.unwrap();
                assert!(rules.contains("no uplink"), "{rules}");
            }
        });
        shell(&hide.replace("PROGRAM", "nft"));
        // A host with containers routes, and new namespaces inherit that.
        let realm = NetThread::spawn(Place::New);
        realm.shell("echo 1 > /proc/sys/net/ipv4/ip_forward");
        realm.run(async move {
            let (network, warnings) = Network::set_up(plan()).await.unwrap();
            assert!(warnings.len() == 1 && warnings[0].contains("`nftables`"), "{warnings:?}");
            assert_eq!(network.uplink_plan("/nowhere".into()), None);
            let plan = uplink::UplinkPlan { namespace: "/nowhere".into() };
            let error = uplink::attach(&handle, &network, &plan).await.unwrap_err().to_string();
            assert!(error.contains("`nftables`"), "{error}");
            network.tear_down().await.unwrap();
        });
        realm.shell("test $(cat /proc/sys/net/ipv4/ip_forward) = 0");
    });
}

#[test]
fn a_failure_of_pasta_is_told_in_its_own_words() {
    in_namespaces("uplink::a_failure_of_pasta_is_told_in_its_own_words", || {
        let (host, realm) = (NetThread::spawn(Place::Host), NetThread::spawn(Place::New));
        let network = set_up(&realm);
        let handle = host.handle.clone();
        let error = realm.run(async move {
            let plan = network.uplink_plan(Path::new("/nowhere/netns").into()).unwrap();
            uplink::attach(&handle, &network, &plan).await.unwrap_err().to_string()
        });
        assert!(error.contains("`pasta` ended") && error.contains("/nowhere/netns"), "{error}");
    });
}

#[test]
fn an_uplink_that_was_killed_can_be_attached_again() {
    in_namespaces("uplink::an_uplink_that_was_killed_can_be_attached_again", || {
        let world = world();
        go_online(&world);
        let mut first = attach(&world);
        connects(&world.guest, 5000);
        let pid = nix::unistd::Pid::from_raw(first.pid().unwrap().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        let network = world.network.clone();
        let ended = world.realm.run(async move { first.run(&network).await.to_string() });
        assert!(ended.contains("signal: 9"), "{ended}");
        let _second = attach(&world);
        connects(&world.guest, 6000);
    });
}
