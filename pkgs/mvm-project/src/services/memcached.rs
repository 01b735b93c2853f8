//! memcached.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "memcached",
    images: &["memcached"],
    process: "memcached",
    ports: &[Port { label: "main", default: 11211, setting: PortSetting::Number(&["port"]) }],
    program: "memcached",
    directories: &[],
    debian: Some("memcached"),
    refuses_root: true,
    embedded: exact(""),
    nixos: exact(""),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let arguments = settings.texts(&["startArgs"]);
    let words: String = arguments.iter().map(|word| format!(" {}", shell(word))).collect();
    let mut run = Run {
        command: Command {
            exec: format!("exec memcached --port={port} --listen=0.0.0.0{words}"),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.memcached.enable", true)
        .option("services.memcached.listen", "0.0.0.0")
        .option("services.memcached.port", port);
    if !arguments.is_empty() {
        let arguments = arguments.into_iter().map(NixValue::Text).collect();
        run.option("services.memcached.extraOptions", NixValue::List(arguments));
    }
    run.remarks.extend(settings.remarks());
    run
}
