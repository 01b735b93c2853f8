//! Vault. devenv initializes and unseals it; what it does so is not repeated here, but Vault's own development mode is used.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};

pub static MAPPING: Mapping = Mapping {
    name: "vault",
    images: &["vault", "openbao"],
    process: "vault",
    ports: &[Port { label: "main", default: 8200, setting: PortSetting::Address(&["address"]) }],
    program: "vault",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate(
        "not in Debian: install Vault's own package; development mode, which keeps nothing over a restart",
    ),
    nixos: approximate("development mode, which keeps nothing over a restart"),
    run,
};

/// The first token in development mode; it opens nothing but this.
const TOKEN: &str = "microvm-dev";

fn run(settings: &Settings<'_>) -> Run {
    let port = settings.port("main");
    let mut run = Run {
        command: Command {
            exec: format!(
                "export HOME=\"$STATE_DIRECTORY\"\nexec vault server -dev -dev-listen-address=0.0.0.0:{port} \
                 -dev-root-token-id={TOKEN}"
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    run.option("services.vault.enable", true)
        .option("services.vault.dev", true)
        .option("services.vault.devRootTokenID", TOKEN)
        .option("services.vault.address", format!("0.0.0.0:{port}"));
    run.variable("VAULT_ADDR", "http://127.0.0.1:{main}")
        .variable("VAULT_API_ADDR", "http://127.0.0.1:{main}")
        .variable("VAULT_TOKEN", TOKEN);
    run.remarks.extend(settings.remarks());
    run
}
