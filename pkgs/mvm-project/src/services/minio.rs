//! MinIO.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "minio",
    images: &["minio"],
    process: "minio",
    ports: &[
        Port { label: "api", default: 9000, setting: PortSetting::Address(&["listenAddress"]) },
        Port { label: "console", default: 9001, setting: PortSetting::Address(&["consoleAddress"]) },
    ],
    program: "minio",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate("not in Debian: install MinIO's own package; afterStart is not run"),
    nixos: approximate(
        "buckets are not made, afterStart is not run; keys stand in the unit as devenv has them in the shell",
    ),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (api, console) = (settings.port("api"), settings.port("console"));
    let access = settings.text(&["accessKey"]).unwrap_or_else(|| "minioadmin".to_owned());
    let secret = settings.text(&["secretKey"]).unwrap_or_else(|| "minioadmin".to_owned());
    let region = settings.text(&["region"]).unwrap_or_else(|| "us-east-1".to_owned());
    // A bucket is a directory below the data's.
    let valid = |name: &String| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let buckets = settings.texts(&["buckets"]).into_iter().filter(valid);
    let buckets: String =
        buckets.map(|name| format!(" \"$STATE_DIRECTORY/data/\"{}", shell(&name))).collect();
    let mut run = Run {
        command: Command {
            prepare: format!("mkdir -p \"$STATE_DIRECTORY/data\"{buckets}"),
            exec: format!(
                "export MINIO_ROOT_USER={} MINIO_ROOT_PASSWORD={} MINIO_REGION={}\nexec minio server --address \
                 0.0.0.0:{api} --console-address 0.0.0.0:{console} \"$STATE_DIRECTORY/data\"",
                shell(&access),
                shell(&secret),
                shell(&region)
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.minio.enable", true)
        .option("services.minio.listenAddress", format!("0.0.0.0:{api}"))
        .option("services.minio.consoleAddress", format!("0.0.0.0:{console}"))
        .option("services.minio.region", region)
        .option("systemd.services.minio.environment.MINIO_ROOT_USER", access)
        .option("systemd.services.minio.environment.MINIO_ROOT_PASSWORD", secret);
    run.variable("MINIO_PORT", "{api}").variable("MINIO_CONSOLE_PORT", "{console}");
    run.remarks.extend(settings.remarks());
    run
}
