//! Has the workload, starts what it says and ends what it doesn't say any more.

use super::board::Board;
use super::group::{Deadline, Groups};
use super::life::Life;
use super::order;
use super::output::Queue;
use super::start::Settings;
use crate::control::Reporter;
use mvm_spec::workload::{Process, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long all processes together may take to end when the machine is to be switched off; then they are killed.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long output of a process that has ended may take to be read. Who else holds its pipe may never let go.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Runs the workload. Ends nothing when it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    orders: mpsc::UnboundedSender<Workload>,
    queue: Arc<Queue>,
    deadline: Deadline,
    stop: Arc<Notify>,
    actor: Mutex<Option<JoinHandle<()>>>,
}

impl Supervisor {
    /// One that runs nothing yet, and tells `report` how processes are.
    pub fn start(settings: Settings, report: Reporter) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let (queue, deadline, stop) = (Arc::new(Queue::new()), Deadline::default(), Arc::new(Notify::new()));
        let board = Board::new();
        tokio::spawn(Board::report(board.watch(), report));
        let actor = Actor {
            settings: Arc::new(settings),
            workload: Arc::new(Mutex::new(Arc::new(Workload::empty()))),
            board,
            queue: queue.clone(),
            deadline: deadline.clone(),
            running: BTreeMap::new(),
        };
        let actor = Mutex::new(Some(tokio::spawn(actor.act(inbox, stop.clone()))));
        Self { orders, queue, deadline, stop, actor }
    }

    /// Has `workload` run from now on: what is new or changed is started, what is gone is ended, the rest runs on.
    pub fn run(&self, workload: Workload) {
        // Without a receiver the machine is on its way out.
        let _ = self.orders.send(workload);
    }

    /// Sends what processes print on `stream`.
    pub fn send_output(&self, stream: impl AsyncWrite + Send + Unpin + 'static) {
        self.queue.send_on(stream);
    }

    /// Ends all processes, those first that need others, and gets their last words out.
    pub async fn stop(&self) {
        self.deadline.set(Instant::now() + FAREWELL);
        self.stop.notify_one();
        let actor = self.actor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(actor) = actor {
            let _ = actor.await;
        }
        self.queue.finish(LAST_WORDS).await;
    }
}

struct Actor {
    settings: Arc<Settings>,
    workload: Arc<Mutex<Arc<Workload>>>,
    board: Board,
    queue: Arc<Queue>,
    deadline: Deadline,
    running: BTreeMap<String, Entry>,
}

/// A process that was started, and may have ended.
struct Entry {
    life: Life,
    task: JoinHandle<()>,
}

impl Actor {
    async fn act(mut self, mut inbox: mpsc::UnboundedReceiver<Workload>, stop: Arc<Notify>) {
        loop {
            let working = async {
                let Some(mut workload) = inbox.recv().await else { return false };
                while let Ok(later) = inbox.try_recv() {
                    workload = later;
                }
                self.bring(workload).await;
                true
            };
            tokio::select! {
                biased;
                () = stop.notified() => break,
                goes_on = working => if !goes_on { break },
            }
        }
        let all: BTreeSet<String> = self.running.keys().cloned().collect();
        self.end(&all).await;
    }

    /// Brings what runs to `new`. May be given up at any point.
    async fn bring(&mut self, new: Workload) {
        let as_before = |process: &Process| {
            self.running.get(&process.name).is_some_and(|entry| entry.life.process == *process)
        };
        let kept: BTreeSet<String> = new
            .processes
            .iter()
            .filter(|process| as_before(process))
            .map(|process| process.name.clone())
            .collect();
        let ending: BTreeSet<String> =
            self.running.keys().filter(|name| !kept.contains(*name)).cloned().collect();
        self.end(&ending).await;
        self.board
            .arrange(new.processes.iter().map(|process| process.name.clone()), |name| kept.contains(name));
        let starting: Vec<Process> =
            new.processes.iter().filter(|process| !kept.contains(&process.name)).cloned().collect();
        *self.workload.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        for process in starting {
            self.begin(process);
        }
    }

    fn begin(&mut self, process: Process) {
        let name = process.name.clone();
        let life = Life {
            settings: self.settings.clone(),
            workload: self.workload.clone(),
            board: self.board.clone(),
            groups: Groups::new(self.settings.reaper.clone(), self.deadline.clone()),
            outlet: self.queue.outlet(&name),
            pumps: Arc::default(),
            process,
        };
        let task = tokio::spawn(life.clone().live());
        self.running.insert(name, Entry { life, task });
    }

    /// Ends the processes called `names`, stage by stage.
    async fn end(&mut self, names: &BTreeSet<String>) {
        let processes: Vec<Process> = names
            .iter()
            .filter_map(|name| self.running.get(name))
            .map(|entry| entry.life.process.clone())
            .collect();
        for stage in order::stages(&processes.iter().collect::<Vec<_>>()) {
            let entries = self.running.iter_mut().filter(|(name, _)| stage.contains(name));
            futures::future::join_all(entries.map(|(_, entry)| entry.end())).await;
            self.running.retain(|name, _| !stage.contains(name));
        }
    }
}

impl Entry {
    async fn end(&mut self) {
        self.task.abort();
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
        self.life.groups.end_all().await;
        let pumps = std::mem::take(&mut *self.life.pumps.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = tokio::time::timeout(LAST_WORDS, futures::future::join_all(pumps)).await;
        self.life.settings.places.of(&self.life.process.name).remove_runtime();
    }
}
