//! A realm of directories of its own with VMs that are "up" when the proxy was told so, as a keeper tells it.

use mvm_host::ports::proxy::Client;
use mvm_host::ports::proxy::protocol::VmForwards;
use mvm_host::realm::{Config, Realm, RealmKind};
use mvm_host::store::Store;
use mvm_spec::egress::Egress;
use mvm_spec::forward::{Forward, ForwardRequest};
use mvm_spec::latest::{Guest, Network, Persistence, Resources, User, VERSION};
use mvm_spec::net::Cidr;
use mvm_spec::{VmName, VmSpec};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const INSIDE: &str = "MVM_TEST_INSIDE";
/// How long anything may take before a test gives up.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `body`, of the test function `name`, in fresh user, mount, PID and network namespaces: with user id 0 mapped,
/// and as an ordinary user.
pub fn in_namespaces(name: &str, body: impl FnOnce()) {
    run_inside(name, &["--map-root-user", "--map-current-user"], body);
}

/// The same, with user id 0 mapped only: for the host realm.
pub fn in_namespaces_as_root(name: &str, body: impl FnOnce()) {
    run_inside(name, &["--map-root-user"], body);
}

/// In a network namespace as real root where this is root, else as by [`in_namespaces_as_root`]: mapped root can't send
/// nft more at once than `net.core.wmem_max` (netlink(7)).
pub fn in_namespaces_as_real_root(name: &str, body: impl FnOnce()) {
    let user = if nix::unistd::geteuid().is_root() { "--uts" } else { "--map-root-user" };
    run_inside(name, &[user], body);
}

fn run_inside(name: &str, users: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    for user in users {
        // An ordinary user keeps no capability; before that, the namespace's loopback comes up.
        let script = match *user {
            "--map-root-user" | "--uts" => {
                "ip link set lo up && ip address add 192.168.100.0/24 dev lo && exec \"$@\""
            }
            _ => {
                "ip link set lo up && ip address add 192.168.100.0/24 dev lo && \
                 exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all \"$@\""
            }
        };
        let drop: &[&str] = match nix::unistd::geteuid().is_root() && *user == "--map-current-user" {
            true => &["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"],
            false => &[],
        };
        let keep: &[&str] = if *user == "--map-current-user" { &["--keep-caps"] } else { &[] };
        let words = [drop, &["unshare", user], keep, &["--net", "--mount", "--pid", "--fork"]].concat();
        let status = Command::new(words[0])
            .args(&words[1..])
            .args(["--kill-child", "--mount-proc", "sh", "-ec", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
            .status()
            .unwrap();
        assert!(status.success(), "{name} with {user}: {status}");
    }
}

/// A realm.
pub struct World {
    dir: tempfile::TempDir,
    pub realm: Realm,
    pub store: Store,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new(kind: RealmKind) -> Self {
        let dir = tempfile::Builder::new().prefix("mvm-ports").tempdir().unwrap();
        let at = |sub: &str| dir.path().join(sub);
        // The program finds the same directories by its variables.
        let realm = Realm {
            kind,
            state_dir: at("state"),
            cache_dir: at("cache"),
            run_dir: at("run").join(run_id(&at("state"))),
            config: Config::default(),
        };
        realm.create_dirs().unwrap();
        let store = Store::open(&realm.state_dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir, realm, store, runtime }
    }

    /// VMs at 192.168.100.10 and so on.
    pub fn with_vms(kind: RealmKind, names: &[&str]) -> Self {
        let world = Self::new(kind);
        world.make(names);
        world
    }

    pub fn make(&self, names: &[&str]) {
        let drafts = names.iter().map(|name| spec(name)).collect();
        self.store.create(drafts, &*self.realm.config.topology().unwrap()).unwrap();
    }

    /// The program with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mvm-ports"));
        command
            .args(["--realm", if self.realm.kind == RealmKind::Host { "host" } else { "user" }])
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("MVM_STATE_DIR", self.dir.path().join("state"))
            .env("MVM_CACHE_DIR", self.dir.path().join("cache"))
            .env("MVM_RUNTIME_DIR", self.dir.path().join("run"))
            .env("HOME", self.dir.path());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of what must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of what must fail.
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        stderr
    }

    /// Starts the realm's proxy.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(self)
    }

    /// Tells the proxy that VM `name` is up, with what is stored, as the keeper does.
    pub fn up(&self, name: &str) {
        let name = VmName::new(name).unwrap();
        let _lock = self.store.lock_forwards().unwrap();
        let forwards = self.stored(name.as_str());
        let address = self.address(name.as_str());
        self.runtime.block_on(async {
            let mut client = Client::connect(&self.realm.ports_socket()).await.unwrap().unwrap();
            assert_eq!(client.set(&name, address, forwards).await.unwrap(), []);
        });
    }

    pub fn address(&self, name: &str) -> Ipv4Addr {
        let vm = self.store.get(&VmName::new(name).unwrap()).unwrap();
        vm.spec.network.unwrap().address.address
    }

    pub fn stored(&self, name: &str) -> Vec<Forward> {
        let stored = self.store.forwards(&VmName::new(name).unwrap()).unwrap();
        stored.into_iter().map(|stored| stored.forward).collect()
    }

    pub fn served(&self) -> Vec<VmForwards> {
        self.runtime.block_on(async {
            match Client::connect(&self.realm.ports_socket()).await.unwrap() {
                Some(mut client) => client.list(None).await.unwrap(),
                None => Vec::new(),
            }
        })
    }

    /// What is served is what is stored, for each of the VMs that are up; nothing is blocked, nothing is temporary.
    pub fn assert_agreement(&self, what: &str) {
        for vm in self.served() {
            assert!(vm.forwards.iter().all(|served| served.blocked.is_none()), "{what}: {vm:?}");
            let mut served: Vec<Forward> = vm.forwards.into_iter().map(|served| served.forward).collect();
            let mut stored = self.stored(vm.vm.as_str());
            served.sort();
            stored.sort();
            assert_eq!(served, stored, "{what}: {}", vm.vm);
            assert!(!self.store.paths(&vm.vm).forwards().join(".redo").exists(), "{what}");
        }
    }
}

/// The realm's proxy; killed with its test.
pub struct Proxy {
    child: Child,
}

impl Proxy {
    fn start(world: &World) -> Self {
        let socket = world.realm.ports_socket();
        let mut child = world
            .command(&["proxy", "--socket", socket.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory that `mvm` names after the state directory.
fn run_id(state_dir: &std::path::Path) -> String {
    let output = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(state_dir.as_os_str().as_encoded_bytes())?;
            child.wait_with_output()
        })
        .unwrap();
    String::from_utf8(output.stdout).unwrap()[..12].to_owned()
}

pub fn spec(name: &str) -> VmSpec {
    let name = VmName::new(name).unwrap();
    let subnet: Cidr = Config::default().subnet;
    VmSpec {
        version: VERSION,
        resources: Resources { vcpu: 1, mem_mib: 256 },
        guest: Guest::Embedded { kernel: None },
        project: None,
        user: User { name: "dev".to_owned(), uid: 1000, gid: 1000 },
        network: Some(Network {
            bridge: "virbr-mvm".to_owned(),
            mac: name.mac(),
            address: subnet,
            gateway: subnet.address,
            egress: Egress::Outbound,
            peers: Vec::new(),
        }),
        forwards: Vec::new(),
        persistence: Persistence::default(),
        environment: Default::default(),
        ephemeral: false,
        name,
    }
}

pub fn forward(text: &str) -> Forward {
    text.parse::<ForwardRequest>().unwrap().forwards().next().unwrap()
}

pub fn forwards(texts: &[&str]) -> Vec<Forward> {
    texts.iter().map(|text| forward(text)).collect()
}

/// A "guest" that says its name to who connects.
pub fn guest(at: SocketAddr, says: &'static str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(says.as_bytes());
        }
    });
}

/// What a connection to `at` is told; `None` if it is refused.
pub fn ask(at: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}
