//! NixOS knows every option that services are mapped to. Needs a tree of nixpkgs (`MVM_NIXPKGS`), as evaluations do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

use std::process::Command;

#[test]
fn every_mapped_option_exists_in_nixos() {
    let Some(nixpkgs) = std::env::var_os("MVM_NIXPKGS") else {
        eprintln!(
            "not here: NixOS' options of {} services; set MVM_NIXPKGS to a tree of nixpkgs",
            mvm_project::services::ALL.len()
        );
        return;
    };
    let listed =
        Command::new(env!("CARGO_BIN_EXE_mvm-devenv")).args(["services", "--json"]).output().unwrap();
    let json = String::from_utf8(listed.stdout).unwrap();
    let output = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json"])
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nixos/options.nix"))
        .args(["--argstr", "nixpkgs"])
        .arg(nixpkgs)
        .args(["--argstr", "services", &json])
        .output()
        .expect("nix-instantiate runs (Debian's package nix-bin)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let missing: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(missing, Vec::<String>::new(), "options that NixOS does not have");
}
