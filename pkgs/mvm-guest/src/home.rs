//! The home disk.

use crate::reaper::Reaper;
use crate::software;
use anyhow::{Context, anyhow, bail};
use nix::mount::{MsFlags, mount};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An ext4 (ext2, ext3) file system.
    Ext4,
    /// Nothing: zeros where a file system would begin.
    Blank,
    /// Something else.
    Other,
}

/// Bytes read to tell what a disk holds.
const HEAD: usize = 4096;

/// Tells what a disk holds that begins with `head`. The superblock is at 1024, its magic number at 56 within
/// (fs/ext4/ext4.h).
pub fn content(head: &[u8; HEAD]) -> Content {
    if head[1024 + 56..1024 + 58] == [0x53, 0xef] {
        Content::Ext4
    } else if head.iter().all(|byte| *byte == 0) {
        Content::Blank
    } else {
        Content::Other
    }
}

/// The device of the disk with `serial` among the entries of `block` (`/sys/block`).
pub fn find(block: &Path, serial: &str) -> Option<PathBuf> {
    std::fs::read_dir(block).ok()?.flatten().find_map(|entry| {
        let found = std::fs::read_to_string(entry.path().join("serial")).ok()?;
        (found.trim_end() == serial).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// Mounts the disk with `serial` at `/home`, after making a file system on a blank one.
pub async fn mount_disk(serial: &str, reaper: &Reaper, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    let device = loop {
        if let Some(device) = find(Path::new("/sys/block"), serial).filter(|device| device.exists()) {
            break device;
        }
        if Instant::now() >= deadline {
            bail!(
                "no disk has the serial {serial} after {limit:?}; is the device there, and virtio_blk loaded?"
            );
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    let mut head = [0; HEAD];
    File::open(&device)
        .and_then(|disk| disk.read_exact_at(&mut head, 0))
        .with_context(|| format!("can't read the home disk {}", device.display()))?;
    match content(&head) {
        Content::Ext4 => {}
        Content::Blank => make_file_system(&device, reaper).await?,
        Content::Other => bail!(
            "the home disk holds something that is no ext4 file system, and is left alone; delete home.img in the \
             VM's state directory to start with an empty one"
        ),
    }
    mount(Some(&device), "/home", Some("ext4"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None::<&str>)
        .with_context(|| format!("can't mount the home disk {} at /home", device.display()))
}

async fn make_file_system(device: &Path, reaper: &Reaper) -> anyhow::Result<()> {
    let program = software::find(Path::new("/"), "mkfs.ext4").ok_or_else(|| {
        anyhow!(
            "the home disk is blank and there is no mkfs.ext4: install e2fsprogs on the host and start again"
        )
    })?;
    // Lazy initialisation: writing all inode tables would take seconds and make the sparse image large.
    let mut command = Command::new(&program);
    command
        .args(["-q", "-F", "-m", "0", "-L", "mvm-home", "-E", "lazy_itable_init=1,lazy_journal_init=1"])
        .arg(device)
        .env_clear()
        .env("PATH", software::search_path(Path::new("/"), "root"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let (_, _, exit) = reaper.spawn(&mut command).with_context(|| format!("can't run {program}"))?;
    let exit = exit.await.context("lost mkfs.ext4")?;
    if !exit.success() {
        bail!("{program} {} failed ({exit:?}); its messages are on the console", device.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_formatted_only_when_blank() {
        let mut head = [0; HEAD];
        assert_eq!(content(&head), Content::Blank);
        head[0] = 1;
        assert_eq!(content(&head), Content::Other);
        head[1080] = 0x53;
        head[1081] = 0xef;
        assert_eq!(content(&head), Content::Ext4);
    }

    #[test]
    fn a_disk_is_found_by_its_serial() {
        let block = tempfile::tempdir().unwrap();
        for (disk, serial) in [("vda", Some("other")), ("vdb", Some("mvm-home\n")), ("loop0", None)] {
            std::fs::create_dir(block.path().join(disk)).unwrap();
            if let Some(serial) = serial {
                std::fs::write(block.path().join(disk).join("serial"), serial).unwrap();
            }
        }
        assert_eq!(find(block.path(), "mvm-home"), Some(PathBuf::from("/dev/vdb")));
        assert_eq!(find(block.path(), "none"), None);
    }
}
