//! Files of the project, and data formats.

use super::super::native::{Def, def, known};
use super::super::value::{At, Attrs, Entry, Symbol, Unknown, Value};
use super::super::{Eval, Thunk};
use crate::files;
use std::path::PathBuf;
use std::rc::Rc;

pub const BUILTINS: &[Def] = &[
    def("import", 1, import),
    def("readFile", 1, read_file),
    def("pathExists", 1, path_exists),
    def("fromJSON", 1, from_json),
    def("fromTOML", 1, from_toml),
    def("toPath", 1, |eval, args, at| eval.arg(args, 0, at)),
];

pub const LIB: &[Def] = &[
    def("importJSON", 1, |eval, args, at| {
        let text = read_file(eval, args, at);
        from_json(eval, &[Thunk::made(at, text)], at)
    }),
    def("importTOML", 1, |eval, args, at| {
        let text = read_file(eval, args, at);
        from_toml(eval, &[Thunk::made(at, text)], at)
    }),
    def("fileContents", 1, |eval, args, at| match read_file(eval, args, at) {
        Value::Text(text) => match super::super::value::plain(&text) {
            Some(text) => Value::text(text.trim_end_matches('\n')),
            None => Value::Text(text),
        },
        other => other,
    }),
];

/// Largest file that a project's Nix code may read.
const READ_MAX_BYTES: u64 = 256 << 10;

fn import(eval: &Eval, args: &[Thunk], at: At) -> Value {
    match eval.arg(args, 0, at) {
        Value::Path(path) => eval.import(&path, at),
        // `import nixpkgs { … }`, also by another input's name: a package set.
        Value::Symbol(Symbol::Input(path)) => match &*path {
            // What is fetched on the spot and imported with arguments is nixpkgs.
            [name] if name.starts_with("fetched") => imported_set(&"nixpkgs".into()),
            [name] => imported_set(name),
            [name, path @ ..] if path.iter().any(|part| &**part == "nixpkgs") => imported_set(name),
            _ => Value::unknown(at, format!("`import {}` is not followed", path.join("."))),
        },
        Value::Package(package) => {
            Value::unknown(at, format!("`import` of {} is not followed", package.expression()))
        }
        other => Value::Unknown(eval.not_a(&other, "a file of the project", at)),
    }
}

fn imported_set(name: &Rc<str>) -> Value {
    let set = Value::Symbol(Symbol::Pkgs(Rc::clone(name)));
    let first = Thunk::made(At { file: 0, offset: 0 }, set);
    let def = def("import", 2, |eval, args, at| eval.arg(args, 0, at));
    Value::Native(Rc::new(super::super::native::Native { def, args: vec![first] }))
}

fn path_of(eval: &Eval, args: &[Thunk], at: At) -> Result<PathBuf, Unknown> {
    match eval.arg(args, 0, at) {
        Value::Path(path) => Ok(path),
        other => Err(eval.not_a(&other, "a file of the project", at)),
    }
}

fn read_file(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(path_of(eval, args, at).and_then(|path| {
        let text = files::read(eval.root(), &path, READ_MAX_BYTES);
        text.map(Value::text).map_err(|error| Unknown::new(at, error.to_string()))
    }))
}

fn path_exists(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(path_of(eval, args, at).and_then(|path| {
        if !files::normal(&path).starts_with(eval.root()) {
            return Err(Unknown::new(at, "the path leads out of the project"));
        }
        Ok(Value::Bool(files::resolve(eval.root(), &path).is_ok()))
    }))
}

fn from_json(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|text| {
        // serde_json refuses nesting of more than 128 levels.
        let data: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| Unknown::new(at, format!("it is no JSON: {error}")))?;
        eval.spend(text.len() / 8);
        Ok(of_json(data, at))
    }))
}

fn from_toml(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|text| {
        let data: serde_json::Value = toml::from_str(&text)
            .map_err(|error| Unknown::new(at, format!("it is no TOML: {}", error.message())))?;
        eval.spend(text.len() / 8);
        Ok(of_json(data, at))
    }))
}

fn of_json(data: serde_json::Value, at: At) -> Value {
    use serde_json::Value as Json;
    match data {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(bool),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::text(text),
        Json::Array(items) => {
            Value::list(items.into_iter().map(|item| Thunk::made(at, of_json(item, at))).collect())
        }
        Json::Object(map) => {
            let entry = |value| Entry { value: Thunk::made(at, of_json(value, at)), at };
            let map = map.into_iter().map(|(name, value)| (name.into(), entry(value))).collect();
            Value::Attrs(Rc::new(Attrs { map, open: Vec::new() }))
        }
    }
}
