//! Detection answers whatever a project's files hold: no panic, no hang, bounded memory.
//!
//! `cargo +nightly fuzz run detect` in `pkgs/mvm-project`. The first byte chooses the file, the rest is its content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const FILES: [&str; 9] = [
    "devenv.nix",
    "flake.nix",
    "shell.nix",
    "devenv.yaml",
    "docker-compose.yml",
    "package.json",
    "pyproject.toml",
    "Procfile",
    "Gemfile",
];

static REPOSITORY: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(dir.path().join(".git")).expect("a repository");
    dir
});

fuzz_target!(|data: &[u8]| {
    let Some((first, content)) = data.split_first() else { return };
    let path = REPOSITORY.path().join(FILES[usize::from(*first) % FILES.len()]);
    std::fs::write(&path, content).expect("a file can be written");
    let project = mvm_project::detect::detect(REPOSITORY.path()).expect("there is always an answer");
    let planned = mvm_project::plan::plan(&project, mvm_project::plan::default_name(&project));
    let _ = mvm_project::plan::declaration(&planned);
    std::fs::remove_file(&path).expect("the file is still there");
});
