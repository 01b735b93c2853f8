//! Values that devenv itself gives, where projects refer to them.

use super::Modules;
use crate::nix::Eval;
use crate::nix::value::{At, Package, Value};
use crate::services::PortSetting;
use mvm_spec::latest::PROJECT_MOUNT;
use std::rc::Rc;

/// The value of an option that no module sets.
pub fn value(modules: &Modules, eval: &Eval, path: &[&str], at: At) -> Option<Value> {
    let root = match modules.directory.as_str() {
        "" => PROJECT_MOUNT.to_owned(),
        directory => format!("{PROJECT_MOUNT}/{directory}"),
    };
    match path {
        ["env", name] => match name.strip_prefix("DEVENV_") {
            Some(name) => directory(&root, name.to_ascii_lowercase().as_str()),
            None => service_variable(modules, eval, name, at),
        },
        ["devenv", "isTesting"] | ["container", "isBuilding"] | ["containers", _, "isBuilding"] => {
            Some(Value::Bool(false))
        }
        ["devenv", name] => directory(&root, name),
        // Each VM has an address of its own: a process gets the port that it asks for.
        ["processes", process, "ports", port, "value"] => {
            let path: Vec<_> = ["processes", process, "ports", port, "allocate"].map(Into::into).to_vec();
            modules.value(eval, &path, at).or_else(|| service_port(modules, eval, process, port, at))
        }
        ["languages", language, "package"] => language_package(modules, eval, language, at),
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

/// A service's process has a port that the service's settings give.
fn service_port(modules: &Modules, eval: &Eval, process: &str, port: &str, at: At) -> Option<Value> {
    let (mapping, port) = crate::services::process_port(process, port)?;
    match port.setting {
        PortSetting::Number(path) => {
            let path: Vec<_> =
                ["services", mapping.name].iter().chain(path).map(|name| (*name).into()).collect();
            Some(modules.value(eval, &path, at).unwrap_or(Value::Int(port.default.into())))
        }
        _ => Some(Value::Int(port.default.into())),
    }
}

/// A variable that a service sets, if the service is switched on and left as devenv has it.
fn service_variable(modules: &Modules, eval: &Eval, name: &str, at: At) -> Option<Value> {
    let (service, value) = crate::services::variable(name)?;
    let enabled: Vec<_> = ["services", service, "enable"].map(Into::into).to_vec();
    if !matches!(modules.value(eval, &enabled, at), Some(Value::Bool(true))) {
        return None;
    }
    // A port in it is the default's; another one makes another value.
    let changed = crate::services::find(service)?.ports.iter().any(|port| match port.setting {
        PortSetting::Number(path) | PortSetting::Address(path) => {
            let path: Vec<&str> = ["services", service].iter().chain(path).copied().collect();
            let found = modules.find(eval, &path);
            !found.definitions.is_empty() || !found.unknown.is_empty()
        }
        _ => false,
    });
    match changed {
        false => Some(Value::text(value)),
        true => Some(Value::unknown(at, format!("`{name}` depends on the settings of services.{service}"))),
    }
}

/// The package of a language that is left as devenv has it.
fn language_package(modules: &Modules, eval: &Eval, language: &str, at: At) -> Option<Value> {
    let attr = match language {
        "python" => "python3",
        "javascript" => "nodejs",
        "go" => "go",
        "ruby" => "ruby",
        "java" => "jdk",
        "php" => "php",
        "elixir" => "elixir",
        "perl" => "perl",
        "lua" => "lua",
        _ => return None,
    };
    let found = modules.find(eval, &["languages", language, "version"]);
    if !found.definitions.is_empty() || !found.unknown.is_empty() {
        return Some(Value::unknown(at, format!("the package depends on languages.{language}.version")));
    }
    Some(Value::Package(Rc::new(Package { from: "nixpkgs".into(), attr: vec![attr.into()], changed: None })))
}
