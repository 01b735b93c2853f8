//! Services: how devenv's are run without devenv.
//!
//! One file a service, of one shape: a [`Mapping`] with devenv's defaults, the program and its Debian package, and a
//! function that turns settings into a command for the embedded guest and into options for NixOS. `mvm-devenv services`
//! prints the table.

mod caddy;
mod clickhouse;
mod elasticsearch;
mod influxdb;
mod kafka;
mod mailhog;
mod mailpit;
mod mapping;
mod meilisearch;
mod memcached;
mod minio;
mod mongodb;
mod mysql;
mod nats;
mod nginx;
mod nix_json;
mod nix_value;
mod opensearch;
mod postgres;
mod rabbitmq;
mod redis;
mod settings;
mod sql;
mod temporal;
mod varnish;
mod vault;

pub use mapping::{Accuracy, Command, Mapping, Port, PortSetting, Run, with_ports};
pub use nix_value::NixValue;
pub use settings::Settings;

use crate::nix::value::Value;
use mapping::Fidelity;

/// All services that are known, by devenv's names.
pub const ALL: [&Mapping; 21] = [
    &caddy::MAPPING,
    &clickhouse::MAPPING,
    &elasticsearch::MAPPING,
    &influxdb::MAPPING,
    &kafka::MAPPING,
    &mailhog::MAPPING,
    &mailpit::MAPPING,
    &meilisearch::MAPPING,
    &memcached::MAPPING,
    &minio::MAPPING,
    &mongodb::MAPPING,
    &mysql::MAPPING,
    &nats::MAPPING,
    &nginx::MAPPING,
    &opensearch::MAPPING,
    &postgres::MAPPING,
    &rabbitmq::MAPPING,
    &redis::MAPPING,
    &temporal::MAPPING,
    &varnish::MAPPING,
    &vault::MAPPING,
];

/// The service of devenv's name `name`.
pub fn find(name: &str) -> Option<&'static Mapping> {
    ALL.into_iter().find(|mapping| mapping.name == name)
}

/// The service in a container image, by the last part of the image's name.
pub(crate) fn by_image(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|mapping| mapping.images.contains(&name)).map(|mapping| mapping.name)
}

/// devenv's default of a service's port, where a project refers to it.
pub(crate) fn default(service: &str, setting: &str) -> Option<Value> {
    let set_by = |port: &&Port| matches!(port.setting, PortSetting::Number(path) if path == [setting]);
    let port = find(service)?.ports.iter().find(set_by)?;
    Some(Value::Int(i64::from(port.default)))
}

/// The service that devenv runs as a process named `process`, and its port `port`'s default.
pub(crate) fn process_port(process: &str, port: &str) -> Option<(&'static Mapping, &'static Port)> {
    let mapping = ALL.into_iter().find(|mapping| mapping.process == process)?;
    let port = mapping.ports.iter().find(|one| one.label == port).or_else(|| mapping.ports.first())?;
    Some((mapping, port))
}

/// The value of a variable that devenv sets for a service, if it does not depend on the service's settings.
pub(crate) fn variable(name: &str) -> Option<(&'static str, String)> {
    ALL.into_iter().find_map(|mapping| {
        let settings = Settings::defaults(mapping);
        let ports = settings.ports().into_iter().map(|(label, port)| (label.to_owned(), port)).collect();
        with_ports(&(mapping.run)(&settings).variables, &ports)
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| (mapping.name, value))
    })
}

const fn exact(remark: &'static str) -> Fidelity {
    Fidelity { accuracy: Accuracy::Exact, remark }
}

const fn approximate(remark: &'static str) -> Fidelity {
    Fidelity { accuracy: Accuracy::Approximate, remark }
}

#[cfg(test)]
mod tests;
