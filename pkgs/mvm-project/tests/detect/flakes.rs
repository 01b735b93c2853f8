//! Flakes and shell.nix.

use crate::support::*;
use mvm_project::project::Kind;

#[test]
fn a_plain_flake_for_each_system() {
    let project = detected(&[(
        "flake.nix",
        r#"{
          inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
          outputs = { self, nixpkgs, ... }@inputs:
            let
              systems = [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ];
              each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
            in {
              packages = each (pkgs: { default = pkgs.callPackage ./package.nix { }; });
              devShells = each (pkgs: {
                default = pkgs.mkShell {
                  packages = with pkgs; [ go gopls ];
                  buildInputs = [ pkgs.openssl ];
                  GOFLAGS = "-mod=mod";
                  env.CGO_ENABLED = 0;
                  shellHook = "echo hi";
                };
              });
            };
        }"#,
    )]);
    all_known(&project);
    assert_eq!(project.kind, Kind::Flake);
    let mut found = packages(&project);
    found.sort();
    assert_eq!(found, ["pkgs.go", "pkgs.gopls", "pkgs.openssl"]);
    assert_eq!(variable(&project, "GOFLAGS").as_deref(), Some("-mod=mod"));
    assert_eq!(variable(&project, "CGO_ENABLED").as_deref(), Some("0"));
    assert!(project.facts.enter_shell.is_some());
}

#[test]
fn flake_utils_and_an_imported_shell() {
    let project = detected(&[
        (
            "flake.nix",
            r#"{ outputs = { nixpkgs, flake-utils, ... }: flake-utils.lib.eachDefaultSystem (system:
              let pkgs = import nixpkgs { inherit system; config.allowUnfree = true; };
              in { devShell = import ./shell.nix { inherit pkgs; }; }); }"#,
        ),
        (
            "shell.nix",
            "{ pkgs ? import <nixpkgs> { } }: pkgs.mkShell.override { stdenv = pkgs.clangStdenv; } { nativeBuildInputs = [ pkgs.cmake ]; }",
        ),
    ]);
    all_known(&project);
    assert_eq!(packages(&project), ["pkgs.cmake"]);
}

#[test]
fn devenv_in_a_flake_by_mk_shell_and_by_flake_parts() {
    let module = r#"({ pkgs, config, ... }: { packages = [ pkgs.hello ]; services.redis.enable = true; processes.web.exec = "serve"; })"#;
    let by_shell = format!(
        r#"{{ outputs = {{ self, nixpkgs, devenv, systems, ... }}@inputs:
          let forEach = nixpkgs.lib.genAttrs (import systems); in
          {{ devShells = forEach (system: let pkgs = nixpkgs.legacyPackages.${{system}}; in {{
            default = devenv.lib.mkShell {{ inherit inputs pkgs; modules = [ {module} ]; }};
          }}); }}; }}"#
    );
    let by_parts = format!(
        r#"{{ outputs = inputs@{{ flake-parts, ... }}: flake-parts.lib.mkFlake {{ inherit inputs; }} {{
          imports = [ inputs.devenv.flakeModule ];
          systems = [ "x86_64-linux" ];
          perSystem = {{ config, self', pkgs, lib, ... }}: {{ devenv.shells.default = {module}; }};
        }}; }}"#
    );
    for text in [by_shell, by_parts] {
        let project = detected(&[("flake.nix", &text)]);
        assert_eq!(project.kind, Kind::FlakeDevenv, "{text}");
        assert_eq!(packages(&project), ["pkgs.hello"]);
        assert_eq!(project.facts.services[0].name, "redis");
        assert_eq!(project.facts.processes[0].name, "web");
        assert_eq!(unknowns(&project), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn dev_shells_of_flake_parts_with_modules_in_files() {
    let project = detected(&[
        (
            "flake.nix",
            r#"{ outputs = inputs: inputs.flake-parts.lib.mkFlake { inherit inputs; } { imports = [ ./nix/shell.nix ]; systems = import inputs.systems; }; }"#,
        ),
        (
            "nix/shell.nix",
            "{ inputs, ... }: { perSystem = { pkgs, ... }: { devShells.default = pkgs.mkShell { packages = [ pkgs.just ]; }; }; }",
        ),
    ]);
    all_known(&project);
    assert_eq!(packages(&project), ["pkgs.just"]);
}

#[test]
fn shell_nix_with_processes_from_a_procfile() {
    let project = detected(&[
        (
            "shell.nix",
            "let pkgs = import (fetchTarball \"https://example.org/x.tar.gz\") { }; in with pkgs; mkShell { buildInputs = [ ruby_3_3 ]; }",
        ),
        ("Procfile", "web: bundle exec rails server\n"),
        ("Gemfile", "source 'https://rubygems.org'\n"),
    ]);
    all_known(&project);
    assert_eq!(project.kind, Kind::ShellNix);
    assert_eq!(packages(&project), ["pkgs.ruby_3_3"]);
    assert_eq!(project.facts.processes[0].name, "web");
    assert!(project.facts.languages.is_empty(), "the shell says what the toolchain is");
}
