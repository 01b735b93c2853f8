//! Directories that are watched.

use crate::detect;
use crate::project::Project;
use inotify::{Event, Inotify, WatchDescriptor, WatchMask};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Most directories that are watched: those of governing files, and those above.
const MAX: usize = 1000;

/// Of a directory, what matters.
enum Matters {
    /// Everything in it.
    All,
    /// These names: the way down to a directory that everything matters of.
    Names(BTreeSet<OsString>),
}

/// Watched directories.
pub struct Places {
    watched: HashMap<WatchDescriptor, Matters>,
}

/// Directories in which something governs a project: those of the files that were read, and those between the governing
/// directory and the root, where a nearer or a first such file may appear.
pub fn of(project: &Project) -> Vec<PathBuf> {
    let governing = project.governing();
    let between = governing.ancestors().take_while(|path| path.starts_with(&project.root));
    let files = detect::governing_files(project);
    let of_files = files.iter().filter_map(|file| Some(project.root.join(file).parent()?.to_owned()));
    let all: BTreeSet<PathBuf> = between.map(Path::to_owned).chain(of_files).collect();
    all.into_iter().take(MAX).collect()
}

impl Places {
    /// Watches `directory`, `wanted` and, for their being moved or made again, what is above. What does not exist is awaited
    /// in the directory above it.
    ///
    /// Errors: the limit of watches is reached, of which the system says which.
    pub fn add(inotify: &Inotify, directory: &Path, wanted: &[PathBuf]) -> std::io::Result<Self> {
        let mut matters: HashMap<&Path, Matters> = HashMap::new();
        let all: Vec<&Path> = std::iter::once(directory).chain(wanted.iter().map(PathBuf::as_path)).collect();
        for place in &all {
            matters.insert(place, Matters::All);
        }
        for place in &all {
            for (below, above) in place.ancestors().zip(place.ancestors().skip(1)) {
                let Some(name) = below.file_name() else { break };
                match matters.entry(above).or_insert_with(|| Matters::Names(BTreeSet::new())) {
                    Matters::All => {}
                    Matters::Names(names) => {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
        let mut watched: HashMap<WatchDescriptor, Matters> = HashMap::new();
        for (place, what) in matters {
            let mask = WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::MOVE
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR;
            let mask = match what {
                Matters::All => mask | WatchMask::CLOSE_WRITE | WatchMask::MODIFY,
                Matters::Names(_) => mask,
            };
            match inotify.watches().add(place, mask | WatchMask::MASK_ADD) {
                // Two paths may lead to one directory.
                Ok(descriptor) => match (watched.get_mut(&descriptor), what) {
                    (None, what) => drop(watched.insert(descriptor, what)),
                    (Some(Matters::Names(there)), Matters::Names(names)) => there.extend(names),
                    (Some(Matters::All), Matters::Names(_)) => {}
                    (Some(there), Matters::All) => *there = Matters::All,
                },
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::NotFound
                            | std::io::ErrorKind::NotADirectory
                            | std::io::ErrorKind::PermissionDenied
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { watched })
    }

    /// Whether an event is about something that matters.
    pub fn matter(&self, event: &Event<&OsStr>) -> bool {
        match (self.watched.get(&event.wd), event.name) {
            (None, _) => false,
            // Of the directory itself: it was moved, deleted or unmounted.
            (Some(_), None) | (Some(Matters::All), _) => true,
            (Some(Matters::Names(names)), Some(name)) => names.contains(name),
        }
    }
}
