//! Redis; Valkey is its successor under another name.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, exact};
use crate::project::Datum;
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "redis",
    images: &["redis", "valkey", "redis-stack", "redis-stack-server", "keydb"],
    process: "redis",
    ports: &[Port { label: "main", default: 6379, setting: PortSetting::Number(&["port"]) }],
    program: "redis-server",
    directories: &[],
    debian: Some("redis-server"),
    refuses_root: false,
    embedded: exact("extraConfig is put into redis.conf as it is"),
    nixos: exact("lines of extraConfig become settings"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let extra = settings.text(&["extraConfig"]).unwrap_or_default();
    let mut run = Run {
        command: Command {
            prepare: format!("printf '%s\\n' {} >\"$STATE_DIRECTORY/redis.conf\"", shell(&extra)),
            exec: format!(
                "exec redis-server \"$STATE_DIRECTORY/redis.conf\" --port {port} --bind 0.0.0.0 --protected-mode no --dir \
                 \"$STATE_DIRECTORY\" --unixsocket \"$RUNTIME_DIRECTORY/redis.sock\" --daemonize no"
            ),
            ready: "test \"$(redis-cli -s \"$RUNTIME_DIRECTORY/redis.sock\" ping)\" = PONG".to_owned(),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option_at(["services", "redis", "servers", "", "enable"], true)
        .option_at(["services", "redis", "servers", "", "port"], port)
        .option_at(["services", "redis", "servers", "", "bind"], NixValue::Null)
        .option_at(["services", "redis", "servers", "", "settings", "protected-mode"], "no");
    for line in extra.lines() {
        if let Some((name, value)) = line.trim().split_once(' ')
            && !name.starts_with('#')
        {
            run.option_at(["services", "redis", "servers", "", "settings", name], value.trim());
        }
    }
    if let Some(Datum::Package { package }) = settings.get(&["package"]) {
        run.option("services.redis.package", package);
    }
    run.variable("REDIS_URL", "redis://127.0.0.1:{main}");
    run.remarks.extend(settings.remarks());
    run
}
