//! The way out of a user realm: `pasta` (package passt), which turns packets of the realm's namespace into ordinary
//! sockets of the host's.
//!
//! `pasta` runs as a child of the keeper, in its user and PID namespaces, so that it ends with it, and in the host's
//! network namespace, whose sockets it uses. What its options are for:
//!
//! - `--netns-only --netns FILE`: stay in this user namespace and enter the network namespace. FILE is a bind mount of
//!   it ([`pin_namespace`]): `/proc/PID/task/TID/ns/net` may only be opened by a process with all capabilities that the
//!   keeper has, and pasta gives most up first (ptrace(2), "Ptrace access mode checking"); and AppArmor's profile allows
//!   few other paths.
//! - `-i lo -a … -g … -M …`: addresses of our own instead of those of the host's interface with the default route: the
//!   same whether the host is online or not, and never the guests' subnet. pasta opens ordinary sockets either way, so
//!   that a host that comes online, or changes its network, needs nothing done here.
//! - `--no-map-gw -t none -u none -T none -U none`: nothing in the namespace stands for the host's loopback, and no port
//!   is forwarded either way. Never leave one out.
//! - `--dns-forward`, where no dnsmasq serves guests: this address is the host's resolver, one on its loopback included.
//!   Not otherwise: it also changes what guests hear from that resolver when they ask it by its own address.

use super::link::Links;
use super::{Network, host_addresses, nft, ruleset, spawn};
use crate::{Error, Result};
use mvm_spec::net::Cidr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The uplink's interface in the realm's namespace.
pub const INTERFACE: &str = "uplink";
/// The realm's address on it: of 192.0.0.0/29, which is for such use within a host and never routed (RFC 7335).
pub const ADDRESS: Cidr = Cidr { address: Ipv4Addr::new(192, 0, 0, 2), prefix: 29 };
/// The other end.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
/// Stands for the host's resolver. Known before there is an uplink: what a guest's resolv.conf names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 3);
/// Largest packet, in bytes: pasta's own limit. TCP fits what the guest announces, the kernel fragments the rest.
pub const MTU: u32 = 65520;
/// pasta's own MAC address on the link.
const MAC: &str = "02:00:00:00:00:01";
/// How long `pasta` may take to attach. It takes some 25 ms; a host busy with emulation may need far longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// What an uplink is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkPlan {
    /// Bind mount of the realm's network namespace ([`pin_namespace`]).
    pub namespace: PathBuf,
}

/// A working way out. Dropping it ends it, at once.
#[derive(Debug)]
pub struct Uplink {
    child: Child,
    log: JoinHandle<Vec<String>>,
    addresses: watch::Receiver<Vec<Ipv4Addr>>,
    /// Name servers for guests, where nobody answers on their bridge.
    pub dns: Vec<Ipv4Addr>,
    /// Largest packet on the uplink, in bytes.
    pub mtu: u32,
}

/// The arguments of `pasta`; with an address that is to stand for the host's resolver.
pub fn arguments(namespace: &Path, resolver: Option<Ipv4Addr>) -> Vec<std::ffi::OsString> {
    let (address, prefix) = (ADDRESS.address.to_string(), ADDRESS.prefix.to_string());
    let (gateway, mtu) = (GATEWAY.to_string(), MTU.to_string());
    let resolver = resolver.map(|resolver| resolver.to_string());
    let resolver: &[&str] = if let Some(resolver) = &resolver { &["--dns-forward", resolver] } else { &[] };
    // Where all ids are mapped pasta takes itself for the host's root, and would become `nobody`, who may not enter the
    // namespace. It gives up its capabilities, and sees an empty file system, all the same.
    let root: &[&str] = if nix::unistd::geteuid().is_root() { &["--runas", "0:0"] } else { &[] };
    let options = [
        root,
        resolver,
        &["--foreground", "--quiet", "--ipv4-only", "--config-net", "--no-netns-quit"][..],
        &["--ns-ifname", INTERFACE, "--interface", "lo", "--mac-addr", MAC, "--mtu", &mtu],
        &["--address", &address, "--netmask", &prefix, "--gateway", &gateway],
        &["--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none"],
        // The interface is configured already, and nobody shall believe another answer on this link.
        &["--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"],
        &["--netns-only", "--netns"],
    ];
    let mut arguments: Vec<_> = options.concat().iter().map(std::ffi::OsString::from).collect();
    arguments.push(namespace.into());
    arguments
}

/// Where to pin the namespace of a realm with the runtime directory `run_dir`: where AppArmor's profile of pasta in
/// Debian 12 lets it look, if there is such a place, else in `run_dir`.
pub fn namespace_file(run_dir: &Path) -> PathBuf {
    let uid = nix::unistd::getuid();
    let id = run_dir.file_name().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = PathBuf::from(format!("/run/user/{uid}"));
    if nix::unistd::access(&dir, nix::unistd::AccessFlags::W_OK).is_ok() {
        dir.join("netns").join(format!("microvm-dev-{id}"))
    } else {
        run_dir.join("netns")
    }
}

/// Mounts the calling thread's network namespace on `file`, in the caller's mount namespace, which should be one of its
/// own: the mount goes with it. An earlier mount there is covered.
pub fn pin_namespace(file: &Path) -> Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(Error::io("create", file))?;
    nix::mount::mount(
        Some("/proc/thread-self/ns/net"),
        file,
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(|errno| Error::io("mount the network namespace on", file)(errno.into()))
}

/// Takes back [`pin_namespace`], file and all; already gone is success.
pub fn unpin_namespace(file: &Path) -> Result<()> {
    match nix::mount::umount2(file, nix::mount::MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(errno) => return Err(Error::io("unmount", file)(errno.into())),
    }
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", file)(error)),
        _ => Ok(()),
    }
}

/// Attaches an uplink to the namespace of the calling thread and opens the rules of `network` for it. `host` is a runtime whose
/// threads are in the host's network namespace; it must outlive the uplink.
///
/// Errors, after which VMs run without a way out: `nft` or `pasta` is not installed (without rules there is no
/// masquerading, and nothing that keeps guests from the host), or `pasta` failed.
pub async fn attach(host: &Handle, network: &Network, plan: &UplinkPlan) -> Result<Uplink> {
    if !nft::installed() {
        return Err(Error::Failed(
            "guests can't reach out: `nft` is not installed; install the package `nftables` and start the VM again"
                .to_owned(),
        ));
    }
    let program = spawn::find("pasta").ok_or_else(|| {
        Error::Failed(
            "guests can't reach out: `pasta` is not installed; install the package `passt` and start the VM again"
                .to_owned(),
        )
    })?;
    // First the rules, with the host's addresses in them, then the uplink: never the other way round.
    let (sender, addresses) = watch::channel(Vec::new());
    let known = on(host, host_addresses::list()).await?;
    sender.send_replace(known.clone());
    host.spawn(async move {
        if let Err(error) = host_addresses::follow(sender).await {
            tracing::warn!("can't follow the host's addresses: {error}");
        }
    });
    let outside =
        ruleset::Outside { link: Some(ADDRESS), resolver: network.resolver(), host_addresses: known };
    network.set_outside(Some(outside)).await?;
    let (namespace, resolver) = (plan.namespace.clone(), network.resolver());
    let (child, log) = on(host, async move { run(&program, &namespace, resolver) }).await?;
    let mut uplink = Uplink { child, log, addresses, dns: resolver.into_iter().collect(), mtu: MTU };
    uplink.ready().await?;
    Ok(uplink)
}

impl Uplink {
    /// Keeps the rules of `network` up to date with the host's addresses; returns why the uplink ended, when it does. Call it on
    /// the realm's network thread.
    pub async fn run(&mut self, network: &Network) -> Error {
        loop {
            tokio::select! {
                status = self.child.wait() => return self.ended(status).await,
                changed = self.addresses.changed() => {
                    if changed.is_err() {
                        return Error::Failed("can't follow the host's addresses any more".to_owned());
                    }
                    let now = self.addresses.borrow_and_update().clone();
                    if let Err(error) = network.set_host_addresses(&now).await {
                        return error;
                    }
                }
            }
        }
    }

    /// Process id of `pasta`, as its parent sees it; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn ready(&mut self) -> Result<()> {
        let links = Links::open()?;
        let attached = async {
            while !links.is_up_with(INTERFACE, ADDRESS.address).await? {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            status = self.child.wait() => Err(self.ended(status).await),
            attached = tokio::time::timeout(DEADLINE, attached) => attached.unwrap_or_else(|_| {
                Err(Error::Failed(format!("`pasta` did not attach within {} s", DEADLINE.as_secs())))
            }),
        }
    }

    async fn ended(&mut self, status: std::io::Result<std::process::ExitStatus>) -> Error {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let log = tokio::time::timeout(Duration::from_secs(1), &mut self.log).await;
        let log = log.ok().and_then(Result::ok).unwrap_or_default().join("; ");
        Error::Failed(format!("guests can't reach out: `pasta` ended ({status}): {log}"))
    }
}

/// Runs `future` on `host`, for its thread's namespace.
async fn on<T: Send + 'static>(
    host: &Handle,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let join = host.spawn(future).await;
    join.unwrap_or_else(|error| Err(Error::Failed(format!("a task of the keeper failed: {error}"))))
}

fn run(
    program: &Path,
    namespace: &Path,
    resolver: Option<Ipv4Addr>,
) -> Result<(Child, JoinHandle<Vec<String>>)> {
    let mut command = std::process::Command::new(program);
    command
        .args(arguments(namespace, resolver))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    spawn::keep_capabilities(&mut command, spawn::PASTA);
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("run", program))?;
    let log = tokio::spawn(last_lines(child.stderr.take()));
    Ok((child, log))
}

/// The last lines that `pasta` wrote, once it has closed its standard error.
async fn last_lines(stderr: Option<ChildStderr>) -> Vec<String> {
    let mut last = Vec::new();
    let Some(stderr) = stderr else { return last };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Without a system logger pasta says so once for each message.
        if line.is_empty() || line.ends_with("bytes to syslog") {
            continue;
        }
        tracing::debug!("pasta: {line}");
        if last.len() >= 10 {
            last.remove(0);
        }
        last.push(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_hosts_loopback_is_mapped_and_no_port_forwarded() {
        let arguments = arguments(Path::new("/run/x/netns"), Some(RESOLVER));
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert!(arguments.contains(&"--no-map-gw"));
        for option in ["-t", "-u", "-T", "-U"] {
            let at = arguments.iter().position(|argument| *argument == option).unwrap();
            assert_eq!(arguments[at + 1], "none", "{option}");
        }
        assert_eq!(arguments[arguments.len() - 3..], ["--netns-only", "--netns", "/run/x/netns"]);
    }

    #[test]
    fn the_uplinks_addresses_are_of_one_link() {
        assert!(ADDRESS.contains(GATEWAY) && ADDRESS.contains(RESOLVER));
    }
}
