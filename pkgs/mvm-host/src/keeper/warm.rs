//! Templates for the VMs of a keeper: found, or made by booting a guest that knows of nothing, and saving it.

use super::prepare::Prepared;
use super::restore::{memory_file, ready, state_file};
use super::server::Keeper;
use super::vmm::{FdTable, Owner, VmmLaunch};
use crate::net::tap;
use crate::realm::Realm;
use crate::store::StoredVm;
use crate::template::key::{Ingredients, Key};
use crate::template::memory::Packed;
use crate::template::{self, About, Draft, Found, Template, cache};
use crate::vmm::{Machine, Origin, Platform, Tap, Vmm};
use crate::vmm_process::{INITRAMFS, KERNEL, MEMORY};
use crate::{Error, Result};
use mvm_spec::control::WAITING;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use tokio::io::AsyncReadExt;

/// What a VM can be made from.
pub struct Source {
    /// The template's key, if it could be found out.
    pub key: Option<Key>,
    /// The template, or why there is none.
    pub template: std::result::Result<Box<Template>, String>,
}

/// The template for `stored`, made if there is none; `on_making` is called before that, which takes as long as a boot.
pub async fn source(
    keeper: &Keeper,
    stored: &StoredVm,
    prepared: &Prepared,
    on_making: impl FnOnce(),
) -> Source {
    let machine = machine(stored, prepared);
    let key = match key(keeper, prepared, &machine).await {
        Ok(key) => key,
        Err(error) => return Source { key: None, template: Err(error.to_string()) },
    };
    let cache_dir = &keeper.realm.cache_dir;
    let find = || template::find(cache_dir, &key, prepared.tsc_khz);
    let mut found = find();
    if matches!(found, Found::Missing) {
        // Others that need it wait, and find it.
        let _alone = keeper.templates.lock().await;
        found = find();
        if matches!(found, Found::Missing) {
            found = match Draft::begin(cache_dir, &key) {
                Ok(None) => Found::Failed("another process is making the template".to_owned()),
                Ok(Some(draft)) => {
                    on_making();
                    make(keeper, stored, prepared, machine, draft).await.unwrap_or_else(|error| {
                        let reason = error.to_string();
                        template::note_failure(cache_dir, &key, &reason);
                        Found::Failed(reason)
                    })
                }
                Err(error) => Found::Failed(error.to_string()),
            };
            cache::prune(cache_dir, Some(key.as_str()));
        }
    }
    let template = match found {
        Found::Ready(template) => Ok(template),
        Found::Failed(reason) => Err(reason),
        Found::Missing => Err("the template is gone".to_owned()),
    };
    Source { key: Some(key), template }
}

/// The machine of the template for `stored`, without its descriptors.
fn machine(stored: &StoredVm, prepared: &Prepared) -> Machine {
    let resources = &stored.spec.resources;
    Machine {
        name: "template".to_owned(),
        vcpu: resources.vcpu,
        mem_mib: resources.mem_mib,
        accelerator: prepared.accelerator,
        platform: Platform::Microvm,
        origin: Origin::Template { memory: MEMORY.1.into() },
        kernel: KERNEL.into(),
        initramfs: INITRAMFS.into(),
        tsc_khz: prepared.tsc_khz,
        extra_cmdline: Vec::new(),
        shares: Vec::new(),
        tap: stored.spec.network.as_ref().map(|network| Tap { fd: 0, mac: network.mac }),
        home: None,
        mux: 0,
        qmp: Some(0),
    }
}

/// The key, whose files may have to be read.
async fn key(keeper: &Keeper, prepared: &Prepared, machine: &Machine) -> Result<Key> {
    // The counter's rate is measured anew at each start, and compared by `find`.
    let launch = prepared.qemu.launch(&Machine { tsc_khz: None, ..machine.clone() })?;
    let Realm { cache_dir, .. } = keeper.realm.clone();
    let (vmm, kernel) = (prepared.qemu.version()?, prepared.quick_kernel.clone());
    let (initramfs, accelerator) = (prepared.initramfs.clone(), prepared.accelerator);
    let work = move || {
        Ingredients { launch: &launch, vmm: &vmm, kernel: &kernel, initramfs: &initramfs, accelerator }
            .key(&cache_dir)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Failed(format!("finding a template's key broke off: {error}")))?
}

/// Boots a guest without anything of a VM, and saves it when it waits for its host.
async fn make(
    keeper: &Keeper,
    stored: &StoredVm,
    prepared: &Prepared,
    mut machine: Machine,
    draft: Draft,
) -> Result<Found> {
    let paths = keeper.store.paths(&stored.spec.name);
    let log = paths.vmm_log();
    let owner = Owner::of(stored)?;
    let (mount, memory) = memory_file(machine.mem_mib, &owner)?;
    let pair = || UnixStream::pair().map_err(Error::system("make a socket pair"));
    let ((port, port_of_vmm), (channel, channel_of_vmm)) = (pair()?, pair()?);
    let mut fds = FdTable::default();
    machine.mux = fds.add(port_of_vmm);
    machine.qmp = Some(fds.add(channel_of_vmm));
    if let Some(tap) = &mut machine.tap {
        // A real one, since what it can do is settled when the guest's driver starts.
        tap.fd = fds.add(tap::open_alone()?);
    }
    let about = About {
        created_at: template::now(),
        mem_mib: machine.mem_mib,
        vcpu: machine.vcpu,
        accel: prepared.accelerator.name().to_owned(),
        vmm: prepared.qemu.version()?,
        kernel: prepared.release.clone(),
        tsc_khz: prepared.tsc_khz,
        memory: Packed::default(),
        state_crc: 0,
    };
    let mut vmm = VmmLaunch {
        prepared,
        machine: &machine,
        owner: &owner,
        fds,
        memory: Some(mount),
        console: paths.console_log(),
        log: OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&log)
            .map_err(Error::io("create", &log))?,
    }
    .spawn()?;
    let saved = tokio::select! {
        saved = save(port, channel) => saved,
        ended = vmm.wait() => {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let said = said.lines().last().map(|line| format!(": {line}")).unwrap_or_default();
            Err(Error::Failed(format!("the template did not come up: {ended}{said}")))
        }
        () = tokio::time::sleep(prepared.boot_deadline) => {
            Err(Error::Failed("the template did not come up in time".to_owned()))
        }
    };
    vmm.kill().await;
    let state = saved?;
    let finish = move || draft.finish(about, &memory, &state);
    let template = tokio::task::spawn_blocking(finish)
        .await
        .map_err(|error| Error::Failed(format!("writing a template broke off: {error}")))??;
    Ok(Found::Ready(Box::new(template)))
}

/// Waits until the guest behind `port` waits, and gives the state of the machine's devices, stopped for good.
async fn save(port: UnixStream, channel: UnixStream) -> Result<Vec<u8>> {
    let failed = || Error::system("hear the template");
    port.set_nonblocking(true).map_err(failed())?;
    let mut port = tokio::net::UnixStream::from_std(port).map_err(failed())?;
    let mut said = vec![0; WAITING.len()];
    port.read_exact(&mut said).await.map_err(failed())?;
    if said != WAITING {
        let said = String::from_utf8_lossy(&said).into_owned();
        return Err(Error::Failed(format!("the template says {said:?} instead of that it waits")));
    }
    let mut qmp = ready(channel).await?;
    let file = state_file(None)?;
    qmp.give("state", file.as_fd()).await?;
    qmp.execute("migrate", serde_json::json!({"uri": "fd:state"})).await?;
    let over = |data: &serde_json::Value| data["status"] == "completed" || data["status"] == "failed";
    let end = qmp.event("MIGRATION", over).await?;
    if end["status"] != "completed" {
        return Err(Error::Failed("the VMM could not save the template".to_owned()));
    }
    read_all(file).map_err(Error::system("read the devices' state"))
}

fn read_all(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut content)?;
    Ok(content)
}
