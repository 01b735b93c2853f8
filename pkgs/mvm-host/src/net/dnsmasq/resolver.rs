//! The instance of a restricted VM: the names it may reach, and those of VMs.

use super::instance::{Instance, InstancePlan, Launcher};
use super::layout::{Change, Layout};
use super::upstream::{POLL, Upstream};
use super::{ResolverPlan, config};
use crate::dnsmasq_process::Role;
use crate::{Error, Result};
use std::net::SocketAddr;
use tokio::task::AbortHandle;

/// A running resolver. Dropping it ends it, at once. For use on the realm's network thread.
#[derive(Debug)]
pub struct Resolver {
    instance: Instance,
    follower: Option<AbortHandle>,
}

impl Resolver {
    /// Starts it and returns when it answers. Call it on a runtime whose thread is in the bridge's network namespace;
    /// the bridge has its address, and the nft set is there when the first name is asked for.
    ///
    /// Errors: dnsmasq is missing or too old, or can't have its port; a name is no DNS name.
    pub async fn start(plan: &ResolverPlan, launcher: &Launcher) -> Result<Self> {
        let layout = Layout::new(&plan.dir);
        let conf = config::resolver(plan)?;
        let servers = config::servers(&plan.names, &plan.upstream.servers())?;
        layout.create()?;
        layout.put(&layout.conf().join(config::SERVERS_FILE), &servers)?;
        let instance = Instance::start(
            InstancePlan {
                lost: format!("VM `{}` can't resolve names", plan.name),
                layout: &layout,
                conf,
                role: Role::Resolver,
                hosts: plan.hosts.clone(),
                server: SocketAddr::from((plan.address, plan.port)),
            },
            launcher,
        )
        .await?;
        let follower = matches!(plan.upstream, Upstream::ResolvConf(_)).then(|| {
            let (names, upstream, reload) = (plan.names.clone(), plan.upstream.clone(), instance.reloader());
            tokio::spawn(follow(layout, names, upstream, reload)).abort_handle()
        });
        Ok(Self { instance, follower })
    }

    /// Tells it to read its files again (SIGHUP).
    pub fn reload(&self) -> Result<()> {
        self.instance.reload()
    }

    /// Waits until it has ended; says why.
    pub async fn wait(&self) -> Error {
        self.instance.wait().await
    }

    /// Its process id, as its parent sees it; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.instance.pid()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

/// Keeps the servers of the allowed names up to date. Of this file dnsmasq sees no change by itself.
async fn follow(layout: Layout, names: Vec<String>, upstream: Upstream, reload: impl Fn() -> Result<()>) {
    let file = layout.conf().join(config::SERVERS_FILE);
    let mut pause = tokio::time::interval(POLL);
    loop {
        pause.tick().await;
        let update = || -> Result<()> {
            let servers = config::servers(&names, &upstream.servers())?;
            if layout.put(&file, &servers)? != Change::None {
                reload()?;
            }
            Ok(())
        };
        if let Err(error) = update() {
            tracing::warn!("a restricted VM asks the host's former name servers: {error}");
        }
    }
}
