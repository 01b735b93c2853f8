//! What devenv's languages put on the search path.

use crate::project::{Datum, Feature, Kind, Note, PackageRef, Project};

/// Language, packages that it always brings, and settings that bring more when they are switched on.
type Toolchain = (&'static str, &'static [&'static str], &'static [(&'static [&'static str], &'static str)]);

const TOOLCHAINS: [Toolchain; 22] = [
    ("c", &["gcc", "gnumake", "pkg-config"], &[]),
    ("cplusplus", &["gcc", "gnumake", "cmake", "pkg-config"], &[]),
    ("clojure", &["jdk", "clojure"], &[]),
    ("deno", &["deno"], &[]),
    ("dotnet", &["dotnet-sdk"], &[]),
    ("elixir", &["elixir", "erlang"], &[]),
    ("elm", &["elmPackages.elm"], &[]),
    ("erlang", &["erlang", "rebar3"], &[]),
    ("gleam", &["gleam", "erlang"], &[]),
    ("go", &["go"], &[]),
    ("haskell", &["ghc", "cabal-install"], &[(&["stack", "enable"], "stack")]),
    ("java", &["jdk"], &[(&["maven", "enable"], "maven"), (&["gradle", "enable"], "gradle")]),
    (
        "javascript",
        &["nodejs"],
        &[
            (&["pnpm", "enable"], "pnpm"),
            (&["yarn", "enable"], "yarn"),
            (&["bun", "enable"], "bun"),
            (&["corepack", "enable"], "corepack"),
        ],
    ),
    ("lua", &["lua"], &[]),
    ("nix", &["nix"], &[]),
    ("perl", &["perl"], &[]),
    ("php", &["php", "phpPackages.composer"], &[]),
    ("python", &["python3"], &[(&["poetry", "enable"], "poetry"), (&["uv", "enable"], "uv")]),
    ("ruby", &["ruby"], &[(&["bundler", "enable"], "bundler")]),
    ("rust", &["rustc", "cargo", "rustfmt", "clippy", "gcc"], &[]),
    ("typescript", &["nodejs", "typescript"], &[]),
    ("zig", &["zig"], &[]),
];

/// Packages of the languages that are switched on. Without Nix the hints have named them already.
pub fn packages(project: &Project, notes: &mut Vec<Note>) -> Vec<PackageRef> {
    if project.kind == Kind::Hints {
        return Vec::new();
    }
    let mut packages = Vec::new();
    for language in &project.facts.languages {
        let Some((_, always, more)) = TOOLCHAINS.iter().find(|(name, _, _)| *name == language.name) else {
            let text = format!("language {} is not carried over: add its packages", language.name);
            notes.push(Note { text, at: language.at.clone() });
            continue;
        };
        packages.extend(always.iter().enumerate().map(|(index, name)| match package(language) {
            // What the project chose takes the place of the first.
            Some(chosen) if index == 0 => chosen,
            _ => plain(name),
        }));
        for (path, name) in *more {
            if setting(language, path) == Some(&Datum::Bool(true)) {
                packages.push(plain(name));
            }
        }
        if let Some(version) = setting(language, &["version"]).and_then(Datum::plain) {
            let text = format!(
                "languages.{}: version {version} is asked for; what is installed is taken",
                language.name
            );
            notes.push(Note { text, at: language.at.clone() });
        }
    }
    packages
}

fn setting<'a>(language: &'a Feature, path: &[&str]) -> Option<&'a Datum> {
    let (first, rest) = path.split_first()?;
    language.settings.get(*first)?.at(rest)
}

fn package(language: &Feature) -> Option<PackageRef> {
    match language.settings.get("package") {
        Some(Datum::Package { package }) => Some(package.clone()),
        _ => None,
    }
}

fn plain(name: &str) -> PackageRef {
    PackageRef { attr: name.split('.').map(ToOwned::to_owned).collect(), input: None, changed: None }
}
