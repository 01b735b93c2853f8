//! MailHog. Neither Debian nor, by now, NixOS has it; Mailpit speaks as it does.

use super::approximate;
use super::mailpit::MAILPIT;
use super::mapping::Mapping;

pub static MAPPING: Mapping = Mapping {
    name: "mailhog",
    images: &["mailhog"],
    process: "mailhog",
    embedded: approximate(
        "Mailpit takes its place; not in Debian: install Mailpit's own package; additionalArgs are not carried over",
    ),
    nixos: approximate("Mailpit takes its place; a unit of its own; additionalArgs are not carried over"),
    ..MAILPIT
};
