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

/// What `mvm-devenv` prints of `tests/contract/project`, as a checkout in /srv/shop.
fn printed(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("shop");
    std::fs::create_dir_all(project.join(".git")).unwrap();
    std::fs::copy(contract("devenv.nix"), project.join("devenv.nix")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mvm-devenv"))
        .args(arguments)
        .current_dir(&project)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let root = project.canonicalize().unwrap();
    String::from_utf8(output.stdout).unwrap().replace(root.to_str().unwrap(), "/srv/shop")
}

fn contract(file: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract/project").join(file)
}

/// Layout apart, which nixfmt decides.
fn words(text: &str) -> String {
    text.split_whitespace().collect()
}

const REMEDY: &str = "the modules are tested with what mvm-devenv printed before: write what it prints now there (see the test)";

#[test]
fn the_modules_are_tested_with_the_declaration_that_is_printed() {
    let committed = std::fs::read_to_string(contract("declaration.nix")).unwrap();
    let printed = format!("{{{}}}", printed(&["--nix"]));
    assert_eq!(words(&committed), words(&printed), "{REMEDY}:\n{printed}");
}

#[test]
fn the_modules_are_tested_with_the_file_that_is_printed() {
    let committed = std::fs::read_to_string(contract("microvm.json")).unwrap();
    assert_eq!(committed, printed(&["detect", "--json"]), "{REMEDY}");
}

#[test]
fn the_project_that_the_modules_are_tested_with_has_every_service() {
    let file = std::fs::read_to_string(contract("microvm.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let names: Vec<&str> = file["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["name"].as_str().unwrap())
        .collect();
    for mapping in mvm_project::services::ALL {
        assert!(
            names.contains(&mapping.name),
            "{} is not in tests/contract/project/devenv.nix",
            mapping.name
        );
    }
}
