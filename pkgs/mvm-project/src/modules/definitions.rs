//! Who sets an option, and to what.

use super::Modules;
use crate::nix::Eval;
use crate::nix::value::{At, Attrs, Entry, List, Property, Symbol, Unknown, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Priority of a definition that names none (nixpkgs: `defaultOverridePriority`); lower ones win.
const PRIORITY: i64 = 100;

/// One definition of an option.
#[derive(Clone, Debug)]
pub struct Definition {
    /// To what it is set.
    pub value: Value,
    /// Lower wins.
    pub priority: i64,
    /// A condition that is not known: it may not be set at all.
    pub condition: Option<Unknown>,
    /// Where.
    pub at: At,
}

/// All that was found about an option.
#[derive(Debug, Default)]
pub struct Found {
    /// Those with the winning priority, in the order of the modules.
    pub definitions: Vec<Definition>,
    /// Why there may be more.
    pub unknown: Vec<Unknown>,
}

#[derive(Clone)]
struct Context {
    priority: i64,
    condition: Option<Unknown>,
    at: At,
}

impl Modules {
    /// The definitions of option `path`.
    pub fn find(&self, eval: &Eval, path: &[&str]) -> Found {
        let mut found = Found::default();
        let roots = self.roots.borrow().clone();
        for (root, at) in roots {
            let context = Context { priority: PRIORITY, condition: None, at };
            walk(eval, root, path, &context, &mut found);
        }
        // A conditional definition of higher rank may or may not replace others: both stay, and its condition says so.
        let certain = found.definitions.iter().filter(|one| one.condition.is_none());
        if let Some(best) = certain.map(|one| one.priority).min() {
            found.definitions.retain(|one| one.priority <= best);
        }
        found
    }

    /// The value of `config.PATH`; nothing if neither the project nor devenv's defaults give it one.
    pub fn value(&self, eval: &Eval, path: &[Rc<str>], at: At) -> Option<Value> {
        let names: Vec<&str> = path.iter().map(|name| &**name).collect();
        let found = self.find(eval, &names);
        let certain: Vec<&Definition> =
            found.definitions.iter().filter(|one| one.condition.is_none()).collect();
        if let Some(one) = found.definitions.iter().find_map(|one| one.condition.clone()) {
            return Some(Value::Unknown(one));
        }
        let Some(first) = certain.first() else {
            if let Some(unknown) = found.unknown.first() {
                return Some(Value::Unknown(unknown.clone()));
            }
            let default = self.default(eval, &names, at)?;
            // What a module that is not known sets, we don't see.
            return Some(match self.open.borrow().first() {
                Some(unknown) if !super::defaults::fixed(&names) => Value::Unknown(unknown.clone()),
                _ => default,
            });
        };
        Some(match &first.value {
            Value::Attrs(_) => {
                let mut map = BTreeMap::new();
                let mut open = found.unknown.clone();
                for one in &certain {
                    let Value::Attrs(set) = &one.value else { continue };
                    open.extend(set.open.iter().cloned());
                    for (name, entry) in &set.map {
                        let whole = path.iter().cloned().chain([Rc::clone(name)]).collect();
                        let value = Value::Symbol(Symbol::Config(whole));
                        let value = crate::nix::Thunk::made(entry.at, value);
                        map.insert(Rc::clone(name), Entry { value, at: entry.at });
                    }
                }
                Value::Attrs(Rc::new(Attrs { map, open }))
            }
            Value::List(_) => {
                let mut whole = List { items: Vec::new(), open: found.unknown.clone() };
                for one in &certain {
                    if let Value::List(list) = &one.value {
                        whole.items.extend(list.items.iter().cloned());
                        whole.open.extend(list.open.iter().cloned());
                    }
                }
                Value::List(Rc::new(whole))
            }
            other => other.clone(),
        })
    }
}

impl Modules {
    /// devenv's default of `config.PATH`, or what lies below a default that is a package.
    fn default(&self, eval: &Eval, path: &[&str], at: At) -> Option<Value> {
        super::defaults::value(self, eval, path, at).or_else(|| {
            let (name, parent) = path.split_last()?;
            match self.default(eval, parent, at)? {
                package @ Value::Package(_) => Some(eval.attribute(&package, name, at)),
                Value::Unknown(unknown) => Some(Value::Unknown(unknown)),
                _ => None,
            }
        })
    }
}

fn walk(eval: &Eval, value: Value, path: &[&str], context: &Context, found: &mut Found) {
    let inner = eval.nested(context.at, || match eval.concrete(value, context.at) {
        Value::Property(property) => match &*property {
            Property::If(condition, inner) => match eval.concrete(condition.force(eval), context.at) {
                Value::Bool(true) => walk(eval, inner.force(eval), path, context, found),
                Value::Bool(false) => {}
                Value::Unknown(unknown) => {
                    let context = Context { condition: Some(unknown), ..context.clone() };
                    walk(eval, inner.force(eval), path, &context, found);
                }
                other => {
                    let why = format!("{} is no condition", other.kind());
                    found.unknown.push(Unknown::new(condition.at, why));
                }
            },
            Property::Merge(parts) => match eval.concrete(parts.force(eval), context.at) {
                Value::List(list) => {
                    found.unknown.extend(list.open.iter().cloned());
                    for part in &list.items {
                        walk(eval, part.force(eval), path, context, found);
                    }
                }
                Value::Unknown(unknown) => found.unknown.push(unknown),
                other => {
                    let why = format!("{} is no list of settings", other.kind());
                    found.unknown.push(Unknown::new(parts.at, why));
                }
            },
            Property::Override(priority, inner) => {
                let context = Context { priority: *priority, ..context.clone() };
                walk(eval, inner.force(eval), path, &context, found);
            }
        },
        Value::Unknown(unknown) => found.unknown.push(unknown),
        Value::Attrs(set) if !path.is_empty() => match set.map.get(path[0]) {
            Some(entry) => {
                let context = Context { at: entry.at, ..context.clone() };
                walk(eval, entry.value.force(eval), &path[1..], &context, found);
            }
            None => found.unknown.extend(set.open.iter().cloned()),
        },
        // `config.languages.python.package.pkgs.flask`: below the option, in nixpkgs.
        value @ (Value::Package(_) | Value::Symbol(_)) if !path.is_empty() => {
            let below = |value: Value, name: &&str| eval.attribute(&value, name, context.at);
            let value = path.iter().fold(value, below);
            walk(eval, value, &[], context, found);
        }
        value => match path.is_empty() {
            true => found.definitions.push(Definition {
                value,
                priority: context.priority,
                condition: context.condition.clone(),
                at: context.at,
            }),
            false => {
                let why = format!("{} stands where settings should", value.kind());
                found.unknown.push(Unknown::new(context.at, why));
            }
        },
    });
    if let Err(unknown) = inner {
        found.unknown.push(unknown);
    }
}
