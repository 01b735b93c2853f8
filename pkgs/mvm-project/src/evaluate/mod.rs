//! The exact answer to what reading could not tell: by the real devenv, or by Nix with nixpkgs, in a throw-away VM. The host
//! evaluates nothing.

mod questions;

pub use questions::{merge, questions};

use crate::project::{Kind, Note, Project};
use crate::vm::{Host, Mvm};
use crate::{Position, nix::value::attribute};
use anyhow::bail;
use serde_json::Value;
use std::collections::BTreeMap;

/// Run in the VM: `sh -c SCRIPT sh DIR DEVENV PATH…`. Prints `= PATH` and what came out, or why nothing did.
const SCRIPT: &str = include_str!("evaluate.sh");
/// What the script ends with where nothing can evaluate.
const NOTHING: &str = "nothing that evaluates";

/// Has what is not known evaluated, and merges the answers into the project; what still is not known stays so, with a note
/// that says why.
///
/// Errors: the project is of a kind that can't be evaluated so, there is nothing in the VM that could, `mvm` fails.
pub fn resolve(project: &mut Project, mvm: &dyn Mvm, host: &dyn Host) -> anyhow::Result<()> {
    if project.kind != Kind::Devenv {
        bail!(
            "--evaluate is for projects with a devenv.nix; what governs {} is none",
            project.root.display()
        );
    }
    let asked = questions(project);
    if asked.is_empty() {
        return Ok(());
    }
    let mut directory = mvm_spec::latest::PROJECT_MOUNT.to_owned();
    for part in &project.directory {
        directory.push('/');
        directory.push_str(&part.to_string_lossy());
    }
    let devenv = host.devenv().unwrap_or_else(|| "devenv".into()).to_string_lossy().into_owned();
    let root = project.root.to_string_lossy().into_owned();
    let paths: Vec<String> = asked
        .iter()
        .map(|path| path.iter().map(|name| attribute(name)).collect::<Vec<_>>().join("."))
        .collect();
    let mut args = vec!["run", "--project", &root, "--", "sh", "-c", SCRIPT, "sh", &directory, &devenv];
    args.extend(paths.iter().map(String::as_str));
    let said = mvm.tell(&args, None)?;
    if said.stdout.trim_end().ends_with(NOTHING) {
        bail!(
            "--evaluate needs devenv, or Nix with nixpkgs on NIX_PATH, in the VM, which sees this host's /usr and /nix/store; \
             install Nix and devenv on this host (https://devenv.sh/getting-started), or leave --evaluate out"
        );
    }
    if !said.ok {
        bail!("can't evaluate {root} in a VM; mvm's message is above");
    }
    let mut answers = BTreeMap::new();
    for (path, said) in parted(&said.stdout) {
        let Some(index) = paths.iter().position(|one| one == path) else { continue };
        match serde_json::from_str::<Value>(said) {
            Ok(value) => drop(answers.insert(asked[index].clone(), unwrapped(value, &asked[index], path))),
            Err(_) => {
                let why =
                    said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
                let text = format!("{path} could not be evaluated: {}", why.trim());
                let at =
                    Position::line(project.facts.sources.first().map_or("devenv.nix", |one| &one.file), 1);
                project.facts.notes.push(Note { text, at });
            }
        }
    }
    merge(project, &answers);
    Ok(())
}

/// What the script printed, by option.
fn parted(text: &str) -> Vec<(&str, &str)> {
    let sections = text.split("\u{1e}").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(path, said)| (path.trim(), said.trim()))
        .collect()
}

/// The value itself, where the answer repeats the option's path around it.
fn unwrapped(value: Value, path: &[String], written: &str) -> Value {
    if let Value::Object(entries) = &value
        && entries.len() == 1
    {
        if let Some(inner) = entries.get(written) {
            return inner.clone();
        }
        let nested = path.iter().try_fold(&value, |value, name| value.get(name));
        if let Some(inner) = nested {
            return inner.clone();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Said;
    use std::path::PathBuf;
    use std::time::Duration;

    /// Runs the script right here, with a stand-in for devenv: what a VM is for is another test's to show.
    struct Here(PathBuf);

    impl Mvm for Here {
        fn call(&self, _: &[&str], _: Option<&str>, _: Option<Duration>) -> anyhow::Result<Said> {
            bail!("not called")
        }

        fn tell(&self, args: &[&str], _: Option<&str>) -> anyhow::Result<Said> {
            let at = args.iter().position(|arg| *arg == "--").unwrap() + 1;
            let mut args: Vec<&str> = args[at..].to_vec();
            let here = self.0.to_str().unwrap();
            args[4] = here;
            let output =
                std::process::Command::new(args[0]).args(&args[1..]).env("PATH", "/usr/bin:/bin").output()?;
            let stdout = String::from_utf8(output.stdout)?;
            Ok(Said { ok: output.status.success(), stdout, stderr: String::new() })
        }
    }

    struct Devenv(Option<PathBuf>);

    impl Host for Devenv {
        fn has(&self, _: &str, _: &[String]) -> bool {
            false
        }
        fn devenv(&self) -> Option<PathBuf> {
            self.0.clone()
        }
        fn elsewhere(&self, _: &str) -> Option<PathBuf> {
            None
        }
    }

    const UNKNOWN: &str = "{ config, lib, ... }: { env.A = config.custom.a; env.B = \"known\"; env.C = config.custom.c; services.redis = { enable = true; port = config.custom.port; }; processes.web.exec = config.custom.run; }";

    fn project(devenv: Option<&str>) -> (tempfile::TempDir, Project, Devenv) {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join("devenv.nix"), UNKNOWN).unwrap();
        let program = devenv.map(|text| {
            let path = dir.path().join("devenv");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        });
        let project = crate::detect::detect(dir.path()).unwrap();
        (dir, project, Devenv(program))
    }

    #[test]
    fn answers_take_the_place_of_what_was_not_known() {
        let (dir, mut project, host) = project(Some(
            "#!/bin/sh\ncase $2 in env.A) echo '{\"env.A\": \"x y\"}' ;; services.redis.port) echo 7777 ;; \
             processes.web.exec) echo '{\"processes\":{\"web\":{\"exec\":\"serve\"}}}' ;; *) echo \"error: no $2\" >&2; exit 1 ;; esac\n",
        ));
        assert_eq!(questions(&project).len(), 4, "{:?}", questions(&project));
        resolve(&mut project, &Here(dir.path().to_owned()), &host).unwrap();
        let plan = crate::plan::plan(&project, mvm_spec::VmName::new("shop").unwrap());
        assert_eq!(plan.env["A"], "x y");
        assert_eq!(plan.services[0].ports["main"], 7777);
        assert_eq!(plan.processes[0].exec, "serve");
        let left: Vec<&str> = plan.unknowns.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(left, ["env.C"]);
        assert!(plan.notes.iter().any(|note| note.text == "env.C could not be evaluated: error: no env.C"));
    }

    #[test]
    fn where_nothing_evaluates_that_is_said_with_what_to_install() {
        let (dir, mut project, host) = project(None);
        if std::process::Command::new("nix-instantiate")
            .args(["--eval", "-E", "<nixpkgs>"])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            // A machine with nixpkgs evaluates.
            return resolve(&mut project, &Here(dir.path().to_owned()), &host).unwrap();
        }
        let error = resolve(&mut project, &Here(dir.path().to_owned()), &host).unwrap_err().to_string();
        assert!(error.contains("install Nix and devenv"), "{error}");
    }
}
