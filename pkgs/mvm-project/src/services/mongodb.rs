//! MongoDB.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "mongodb",
    images: &["mongo", "mongodb", "mongodb-community-server"],
    process: "mongodb",
    // By `additionalArgs` alone, which `run` looks at.
    ports: &[Port { label: "main", default: 27017, setting: PortSetting::Fixed }],
    program: "mongod",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate("not in Debian: install MongoDB's own package; no replica set, no initial user"),
    nixos: approximate("no replica set; the initial user is not made"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let arguments: Vec<String> = settings.texts(&["additionalArgs"]).iter().map(|word| shell(word)).collect();
    let arguments = if arguments.is_empty() { vec!["--noauth".to_owned()] } else { arguments };
    let mut run = Run {
        command: Command {
            prepare: "mkdir -p \"$STATE_DIRECTORY/data\"".to_owned(),
            exec: format!(
                "exec mongod --bind_ip_all --port {port} --dbpath \"$STATE_DIRECTORY/data\" --unixSocketPrefix \
                 \"$RUNTIME_DIRECTORY\" {}",
                arguments.join(" ")
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.mongodb.enable", true).option("services.mongodb.bind_ip", "0.0.0.0");
    if arguments.iter().any(|word| word == "--port") {
        run.remarks.push("additionalArgs sets a port of its own: the forward leads to 27017".to_owned());
    }
    if settings.text(&["initDatabaseUsername"]).is_some_and(|name| !name.is_empty()) {
        run.remarks.push("initDatabaseUsername: the user is not made".to_owned());
    }
    run.remarks.extend(settings.remarks());
    run
}
