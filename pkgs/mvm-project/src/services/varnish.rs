//! Varnish.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, exact};
use crate::quote::shell;

pub static MAPPING: Mapping = Mapping {
    name: "varnish",
    images: &["varnish"],
    process: "varnish",
    ports: &[Port { label: "main", default: 6081, setting: PortSetting::Address(&["listen"]) }],
    program: "varnishd",
    directories: &["/usr/sbin"],
    debian: Some("varnish"),
    refuses_root: false,
    embedded: exact("extraModules are those of the host"),
    nixos: exact("extraModules are not carried over"),
    run,
};

/// devenv's own (devenv: `src/modules/services/varnish.nix`): a backend on port 80.
const VCL: &str = "vcl 4.0;\nbackend default { .host = \"127.0.0.1\"; .port = \"80\"; }\n";

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let vcl = settings.text(&["vcl"]).unwrap_or_else(|| VCL.to_owned());
    let memory = settings.text(&["memorySize"]).unwrap_or_else(|| "64M".to_owned());
    let mut run = Run {
        command: Command {
            prepare: format!("printf %s {} >\"$STATE_DIRECTORY/default.vcl\"", shell(&vcl)),
            exec: format!(
                "exec varnishd -n \"$RUNTIME_DIRECTORY\" -F -f \"$STATE_DIRECTORY/default.vcl\" -s {} -a 0.0.0.0:{port}",
                shell(&format!("malloc,{memory}"))
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    // The module puts http_address behind `-a` and `config` into a file.
    run.option("services.varnish.enable", true)
        .option("services.varnish.http_address", format!("0.0.0.0:{port}"))
        .option("services.varnish.config", vcl)
        .option("services.varnish.extraCommandLine", format!("-s malloc,{memory}"));
    run.variable("VARNISH_PORT", "{main}");
    run.remarks.extend(settings.remarks());
    run
}
