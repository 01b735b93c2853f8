//! RabbitMQ.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "rabbitmq",
    images: &["rabbitmq"],
    process: "rabbitmq",
    ports: &[
        Port { label: "main", default: 5672, setting: PortSetting::Number(&["port"]) },
        Port {
            label: "management",
            default: 15672,
            setting: PortSetting::Number(&["managementPlugin", "port"]),
        },
    ],
    program: "rabbitmq-server",
    directories: &["/usr/lib/rabbitmq/bin", "/usr/sbin"],
    debian: Some("rabbitmq-server"),
    refuses_root: false,
    embedded: exact("user guest may log in from outside, as it does on devenv's loopback"),
    nixos: exact("user guest may log in from outside, as it does on devenv's loopback"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (port, management) = (settings.port("main"), settings.port("management"));
    let manage = settings.bool(&["managementPlugin", "enable"]) == Some(true);
    let mut plugins = settings.texts(&["plugins"]);
    let mut lines = format!("listeners.tcp.1 = 0.0.0.0:{port}\nloopback_users = none\n");
    if manage {
        plugins.push("rabbitmq_management".to_owned());
        lines.push_str(&format!("management.tcp.port = {management}\nmanagement.tcp.ip = 0.0.0.0\n"));
    }
    let mut run = Run::default();
    for (name, value) in settings.entries(&["configItems"]) {
        if let Some(value) = value.plain() {
            lines.push_str(&format!("{name} = {value}\n"));
            run.option_at(["services", "rabbitmq", "configItems", name], value);
        }
    }
    run.command = Command {
        prepare: format!(
            "printf %s {} >\"$STATE_DIRECTORY/rabbitmq.conf\"\nprintf %s {} >\"$STATE_DIRECTORY/enabled_plugins\"",
            shell(&lines),
            shell(&format!("[{}].\n", plugins.join(",")))
        ),
        exec: "export HOME=\"$STATE_DIRECTORY\" RABBITMQ_MNESIA_BASE=\"$STATE_DIRECTORY/mnesia\" \
               RABBITMQ_LOGS=- RABBITMQ_CONFIG_FILE=\"$STATE_DIRECTORY/rabbitmq.conf\" \
               RABBITMQ_ENABLED_PLUGINS_FILE=\"$STATE_DIRECTORY/enabled_plugins\" \
               RABBITMQ_NODENAME=rabbit@localhost\nexec rabbitmq-server"
            .to_owned(),
        ..Command::default()
    };
    run.option("services.rabbitmq.enable", true)
        .option("services.rabbitmq.listenAddress", "0.0.0.0")
        .option("services.rabbitmq.port", port)
        .option_at(["services", "rabbitmq", "configItems", "loopback_users"], "none")
        .option("services.rabbitmq.managementPlugin.enable", manage)
        .option("services.rabbitmq.managementPlugin.port", management);
    let extra: Vec<NixValue> =
        plugins.into_iter().filter(|name| name != "rabbitmq_management").map(NixValue::Text).collect();
    if !extra.is_empty() {
        run.option("services.rabbitmq.plugins", NixValue::List(extra));
    }
    run.variable("RABBITMQ_PORT", "{main}").variable("RABBITMQ_HOST", "127.0.0.1");
    run.remarks.extend(settings.remarks());
    run
}
