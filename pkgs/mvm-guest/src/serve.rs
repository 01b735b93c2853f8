//! What a running guest does: it answers its host, on as many streams as the host opens.

use crate::console::say;
use crate::control::{Reporter, read_frame, write_frame};
use crate::mux::{Mux, Stream, read_kind};
use crate::{seed, ssh};
use mvm_spec::control::{GuestConfig, StreamKind, ToGuest, ToHost};
use mvm_spec::workload::Workload;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};

/// The machine that is told who it is. One is real ([`crate::configure::Booted`]); tests have another.
pub trait Machine: Send + Sync + 'static {
    /// Becomes what `config` says, reporting each step; returns the SSH server to serve. An error is fatal.
    fn configure(
        &self,
        config: GuestConfig,
        report: &Reporter,
    ) -> impl Future<Output = anyhow::Result<Arc<ssh::Server>>> + Send;

    /// Has `workload` run from now on, and sessions of `server` find what it says. The machine is configured.
    fn run_workload(&self, workload: Workload, server: &ssh::Server);

    /// Sends on `stream` what processes of the workload print.
    fn send_output(&self, stream: Stream);

    /// Ends processes and detaches disks, after which the machine may lose its power.
    fn wind_down(&self) -> impl Future<Output = ()> + Send;
}

type ServerCell = watch::Receiver<Option<Arc<ssh::Server>>>;

/// Serves the host until it asks for the end or is gone, then winds `machine` down. `opening` is sent first.
pub async fn serve(mut mux: Mux, machine: impl Machine, opening: Vec<ToHost>) {
    let (configured, server) = watch::channel(None);
    let (done, mut is_done) = mpsc::channel(1);
    // The host opens one control stream, which takes this.
    let mut control = Some(Control { machine: Arc::new(machine), opening, configured, done });
    let machine = control.as_ref().map(|control| Arc::clone(&control.machine));
    loop {
        tokio::select! {
            stream = mux.accept() => {
                let Some(mut stream) = stream else {
                    say("the host has gone; powering off");
                    if let Some(machine) = machine {
                        machine.wind_down().await;
                    }
                    break;
                };
                // Kind bytes follow at once from a host that is well; one that isn't must not hold up the others.
                match tokio::time::timeout(Duration::from_secs(10), read_kind(&mut stream)).await {
                    Ok(Ok(Some(StreamKind::Ssh))) => {
                        tokio::spawn(serve_ssh(stream, server.clone()));
                    }
                    Ok(Ok(Some(StreamKind::Control))) => match control.take() {
                        Some(control) => {
                            tokio::spawn(control.serve(stream));
                        }
                        None => say("the host opened a second control stream; it is closed"),
                    },
                    Ok(Ok(Some(StreamKind::Logs))) => {
                        if let Some(machine) = &machine {
                            machine.send_output(stream);
                        }
                    }
                    Ok(Ok(None)) => say("the host opened a stream of an unknown kind; it is closed"),
                    Ok(Err(_)) | Err(_) => say("the host opened a stream and sent no kind; it is closed"),
                }
            }
            _ = is_done.recv(), if control.is_none() => break,
        }
    }
    mux.close().await;
}

/// Serves SSH on `stream`, as soon as there is a server.
async fn serve_ssh(stream: Stream, mut server: ServerCell) {
    let server = match server.wait_for(Option::is_some).await {
        Ok(server) => server.clone(),
        // The configuration failed.
        Err(_) => None,
    };
    if let Some(server) = server {
        server.serve(stream).await;
    }
}

struct Control<M> {
    machine: Arc<M>,
    opening: Vec<ToHost>,
    configured: watch::Sender<Option<Arc<ssh::Server>>>,
    done: mpsc::Sender<()>,
}

impl<M: Machine> Control<M> {
    async fn serve(self, stream: Stream) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (report, mut reports) = Reporter::new();
        let writing = tokio::spawn(async move {
            while let Some(message) = reports.recv().await {
                // Whoever else may report, say how processes are, has nothing to say after this.
                let last = matches!(message, ToHost::PoweringOff | ToHost::Failed { .. });
                if write_frame(&mut writer, &message).await.is_err() || last {
                    break;
                }
            }
        });
        let greeted = Instant::now();
        for message in self.opening.iter().cloned() {
            report.send(message);
        }
        if let Err(error) = self.converse(&mut reader, &report, greeted).await {
            say(format_args!("fatal: {error:#}"));
            self.machine.wind_down().await;
            report.send(ToHost::Failed { message: format!("{error:#}") });
        } else {
            self.machine.wind_down().await;
            report.send(ToHost::PoweringOff);
        }
        // The writer ends once everything is written.
        let _ = writing.await;
        let _ = self.done.send(()).await;
    }

    /// Follows the host's orders up to the last.
    async fn converse(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        report: &Reporter,
        greeted: Instant,
    ) -> anyhow::Result<()> {
        loop {
            let order = read_frame(reader).await.map_err(|error| {
                anyhow::anyhow!("can't understand the host ({error}); are mvm and its guest of one build?")
            })?;
            match order {
                Some(ToGuest::Configure(mut config)) => {
                    let held = Duration::from_nanos(config.held_ns);
                    config.time_unix_ns = seed::on_arrival(config.time_unix_ns, greeted.elapsed(), held);
                    if self.configured.borrow().is_some() {
                        anyhow::bail!("the host configured the guest twice");
                    }
                    let workload = config.workload.clone();
                    let server = self.machine.configure(*config, report).await?;
                    self.configured.send_replace(Some(server.clone()));
                    report.send(ToHost::Ready);
                    say("ready");
                    // Afterwards: nobody waits for it.
                    if let Some(workload) = workload {
                        self.machine.run_workload(*workload, &server);
                    }
                }
                Some(ToGuest::Workload(workload)) => {
                    let server = self.configured.borrow().clone();
                    let server = server.ok_or_else(|| {
                        anyhow::anyhow!("the host sent a workload to a guest that is not configured")
                    })?;
                    self.machine.run_workload(*workload, &server);
                }
                Some(ToGuest::PowerOff) => {
                    say("powering off");
                    return Ok(());
                }
                None => {
                    say("the host closed the control stream; powering off");
                    return Ok(());
                }
            }
        }
    }
}
