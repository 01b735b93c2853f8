//! nginx.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "nginx",
    images: &["nginx", "openresty"],
    process: "nginx",
    ports: &[Port { label: "main", default: 8080, setting: PortSetting::Found(listened) }],
    program: "nginx",
    directories: &["/usr/sbin"],
    debian: Some("nginx"),
    refuses_root: false,
    embedded: approximate(
        "the first port that httpConfig listens on is forwarded; a configFile of the project is not used",
    ),
    nixos: approximate(
        "the first port that httpConfig listens on is forwarded; a configFile of the project is not used",
    ),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let http = settings.text(&["httpConfig"]).unwrap_or_default();
    let events = settings.text(&["eventsConfig"]).unwrap_or_default();
    let configuration = format!(
        "daemon off;\nerror_log stderr;\nevents {{\n{events}\n}}\nhttp {{\ninclude /etc/nginx/mime.types;\naccess_log off;\n\
         client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\n\
         scgi_temp_path scgi;\n{http}\n}}\n"
    );
    let mut run = Run {
        command: Command {
            prepare: format!("printf %s {} >\"$STATE_DIRECTORY/nginx.conf\"", shell(&configuration)),
            exec: "exec nginx -p \"$STATE_DIRECTORY\" -c \"$STATE_DIRECTORY/nginx.conf\" -e stderr -g \
                   \"pid $RUNTIME_DIRECTORY/nginx.pid;\""
                .to_owned(),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.nginx.enable", true);
    if !http.is_empty() {
        run.option("services.nginx.appendHttpConfig", http);
    }
    if !events.is_empty() {
        run.option("services.nginx.eventsConfig", events);
    }
    if settings.get(&["configFile"]).is_some() {
        run.remarks.push("configFile is not used".to_owned());
    }
    run.remarks.extend(settings.remarks());
    run
}

/// The first port in nginx' `listen 8080;` or `listen 127.0.0.1:8080 default_server;`.
fn listened(settings: &Settings<'_>) -> Option<u16> {
    let http = settings.text(&["httpConfig"])?;
    http.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("listen")?.trim_start().split([';', ' ']).next()?;
        rest.rsplit(':').next()?.parse().ok()
    })
}
