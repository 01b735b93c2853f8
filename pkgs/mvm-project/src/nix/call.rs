//! Calls.

use super::Eval;
use super::native::Native;
use super::thunk::Thunk;
use super::value::{At, Attrs, Entry, Lambda, Package, Symbol, Unknown, Value};
use rnix::ast::Param;
use rowan::ast::AstNode as _;
use std::collections::BTreeMap;
use std::rc::Rc;

impl Eval {
    /// `function argument`.
    pub fn call(&self, function: &Value, argument: Thunk, at: At) -> Value {
        self.deeper(at, || match self.concrete(function.clone(), at) {
            Value::Lambda(lambda) => self.call_lambda(&lambda, argument, at),
            Value::Native(native) => {
                let mut args = native.args.clone();
                args.push(argument);
                if args.len() < native.def.arity {
                    return Value::Native(Rc::new(Native { def: native.def, args }));
                }
                (native.def.run)(self, &args, at)
            }
            // What functions of nixpkgs make is, nearly always, a package.
            Value::Package(package) => {
                Value::Package(Rc::new(Package { changed: Some("called".into()), ..(*package).clone() }))
            }
            Value::Symbol(Symbol::Input(path)) => {
                Value::unknown(at, format!("`{}` is a function of an input", path.join(".")))
            }
            Value::Unknown(unknown) => Value::Unknown(unknown),
            other => Value::unknown(at, format!("{} can't be called", other.kind())),
        })
    }

    fn call_lambda(&self, lambda: &Lambda, argument: Thunk, at: At) -> Value {
        let env = self.frame(&lambda.env);
        match &lambda.param {
            None => return Value::unknown(lambda.at, "the file has a syntax error here"),
            Some(Param::IdentParam(param)) => {
                if let Some(name) = param.ident() {
                    env.scope.bind(super::expr::name_of(&name).into(), argument);
                }
            }
            Some(Param::Pattern(pattern)) => {
                if let Some(name) = pattern.pat_bind().and_then(|bind| bind.ident()) {
                    env.scope.bind(super::expr::name_of(&name).into(), argument.clone());
                }
                for entry in pattern.pat_entries() {
                    let Some(ident) = entry.ident() else { continue };
                    let name: Rc<str> = super::expr::name_of(&ident).into();
                    let here = self.at(entry.syntax(), &env);
                    let default = entry.default();
                    let (argument, wanted, inner) = (argument.clone(), Rc::clone(&name), env.clone());
                    let value = Thunk::later(here, move |eval| {
                        let set = argument.force(eval);
                        match eval.attribute_if_any(&set, &wanted, here) {
                            Some(value) => value,
                            None => match default {
                                Some(default) => eval.expr(&default, &inner),
                                None => Value::unknown(here, format!("argument `{wanted}` is not given")),
                            },
                        }
                    });
                    env.scope.bind(name, value);
                }
            }
        }
        match &lambda.body {
            Some(body) => self.expr(body, &env),
            None => Value::unknown(at, "the file has a syntax error here"),
        }
    }

    /// The value behind `config.a.b`; any other value as it is.
    pub fn concrete(&self, value: Value, at: At) -> Value {
        match value {
            Value::Symbol(Symbol::Config(path)) => self.lookup(&path, at).unwrap_or_else(|| {
                Value::unknown(at, format!("`config.{}` is not set in what was read", path.join(".")))
            }),
            other => other,
        }
    }

    /// The value of `config.PATH`, if the project or devenv's defaults give it one.
    pub(super) fn lookup(&self, path: &Rc<[Rc<str>]>, at: At) -> Option<Value> {
        let modules = self.modules.borrow().clone()?;
        if self.looking_up.borrow().contains(path) || self.looking_up.borrow().len() > 64 {
            return Some(Value::unknown(at, "it depends on itself"));
        }
        self.looking_up.borrow_mut().push(Rc::clone(path));
        let mut found = Value::Null;
        let mut any = false;
        let _ = self.deeper(at, || {
            if let Some(value) = modules.value(self, path, at) {
                found = value;
                any = true;
            }
            Value::Null
        });
        self.looking_up.borrow_mut().pop();
        any.then_some(found)
    }

    /// A set for the arguments of a module or flake.
    pub fn arguments(at: At, known: Vec<(&str, Value)>, others: &str) -> Thunk {
        let map: BTreeMap<Rc<str>, Entry> = known
            .into_iter()
            .map(|(name, value)| (name.into(), Entry { value: Thunk::made(at, value), at }))
            .collect();
        Thunk::made(at, Value::Attrs(Rc::new(Attrs { map, open: vec![Unknown::new(at, others)] })))
    }
}
