//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no answer at all. What is wrong with single files of a project is part of the answer instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory can't be examined.
    #[error("can't examine {}: {error}; give the directory of a project", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not a directory.
    #[error("{} is not a directory; give the directory of a project", path.display())]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// The evaluation ended abnormally.
    #[error("reading {} failed by an error of this program; please report it with the project's Nix files", path.display())]
    Internal {
        /// The directory.
        path: PathBuf,
    },
    /// A template of this program's own.
    #[error("can't render {what}: {error}")]
    Render {
        /// What should have been rendered.
        what: &'static str,
        /// Why not.
        error: tera::Error,
    },
    /// The marks of our block in an `.envrc` are not a pair.
    #[error("{file}:{line}: {problem}; mend the marks by hand, or remove them")]
    Marks {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Why a file of the project is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is outside of the project's root, or a symbolic link leads there.
    #[error("{file} leads out of the project, and is not read")]
    Outside {
        /// The file, relative to the root.
        file: String,
    },
    /// Too large.
    #[error("{file} is larger than {max} bytes, and not read")]
    TooLarge {
        /// The file, relative to the root.
        file: String,
        /// The largest size, in bytes.
        max: u64,
    },
    /// A directory, pipe or device.
    #[error("{file} is not a file")]
    NotAFile {
        /// The file, relative to the root.
        file: String,
    },
    /// No UTF-8.
    #[error("{file} is not UTF-8 text (byte {offset})")]
    NotUtf8 {
        /// The file, relative to the root.
        file: String,
        /// The first byte that is none, from 0.
        offset: usize,
    },
    /// The system refused.
    #[error("can't read {file}: {error}")]
    Io {
        /// The file, relative to the root.
        file: String,
        /// Why.
        error: io::Error,
    },
}
