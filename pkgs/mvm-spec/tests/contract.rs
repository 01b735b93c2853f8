//! `tests/contract/*.json` binds Nix and Rust: what one writes, the other reads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

use assert_cmd::Command;
use std::path::{Path, PathBuf};

fn contract() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract")
}

fn specs(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds specs", dir.display());
    files
}

#[test]
fn golden_specs_are_read_and_written_unchanged() {
    for file in specs(&contract()) {
        let text = std::fs::read_to_string(&file).unwrap();
        let spec = mvm_spec::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let again = mvm_spec::parse(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(spec, again, "{}", file.display());
    }
}

#[test]
fn check_accepts_good_specs_and_says_what_is_wrong_with_others() {
    let tool = || Command::new(env!("CARGO_BIN_EXE_mvm-spec"));
    tool().arg("check").args(specs(&contract())).assert().success().stderr("");
    for (file, said) in [
        ("unknown-field", "unknown field `colour`"),
        ("newer-version", "spec version 2 is not known"),
        ("no-version", "numeric `version`"),
        ("bad-name", "character '.'"),
        ("rules", "16 rule(s)"),
        ("bad-destination", "leave the `*.` out"),
        ("not-json", "not a VM spec"),
    ] {
        let path = contract().join("invalid").join(file).with_extension("json");
        let output = tool().arg("check").arg(&path).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}");
        assert!(text.contains(said) && text.contains(file), "{file}: {text}");
    }
    assert_eq!(specs(&contract().join("invalid")).len(), 7, "each invalid spec is named above");
    tool().args(["check", "/no/such/spec.json"]).assert().code(2);
}

#[test]
fn names_are_derived_as_the_nixos_modules_derive_them() {
    let text = std::fs::read_to_string(contract().join("derived/names.json")).unwrap();
    let derived: Vec<std::collections::BTreeMap<String, String>> = serde_json::from_str(&text).unwrap();
    assert!(derived.len() > 5);
    for entry in derived {
        let name = mvm_spec::VmName::new(entry["name"].as_str()).unwrap();
        assert_eq!(name.tap(), entry["tap"], "{name}");
        assert_eq!(name.bridge(), entry["bridge"], "{name}");
        assert_eq!(name.mac().to_string(), entry["mac"], "{name}");
    }
}

#[test]
fn each_broken_rule_is_named_with_its_field() {
    let text = std::fs::read_to_string(contract().join("invalid/rules.json")).unwrap();
    let said = mvm_spec::parse(&text).unwrap_err().to_string();
    for field in [
        "resources.vcpu",
        "resources.memMib",
        "guest.kernel",
        "project.path",
        "user.name",
        "network.bridge",
        "network.mac",
        "network.address",
        "network.gateway",
        "persistence.homeMib",
        "environment.A-B",
        "environment.OK",
        "network.egress.to",
        "network.peers",
        "forwards[0]",
        "forwards[1]",
    ] {
        assert!(said.contains(&format!("{field}:")), "{field} in {said}");
    }
}

#[test]
fn the_committed_schemas_are_the_types() {
    for (file, schema) in
        [("spec.schema.json", mvm_spec::schema()), ("workload.schema.json", mvm_spec::workload_schema())]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
        let committed: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(committed, schema, "{} is out of date: run scripts/gen-docs", path.display());
    }
}
