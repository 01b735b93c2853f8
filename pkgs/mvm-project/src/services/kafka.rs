//! Kafka, in KRaft mode: a single node that is broker and controller.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, approximate};
use crate::quote::shell;
use std::collections::BTreeMap;

pub static MAPPING: Mapping = Mapping {
    name: "kafka",
    images: &["kafka", "cp-kafka", "kafka-native"],
    process: "kafka",
    ports: &[Port { label: "main", default: 9092, setting: PortSetting::Fixed }],
    program: "kafka-server-start.sh",
    directories: &["/opt/kafka/bin"],
    debian: None,
    refuses_root: false,
    embedded: approximate(
        "not in Debian: unpack Kafka below /usr; always KRaft; listeners of the project are not used",
    ),
    nixos: approximate("always KRaft; listeners of the project are not used"),
    run,
};

/// What a single node needs, besides the directory of its data.
const SINGLE: [(&str, &str); 9] = [
    ("node.id", "1"),
    ("process.roles", "broker,controller"),
    ("controller.quorum.voters", "1@localhost:9093"),
    ("controller.listener.names", "CONTROLLER"),
    ("listeners", "PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093"),
    ("advertised.listeners", "PLAINTEXT://localhost:9092"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
];

fn run(settings: &Settings<'_>) -> Run {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, datum) in settings.entries(&["settings"]) {
        all.extend(datum.plain().map(|text| (name, text)));
    }
    all.extend(SINGLE.map(|(name, text)| (name, text.to_owned())));
    let mut run = Run::default();
    let lines: String = all.iter().map(|(name, text)| format!("{name}={text}\n")).collect();
    for (name, text) in &all {
        let value = match *name {
            "listeners" | "advertised.listeners" => {
                NixValue::List(text.split(',').map(NixValue::from).collect())
            }
            _ => NixValue::from(text.clone()),
        };
        run.option_at(["services", "apache-kafka", "settings", name], value);
    }
    run.command = Command {
        prepare: format!(
            "printf %s {} >\"$STATE_DIRECTORY/server.properties\"\necho \"log.dirs=$STATE_DIRECTORY/data\" \
             >>\"$STATE_DIRECTORY/server.properties\"\nif [ ! -e \"$STATE_DIRECTORY/data/meta.properties\" ]; then\n  \
             kafka-storage.sh format --cluster-id \"$(kafka-storage.sh random-uuid)\" --config \
             \"$STATE_DIRECTORY/server.properties\"\nfi",
            shell(&lines)
        ),
        exec: "exec kafka-server-start.sh \"$STATE_DIRECTORY/server.properties\"".to_owned(),
        ..Command::default()
    };
    run.option("services.apache-kafka.enable", true)
        .option("services.apache-kafka.formatLogDirs", true)
        // Any 16 bytes in base64 (Kafka, "kafka-storage.sh random-uuid"); a cluster of one needs no secret.
        .option("services.apache-kafka.clusterId", "bXZtLXNpbmdsZS1ub2Rlcw")
        .option_at(
            ["services", "apache-kafka", "settings", "log.dirs"],
            NixValue::List(vec!["/var/lib/apache-kafka".into()]),
        )
        .option("systemd.services.apache-kafka.serviceConfig.StateDirectory", "apache-kafka");
    run.variable("KAFKA_PORT", "9092");
    run.remarks.extend(settings.remarks());
    run
}
