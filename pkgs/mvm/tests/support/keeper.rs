//! A keeper that speaks the protocol and runs no VMs: its "guests" are the SSH server of `super::guest`.

use super::Place;
use super::guest::{self, Guest};
use mvm_host::client::{read_frame, write_frame};
use mvm_host::keeper::protocol::{Event, Phase, Request, RunningVm, Timing};
use mvm_host::store::Store;
use mvm_spec::VmName;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};

/// A running keeper; ends with its test.
pub struct Keeper {
    pub guest: Arc<Guest>,
    pub running: Arc<Mutex<BTreeSet<VmName>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Keeper {
    /// A keeper for the realm in `place`.
    pub fn start(place: &Place) -> Self {
        let realm = place.realm();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let guest = Arc::new(Guest::default());
        let running = Arc::new(Mutex::new(BTreeSet::new()));
        let _entered = runtime.enter();
        let listener = UnixListener::bind(realm.socket()).unwrap();
        let (of_guest, of_running) = (guest.clone(), running.clone());
        let store = place.store();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, store.clone(), of_guest.clone(), of_running.clone()));
            }
        });
        Self { guest, running, _runtime: runtime }
    }
}

async fn serve(
    mut stream: UnixStream,
    store: Store,
    guest: Arc<Guest>,
    running: Arc<Mutex<BTreeSet<VmName>>>,
) {
    let Ok(Some(request)) = read_frame::<Request>(&mut stream).await else { return };
    match request {
        Request::Status => {
            let vms = running.lock().unwrap().iter().map(running_vm).collect();
            let _ = write_frame(&mut stream, &Event::Status { keeper_pid: 1, vms }).await;
        }
        Request::Denied { .. } => {
            let _ = write_frame(&mut stream, &Event::Denied { denied: None }).await;
        }
        Request::Start { name, lease, .. } => {
            let already = !running.lock().unwrap().insert(name.clone());
            let _ = write_frame(&mut stream, &Event::Step { text: "booting".into() }).await;
            if guest.stuck() {
                // Boots for ever, until its caller has had enough.
                let _ = stream.read(&mut [0]).await;
            } else {
                let timings = vec![Timing { step: "boot".into(), took_us: 1234 }];
                let _ = write_frame(&mut stream, &Event::Started { already, timings, notes: vec![] }).await;
                if lease {
                    let _ = stream.read(&mut [0]).await;
                }
            }
            if lease {
                running.lock().unwrap().remove(&name);
                store.delete(&name).unwrap();
            }
        }
        Request::Stop { name, force, .. } => {
            let already = !running.lock().unwrap().remove(&name);
            let _ = write_frame(&mut stream, &Event::Stopped { already, killed: force }).await;
        }
        Request::Processes { .. } => {
            let _ = write_frame(&mut stream, &Event::Processes { processes: vec![] }).await;
        }
        Request::ApplyWorkload { name } => {
            let running = running.lock().unwrap().contains(&name);
            let _ = write_frame(&mut stream, &Event::Applied { running }).await;
        }
        Request::Attach { name } | Request::Detach { name } => {
            let message = format!("VM `{name}` is none of the units'");
            let _ = write_frame(&mut stream, &Event::Failed { message, console: vec![] }).await;
        }
        Request::Ssh { name } => {
            if running.lock().unwrap().contains(&name) {
                write_frame(&mut stream, &Event::Connected).await.unwrap();
                guest::serve(stream, store.paths(&name), guest).await;
            } else {
                let message = format!("VM `{name}` does not run");
                let _ = write_frame(&mut stream, &Event::Failed { message, console: vec![] }).await;
            }
        }
    }
}

fn running_vm(name: &VmName) -> RunningVm {
    RunningVm {
        name: name.clone(),
        phase: Phase::Running,
        started_at: 1_000_000_000,
        vmm_pid: Some(1),
        fs_pid: None,
        accel: "tcg".into(),
        warm: false,
    }
}
