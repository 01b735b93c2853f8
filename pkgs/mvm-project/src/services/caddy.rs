//! Caddy.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "caddy",
    images: &["caddy"],
    process: "caddy",
    ports: &[Port { label: "main", default: 80, setting: PortSetting::Found(listened) }],
    program: "caddy",
    directories: &[],
    debian: Some("caddy"),
    refuses_root: false,
    embedded: approximate(
        "the first port of a virtual host's name is forwarded; only Caddyfiles, no other adapters",
    ),
    nixos: approximate("the first port of a virtual host's name is forwarded"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let mut run = Run::default();
    let mut file = settings.text(&["config"]).unwrap_or_default();
    if !file.is_empty() {
        run.option("services.caddy.extraConfig", file.clone());
    }
    for (name, host) in settings.entries(&["virtualHosts"]) {
        let text = host.at(&["extraConfig"]).and_then(crate::project::Datum::plain);
        if host.at(&["extraConfig"]).is_some() && text.is_none() {
            run.remarks
                .push(format!("virtualHosts.{name}.extraConfig is not known whole: the host is left out"));
            continue;
        }
        let text = text.unwrap_or_default();
        file.push_str(&format!("\n{name} {{\n{text}\n}}\n"));
        run.option_at(["services", "caddy", "virtualHosts", name, "extraConfig"], text);
    }
    run.command = Command {
        prepare: format!("printf %s {} >\"$STATE_DIRECTORY/Caddyfile\"", shell(&file)),
        exec: "export XDG_DATA_HOME=\"$STATE_DIRECTORY/data\" XDG_CONFIG_HOME=\"$STATE_DIRECTORY/config\"\n\
               exec caddy run --adapter caddyfile --config \"$STATE_DIRECTORY/Caddyfile\""
            .to_owned(),
        ..Command::default()
    };
    run.option("services.caddy.enable", true);
    run.remarks.extend(settings.remarks());
    run
}

/// The first port in the name of a virtual host: `http://localhost:8000`, `:8080`.
fn listened(settings: &Settings<'_>) -> Option<u16> {
    settings.entries(&["virtualHosts"]).iter().find_map(|(name, _)| {
        let rest = name.rsplit("//").next().unwrap_or(name).split('/').next()?;
        rest.rsplit_once(':')?.1.parse().ok()
    })
}
