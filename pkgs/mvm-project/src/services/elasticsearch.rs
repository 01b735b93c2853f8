//! Elasticsearch.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "elasticsearch",
    images: &["elasticsearch"],
    process: "elasticsearch",
    ports: &[
        Port { label: "http", default: 9200, setting: PortSetting::Number(&["port"]) },
        Port { label: "transport", default: 9300, setting: PortSetting::Number(&["tcp_port"]) },
    ],
    program: "elasticsearch",
    directories: &["/usr/share/elasticsearch/bin"],
    debian: None,
    refuses_root: true,
    embedded: approximate(
        "not in Debian: install Elasticsearch's own package; plugins and Java options are not carried over",
    ),
    nixos: exact("plugins and Java options are not carried over"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (http, transport) = (settings.port("http"), settings.port("transport"));
    let cluster = settings.text(&["cluster_name"]).unwrap_or_else(|| "elasticsearch".to_owned());
    let mut run = Run {
        command: Command {
            prepare: "mkdir -p \"$STATE_DIRECTORY/data\" \"$STATE_DIRECTORY/logs\"".to_owned(),
            exec: format!(
                "exec elasticsearch -E network.host=0.0.0.0 -E discovery.type=single-node -E http.port={http} -E \
                 transport.port={transport} -E cluster.name={} -E path.data=\"$STATE_DIRECTORY/data\" -E \
                 path.logs=\"$STATE_DIRECTORY/logs\"",
                shell(&cluster)
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.elasticsearch.enable", true)
        .option("services.elasticsearch.listenAddress", "0.0.0.0")
        .option("services.elasticsearch.port", http)
        .option("services.elasticsearch.tcp_port", transport);
    if let Some(name) = settings.text(&["cluster_name"]) {
        run.option("services.elasticsearch.cluster_name", name);
    }
    run.remarks.extend(settings.remarks());
    run
}
