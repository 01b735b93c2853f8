//! What can't be known is said with its place, and spreads no further.

use crate::support::*;
use mvm_project::project::{Certainty, Datum};

#[test]
fn what_depends_on_the_outside_is_unknown_at_its_place() {
    let project = devenv(
        r#"{ pkgs, lib, config, inputs, ... }:
{
  packages = [ pkgs.git ] ++ inputs.tools.list;
  services.postgres.enable = true;
  services.postgres.port = lib.toInt (builtins.getEnv "PORT");
  env.A = "known";
  env.B = "${builtins.currentTime}";
  services.redis.enable = config.custom.flag;
}"#,
    );
    assert_eq!(packages(&project), ["pkgs.git"]);
    assert_eq!(variable(&project, "A").as_deref(), Some("known"));
    assert_eq!(variable(&project, "B"), None);
    assert!(matches!(setting(service(&project, "postgres"), &["port"]), Some(Datum::Unknown { .. })));
    assert_eq!(service(&project, "redis").certainty, Certainty::Hint);
    let said = unknowns(&project);
    for expected in [
        "packages (devenv.nix:3)",
        "services.postgres.port (devenv.nix:5): it is an environment variable",
        "env.B (a part of it) (devenv.nix:7)",
        "services.redis.enable (devenv.nix:8): `config.custom.flag` is not set",
    ] {
        assert!(said.iter().any(|one| one.starts_with(expected)), "{expected} in {said:#?}");
    }
    assert_eq!(said.len(), 4, "{said:#?}");
}

#[test]
fn a_condition_that_is_not_known_makes_what_hangs_on_it_a_hint() {
    let project = devenv(
        r#"{ pkgs, lib, config, ... }: {
          packages = lib.mkIf config.custom.flag [ pkgs.hello ];
          env.A = lib.mkIf config.custom.flag "x";
        }"#,
    );
    assert_eq!(project.facts.packages[0].certainty, Certainty::Hint);
    assert_eq!(project.facts.env[0].certainty, Certainty::Hint);
    assert!(!project.facts.unknowns.is_empty());
}

#[test]
fn a_module_of_an_input_makes_unset_options_unknown_but_not_those_that_are_set() {
    let project = devenv(
        r#"{ pkgs, config, inputs, ... }: {
          imports = [ inputs.company.devenvModules.base ];
          services.redis.enable = true;
          env.A = if config.services.postgres.enable then "pg" else "none";
          env.B = if config.services.redis.enable then "redis" else "none";
        }"#,
    );
    assert_eq!(variable(&project, "A"), None);
    assert_eq!(variable(&project, "B").as_deref(), Some("redis"));
    let said = unknowns(&project);
    assert!(said.iter().any(|one| one.contains("imports") && one.contains("company")), "{said:#?}");
}

#[test]
fn what_an_unknown_set_may_replace_is_unknown_too() {
    let project = devenv(r#"{ inputs, ... }: { env = { A = "1"; } // inputs.x.env; }"#);
    assert_eq!(variable(&project, "A"), None);
    let project = devenv(r#"{ inputs, ... }: { env = inputs.x.env // { A = "1"; }; }"#);
    assert_eq!(variable(&project, "A").as_deref(), Some("1"));
    assert!(!project.facts.unknowns.is_empty());
}

#[test]
fn two_definitions_that_differ_are_a_conflict() {
    let project = detected(&[
        ("devenv.nix", r#"{ imports = [ ./b.nix ]; env.A = "1"; env.B = "same"; }"#),
        ("b.nix", r#"{ env.A = "2"; env.B = "same"; }"#),
    ]);
    assert_eq!(unknowns(&project), ["env.A (devenv.nix:1): it is set more than once, differently"]);
    assert_eq!(variable(&project, "B").as_deref(), Some("same"));
}
