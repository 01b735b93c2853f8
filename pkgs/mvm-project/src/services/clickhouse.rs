//! ClickHouse.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{NixValue, Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "clickhouse",
    images: &["clickhouse-server", "clickhouse"],
    process: "clickhouse-server",
    ports: &[
        Port { label: "main", default: 9000, setting: PortSetting::Number(&["port"]) },
        Port { label: "http", default: 8123, setting: PortSetting::Number(&["httpPort"]) },
    ],
    program: "clickhouse-server",
    directories: &[],
    debian: Some("clickhouse-server"),
    refuses_root: false,
    embedded: approximate("config, keeper and users of the project are not carried over"),
    nixos: approximate("config, keeper and users of the project are not carried over"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (port, http) = (settings.port("main"), settings.port("http"));
    let configuration = format!(
        "<clickhouse>\n<listen_host>0.0.0.0</listen_host>\n<tcp_port>{port}</tcp_port>\n<http_port>{http}</http_port>\n\
         </clickhouse>\n"
    );
    let own = "<clickhouse>\n<logger><console>1</console></logger>\n<path>data/</path>\n<tmp_path>tmp/</tmp_path>\n\
               <mark_cache_size>268435456</mark_cache_size>\n<default_profile>default</default_profile>\n\
               <default_database>default</default_database>\n<profiles><default/></profiles>\n<quotas><default/></quotas>\n\
               <users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>\
               <quota>default</quota></default></users>\n<user_directories><users_xml><path>config.xml</path></users_xml>\
               </user_directories>\n</clickhouse>\n";
    let mut run = Run {
        command: Command {
            prepare: format!(
                "mkdir -p \"$STATE_DIRECTORY/config.d\"\nprintf %s {} >\"$STATE_DIRECTORY/config.xml\"\nprintf %s {} \
                 >\"$STATE_DIRECTORY/config.d/ports.xml\"",
                shell(own),
                shell(&configuration)
            ),
            exec: "cd \"$STATE_DIRECTORY\"\nexec clickhouse-server --config-file=\"$STATE_DIRECTORY/config.xml\"".to_owned(),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.clickhouse.enable", true).option_at(
        ["environment", "etc", "clickhouse-server/config.d/microvm-dev.xml", "text"],
        NixValue::Text(configuration),
    );
    if settings.get(&["config"]).is_some() {
        run.remarks.push("config is not carried over".to_owned());
    }
    run.remarks.extend(settings.remarks());
    run
}
