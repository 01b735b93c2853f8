//! Meilisearch.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "meilisearch",
    images: &["meilisearch"],
    process: "meilisearch",
    ports: &[Port { label: "main", default: 7700, setting: PortSetting::Number(&["listenPort"]) }],
    program: "meilisearch",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate("not in Debian: install Meilisearch's own program"),
    nixos: exact(""),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let environment = settings.text(&["environment"]).unwrap_or_else(|| "development".to_owned());
    let level = settings.text(&["logLevel"]).unwrap_or_else(|| "INFO".to_owned());
    let analytics = settings.bool(&["noAnalytics"]) == Some(false);
    let no_analytics = if analytics { "" } else { " --no-analytics" };
    let mut run = Run {
        command: Command {
            exec: format!(
                "exec meilisearch --http-addr 0.0.0.0:{port} --db-path \"$STATE_DIRECTORY/data\" --env {} --log-level \
                 {}{no_analytics}",
                shell(&environment),
                shell(&level)
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.meilisearch.enable", true)
        .option("services.meilisearch.listenAddress", "0.0.0.0")
        .option("services.meilisearch.listenPort", port)
        .option("services.meilisearch.environment", environment)
        .option("services.meilisearch.logLevel", level)
        .option("services.meilisearch.noAnalytics", !analytics);
    run.variable("MEILI_HTTP_ADDR", "127.0.0.1:{main}");
    run.remarks.extend(settings.remarks());
    run
}
