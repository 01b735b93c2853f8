//! From a template to a running guest: its memory is copied while the VMM starts, then the VMM reads the state of the
//! devices, goes on where the template stopped, and is given the devices of this VM.
//!
//! The VMM's command channel is let go of as soon as that is done.

use super::vmm::Owner;
use crate::sandbox::mount::Detached;
use crate::template::Template;
use crate::vmm::qmp::Qmp;
use crate::vmm::{Machine, Vmm};
use crate::vmm_process::MEMORY;
use crate::{Error, Result};
use rustix::fs::MemfdFlags;
use serde_json::json;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What a file system of one file needs beside it, in bytes.
pub const OVERHEAD: u64 = 1 << 20;
/// The name under which the VMM is given the state.
const STATE: &str = "state";

/// A restore under way.
#[derive(Debug)]
pub struct Restoring {
    mount: Option<Detached>,
    /// Gives the devices' state when the memory is copied.
    copying: JoinHandle<Result<Vec<u8>>>,
    channel: UnixStream,
    channel_of_vmm: Option<UnixStream>,
}

/// Where the time of a restore went.
pub type Steps = Vec<(&'static str, Duration)>;

impl Restoring {
    /// Begins to copy the memory of `template`, `mem_mib` MiB, for a VMM that runs as `owner`.
    pub fn begin(template: &Template, mem_mib: u64, owner: &Owner) -> Result<Self> {
        let (mount, memory) = memory_file(mem_mib, owner)?;
        let template = template.clone();
        let copying = tokio::task::spawn_blocking(move || {
            let state = template.state()?;
            template.unpack_memory(&memory)?;
            Ok(state)
        });
        let (channel, channel_of_vmm) = UnixStream::pair().map_err(Error::system("make a socket pair"))?;
        Ok(Self { mount: Some(mount), copying, channel, channel_of_vmm: Some(channel_of_vmm) })
    }

    /// The mount with the memory, for the VMM; once.
    pub fn take_mount(&mut self) -> Option<Detached> {
        self.mount.take()
    }

    /// The VMM's end of its command channel; once.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel_of_vmm.take()
    }

    /// Makes the VMM go on from the template. What each step took is added to `steps`.
    pub async fn resume(self, steps: &mut Steps) -> Result<Restored> {
        let mut begun = Instant::now();
        let mut done = |name| {
            steps.push((name, begun.elapsed()));
            begun = Instant::now();
        };
        let mut qmp = ready(self.channel).await?;
        done("VMM");
        let copied = self.copying.await;
        let state =
            copied.map_err(|error| Error::Failed(format!("copying a template broke off: {error}")))??;
        done("wait for the copy of the template's memory");
        qmp.give(STATE, state_file(Some(&state))?.as_fd()).await?;
        qmp.execute("migrate-incoming", json!({"uri": format!("fd:{STATE}")})).await?;
        // The VMM ends, and with it the channel, if it can't use the state.
        qmp.event("RESUME", |_| true).await?;
        done("devices' state");
        Ok(Restored { qmp })
    }
}

/// A machine that goes on, without the devices that its template had not.
#[derive(Debug)]
pub struct Restored {
    qmp: Qmp,
}

impl Restored {
    /// Gives the VMM, which was started for `machine` by `vmm`, those devices.
    pub async fn plug(mut self, vmm: &impl Vmm, machine: &Machine) -> Result<()> {
        for (command, arguments) in vmm.plug(machine) {
            self.qmp.execute(command, arguments).await?;
        }
        Ok(())
    }
}

/// Takes up a VMM's command channel, for saving or restoring a machine whose memory is a file.
pub async fn ready(channel: UnixStream) -> Result<Qmp> {
    let failed = || Error::system("prepare the VMM's command channel");
    channel.set_nonblocking(true).map_err(failed())?;
    let mut qmp = Qmp::negotiate(tokio::net::UnixStream::from_std(channel).map_err(failed())?).await?;
    // Shared memory is not part of the state; and the end of saving is an event.
    let on = |name| json!({"capability": name, "state": true});
    let capabilities = json!({"capabilities": [on("x-ignore-shared"), on("events")]});
    qmp.execute("migrate-set-capabilities", capabilities).await?;
    // After a restore QEMU would announce its machine's address on the network, which is the template's: nobody's.
    qmp.execute("migrate-set-parameters", json!({"announce-rounds": 0})).await?;
    Ok(qmp)
}

/// A file system with an empty file for a guest's memory, and the file.
pub fn memory_file(mem_mib: u64, owner: &Owner) -> Result<(Detached, File)> {
    let size = mem_mib << 20;
    let mount = Detached::tmpfs(size + OVERHEAD)?;
    let file = mount.create(MEMORY.0, size, (owner.uid, owner.gid))?;
    Ok((mount, file))
}

/// A file in memory, with `state` in it.
pub fn state_file(state: Option<&[u8]>) -> Result<File> {
    let new = || -> std::io::Result<File> {
        let file = File::from(rustix::fs::memfd_create(STATE, MemfdFlags::CLOEXEC)?);
        (&file).write_all(state.unwrap_or_default())?;
        (&file).rewind()?;
        Ok(file)
    };
    new().map_err(Error::system("make a file for the devices' state"))
}
