//! What a NixOS guest gets, as options: the one mapping behind `--nix`, which writes it in Nix, and behind the JSON that the
//! option `devenv.fromFile` reads.

use super::{Plan, PlannedForward};
use crate::services::NixValue;
use mvm_spec::forward::Forward as Ports;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the JSON form of [`Guest`].
pub const VERSION: u64 = 1;

/// Services that hold data for others, by devenv's names: what the option `enableDatabaseServices` is about.
const DATABASES: [&str; 9] = [
    "clickhouse",
    "elasticsearch",
    "influxdb",
    "meilisearch",
    "mongodb",
    "mysql",
    "opensearch",
    "postgres",
    "redis",
];

/// Options of a NixOS guest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// Version of this form: 1.
    pub version: u64,
    /// Ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Those of the services that are databases.
    pub databases: Vec<String>,
    /// The options, sorted by path.
    pub options: Vec<GuestOption>,
    /// What needs a package of another input than nixpkgs, and is not there therefore.
    pub left_out: Vec<String>,
}

/// A port of the host that leads into the guest.
#[derive(Debug, Serialize)]
pub struct Forward {
    /// Port of the host.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
    /// The service behind it, by devenv's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// An option with its value.
#[derive(Debug, Serialize)]
pub struct GuestOption {
    /// Where it is, by the parts of its path.
    pub path: Vec<String>,
    /// What it is set to.
    pub value: NixValue,
    /// The service that it is for, by devenv's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What a NixOS guest gets of a plan.
pub fn guest(plan: &Plan) -> Guest {
    let mut options: BTreeMap<Vec<String>, (NixValue, Option<String>)> =
        project(plan).into_iter().map(|(path, value)| (path, (value, None))).collect();
    for service in &plan.services {
        for (path, value) in &service.options {
            options.insert(path.clone(), (value.clone(), Some(service.name.clone())));
        }
    }
    let mut left_out = Vec::new();
    options.retain(|path, (value, _)| {
        let foreign = value.foreign();
        left_out.extend(foreign.map(|package| format!("{}: needs {}", path.join("."), package.expression())));
        foreign.is_none()
    });
    let databases = plan.services.iter().map(|service| &service.name);
    Guest {
        version: VERSION,
        forwards: plan.forwards.iter().map(|planned| forward(plan, planned)).collect(),
        databases: databases.filter(|name| DATABASES.contains(&name.as_str())).cloned().collect(),
        options: options
            .into_iter()
            .map(|(path, (value, service))| GuestOption { path, value, service })
            .collect(),
        left_out,
    }
}

fn forward(plan: &Plan, planned: &PlannedForward) -> Forward {
    let Ports { host, guest, .. } = planned.forward;
    let behind = plan.services.iter().find(|service| service.ports.values().any(|port| *port == guest));
    Forward { host, guest, service: behind.map(|service| service.name.clone()) }
}

/// Packages, variables and processes. What they become, `modules/guest/devenv.nix` says.
fn project(plan: &Plan) -> BTreeMap<Vec<String>, NixValue> {
    let mut options = BTreeMap::new();
    let at = |rest: &[&str]| -> Vec<String> {
        ["services", "microvm-dev-guest"].iter().chain(rest).map(ToString::to_string).collect()
    };
    let packages: Vec<NixValue> = plan
        .nix_packages
        .iter()
        // A package of another input, or made on the spot, has no name here; the notes say so.
        .filter(|package| package.input.is_none() && package.changed.is_none())
        .map(NixValue::from)
        .collect();
    if !packages.is_empty() {
        options.insert(at(&["packages"]), NixValue::List(packages));
    }
    for (name, value) in &plan.env {
        options.insert(at(&["variables", name]), value.clone().into());
    }
    for (name, value) in &plan.nix_env {
        options.insert(at(&["variables", name]), value.into());
    }
    let texts = |texts: Vec<String>| NixValue::List(texts.into_iter().map(NixValue::Text).collect());
    for process in &plan.processes {
        let exec = NixValue::from(&process.nix_exec);
        // Without what it runs there is no process; the rest of it would be one without a command.
        let rest = exec.foreign().is_none();
        let name = unit_name(&process.name);
        let mut set = |option: &[&str], value: NixValue| {
            options.insert(at(&[&["processes", name.as_str()], option].concat()), value);
        };
        set(&["exec"], exec);
        if !rest {
            continue;
        }
        if !process.after.is_empty() {
            set(&["after"], texts(process.after.iter().map(|name| after(plan, name)).collect()));
        }
        for (variable, value) in &process.env {
            set(&["environment", variable], value.clone().into());
        }
        if process.cwd.is_some() || plan.working_directory != mvm_spec::latest::PROJECT_MOUNT {
            set(&["cwd"], directory(plan, process.cwd.as_deref()).into());
        }
        if !plan.env_files.is_empty() {
            set(&["environmentFiles"], texts(plan.env_files.clone()));
        }
    }
    options
}

fn unit_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// A process, or the unit of a service, by the module that it is mapped to.
fn after(plan: &Plan, name: &str) -> String {
    if plan.processes.iter().any(|process| process.name == name) {
        return unit_name(name);
    }
    match name {
        "postgres" => "postgresql.service".to_owned(),
        "kafka" => "apache-kafka.service".to_owned(),
        "influxdb" => "influxdb2.service".to_owned(),
        "mailhog" => "mailpit.service".to_owned(),
        other => format!("{other}.service"),
    }
}

fn directory(plan: &Plan, cwd: Option<&str>) -> String {
    let path = Path::new(&plan.working_directory).join(cwd.unwrap_or(""));
    crate::files::normal(&path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn databases_are_services_that_are_known() {
        for name in super::DATABASES {
            assert!(crate::services::find(name).is_some(), "{name}");
        }
    }
}
