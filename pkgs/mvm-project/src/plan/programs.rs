//! Packages of nixpkgs, and what Debian calls them.

use crate::project::PackageRef;
use serde::Serialize;

/// A package that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedPackage {
    /// Its way through nixpkgs: `pkgs.nodePackages.pnpm`.
    pub expression: String,
    /// The program to look for on the host, in whose `/usr` the embedded guest finds it. None: a library or unknown.
    pub program: Option<String>,
    /// The package of Debian 12 that has it, where that is known.
    pub debian: Option<String>,
    /// It is another than nixpkgs' (changed, or of another input): NixOS alone has it as the project wants it.
    pub changed: bool,
}

/// Attribute, program, package of Debian; an empty program is a library.
const KNOWN: [(&str, &str, &str); 76] = [
    ("nodejs", "node", "nodejs"),
    ("nodejs_18", "node", "nodejs"),
    ("nodejs_20", "node", "nodejs"),
    ("nodejs_22", "node", "nodejs"),
    ("nodejs_24", "node", "nodejs"),
    ("yarn", "yarnpkg", "yarnpkg"),
    ("python3", "python3", "python3"),
    ("python311", "python3", "python3"),
    ("python312", "python3", "python3"),
    ("python313", "python3", "python3"),
    ("poetry", "poetry", "python3-poetry"),
    ("pipenv", "pipenv", "pipenv"),
    ("rustc", "rustc", "rustc"),
    ("cargo", "cargo", "cargo"),
    ("rustfmt", "rustfmt", "rustfmt"),
    ("clippy", "cargo-clippy", "rust-clippy"),
    ("go", "go", "golang-go"),
    ("ruby", "ruby", "ruby"),
    ("bundler", "bundle", "bundler"),
    ("jdk", "java", "default-jdk-headless"),
    ("maven", "mvn", "maven"),
    ("gradle", "gradle", "gradle"),
    ("php", "php", "php-cli"),
    ("composer", "composer", "composer"),
    ("elixir", "elixir", "elixir"),
    ("erlang", "erl", "erlang-base"),
    ("ghc", "ghc", "ghc"),
    ("perl", "perl", "perl"),
    ("lua", "lua", "lua5.4"),
    ("R", "R", "r-base-core"),
    ("gcc", "cc", "gcc"),
    ("clang", "clang", "clang"),
    ("gnumake", "make", "make"),
    ("cmake", "cmake", "cmake"),
    ("ninja", "ninja", "ninja-build"),
    ("meson", "meson", "meson"),
    ("pkg-config", "pkg-config", "pkg-config"),
    ("protobuf", "protoc", "protobuf-compiler"),
    ("git", "git", "git"),
    ("git-lfs", "git-lfs", "git-lfs"),
    ("gh", "gh", "gh"),
    ("jq", "jq", "jq"),
    ("yq-go", "yq", "yq"),
    ("ripgrep", "rg", "ripgrep"),
    ("fd", "fdfind", "fd-find"),
    ("bat", "batcat", "bat"),
    ("fzf", "fzf", "fzf"),
    ("curl", "curl", "curl"),
    ("wget", "wget", "wget"),
    ("httpie", "http", "httpie"),
    ("coreutils", "ls", "coreutils"),
    ("gnused", "sed", "sed"),
    ("gawk", "gawk", "gawk"),
    ("findutils", "find", "findutils"),
    ("gnugrep", "grep", "grep"),
    ("bash", "bash", "bash"),
    ("tree", "tree", "tree"),
    ("unzip", "unzip", "unzip"),
    ("rsync", "rsync", "rsync"),
    ("shellcheck", "shellcheck", "shellcheck"),
    ("shfmt", "shfmt", "shfmt"),
    ("openssl", "openssl", "openssl"),
    ("sqlite", "sqlite3", "sqlite3"),
    ("postgresql", "psql", "postgresql-client"),
    ("redis", "redis-cli", "redis-tools"),
    ("imagemagick", "convert", "imagemagick"),
    ("graphviz", "dot", "graphviz"),
    ("ffmpeg", "ffmpeg", "ffmpeg"),
    ("overmind", "overmind", "overmind"),
    ("entr", "entr", "entr"),
    ("inotify-tools", "inotifywait", "inotify-tools"),
    ("ansible", "ansible", "ansible"),
    ("zlib", "", "zlib1g-dev"),
    ("libyaml", "", "libyaml-dev"),
    ("libpq", "", "libpq-dev"),
    ("libffi", "", "libffi-dev"),
];

/// A package as it is planned.
pub fn planned(package: &PackageRef) -> PlannedPackage {
    let known = known(package);
    let program = match known {
        Some((_, program, _)) => (!program.is_empty()).then(|| program.to_owned()),
        None => package.attr.last().cloned(),
    };
    PlannedPackage {
        expression: package.expression(),
        program,
        debian: known.map(|(_, _, debian)| debian.to_owned()),
        changed: package.changed.is_some() || package.input.is_some(),
    }
}

/// The main program of a package.
pub fn program(package: &PackageRef) -> String {
    match known(package) {
        Some((_, program, _)) if !program.is_empty() => program.to_owned(),
        _ => package.attr.last().cloned().unwrap_or_default(),
    }
}

fn known(package: &PackageRef) -> Option<(&'static str, &'static str, &'static str)> {
    // `openssl.dev` is a part of openssl.
    let first = package.attr.first()?;
    let name = match package.attr.get(1).map(String::as_str) {
        None | Some("dev" | "bin" | "out" | "lib") => first,
        Some(_) => return None,
    };
    KNOWN.into_iter().find(|(attr, _, _)| attr == name)
}
