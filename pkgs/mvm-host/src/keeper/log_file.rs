//! A log of which a talkative or hostile guest can fill only so much.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size at which a log becomes `.1`, in bytes: twice this is the most that is kept.
const LOG_MAX: u64 = 4 << 20;

/// A log file. Errors of the file are not the guest's: what can't be written is lost.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl LogFile {
    /// The log at `path`, to be added to.
    pub fn open(path: PathBuf) -> Self {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).ok();
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        Self { path, file, size }
    }

    /// Adds `bytes`, to a new file where they would make it too long.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > LOG_MAX {
            rotate(&self.path);
            *self = Self::open(std::mem::take(&mut self.path));
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
            self.size += bytes.len() as u64;
        }
    }
}

/// Makes room for a new log at `path`; the one before is kept as `.1`.
pub fn rotate(path: &Path) {
    // Without an earlier log there is nothing to keep.
    let _ = std::fs::rename(path, before(path));
}

/// Where the log before that at `path` is kept.
pub fn before(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_takes_twice_its_size_at_most_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.1.log");
        let mut log = LogFile::open(path.clone());
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            log.write(&chunk);
        }
        log.write(b"last");
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&dir.path().join("web.1.log.1")), LOG_MAX);
        assert!(size(&path) <= LOG_MAX);
        assert!(std::fs::read(&path).unwrap().ends_with(b"last"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
