//! `set.name`, `set.name or default`, `set ? name`.

use super::Eval;
use super::natives;
use super::scope::Env;
use super::value::{At, Package, Symbol, Unknown, Value};
use rnix::ast;
use rowan::ast::AstNode as _;
use std::rc::Rc;

impl Eval {
    pub(super) fn select_form(&self, form: &ast::Select, env: &Env, at: At) -> Value {
        let mut value = self.part(form.expr(), env, at);
        let Some(path) = form.attrpath() else { return value };
        for attr in path.attrs() {
            let here = self.at(attr.syntax(), env);
            let name = match self.attr_name(&attr, env, here) {
                Ok(name) => name,
                Err(unknown) => return Value::Unknown(unknown),
            };
            value = match self.attribute_if_any(&value, &name, here) {
                Some(value) => value,
                None => match form.default_expr() {
                    Some(default) => return self.expr(&default, env),
                    None => return Value::unknown(here, format!("there is no attribute `{name}`")),
                },
            };
        }
        match (&value, form.default_expr()) {
            // A setting with a default beside it: the default holds where the project doesn't set it.
            (Value::Symbol(Symbol::Config(config)), Some(default)) => {
                self.lookup(config, at).unwrap_or_else(|| self.expr(&default, env))
            }
            _ => value,
        }
    }

    pub(super) fn has_attr_form(&self, form: &ast::HasAttr, env: &Env, at: At) -> Value {
        let mut value = self.part(form.expr(), env, at);
        let Some(path) = form.attrpath() else {
            return Value::unknown(at, "the file has a syntax error here");
        };
        for attr in path.attrs() {
            let here = self.at(attr.syntax(), env);
            let found = match self.attr_name(&attr, env, here) {
                Ok(name) => self.attribute_if_any(&value, &name, here),
                Err(unknown) => return Value::Unknown(unknown),
            };
            match found {
                None => return Value::Bool(false),
                Some(Value::Unknown(unknown)) => return Value::Unknown(unknown),
                Some(Value::Package(_) | Value::Symbol(_)) => {
                    return Value::unknown(here, "whether it exists depends on nixpkgs or an input");
                }
                Some(found) => value = found,
            }
        }
        Value::Bool(true)
    }

    /// `value.name`.
    pub fn attribute(&self, value: &Value, name: &str, at: At) -> Value {
        self.attribute_if_any(value, name, at)
            .unwrap_or_else(|| Value::unknown(at, format!("there is no attribute `{name}`")))
    }

    /// `value.name`, or nothing if it is certain that there is none.
    pub fn attribute_if_any(&self, value: &Value, name: &str, at: At) -> Option<Value> {
        match value {
            Value::Attrs(set) => match set.map.get(name) {
                Some(entry) => Some(entry.value.force(self)),
                None => set.open.first().cloned().map(Value::Unknown),
            },
            Value::Symbol(symbol) => self.symbol_attribute(symbol, name, at),
            Value::Package(package) => Some(package_attribute(package, name, at)),
            Value::Unknown(unknown) => Some(Value::Unknown(unknown.clone())),
            // `pkgs.mkShell.override { stdenv = …; } { … }`.
            Value::Native(native) if name == "override" && native.def.name.starts_with("mkShell") => {
                natives::pkgs_function("mkShellChanged")
            }
            Value::Property(_) => {
                Some(Value::unknown(at, "it depends on a module property (mkIf, mkForce, …)"))
            }
            _ => None,
        }
    }

    fn symbol_attribute(&self, symbol: &Symbol, name: &str, at: At) -> Option<Value> {
        match symbol {
            Symbol::Pkgs(from) => Some(package_set(from, name)),
            Symbol::Lib => Some(match natives::lib(name) {
                Some(found) => found,
                // `lib.strings.optionalString`: the function is the same without the middle part.
                None if natives::LIB_ROOMS.contains(&name) => Value::Symbol(Symbol::Lib),
                None => Value::unknown(at, format!("`lib.{name}` is not followed")),
            }),
            Symbol::Builtins => Some(match natives::builtin(name) {
                Some(found) => found,
                None if name == "currentSystem" => Value::text(self.system()),
                None => Value::unknown(at, format!("`builtins.{name}` is not followed")),
            }),
            Symbol::Platform => Some(self.platform(name, at)),
            Symbol::Config(path) => {
                Some(Value::Symbol(Symbol::Config(path.iter().cloned().chain([name.into()]).collect())))
            }
            Symbol::Inputs => Some(Value::Symbol(Symbol::Input([name.into()].into()))),
            Symbol::Input(path) => Some(self.input(path, name)),
        }
    }

    /// What is known of the guest: it runs Linux, on the host's kind of processor.
    fn platform(&self, name: &str, at: At) -> Value {
        match name {
            "isLinux" | "is64bit" | "isUnix" | "isLittleEndian" | "isGnu" => Value::Bool(true),
            "isDarwin" | "isMacOS" | "isWindows" | "isFreeBSD" | "isBSD" | "isMusl" | "isStatic"
            | "isWasm" | "isRiscV" | "isi686" | "is32bit" => Value::Bool(false),
            "isx86_64" | "isx86" => Value::Bool(std::env::consts::ARCH == "x86_64"),
            "isAarch64" | "isAarch" => Value::Bool(std::env::consts::ARCH == "aarch64"),
            "system" | "config" => Value::text(self.system()),
            "hostPlatform" | "buildPlatform" | "targetPlatform" | "stdenv" => Value::Symbol(Symbol::Platform),
            "mkDerivation" => natives::pkgs_function("derivation").unwrap_or(Value::Null),
            "cc" => Value::Package(Rc::new(Package {
                from: "nixpkgs".into(),
                attr: vec!["stdenv".into(), "cc".into()],
                changed: None,
            })),
            other => Value::unknown(at, format!("`stdenv.{other}` is not followed")),
        }
    }

    /// What lies below an input, by the names that flakes use.
    fn input(&self, path: &[Rc<str>], name: &str) -> Value {
        let longer: Rc<[Rc<str>]> = path.iter().cloned().chain([name.into()]).collect();
        let parts: Vec<&str> = longer.iter().map(|part| &**part).collect();
        match *parts.as_slice() {
            [input, "legacyPackages", _system] => Value::Symbol(Symbol::Pkgs(input.into())),
            [input, "lib"] if input.contains("nixpkgs") || input == "nixlib" => Value::Symbol(Symbol::Lib),
            [
                _,
                "lib",
                function @ ("eachDefaultSystem" | "eachSystem" | "mkFlake" | "eachDefaultSystemMap"),
            ] => natives::input_function(function).unwrap_or(Value::Null),
            [input, "lib", "mkShell"] if input.contains("devenv") => {
                natives::input_function("devenvShell").unwrap_or(Value::Null)
            }
            [input, "packages", _system, package] => Value::Package(Rc::new(Package {
                from: input.into(),
                attr: vec!["packages".into(), parts[2].into(), package.into()],
                changed: None,
            })),
            _ => Value::Symbol(Symbol::Input(longer)),
        }
    }
}

/// `pkgs.name`.
fn package_set(from: &Rc<str>, name: &str) -> Value {
    match name {
        "lib" => Value::Symbol(Symbol::Lib),
        "stdenv" | "stdenvNoCC" | "clangStdenv" => Value::Symbol(Symbol::Platform),
        "pkgs" | "buildPackages" | "nixpkgs" => Value::Symbol(Symbol::Pkgs(Rc::clone(from))),
        "hostPlatform" => Value::Symbol(Symbol::Platform),
        "system" => Value::text(format!("{}-linux", std::env::consts::ARCH)),
        _ => natives::pkgs_function(name).unwrap_or_else(|| {
            Value::Package(Rc::new(Package { from: Rc::clone(from), attr: vec![name.into()], changed: None }))
        }),
    }
}

fn package_attribute(package: &Rc<Package>, name: &str, at: At) -> Value {
    match name {
        "override" | "overrideAttrs" | "withPackages" | "withExtensions" | "overrideScope" | "buildEnv"
        | "withComponents" | "withPlugins" => natives::change(package, name),
        "version" | "pname" | "name" | "meta" | "outPath" | "src" | "passthru" | "nativeBuildInputs"
        | "buildInputs" | "shellHook" | "drvPath" | "outputs" | "text" => {
            Value::Unknown(Unknown::new(at, format!("it depends on {}", package.expression())))
        }
        _ => {
            let mut attr = package.attr.clone();
            attr.push(name.into());
            Value::Package(Rc::new(Package { attr, ..(**package).clone() }))
        }
    }
}
