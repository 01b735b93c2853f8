//! The virtio-serial port that the host talks on.

use crate::console::say;
use crate::fd::FdStream;
use anyhow::{Context, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The device of the port called `name` among the entries of `class` (`/sys/class/virtio-ports`).
pub fn find(class: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(class).ok()?;
    entries.flatten().find_map(|entry| {
        let found = std::fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// Waits for the port called `name` and for a host that holds its other end, and opens it. The stream's end means that
/// the host closed its side.
pub async fn open(name: &str, limit: Duration) -> anyhow::Result<FdStream> {
    let deadline = Instant::now() + limit;
    let class = Path::new("/sys/class/virtio-ports");
    let mut announced = false;
    let device = loop {
        if let Some(device) = find(class, name) {
            break device;
        }
        if !announced {
            announced = true;
            say(format_args!("waiting for the virtio-serial port {name}"));
        }
        if Instant::now() >= deadline {
            bail!(
                "no virtio-serial port is called {name} after {limit:?}; is the device there, and virtio_console loaded?"
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    let file = loop {
        // devtmpfs makes the node a moment after sysfs shows the port.
        match File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&device) {
            Ok(file) => break file,
            Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL_INTERVAL).await,
            Err(error) => return Err(error).with_context(|| format!("can't open {}", device.display())),
        }
    };
    announced = false;
    while !host_connected(&file)? {
        if !announced {
            announced = true;
            say(format_args!("waiting for the host to connect to {name}"));
        }
        if Instant::now() >= deadline {
            bail!("no host connected to the port {name} within {limit:?}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    FdStream::new(file).context("can't poll the port")
}

/// A port whose host end is closed hangs up (drivers/char/virtio_console.c, port_fops_poll).
fn host_connected(file: &File) -> anyhow::Result<bool> {
    let mut set = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    poll(&mut set, PollTimeout::ZERO).context("can't poll the port")?;
    Ok(!set[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [("vport0p1", "org.qemu.guest_agent.0\n"), ("vport1p2", "the.port\n")] {
            std::fs::create_dir(class.path().join(port)).unwrap();
            std::fs::write(class.path().join(port).join("name"), name).unwrap();
        }
        assert_eq!(find(class.path(), "the.port"), Some(PathBuf::from("/dev/vport1p2")));
        assert_eq!(find(class.path(), "the"), None);
        assert_eq!(find(Path::new("/nonexistent"), "the.port"), None);
    }
}
