//! The control protocol between host and embedded guest.
//!
//! One virtio-serial port ([`PORT_NAME`]) carries a yamux session; the host opens streams, the guest accepts them.
//! The first bytes of a stream are a [`StreamKind`]. A control stream then carries frames (a big-endian `u32` of the
//! length in bytes, then JSON): the host speaks [`ToGuest`], the guest [`ToHost`]. An SSH stream carries SSH
//! (RFC 4253) from its first byte, so that a guest without a network is reached the same way as one with it. On a log
//! stream the guest sends what the processes of its workload print ([`LogHeader`]).
//!
//! A booted guest waits on this port and learns here, not from its kernel command line or initramfs, who it is: a
//! template booted once can become any VM.

use crate::net::{Cidr, MacAddr};
use crate::workload::{ProcessStatus, Workload};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Name of the virtio-serial port, as found in `/sys/class/virtio-ports/*/name`.
pub const PORT_NAME: &str = "org.microvm-dev.mux";
/// Version of this protocol; both sides come from one build, so that another one is a fault to report.
pub const PROTOCOL: u32 = 1;
/// Longest frame on a control stream, in bytes.
pub const FRAME_MAX: u32 = 4 * 1024 * 1024;
/// Word of the kernel command line that asks for a template: a guest that, when all is ready for its host, says
/// [`WAITING`] and waits, to be saved and restored any number of times.
pub const TEMPLATE_WORD: &str = "mvm.template";
/// What a template sends on the port before anything else.
pub const WAITING: &[u8] = b"mvm-guest waits\n";
/// virtiofs tag of the guest's read-only root tree: the host's software.
pub const SOFTWARE_TAG: &str = "mvm-software";
/// virtiofs tag of the project.
pub const PROJECT_TAG: &str = "mvm-project";
/// Serial of the virtio-blk device with the home disk.
pub const HOME_SERIAL: &str = "mvm-home";
/// The port on which the guest's SSH server listens, if it has a network.
pub const SSH_PORT: u16 = 22;

/// What a stream carries: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// Control frames; the host opens exactly one.
    Control = 1,
    /// An SSH connection.
    Ssh = 2,
    /// What processes of the workload print; the host opens at most one.
    Logs = 3,
}

impl StreamKind {
    /// The kind that `byte` stands for.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Control),
            2 => Some(Self::Ssh),
            3 => Some(Self::Logs),
            _ => None,
        }
    }
}

/// From the host to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToGuest {
    /// Who the guest is; sent once, first.
    Configure(Box<GuestConfig>),
    /// What is to run from now on, instead of what runs.
    Workload(Box<Workload>),
    /// End all processes, sync, unmount, power off.
    PowerOff,
}

/// From the guest to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToHost {
    /// The guest's init runs; sent first.
    #[serde(rename_all = "camelCase")]
    Hello {
        /// [`PROTOCOL`] of the guest.
        protocol: u32,
        /// Kernel release (`uname -r`).
        kernel: String,
        /// Microseconds since the kernel's start (CLOCK_BOOTTIME) when init began.
        init_started_us: u64,
        /// The same when this is sent: modules are loaded, the port is open.
        connected_us: u64,
    },
    /// A step of the configuration is done.
    #[serde(rename_all = "camelCase")]
    Step {
        /// What was done, a few words.
        name: String,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// Everything is mounted and configured; SSH connections are served.
    Ready,
    /// Something that does not stop the guest but that its user should know.
    #[serde(rename_all = "camelCase")]
    Warning {
        /// What is wrong and what to do.
        message: String,
    },
    /// The configuration can't be applied; the guest powers off.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// What failed, on what.
        message: String,
    },
    /// How the workload's processes are; sent after changes, with all of them in it.
    Processes(Vec<ProcessStatus>),
    /// Processes are ended, file systems synced: the machine may go.
    PoweringOff,
}

/// Who a guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestConfig {
    /// Host name.
    pub hostname: String,
    /// `/etc/machine-id`: 32 hexadecimal digits (machine-id(5)).
    pub machine_id: String,
    /// The host's clock (CLOCK_REALTIME) when this was sent, in nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// How long the host had had the guest's [`ToHost::Hello`] when this was sent, in nanoseconds: what the guest waited
    /// beyond that was the way there and back.
    pub held_ns: u64,
    /// Devices were added to the machine since its kernel looked for them: it is to look again.
    pub plugged: bool,
    /// Fresh randomness of the host, in hexadecimal; credited before any key or id is made.
    pub entropy: String,
    /// Tags of virtiofs devices.
    pub shares: Shares,
    /// How many inodes of each share the file server can hold; the guest lets go of cached ones in time. 0: no limit.
    pub file_quota: u64,
    /// Whether there is a virtio-blk device with the serial [`HOME_SERIAL`] for `/home`.
    pub home_disk: bool,
    /// The guest's network; none for only a loopback interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<GuestNetwork>,
    /// The ordinary user.
    pub user: crate::v1::User,
    /// Keys of the SSH server.
    pub ssh: GuestSsh,
    /// Variables of every session.
    pub environment: BTreeMap<String, String>,
    /// What runs by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Box<Workload>>,
}

/// What the guest mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shares {
    /// Tag of the root tree (lower layer of the guest's root).
    pub software: String,
    /// Tag of the project, mounted at `/project`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// The guest's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestNetwork {
    /// MAC address of the interface to configure.
    pub mac: MacAddr,
    /// Address and subnet.
    pub address: Cidr,
    /// Default route.
    pub gateway: Ipv4Addr,
    /// Name servers, for `/etc/resolv.conf`.
    pub dns: Vec<Ipv4Addr>,
    /// Search domain, for `/etc/resolv.conf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// Keys of the guest's SSH server. Logins: the ordinary user and root, both by the same keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestSsh {
    /// Private host key, unencrypted: in OpenSSH's binary format (PROTOCOL.key), in hexadecimal.
    pub host_key: String,
    /// Public keys that may log in: as SSH sends them (RFC 4253, 6.6), in hexadecimal.
    pub authorized_keys: Vec<String>,
}

/// What precedes each piece of output on a log stream: the length of the process' name (a byte), the length of the output
/// (a big-endian `u16`), then the name. The output follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// The process.
    pub process: String,
    /// Bytes of output that follow.
    pub length: u16,
}

impl LogHeader {
    /// Bytes before the name.
    pub const FIXED: usize = 3;

    /// As sent. A process' name is never longer than a byte can say ([`crate::workload::is_process_name`]).
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = self.process.as_bytes();
        let name = &name[..name.len().min(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(Self::FIXED + name.len());
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes.extend_from_slice(name);
        bytes
    }

    /// The lengths of name and output in the first bytes.
    pub fn lengths(fixed: [u8; Self::FIXED]) -> (usize, usize) {
        let [name, high, low] = fixed;
        (usize::from(name), usize::from(u16::from_be_bytes([high, low])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_stream_is_known_by_its_byte() {
        for kind in [StreamKind::Control, StreamKind::Ssh, StreamKind::Logs] {
            assert_eq!(StreamKind::from_byte(kind as u8), Some(kind));
        }
        assert_eq!(StreamKind::from_byte(0), None);
    }

    #[test]
    fn a_log_header_survives_the_wire() {
        let bytes = LogHeader { process: "web.1".to_owned(), length: 0x1234 }.to_bytes();
        let (fixed, name) = bytes.split_first_chunk().unwrap();
        assert_eq!(LogHeader::lengths(*fixed), (5, 0x1234));
        assert_eq!(name, b"web.1");
    }

    #[test]
    fn a_workload_and_its_processes_survive_the_wire() {
        let workload =
            Workload::parse(r#"{ "version": 1, "processes": [{ "name": "web", "exec": "run" }] }"#).unwrap();
        let order = ToGuest::Workload(Box::new(workload));
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<ToGuest>(&json).unwrap(), order);
        let status = ProcessStatus {
            name: "web".to_owned(),
            phase: crate::workload::ProcessPhase::BackingOff,
            pid: None,
            restarts: 2,
            detail: "ended with exit code 1".to_owned(),
        };
        let told = ToHost::Processes(vec![status]);
        let json = serde_json::to_string(&told).unwrap();
        assert!(json.contains("backing-off"), "{json}");
        assert_eq!(serde_json::from_str::<ToHost>(&json).unwrap(), told);
    }
}
