//! Watches what governs a project, and says when what the project needs has changed.
//!
//! Directories are watched, not files: editors replace files. After each change everything is looked at anew, places
//! included, so that it does not matter what the change was: a file replaced, a directory moved, deleted and made again, or
//! so many events that the kernel dropped some.

mod places;
mod signals;

pub use signals::Signals;

use crate::detect;
use crate::project::Project;
use inotify::{EventMask, Inotify};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use places::Places;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A change is looked at when nothing else came for so long.
const SETTLE: Duration = Duration::from_millis(100);
/// And at the latest after so long, should events never end.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// A change that could not be dealt with is tried again after so long, at first.
const RETRY: Duration = Duration::from_secs(5);
/// And at most after so long.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What is done about a project's changes.
pub trait OnChange {
    /// Called when every change from now on will be seen, first, and whenever what the project needs has changed. After an
    /// error it is called again later.
    ///
    /// Errors: it could not be dealt with.
    fn changed(&mut self, project: &Project) -> anyhow::Result<Then>;

    /// Something went wrong that may pass: the directory is gone, or `changed` failed.
    fn trouble(&mut self, error: &anyhow::Error);
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Watching goes on.
    GoOn,
    /// There is nothing left to watch for.
    Stop,
}

/// Watches the project at `directory` until `stop` is readable or closed, or `on_change` says so. Nothing of the project is
/// executed. Blocks; uses no thread.
///
/// Errors: the system gives no inotify instance, or refuses to wait for it.
pub fn watch(directory: &Path, stop: BorrowedFd<'_>, on_change: &mut dyn OnChange) -> anyhow::Result<()> {
    // Relative to what may be moved away meanwhile it would mean something else.
    let directory = std::path::absolute(directory)?;
    let mut last: Option<String> = None;
    let mut retry = RETRY;
    loop {
        let (inotify, places, project) = look(&directory)?;
        let failed = match project {
            Ok(project) => {
                let seen = serde_json::to_string(&project)?;
                if last.as_ref() == Some(&seen) {
                    false
                } else {
                    match on_change.changed(&project) {
                        Ok(Then::Stop) => return Ok(()),
                        Ok(Then::GoOn) => {
                            last = Some(seen);
                            false
                        }
                        Err(error) => {
                            on_change.trouble(&error);
                            true
                        }
                    }
                }
            }
            Err(error) => {
                if last.take().is_some() {
                    on_change.trouble(&error.into());
                }
                // It is seen when it comes back, unless that was while we looked.
                true
            }
        };
        let patience = failed.then_some(retry);
        retry = if failed { (retry * 2).min(RETRY_MAX) } else { RETRY };
        if wait(inotify, &places, stop, patience)? == Woken::Stop {
            return Ok(());
        }
    }
}

/// Watches all places, then looks at the project; again as long as that shows more places.
fn look(directory: &Path) -> anyhow::Result<(Inotify, Places, crate::Result<Project>)> {
    let mut wanted: Vec<PathBuf> = Vec::new();
    loop {
        let inotify = Inotify::init()?;
        let places = Places::add(&inotify, directory, &wanted)?;
        let project = detect::detect(directory);
        let now = match &project {
            Ok(project) => places::of(project),
            Err(_) => Vec::new(),
        };
        if now.iter().all(|place| wanted.contains(place)) {
            return Ok((inotify, places, project));
        }
        wanted = now;
    }
}

#[derive(PartialEq, Eq)]
enum Woken {
    Change,
    Stop,
}

/// Waits for an event that matters, and until events have settled; or for `patience`.
fn wait(
    mut inotify: Inotify,
    places: &Places,
    stop: BorrowedFd<'_>,
    patience: Option<Duration>,
) -> anyhow::Result<Woken> {
    let mut buffer = [0; 16 << 10];
    let mut deadline = patience.map(|patience| Instant::now() + patience);
    let mut latest: Option<Instant> = None;
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            // Upwards, lest the last millisecond is spent turning round.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                PollTimeout::try_from(i32::try_from(left).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(stop, PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => return Ok(Woken::Change),
            Ok(_) => {}
        }
        if fds[1].any().unwrap_or(true) {
            return Ok(Woken::Stop);
        }
        let mut matters = false;
        match inotify.read_events(&mut buffer) {
            Ok(events) => {
                for event in events {
                    matters |= event.mask.contains(EventMask::Q_OVERFLOW) || places.matter(&event);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if matters {
            let now = Instant::now();
            let latest = *latest.get_or_insert(now + SETTLE_MAX);
            deadline = Some((now + SETTLE).min(latest));
        }
    }
}
