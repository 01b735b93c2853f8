//! The world around a realm: network namespaces of the test, which end with the agents in them.
//!
//! ```text
//! internet 203.0.113.1, 198.51.100.1, ─── 203.0.113.2 ┐
//!          169.254.169.254                            ├ host, where mvm runs
//! lan      10.50.0.7 ────────────────────── 10.50.0.1 ┘
//! ```
//!
//! Internet and LAN have routes to the guests' subnets by the host, as somebody would who tries to get in.

use crate::agent::{Agent, PYTHON, install};
use crate::harness::{As, ORDINARY, Realm, kernel, mvm, succeeded, wait_for};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The internet's address.
pub const INTERNET: &str = "203.0.113.1";
/// Another of its addresses, which the name `listed.test` has at first.
pub const LISTED: &str = "198.51.100.1";
/// What clouds serve their machines' secrets on.
pub const METADATA: &str = "169.254.169.254";
/// The host, on its uplink.
pub const HOST: &str = "203.0.113.2";
/// The host, on its LAN.
pub const HOST_LAN: &str = "10.50.0.1";
/// A link-local address of the host.
pub const HOST_LINK_LOCAL: &str = "169.254.7.7";
/// The LAN's other machine.
pub const LAN: &str = "10.50.0.7";
/// The same by IPv6.
pub const LAN_IPV6: &str = "fd00:50::7";

/// Who runs `mvm`, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A user realm of root's.
    Root,
    /// A user realm of an ordinary user's.
    Ordinary,
    /// The host realm.
    Host,
}

/// Namespaces, a realm in them, and an agent in each.
pub struct World {
    /// Who runs `mvm`.
    pub mode: Mode,
    /// In the namespace that `mvm` runs in.
    pub host: Agent,
    /// Out there.
    pub internet: Agent,
    /// Next to the host.
    pub lan: Agent,
    // Last: its end comes after that of the namespaces' agents.
    realm: Realm,
}

impl World {
    /// A world with an uplink; none if the caller is not root, which is said.
    pub fn new(mode: Mode) -> Option<Self> {
        let world = Self::offline(mode)?;
        world.plug_in(HOST);
        world.write_resolv_conf(INTERNET);
        Some(world)
    }

    /// A world whose host has a LAN, and nothing else.
    pub fn offline(mode: Mode) -> Option<Self> {
        if !Realm::root() {
            println!("not here: these namespaces take root to build; run the tests as root, too");
            return None;
        }
        let realm = Realm::of(if mode == Mode::Ordinary { As::Ordinary } else { As::Caller });
        install(&realm.project().join("agent"));
        let namespace = |place| {
            let mut command = Command::new("unshare");
            command.args(["--net", "--mount", "--", PYTHON]).arg(realm.project().join("agent/agent.py"));
            let agent = Agent::start(place, command);
            agent.sh("ip link set lo up; mount -t sysfs sysfs /sys");
            agent
        };
        let (host, internet, lan) = (namespace("host"), namespace("internet"), namespace("lan"));
        let world = Self { mode, realm, host, internet, lan };
        world.build();
        Some(world)
    }

    fn build(&self) {
        let etc = self.realm.path("etc");
        let etc = etc.display();
        // Somebody who routes for others is the harder case; the host realm must see to that itself.
        let forward = u8::from(self.mode != Mode::Host);
        self.host.sh(&format!(
            "mkdir -p {etc}/upper {etc}/work
             mount -t overlay overlay -o lowerdir=/etc,upperdir={etc}/upper,workdir={etc}/work /etc
             rm -f /etc/resolv.conf
             echo {forward} > /proc/sys/net/ipv4/ip_forward
             # As systemd has it: `ping` for everybody, which is what pasta passes on.
             echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
             ip link add lan0 type veth peer name eth0 netns {}
             ip link set lan0 up
             ip addr add {HOST_LAN}/24 dev lan0
             ip addr add {HOST_LINK_LOCAL}/32 dev lan0
             ip -6 addr add fd00:50::1/64 dev lan0 nodad",
            self.lan.pid()
        ));
        self.lan.sh(&format!(
            "ip link set eth0 up
             ip addr add {LAN}/24 dev eth0
             ip -6 addr add {LAN_IPV6}/64 dev eth0 nodad
             ip route add default via {HOST_LAN}
             ip -6 route add default via fd00:50::1"
        ));
        self.internet.sh(&format!(
            "ip addr add {LISTED}/32 dev lo
             ip addr add 198.51.100.2/32 dev lo
             ip addr add {METADATA}/32 dev lo"
        ));
        self.internet.names(&[
            ("plain.test", INTERNET),
            ("listed.test", LISTED),
            ("other.test", "198.51.100.2"),
        ]);
        let any = "0.0.0.0";
        self.internet.serve(json!({"raw": true, "tcp": [[any, 7]], "udp": [[any, 7]], "dns": [[any, 53]]}));
        self.lan.serve(json!({"raw": true, "sniff": ["eth0"], "tcp": [[any, 7]], "udp": [[any, 7]]}));
        let lo = "127.0.0.1";
        let services = json!([[any, 7000], [lo, 7001], ["::1", 7001]]);
        self.host.serve(json!({"raw": true, "tcp": services, "udp": services}));
    }

    /// Gives the host its uplink, with `address` of 203.0.113.0/24.
    pub fn plug_in(&self, address: &str) {
        self.host.sh(&format!(
            "ip link add wan0 type veth peer name eth0 netns {}
             ip link set wan0 up
             ip addr add {address}/24 dev wan0",
            self.internet.pid()
        ));
        self.internet.sh(&format!(
            "ip link set eth0 up
             ip addr add {INTERNET}/24 dev eth0
             for net in 192.168.100.0/24 10.0.0.0/8 192.0.0.0/29; do ip route add $net via {address}; done"
        ));
        self.host.sh(&format!(
            "ip route add default via {INTERNET}
             ip route add {METADATA}/32 via {INTERNET}"
        ));
        self.internet.serve(json!({"sniff": ["eth0"]}));
    }

    /// Takes the uplink away.
    pub fn unplug(&self) {
        self.host.sh("ip link del wan0");
    }

    /// Replaces the host's resolv.conf, by a rename as programs do.
    pub fn write_resolv_conf(&self, server: &str) {
        self.host.sh(&format!(
            "echo 'nameserver {server}' > /etc/resolv.conf.new
             mv /etc/resolv.conf.new /etc/resolv.conf"
        ));
    }

    /// Sets the realm's `config.toml`, before the first VM.
    pub fn configure(&self, text: &str) {
        let dir = self.realm.path("config/microvm-dev");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.toml"), text).unwrap();
    }

    /// The address of one of the host's interfaces.
    pub fn mac_of(&self, interface: &str) -> String {
        crate::matrix::mac_of(&self.host.sh(&format!("ip -json link show {interface}")))
    }

    /// The realm's files.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// `mvm` with `args`, in the host's namespaces, by the realm's user.
    pub fn mvm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.program(Path::new(mvm()), args)
    }

    /// What `mvm-ports` with `args`, which must succeed, says in JSON.
    #[track_caller]
    pub fn ports<const N: usize>(&self, args: [&str; N]) -> Value {
        let program = Path::new(mvm()).with_file_name("mvm-ports");
        assert!(program.exists(), "{} is missing: build the whole workspace", program.display());
        let output = self.program(&program, args).output().unwrap();
        serde_json::from_str(&succeeded(&args.map(OsStr::new).map(OsStr::to_owned), output)).unwrap()
    }

    fn program<S: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.host.pid().to_string(), "--net", "--mount", "--"]);
        // The working directory must be looked up in that mount namespace.
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(self.realm.project());
        if self.mode == Mode::Ordinary {
            let id = ORDINARY.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
        }
        command.arg(program).args(args).stdin(Stdio::null());
        for (name, value) in self.realm.program("true").get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("MVM_KERNEL", kernel())
            .env("MVM_CACHE_DIR", self.cache())
            .env("XDG_CONFIG_HOME", self.realm.path("config"));
        if self.mode == Mode::Host {
            command.env("MVM_REALM", "host");
        }
        command
    }

    /// What is made of kernel and guest program once for all tests.
    fn cache(&self) -> PathBuf {
        let user = if self.mode == Mode::Ordinary { ORDINARY } else { 0 };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("network-cache-{user}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(user), Some(user)).unwrap();
        dir
    }

    /// Runs `mvm`, which must succeed, and gives its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        succeeded(&args, self.mvm(&args).output().unwrap())
    }

    /// Runs `mvm`, which must fail, and gives what it says.
    #[track_caller]
    pub fn refused<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.mvm(args).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// `mvm status NAME --json`.
    #[track_caller]
    pub fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(["status", name, "--json"])).unwrap()
    }

    /// An agent in the namespace of the realm's bridges, which must be there: in a user realm a namespace of the keeper's,
    /// in the host realm the host's.
    #[track_caller]
    pub fn in_realm(&self, bridge: &str) -> Agent {
        let thread = wait_for("a thread in the bridge's namespace", || self.thread_with(bridge));
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={thread}/ns/net")).args(["--", PYTHON]);
        command.arg(self.realm.project().join("agent/agent.py"));
        Agent::start("the realm", command)
    }

    /// A thread of the realm, as a directory of proc(5), that sees an interface named `bridge`.
    pub fn thread_with(&self, bridge: &str) -> Option<String> {
        let tasks =
            self.realm.processes().into_iter().flat_map(|pid| {
                std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten()
            });
        tasks.map(|task| task.path()).find_map(|task| {
            let devices = std::fs::read_to_string(task.join("net/dev")).ok()?;
            let there = devices.lines().any(|line| line.trim_start().starts_with(&format!("{bridge}:")));
            there.then(|| task.to_string_lossy().into_owned())
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.mvm(["stop", "--all", "--force", "--yes"]).output();
    }
}
