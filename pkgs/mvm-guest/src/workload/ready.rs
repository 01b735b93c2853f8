//! When a process answers.

use mvm_spec::workload::Process;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long one try may take.
pub const TRY: Duration = Duration::from_secs(10);

/// What shows that a process answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign<'a> {
    /// Nothing: it runs.
    Running,
    /// All of these TCP ports accept connections.
    Ports(&'a [u16]),
    /// This command succeeds.
    Command(&'a str),
}

impl<'a> Sign<'a> {
    /// That of `process`.
    pub fn of(process: &'a Process) -> Self {
        match (process.ready.is_empty(), process.ports.is_empty()) {
            (false, _) => Self::Command(&process.ready),
            (true, false) => Self::Ports(&process.ports),
            (true, true) => Self::Running,
        }
    }

    /// The pause after the first try, and the longest: a command costs more than a connection.
    fn pauses(&self) -> (Duration, Duration) {
        match self {
            Self::Command(_) => (Duration::from_millis(100), Duration::from_secs(2)),
            _ => (Duration::from_millis(20), Duration::from_secs(1)),
        }
    }

    /// Waits until it shows; `succeeds` runs a command, for no longer than [`TRY`].
    pub async fn wait<F: Future<Output = bool>>(&self, succeeds: impl Fn(String) -> F) {
        let (mut pause, longest) = self.pauses();
        loop {
            let shows = match self {
                Self::Running => true,
                // Where a queue of connections is full, none is made and none refused.
                Self::Ports(ports) => tokio::time::timeout(TRY, accept(ports)).await.unwrap_or(false),
                Self::Command(command) => succeeds((*command).to_owned()).await,
            };
            if shows {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(longest);
        }
    }
}

/// Whether all `ports` accept connections on a loopback address: servers that listen at `localhost` may have ::1 alone.
async fn accept(ports: &[u16]) -> bool {
    for port in ports {
        let connects = async |address: IpAddr| TcpStream::connect((address, *port)).await.is_ok();
        if !connects(Ipv4Addr::LOCALHOST.into()).await && !connects(Ipv6Addr::LOCALHOST.into()).await {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::net::TcpListener;

    #[tokio::test(start_paused = true)]
    async fn a_command_is_tried_until_it_succeeds_with_growing_pauses() {
        let (tries, begun) = (Cell::new(0), tokio::time::Instant::now());
        let at = Cell::new(Duration::ZERO);
        let sign = Sign::Command("check");
        sign.wait(async |command| {
            assert_eq!(command, "check");
            tries.set(tries.get() + 1);
            let before = at.replace(begun.elapsed());
            assert!(tries.get() == 1 || at.get() > before, "no busy loop");
            tries.get() == 20
        })
        .await;
        // 100 ms and half as much more each time, two seconds at most.
        assert_eq!(at.get().as_secs(), 26);
    }

    #[tokio::test]
    async fn ports_are_ready_when_all_of_them_accept() {
        let listen = async |address: &str| TcpListener::bind((address, 0)).await.unwrap();
        let (first, second) = (listen("127.0.0.1").await, listen("::1").await);
        let ports = [&first, &second].map(|listener| listener.local_addr().unwrap().port());
        assert!(accept(&ports).await);
        drop(second);
        assert!(!accept(&ports).await);
        assert!(accept(&ports[..1]).await);
    }
}
