//! The functions that are implemented, by where they are found. They do what nixpkgs' `lib` and Nix' manual say; where an
//! argument is not known, the result is unknown or open.

mod attrs;
mod files;
mod flakes;
mod folds;
mod lists;
mod packages;
mod properties;
mod text;

use super::native::Def;
use super::value::{Symbol, Value};

pub use packages::change;

/// Parts of `lib` that hold functions which `lib` itself has, too.
pub const LIB_ROOMS: [&str; 11] = [
    "strings",
    "lists",
    "attrsets",
    "modules",
    "options",
    "meta",
    "trivial",
    "generators",
    "systems",
    "fileset",
    "path",
];

/// A name that is defined everywhere.
pub fn global(name: &str) -> Option<Value> {
    Some(match name {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        "builtins" => Value::Symbol(Symbol::Builtins),
        "map" | "toString" | "import" | "removeAttrs" | "isNull" | "baseNameOf" | "dirOf" | "throw"
        | "abort" | "fetchTarball" | "fetchGit" | "fetchTree" | "fromTOML" | "derivation" => {
            return builtin(name);
        }
        _ => return None,
    })
}

/// A function of `builtins`.
pub fn builtin(name: &str) -> Option<Value> {
    let name = if name == "builtins" { return Some(Value::Symbol(Symbol::Builtins)) } else { name };
    global_constant(name).or_else(|| {
        find(
            name,
            &[
                attrs::BUILTINS,
                folds::BUILTINS,
                lists::BUILTINS,
                text::BUILTINS,
                files::BUILTINS,
                packages::BUILTINS,
            ],
        )
    })
}

fn global_constant(name: &str) -> Option<Value> {
    match name {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        _ => None,
    }
}

/// A function of `lib`: some are `builtins`, too.
pub fn lib(name: &str) -> Option<Value> {
    let tables = [attrs::LIB, folds::LIB, lists::LIB, text::LIB, properties::LIB, packages::LIB, files::LIB];
    find(name, &tables).or_else(|| match name {
        "platforms" => None,
        _ => find(name, &[attrs::BUILTINS, folds::BUILTINS, lists::BUILTINS, text::BUILTINS]),
    })
}

/// A function of `pkgs`.
pub fn pkgs_function(name: &str) -> Option<Value> {
    find(name, &[packages::PKGS])
}

/// A function of an input.
pub fn input_function(name: &str) -> Option<Value> {
    find(name, &[flakes::INPUTS])
}

fn find(name: &str, tables: &[&[Def]]) -> Option<Value> {
    tables.iter().flat_map(|table| table.iter()).find(|def| def.name == name).map(|def| (*def).into())
}
