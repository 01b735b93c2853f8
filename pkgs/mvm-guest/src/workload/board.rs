//! How all processes are: for each other, who wait to be ready, and for the host.

use crate::control::Reporter;
use mvm_spec::control::ToHost;
use mvm_spec::workload::{ProcessPhase, ProcessStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Shortest time between two reports to the host: many changes at once are one.
const APART: Duration = Duration::from_millis(20);

/// The processes' statuses, in the workload's order; clones share them.
#[derive(Clone, Debug)]
pub struct Board {
    statuses: Arc<watch::Sender<Vec<ProcessStatus>>>,
}

impl Board {
    /// A board without processes.
    pub fn new() -> Self {
        Self { statuses: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// From now on these are the processes that there are; those that were there keep their status if `keep` says so.
    pub fn arrange(&self, names: impl Iterator<Item = String>, keep: impl Fn(&str) -> bool) {
        self.statuses.send_modify(|statuses| {
            let mut before = std::mem::take(statuses);
            *statuses = names
                .map(|name| match before.iter().position(|status| status.name == name && keep(&name)) {
                    Some(place) => before.swap_remove(place),
                    None => fresh(name),
                })
                .collect();
        });
    }

    /// Changes the status of process `name`.
    pub fn set(&self, name: &str, change: impl FnOnce(&mut ProcessStatus)) {
        self.statuses.send_if_modified(|statuses| {
            let Some(status) = statuses.iter_mut().find(|status| status.name == name) else { return false };
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// Waits until all of `names` are ready; `waits_for` hears of those that are not, with what is known, whenever that
    /// changes.
    pub async fn all_ready(&self, names: &[String], mut waits_for: impl FnMut(String)) {
        let mut statuses = self.statuses.subscribe();
        let mut said = String::new();
        loop {
            let missing = missing(names, &statuses.borrow_and_update());
            if missing.is_empty() {
                return;
            }
            if missing != said {
                waits_for(missing.clone());
                said = missing;
            }
            if statuses.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the host of every change; ends with the board.
    pub async fn report(mut statuses: watch::Receiver<Vec<ProcessStatus>>, report: Reporter) {
        while statuses.changed().await.is_ok() {
            let now = statuses.borrow_and_update().clone();
            report.send(ToHost::Processes(now));
            tokio::time::sleep(APART).await;
        }
    }

    /// To watch it.
    pub fn watch(&self) -> watch::Receiver<Vec<ProcessStatus>> {
        self.statuses.subscribe()
    }
}

fn fresh(name: String) -> ProcessStatus {
    ProcessStatus { name, phase: ProcessPhase::Waiting, pid: None, restarts: 0, detail: String::new() }
}

/// Those of `names` that are not ready, in words. One that has done its work and ended was ready.
fn missing(names: &[String], statuses: &[ProcessStatus]) -> String {
    let phase =
        |name: &String| statuses.iter().find(|status| status.name == *name).map(|status| status.phase);
    let missing = names.iter().filter_map(|name| match phase(name) {
        Some(ProcessPhase::Ready | ProcessPhase::Ended) => None,
        Some(ProcessPhase::Failed) => Some(format!("{name}, which failed")),
        Some(ProcessPhase::BackingOff) => Some(format!("{name}, which fails")),
        _ => Some(name.clone()),
    });
    missing.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(names: &[&str]) -> Board {
        let board = Board::new();
        board.arrange(names.iter().map(|name| (*name).to_owned()), |_| true);
        board
    }

    #[tokio::test]
    async fn one_waits_until_all_others_are_ready_or_done() {
        let board = board(&["a", "b", "web"]);
        let (others, changer) = (["a".to_owned(), "b".to_owned()], board.clone());
        let mut said = Vec::new();
        let waiting = board.all_ready(&others, |text| {
            match said.len() {
                0 => changer.set("a", |status| status.phase = ProcessPhase::Failed),
                1 => changer.set("a", |status| status.phase = ProcessPhase::Ended),
                _ => changer.set("b", |status| status.phase = ProcessPhase::Ready),
            }
            said.push(text);
        });
        tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
        assert_eq!(said, ["a; b", "a, which failed; b", "b"]);
    }

    #[tokio::test]
    async fn the_host_hears_of_changes_and_many_at_once_are_one() {
        let (report, mut heard) = Reporter::new();
        let board = board(&["a"]);
        tokio::spawn(Board::report(board.watch(), report));
        tokio::task::yield_now().await;
        for restarts in 1..=50 {
            board.set("a", |status| status.restarts = restarts);
        }
        let Some(ToHost::Processes(statuses)) = heard.recv().await else { unreachable!() };
        assert_eq!(statuses[0].restarts, 50);
        board.set("a", |status| status.restarts = 50);
        board.arrange(std::iter::empty(), |_| true);
        let Some(ToHost::Processes(statuses)) = heard.recv().await else { unreachable!() };
        assert!(statuses.is_empty(), "what changed nothing is not told");
        drop(board);
        assert!(heard.recv().await.is_none());
    }

    #[test]
    fn a_new_arrangement_keeps_those_that_run_on() {
        let board = board(&["a", "b"]);
        for name in ["a", "b"] {
            board.set(name, |status| status.phase = ProcessPhase::Ready);
        }
        board.arrange(["b", "c", "a"].map(str::to_owned).into_iter(), |name| name == "b");
        let phases: Vec<_> =
            board.watch().borrow().iter().map(|status| (status.name.clone(), status.phase)).collect();
        let expected =
            [("b", ProcessPhase::Ready), ("c", ProcessPhase::Waiting), ("a", ProcessPhase::Waiting)];
        assert_eq!(phases, expected.map(|(name, phase)| (name.to_owned(), phase)));
    }
}
