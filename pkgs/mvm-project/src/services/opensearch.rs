//! OpenSearch.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "opensearch",
    images: &["opensearch"],
    process: "opensearch",
    ports: &[
        Port { label: "http", default: 9200, setting: PortSetting::Number(&["settings", "http.port"]) },
        Port {
            label: "transport",
            default: 9300,
            setting: PortSetting::Number(&["settings", "transport.port"]),
        },
    ],
    program: "opensearch",
    directories: &["/usr/share/opensearch/bin"],
    debian: None,
    refuses_root: true,
    embedded: approximate(
        "not in Debian: install OpenSearch's own package; plugins and Java options are not carried over",
    ),
    nixos: exact("plugins and Java options are not carried over"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (http, transport) = (settings.port("http"), settings.port("transport"));
    let cluster = settings.text(&["settings", "cluster.name"]).unwrap_or_else(|| "opensearch".to_owned());
    let mut run = Run {
        command: Command {
            prepare: "mkdir -p \"$STATE_DIRECTORY/data\" \"$STATE_DIRECTORY/logs\"".to_owned(),
            exec: format!(
                "exec opensearch -E network.host=0.0.0.0 -E discovery.type=single-node -E http.port={http} -E \
                 transport.port={transport} -E cluster.name={} -E path.data=\"$STATE_DIRECTORY/data\" -E \
                 path.logs=\"$STATE_DIRECTORY/logs\" -E plugins.security.disabled=true",
                shell(&cluster)
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.opensearch.enable", true)
        .option_at(["services", "opensearch", "settings", "network.host"], "0.0.0.0")
        .option_at(["services", "opensearch", "settings", "http.port"], http)
        .option_at(["services", "opensearch", "settings", "transport.port"], transport);
    if let Some(name) = settings.text(&["settings", "cluster.name"]) {
        run.option_at(["services", "opensearch", "settings", "cluster.name"], name);
    }
    run.remarks.extend(settings.remarks());
    run
}
