//! Shells of nixpkgs: `mkShell { … }`, in a flake or in `shell.nix`.

use super::facts::Facts;
use crate::files;
use crate::modules::{Modules, Reader};
use crate::nix::value::{At, Shell, Unknown, Value};
use crate::nix::{Arguments, Eval, Thunk};
use crate::project::{Certainty, Datum, PackageFact, Template, Variable};
use std::path::Path;

/// Arguments that hold packages (nixpkgs manual, "Specifying dependencies").
const PACKAGES: [&str; 6] = [
    "packages",
    "buildInputs",
    "nativeBuildInputs",
    "propagatedBuildInputs",
    "propagatedNativeBuildInputs",
    "nativeCheckInputs",
];
/// Arguments that are not variables of the shell, or are Nix' own.
const NOT_VARIABLES: [&str; 13] = [
    "name",
    "pname",
    "version",
    "shellHook",
    "inputsFrom",
    "env",
    "stdenv",
    "meta",
    "passthru",
    "hardeningDisable",
    "phases",
    "src",
    "preferLocalBuild",
];

/// Reads `shell.nix` or `default.nix`; false if it holds no shell.
pub fn read(eval: &Eval, path: &Path, facts: &mut Facts) -> bool {
    let at = At { file: 0, offset: 0 };
    let file = files::name(eval.root(), path);
    let mut value = Arguments::Shell.apply(eval, eval.import(path, at), at);
    if let Value::Attrs(_) = &value {
        // `{ shell = mkShell …; }`, or what flake-compat gives.
        for name in ["shell", "default", "devShell"] {
            if let Some(found) = eval.attribute_if_any(&value, name, at) {
                value = found;
                break;
            }
        }
    }
    let is_shell = matches!(&value, Value::Shell(_));
    if is_shell || file.ends_with("shell.nix") {
        facts.source(&file, "shell of nixpkgs", Certainty::Certain);
        take(eval, &value, &file, facts);
        for file in eval.files_read() {
            facts.source(&file, "Nix file", Certainty::Certain);
        }
        return true;
    }
    false
}

/// Takes the facts of a shell.
pub fn take(eval: &Eval, value: &Value, what: &str, facts: &mut Facts) {
    let at = At { file: 0, offset: 0 };
    match value {
        Value::Shell(shell) => match &**shell {
            Shell::Make(arguments) => make(eval, arguments, facts),
            Shell::Devenv(arguments) => super::flake::devenv_shell(eval, arguments, facts),
            Shell::FlakeParts(_) => {
                facts.unknown(eval, what, &Unknown::new(at, "a flake stands where a shell should"));
            }
        },
        Value::Unknown(unknown) => facts.unknown(eval, what, unknown),
        other => facts.unknown(
            eval,
            what,
            &Unknown::new(at, format!("{} is no shell that can be read", other.kind())),
        ),
    }
}

fn make(eval: &Eval, arguments: &Thunk, facts: &mut Facts) {
    let set = match eval.concrete(arguments.force(eval), arguments.at) {
        Value::Attrs(set) => set,
        other => return take(eval, &other, "the shell's arguments", facts),
    };
    let modules = Modules::new("");
    let reader = Reader::new(eval, &modules);
    for unknown in &set.open {
        reader.unknown("the shell's arguments", unknown);
    }
    for (name, entry) in &set.map {
        let value = || entry.value.force(eval);
        match &**name {
            packages if PACKAGES.contains(&packages) => {
                for (datum, at) in reader.elements(&[name], value(), entry.at) {
                    match datum {
                        Datum::Package { package } => {
                            let at = eval.position(at);
                            facts.package(PackageFact { package, certainty: Certainty::Certain, at });
                        }
                        Datum::Unknown { .. } | Datum::Null => {}
                        _ => reader.unknown(name, &Unknown::new(at, "it is no package")),
                    }
                }
            }
            "shellHook" => facts.enter_shell = text(reader.convert(&[name], value(), entry.at)),
            "inputsFrom" => {
                if let Value::List(list) = eval.concrete(value(), entry.at) {
                    for item in &list.items {
                        match item.force(eval) {
                            // A shell that this one takes everything from.
                            Value::Shell(shell) => {
                                if let Shell::Make(inner) = &*shell {
                                    // At a cost, so that shells that take from themselves end soon.
                                    if eval.spend(20_000) {
                                        let _ = eval.nested(item.at, || make(eval, inner, facts));
                                    }
                                }
                            }
                            Value::Unknown(unknown) => reader.unknown("inputsFrom", &unknown),
                            _ => reader.unknown(
                                "inputsFrom",
                                &Unknown::new(item.at, "what a package is built with is not known"),
                            ),
                        }
                    }
                }
            }
            "env" => {
                if let Value::Attrs(env) = eval.concrete(value(), entry.at) {
                    for (name, entry) in &env.map {
                        variable(eval, &reader, name, entry.value.force(eval), entry.at, facts);
                    }
                }
            }
            other if !NOT_VARIABLES.contains(&other) => {
                variable(eval, &reader, name, value(), entry.at, facts);
            }
            _ => {}
        }
    }
    facts.unknowns.extend(reader.unknowns());
}

fn variable(eval: &Eval, reader: &Reader<'_>, name: &str, value: Value, at: At, facts: &mut Facts) {
    let value = match value {
        // Attributes of a derivation: numbers and booleans as text.
        Value::Int(_) | Value::Bool(_) => Value::Text(eval.pieces(value, at)),
        other => other,
    };
    if let Some(value) = text(reader.convert(&[name], value, at)) {
        let at = eval.position(at);
        facts.env.push(Variable { name: name.to_owned(), value, certainty: Certainty::Certain, at });
    }
}

fn text(datum: Datum) -> Option<Template> {
    use crate::project::Part;
    match datum {
        Datum::Text(template) => Some(template),
        Datum::Package { package } => Some(Template(vec![Part::Package { package }])),
        Datum::Unknown { unknown } => Some(Template(vec![Part::Unknown { unknown }])),
        _ => None,
    }
}
