//! NATS.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "nats",
    images: &["nats"],
    process: "nats",
    ports: &[
        Port { label: "main", default: 4222, setting: PortSetting::Number(&["port"]) },
        Port { label: "monitoring", default: 8222, setting: PortSetting::Number(&["monitoring", "port"]) },
    ],
    program: "nats-server",
    directories: &[],
    debian: Some("nats-server"),
    refuses_root: false,
    embedded: approximate("TLS, clusters and clients' certificates are not carried over"),
    nixos: approximate("TLS, clusters and clients' certificates are not carried over"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (port, monitoring) = (settings.port("main"), settings.port("monitoring"));
    let mut run = Run::default();
    let mut words = format!("-a 0.0.0.0 -p {port}");
    run.option("services.nats.enable", true).option("services.nats.port", port);
    if settings.bool(&["monitoring", "enable"]) != Some(false) {
        words.push_str(&format!(" -m {monitoring}"));
        run.option("services.nats.settings.http_port", monitoring);
    }
    if settings.bool(&["jetstream", "enable"]) == Some(true) {
        words.push_str(" -js -sd \"$STATE_DIRECTORY\"");
        run.option("services.nats.jetstream", true);
    }
    if settings.bool(&["authorization", "enable"]) == Some(true) {
        for (name, option, key) in
            [("user", "--user", "user"), ("password", "--pass", "password"), ("token", "--auth", "token")]
        {
            if let Some(value) = settings.text(&["authorization", name]).filter(|value| !value.is_empty()) {
                words.push_str(&format!(" {option} {}", shell(&value)));
                run.option_at(["services", "nats", "settings", "authorization", key], value);
            }
        }
    }
    run.command = Command { exec: format!("exec nats-server {words}"), ..Command::default() };
    run.variable("NATS_PORT", "{main}");
    run.remarks.extend(settings.remarks());
    run
}
