//! InfluxDB: devenv's is version 2, Debian's version 1.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};

pub static MAPPING: Mapping = Mapping {
    name: "influxdb",
    images: &["influxdb"],
    process: "influxdb-server",
    ports: &[Port { label: "main", default: 8086, setting: PortSetting::Number(&["port"]) }],
    program: "influxd",
    directories: &["/usr/bin"],
    debian: None,
    refuses_root: false,
    embedded: approximate("version 2, which Debian has not: install InfluxDB's own package"),
    nixos: approximate("version 2; the first user and bucket are made by whoever opens it"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let mut run = Run {
        command: Command {
            exec: format!(
                "exec influxd --bolt-path=\"$STATE_DIRECTORY/influxd.bolt\" --engine-path=\"$STATE_DIRECTORY/engine\" \
                 --sqlite-path=\"$STATE_DIRECTORY/influxd.sqlite\" --http-bind-address=0.0.0.0:{port}"
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.influxdb2.enable", true)
        .option("services.influxdb2.settings.http-bind-address", format!("0.0.0.0:{port}"));
    run.remarks.extend(settings.remarks());
    run
}
