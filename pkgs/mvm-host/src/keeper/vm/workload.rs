//! What runs in a VM by itself: handed to its guest, which says how it is.

use super::Life;
use crate::client::write_frame;
use crate::keeper::logs::Logs;
use crate::keeper::machine::Attempt;
use crate::{Error, Result};
use mvm_spec::control::{StreamKind, ToGuest};
use mvm_spec::workload::{ProcessPhase, ProcessStatus, Workload};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a guest may take to take a workload.
const TAKING: Duration = Duration::from_secs(10);
/// Longest detail of a process that is kept, in bytes: a guest may say anything.
const DETAIL_MAX: usize = 500;

impl Life {
    /// The guest is ready, and runs what it was configured with: takes what its processes print, and brings what was
    /// stored meanwhile.
    pub(super) async fn begin_workload(&mut self, attempt: &mut Attempt) {
        let paths = self.keeper.store.paths(self.name());
        crate::keeper::logs::begin(&paths, &names(&attempt.workload));
        // Until the guest says more.
        self.facts.borrow_mut().processes =
            attempt.workload.processes.iter().map(|process| unknown(&process.name)).collect();
        if !attempt.workload.processes.is_empty()
            && let Err(error) = self.take_logs(attempt).await
        {
            self.warnings.push(format!("what the processes of `{}` print gets lost: {error}", self.name()));
        }
        for reply in std::mem::take(&mut self.applying) {
            // Who asked may be gone.
            let _ = reply.send(self.apply_workload(attempt).await);
        }
    }

    /// Has the guest run the stored workload.
    pub(super) async fn apply_workload(&mut self, attempt: &mut Attempt) -> Result<()> {
        let name = self.name().clone();
        let workload = self.keeper.store.workload(&name)?.unwrap_or_else(Workload::empty);
        if workload == attempt.workload {
            return Ok(());
        }
        let order = ToGuest::Workload(Box::new(workload.clone()));
        attempt.workload = workload;
        if !attempt.workload.processes.is_empty() {
            self.take_logs(attempt).await?;
        }
        let sent = write_frame(&mut attempt.control.writer, &order);
        match tokio::time::timeout(TAKING, sent).await {
            Ok(sent) => sent.map_err(Error::system(format!("tell the guest of `{name}` what to run"))),
            Err(_) => Err(Error::Failed(format!(
                "the guest of `{name}` did not take its workload in time; `mvm restart {name}` helps"
            ))),
        }
    }

    /// What the processes print is written to their logs from now on.
    async fn take_logs(&mut self, attempt: &mut Attempt) -> Result<()> {
        let names = names(&attempt.workload);
        match &attempt.logs {
            Some(logs) => logs.expect(names),
            None => {
                let stream = attempt.mux.open(StreamKind::Logs).await?;
                let paths = self.keeper.store.paths(self.name());
                attempt.logs = Some(Logs::start(stream, paths, names));
            }
        }
        Ok(())
    }

    /// Notes how the processes are, as far as they are of the workload.
    pub(super) fn note_processes(&self, attempt: &Attempt, processes: Vec<ProcessStatus>) {
        let names = names(&attempt.workload);
        let known =
            processes.into_iter().filter(|process| names.contains(&process.name)).map(|mut process| {
                let detail = &mut process.detail;
                let end =
                    (0..=DETAIL_MAX).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or_default();
                detail.truncate(end);
                process
            });
        self.facts.borrow_mut().processes = known.take(names.len()).collect();
    }
}

/// That of a process of which the guest has said nothing.
fn unknown(name: &str) -> ProcessStatus {
    ProcessStatus {
        name: name.to_owned(),
        phase: ProcessPhase::Waiting,
        pid: None,
        restarts: 0,
        detail: String::new(),
    }
}

fn names(workload: &Workload) -> BTreeSet<String> {
    workload.processes.iter().map(|process| process.name.clone()).collect()
}
