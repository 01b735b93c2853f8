//! Reading files of a project: within its root, bounded in size, as UTF-8.

use crate::error::FileError;
use nix::fcntl::OFlag;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

/// The path without `.` and `..`, which are taken by name.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The file that `path` leads to, which must be within the canonical directory `root`: a symbolic link out of it is not
/// followed.
pub fn resolve(root: &Path, path: &Path) -> Result<PathBuf, FileError> {
    let shown = || name(root, &normal(path));
    if !normal(path).starts_with(root) {
        return Err(FileError::Outside { file: shown() });
    }
    let real = path.canonicalize().map_err(|error| FileError::Io { file: shown(), error })?;
    if real.starts_with(root) { Ok(real) } else { Err(FileError::Outside { file: shown() }) }
}

/// The text of a file within `root`, of at most `max` bytes.
pub fn read(root: &Path, path: &Path, max: u64) -> Result<String, FileError> {
    let file = name(root, path);
    let io = |error| FileError::Io { file: file.clone(), error };
    let real = resolve(root, path)?;
    // A named pipe must not block us, and a link that appeared since must not lead out.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let handle = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(&real).map_err(io)?;
    let meta = handle.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(FileError::NotAFile { file });
    }
    let mut bytes = Vec::new();
    handle.take(max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > max {
        return Err(FileError::TooLarge { file, max });
    }
    String::from_utf8(bytes)
        .map_err(|error| FileError::NotUtf8 { file, offset: error.utf8_error().valid_up_to() })
}

/// A path as messages show it: relative to the root if it is inside.
pub fn name(root: &Path, path: &Path) -> String {
    let shown = match path.strip_prefix(root) {
        Ok(inside) if inside.as_os_str().is_empty() => Path::new("."),
        Ok(inside) => inside,
        Err(_) => path,
    };
    shown.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("project");
        std::fs::create_dir(&root).unwrap();
        (dir, root)
    }

    #[test]
    fn links_and_dots_that_lead_out_are_not_followed() {
        let (dir, root) = scratch();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        std::fs::write(root.join("inside"), "i").unwrap();
        std::os::unix::fs::symlink("inside", root.join("alias")).unwrap();
        for path in ["link", "../secret", "a/../../secret"] {
            assert!(matches!(read(&root, &root.join(path), 9), Err(FileError::Outside { .. })), "{path}");
        }
        assert_eq!(read(&root, &root.join("alias"), 9).unwrap(), "i");
    }

    #[test]
    fn what_is_too_large_no_text_or_no_file_is_said() {
        let (_dir, root) = scratch();
        std::fs::write(root.join("large"), "12345").unwrap();
        std::fs::write(root.join("binary"), b"ab\xff").unwrap();
        let problem = |path: &str, max| read(&root, &root.join(path), max).unwrap_err().to_string();
        assert_eq!(problem("large", 4), "large is larger than 4 bytes, and not read");
        assert_eq!(read(&root, &root.join("large"), 5).unwrap(), "12345");
        assert_eq!(problem("binary", 9), "binary is not UTF-8 text (byte 2)");
        assert_eq!(problem(".", 9), ". is not a file");
        assert!(problem("none", 9).starts_with("can't read none: "));
    }
}
