//! Which directory governs, and how far up anything is read.

use std::path::{Path, PathBuf};

/// Directories of a project; both canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The repository's root, or the directory itself outside of one.
    pub root: PathBuf,
    /// The nearest directory, from the one asked about up to the root, that says something.
    pub directory: PathBuf,
}

/// What makes a directory a repository's root.
const REPOSITORY: [&str; 4] = [".git", ".jj", ".hg", ".svn"];
const NIX: [&str; 4] = ["devenv.nix", "devenv.yaml", "flake.nix", "shell.nix"];
/// What tells something without Nix. `.env` and `default.nix` alone are too common to govern.
const HINTS: [&str; 13] = [
    "package.json",
    "pyproject.toml",
    "requirements.txt",
    "Cargo.toml",
    "go.mod",
    "Gemfile",
    "docker-compose.yml",
    "docker-compose.yaml",
    "compose.yml",
    "compose.yaml",
    "Procfile",
    "Procfile.dev",
    "default.nix",
];

/// Finds the roots of the canonical `directory`: Nix governs from further up, too; otherwise the nearest hint.
pub fn find(directory: &Path) -> Roots {
    let is_root = |path: &&Path| REPOSITORY.iter().any(|name| path.join(name).exists());
    let root = directory.ancestors().find(is_root).unwrap_or(directory).to_owned();
    let within = || directory.ancestors().take_while(|path| path.starts_with(&root));
    let has = |path: &&Path, names: &[&str]| names.iter().any(|name| path.join(name).is_file());
    let governing = within()
        .find(|path| has(path, &NIX))
        .or_else(|| within().find(|path| has(path, &HINTS)))
        .unwrap_or(directory)
        .to_owned();
    Roots { root, directory: governing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_nix_file_up_to_the_repository_governs() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let repo = top.join("repo");
        let deep = repo.join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir(repo.join(".git")).unwrap();
        std::fs::write(top.join("flake.nix"), "").unwrap();
        assert_eq!(find(&deep), Roots { root: repo.clone(), directory: deep.clone() });
        std::fs::write(deep.join("package.json"), "").unwrap();
        assert_eq!(find(&deep).directory, deep);
        std::fs::write(repo.join("devenv.nix"), "").unwrap();
        assert_eq!(find(&deep).directory, repo);
        std::fs::write(repo.join("a/shell.nix"), "").unwrap();
        assert_eq!(find(&deep).directory, repo.join("a"));
    }

    #[test]
    fn outside_of_a_repository_nothing_above_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let inner = top.join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(top.join("devenv.nix"), "").unwrap();
        assert_eq!(find(&inner), Roots { root: inner.clone(), directory: inner });
    }
}
