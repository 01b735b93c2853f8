//! Temporal's development server.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "temporal",
    images: &["auto-setup", "temporal", "server"],
    process: "temporal",
    ports: &[
        Port { label: "main", default: 7233, setting: PortSetting::Number(&["port"]) },
        Port { label: "ui", default: 8233, setting: PortSetting::Number(&["ui", "port"]) },
    ],
    program: "temporal",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate("not in Debian: install Temporal's own program; its database is always kept"),
    nixos: approximate("a unit of its own; its database is always kept"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (port, ui) = (settings.port("main"), settings.port("ui"));
    let mut words: Vec<String> =
        ["server", "start-dev", "--ip", "0.0.0.0", "--port"].map(ToOwned::to_owned).to_vec();
    words.extend([
        port.to_string(),
        "--ui-ip".to_owned(),
        "0.0.0.0".to_owned(),
        "--ui-port".to_owned(),
        ui.to_string(),
    ]);
    for name in settings.texts(&["namespaces"]) {
        words.extend(["--namespace".to_owned(), name]);
    }
    let quoted: Vec<String> = words.iter().map(|word| shell(word)).collect();
    let mut run = Run {
        command: Command {
            exec: format!(
                "exec temporal {} --db-filename \"$STATE_DIRECTORY/temporal.db\"",
                quoted.join(" ")
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    words.extend(["--db-filename".to_owned(), "%S/temporal/temporal.db".to_owned()]);
    run.unit("temporal", "temporal-cli", &words);
    run.variable("TEMPORAL_ADDRESS", "127.0.0.1:{main}")
        .variable("TEMPORAL_PORT", "{main}")
        .variable("TEMPORAL_UI_PORT", "{ui}");
    run.remarks.extend(settings.remarks());
    run
}
