//! Mailpit.

use super::mapping::{Command, Mapping, Port, PortSetting, Run};
use super::{Settings, approximate};

pub static MAPPING: Mapping = MAILPIT;

/// Also what takes MailHog's place.
pub(super) const MAILPIT: Mapping = Mapping {
    name: "mailpit",
    images: &["mailpit"],
    process: "mailpit",
    ports: &[
        Port { label: "smtp", default: 1025, setting: PortSetting::Address(&["smtpListenAddress"]) },
        Port { label: "ui", default: 8025, setting: PortSetting::Address(&["uiListenAddress"]) },
    ],
    program: "mailpit",
    directories: &[],
    debian: None,
    refuses_root: false,
    embedded: approximate(
        "not in Debian: install Mailpit's own package; additionalArgs are not carried over",
    ),
    nixos: approximate("a unit of its own; additionalArgs are not carried over"),
    run,
};

fn run(settings: &Settings<'_>) -> Run {
    let (smtp, ui) = (settings.port("smtp"), settings.port("ui"));
    let mut run = Run {
        command: Command {
            exec: format!(
                "exec mailpit --database \"$STATE_DIRECTORY/mail.db\" --listen 0.0.0.0:{ui} --smtp 0.0.0.0:{smtp}"
            ),
            ..Command::default()
        },
        ..Run::default()
    };
    let words = [
        "--database",
        "%S/mailpit/mail.db",
        "--listen",
        &format!("0.0.0.0:{ui}"),
        "--smtp",
        &format!("0.0.0.0:{smtp}"),
    ];
    run.unit("mailpit", "mailpit", &words.map(ToOwned::to_owned));
    if settings.get(&["additionalArgs"]).is_some() {
        run.remarks.push("additionalArgs are not carried over".to_owned());
    }
    run.remarks.extend(settings.remarks());
    run
}
