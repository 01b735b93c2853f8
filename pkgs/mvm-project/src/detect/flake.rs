//! Flakes: `devShells`, also made by flake-utils or flake-parts, also by devenv.

use super::facts::Facts;
use super::{devenv, shell};
use crate::files;
use crate::modules::Modules;
use crate::nix::value::{At, Shell, Unknown, Value};
use crate::nix::{Arguments, Eval, Thunk};
use crate::project::{Certainty, Kind};
use std::path::Path;
use std::rc::Rc;

const HERE: At = At { file: 0, offset: 0 };

/// Reads the flake in `directory`.
pub fn read(eval: &Eval, directory: &Path, facts: &mut Facts) -> Kind {
    let path = directory.join("flake.nix");
    let file = files::name(eval.root(), &path);
    facts.source(&file, "flake", Certainty::Certain);
    let flake = eval.import(&path, HERE);
    let outputs = match eval.attribute_if_any(&flake, "outputs", HERE) {
        Some(outputs) => Arguments::Outputs.apply(eval, outputs, HERE),
        None => Value::unknown(HERE, "the flake has no `outputs`"),
    };
    let kind = match outputs {
        Value::Shell(made) => match &*made {
            Shell::FlakeParts(module) => flake_parts(eval, module, facts),
            _ => Kind::Flake,
        },
        Value::Unknown(unknown) => {
            facts.unknown(eval, "the flake's outputs", &unknown);
            Kind::Flake
        }
        outputs => plain(eval, &outputs, facts),
    };
    for file in eval.files_read() {
        facts.source(&file, "Nix file", Certainty::Certain);
    }
    let lock = directory.join("flake.lock");
    if lock.is_file() {
        facts.source(&files::name(eval.root(), &lock), "the flake's pinned inputs", Certainty::Certain);
    }
    kind
}

/// `devShells.SYSTEM.default`, or by its older name.
fn plain(eval: &Eval, outputs: &Value, facts: &mut Facts) -> Kind {
    let system = eval.system();
    let of_system = |name: &str| {
        let all = eval.attribute_if_any(outputs, name, HERE)?;
        eval.attribute_if_any(&eval.concrete(all, HERE), &system, HERE)
    };
    let found = of_system("devShells").and_then(|shells| chosen(eval, &shells, facts));
    let Some(found) = found.or_else(|| of_system("devShell")) else {
        facts.note(eval, HERE, format!("the flake has no devShells for {system}"));
        return Kind::Flake;
    };
    take(eval, &found, facts)
}

/// The shell named `default`, or else the only one, or the first by name.
fn chosen(eval: &Eval, shells: &Value, facts: &mut Facts) -> Option<Value> {
    if let Some(default) = eval.attribute_if_any(shells, "default", HERE) {
        return Some(default);
    }
    let Value::Attrs(set) = shells else { return None };
    let (name, entry) = set.map.iter().next()?;
    facts.note(eval, entry.at, format!("there is no default shell; `{name}` is taken"));
    Some(entry.value.force(eval))
}

fn take(eval: &Eval, found: &Value, facts: &mut Facts) -> Kind {
    shell::take(eval, found, "the shell", facts);
    match found {
        Value::Shell(made) if matches!(&**made, Shell::Devenv(_)) => Kind::FlakeDevenv,
        _ => Kind::Flake,
    }
}

/// `devenv.lib.mkShell { modules = [ … ]; }`.
pub fn devenv_shell(eval: &Eval, arguments: &Thunk, facts: &mut Facts) {
    let modules = devenv_modules(eval);
    let list = eval.attribute(&eval.concrete(arguments.force(eval), arguments.at), "modules", arguments.at);
    match eval.concrete(list, arguments.at) {
        Value::List(list) => {
            list.open.iter().for_each(|unknown| modules.unknown(unknown.clone()));
            for item in &list.items {
                load(eval, &modules, item);
            }
        }
        Value::Unknown(unknown) => modules.unknown(unknown),
        other => {
            modules.unknown(Unknown::new(arguments.at, format!("{} is no list of modules", other.kind())))
        }
    }
    devenv::extract(eval, &modules, facts);
}

fn devenv_modules(eval: &Eval) -> Rc<Modules> {
    let modules = Rc::new(Modules::new(""));
    eval.set_modules(Rc::clone(&modules));
    modules
}

fn load(eval: &Eval, modules: &Modules, item: &Thunk) {
    match item.force(eval) {
        Value::Path(path) => modules.load_file(eval, &path, item.at),
        other => modules.load_value(eval, other, item.at),
    }
}

/// flake-parts: modules with a `perSystem`, in which are `devShells` or devenv's `devenv.shells`.
fn flake_parts(eval: &Eval, module: &Thunk, facts: &mut Facts) -> Kind {
    let outer = Modules::with_arguments(Arguments::FlakeParts);
    load(eval, &outer, module);
    let inner = Modules::with_arguments(Arguments::PerSystem);
    for one in outer.find(eval, &["perSystem"]).definitions {
        inner.load_value(eval, one.value, one.at);
    }
    let shells = inner.find(eval, &["devenv", "shells", "default"]);
    if !shells.definitions.is_empty() {
        let modules = devenv_modules(eval);
        for one in shells.definitions {
            modules.load_value(eval, one.value, one.at);
        }
        for one in inner.find(eval, &["devenv", "modules"]).definitions {
            if let Value::List(list) = one.value {
                list.items.iter().for_each(|item| load(eval, &modules, item));
            }
        }
        devenv::extract(eval, &modules, facts);
        return Kind::FlakeDevenv;
    }
    let found = inner.find(eval, &["devShells", "default"]);
    match found.definitions.first() {
        Some(one) => {
            // A set here is the module of a shell of another library.
            return take(eval, &one.value, facts);
        }
        None => {
            let why = found.unknown.first().cloned();
            let why = why.or_else(|| outer.unknown_imports().first().cloned());
            match why {
                Some(unknown) => facts.unknown(eval, "devShells", &unknown),
                None => facts.note(eval, module.at, "the flake has no default shell"),
            }
        }
    }
    Kind::Flake
}
