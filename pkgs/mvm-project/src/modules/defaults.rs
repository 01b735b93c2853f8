//! Values that devenv itself gives, where projects refer to them.

use super::Modules;
use crate::nix::Eval;
use crate::nix::value::{At, Value};
use mvm_spec::latest::PROJECT_MOUNT;

/// The value of an option that no module sets.
pub fn value(modules: &Modules, eval: &Eval, path: &[&str], at: At) -> Option<Value> {
    let root = match modules.directory.as_str() {
        "" => PROJECT_MOUNT.to_owned(),
        directory => format!("{PROJECT_MOUNT}/{directory}"),
    };
    match path {
        ["env", name] => directory(&root, name.strip_prefix("DEVENV_")?.to_ascii_lowercase().as_str()),
        ["devenv", "isTesting"] | ["container", "isBuilding"] | ["containers", _, "isBuilding"] => {
            Some(Value::Bool(false))
        }
        ["devenv", name] => directory(&root, name),
        // Each VM has an address of its own: a process gets the port that it asks for.
        ["processes", process, "ports", port, "value"] => {
            let path: Vec<_> = ["processes", process, "ports", port, "allocate"].map(Into::into).to_vec();
            modules.value(eval, &path, at)
        }
        ["services" | "languages", _, "enable"] => Some(Value::Bool(false)),
        ["services", service, setting] => crate::services::default(service, setting),
        _ => None,
    }
}

/// Whether the value is devenv's alone to give.
pub fn fixed(path: &[&str]) -> bool {
    matches!(path, ["env" | "devenv", ..])
}

/// devenv's directories (devenv: `src/modules/top-level.nix`).
fn directory(root: &str, name: &str) -> Option<Value> {
    Some(Value::text(match name {
        "root" => root.to_owned(),
        "dotfile" => format!("{root}/.devenv"),
        "state" => format!("{root}/.devenv/state"),
        "runtime" => "/tmp/devenv".to_owned(),
        "profile" => format!("{root}/.devenv/profile"),
        _ => return None,
    }))
}
