//! The file server's view: `/software` and `/project`.

use super::{FsConfig, etc};
use crate::overlay;
use crate::sandbox::mount::{Access, Detached};
use crate::sandbox::view::{Software, View};
use crate::{Error, Result};
use rustix::mount::{UnmountFlags, unmount};
use std::path::Path;

/// Directory of the view with the guest's root tree.
pub const SOFTWARE: &str = "/software";
/// Directory of the view with the project.
pub const PROJECT: &str = "/project";
/// Bytes of files of its own that the view may hold: the guest's `/etc`.
const VIEW_SIZE: u64 = 64 << 20;

/// Builds the view in this process's mount namespace.
pub fn build(config: &FsConfig) -> Result<View> {
    // Everything is picked up before the view hides its sources.
    let software = Software::of_host(Path::new("/"));
    let trees = software.pick_up()?;
    let etc = etc::Etc::read(Path::new("/etc"))?;
    let layers = config
        .project
        .as_ref()
        .map(|project| {
            overlay::prepare_upper(&project.lower, &project.overlay.join("upper"))?;
            Ok::<_, Error>((
                Detached::tree(&project.lower, Access::Read)?,
                Detached::tree(&project.overlay, Access::Write)?,
            ))
        })
        .transpose()?;

    let view = View::new(VIEW_SIZE)?;
    software.put(&view, SOFTWARE, trees)?;
    etc.write(&view.dir(&format!("{SOFTWARE}/etc"))?)?;
    for dir in ["dev", "home", "mnt", "opt", "proc", "project", "root", "run", "srv", "sys", "tmp", "var"] {
        view.dir(&format!("{SOFTWARE}/{dir}"))?;
    }
    for dir in ["cache", "lib", "log", "spool", "tmp"] {
        view.dir(&format!("{SOFTWARE}/var/{dir}"))?;
    }
    view.link(&format!("{SOFTWARE}/var/run"), Path::new("/run"))?;
    view.link(&format!("{SOFTWARE}/var/lock"), Path::new("/run/lock"))?;
    view.dir(PROJECT)?;
    if let Some((lower, overlay)) = layers {
        mount_overlay(&view, lower, overlay)?;
    }
    Ok(view)
}

/// Mounts the overlay at `/project`. Its layers are mounted under plain names first, since a path given to overlayfs
/// must not hold `:` or `,`, and the project's may; afterwards the overlay holds them, and their own mounts go.
fn mount_overlay(view: &View, lower: Detached, overlay: Detached) -> Result<()> {
    let (lower_at, layers_at) = (view.dir("/layers/lower")?, view.dir("/layers/overlay")?);
    lower.attach(&lower_at)?;
    overlay.attach(&layers_at)?;
    Detached::overlay(&lower_at, &layers_at.join("upper"), &layers_at.join("work"))?
        .attach(&view.outside(PROJECT))?;
    for place in [lower_at, layers_at] {
        unmount(&place, UnmountFlags::DETACH).map_err(|error| Error::io("unmount", &place)(error.into()))?;
    }
    Ok(())
}
