//! What a crash of the machine, or of the keeper, can leave, and its removal.
//!
//! In a user realm that is little: everything but files goes with the namespaces. In the host realm a killed keeper
//! leaves bridge and rules, which the next one takes over.

use crate::net::{link::Links, nft, ruleset};
use crate::realm::{Config, Realm, RealmKind};
use crate::store::Store;
use crate::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Whether leftovers are looked for, or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only named.
    Find,
    /// Removed, and named.
    Remove,
}

/// The leftovers of `realm`, a few words each; none while a keeper runs, whose they would be.
pub fn sweep(realm: &Realm, mode: Mode) -> Result<Vec<String>> {
    if !realm.run_dir.is_dir() || !realm.state_dir.is_dir() {
        return Ok(Vec::new());
    }
    // Held to the end: no keeper starts meanwhile.
    let Some(_lock) = without_keeper(realm)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let socket = realm.socket();
    if socket.exists() {
        found.push(format!("the socket {}", socket.display()));
        if mode == Mode::Remove {
            std::fs::remove_file(&socket).map_err(Error::io("remove", &socket))?;
        }
    }
    let store = Store::open(&realm.state_dir);
    match mode {
        Mode::Remove => {
            found.extend(store.sweep()?.iter().map(|dir| directory(dir)));
            found.extend(
                store
                    .sweep_ephemeral(Duration::ZERO)?
                    .iter()
                    .map(|name| format!("VM `{name}` of one command")),
            );
        }
        Mode::Find => {
            found.extend(store.unfinished()?.iter().map(|dir| directory(dir)));
            let ephemeral =
                store.list()?.into_iter().filter(|(_, vm)| vm.as_ref().is_ok_and(|vm| vm.spec.ephemeral));
            found.extend(ephemeral.map(|(name, _)| format!("VM `{name}` of one command")));
        }
    }
    if realm.kind == RealmKind::Host {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start a runtime"))?;
        found.extend(runtime.block_on(sweep_network(&realm.config, mode))?);
    }
    Ok(found)
}

/// Keeps a keeper of `realm` from starting until the value is dropped; none if one runs, or is about to.
pub fn without_keeper(realm: &Realm) -> Result<Option<Flock<File>>> {
    let path = realm.keeper_lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

fn directory(dir: &Path) -> String {
    format!("the directory {}", dir.display())
}

async fn sweep_network(config: &Config, mode: Mode) -> Result<Vec<String>> {
    let links = Links::open()?;
    let mut found = Vec::new();
    let bridge = &config.bridge;
    if links.addresses().await?.iter().any(|address| address.address == config.subnet) {
        found.push(format!("the bridge {bridge}"));
        if mode == Mode::Remove {
            links.delete_bridge(bridge).await?;
        }
    }
    if nft::installed() && nft::read_back("inet", ruleset::TABLE).await.is_ok() {
        found.push(format!("the nftables tables {}", ruleset::TABLE));
        if mode == Mode::Remove {
            nft::apply(&ruleset::render_removal()).await?;
        }
    }
    Ok(found)
}
