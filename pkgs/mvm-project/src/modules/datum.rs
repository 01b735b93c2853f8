//! From definitions to facts: plain data, and a list of what is not known.

use super::convert::{dotted, joined_lines, reference, template};
use super::{Definition, Modules};
use crate::nix::Eval;
use crate::nix::value::{At, Package, Piece, Property, Unknown, Value};
use crate::project::{Certainty, Datum, Part, Template, UnknownFact};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Options whose definitions are put one below the other (`types.lines`).
const LINES: [&str; 6] = ["enterShell", "enterTest", "extraConfig", "httpConfig", "initialScript", "config"];

/// Values that are taken from one configuration: sets that hold themselves have no end.
const VALUES_MAX: usize = 20_000;

/// Reads options of a configuration, and remembers what it could not know.
pub struct Reader<'a> {
    eval: &'a Eval,
    modules: &'a Modules,
    unknowns: RefCell<BTreeSet<UnknownFact>>,
    values: Cell<usize>,
}

/// A fact with its certainty and place.
#[derive(Clone, Debug)]
pub struct Read {
    /// The value.
    pub datum: Datum,
    /// [`Certainty::Hint`] if it depends on a condition that is not known.
    pub certainty: Certainty,
    /// Where it is set first.
    pub at: At,
}

impl<'a> Reader<'a> {
    /// A reader of `modules`.
    pub fn new(eval: &'a Eval, modules: &'a Modules) -> Self {
        Self { eval, modules, unknowns: RefCell::default(), values: Cell::new(0) }
    }

    /// What could not be known so far.
    pub fn unknowns(self) -> BTreeSet<UnknownFact> {
        self.unknowns.into_inner()
    }

    /// Notes that `what` is not known.
    pub fn unknown(&self, what: &str, unknown: &Unknown) {
        let at = self.eval.position(unknown.at);
        self.unknowns.borrow_mut().insert(UnknownFact {
            what: what.to_owned(),
            why: unknown.why.to_string(),
            at,
        });
    }

    /// The names below an option that is a set of things, each with the place of its first definition.
    pub fn names(&self, path: &[&str]) -> BTreeMap<String, At> {
        let found = self.modules.find(self.eval, path);
        for unknown in &found.unknown {
            self.unknown(&dotted(path), unknown);
        }
        let mut names = BTreeMap::new();
        for one in &found.definitions {
            match &one.value {
                Value::Attrs(set) => {
                    for unknown in &set.open {
                        self.unknown(&dotted(path), unknown);
                    }
                    for (name, entry) in &set.map {
                        names.entry(name.to_string()).or_insert(entry.at);
                    }
                }
                Value::Null => {}
                other => {
                    self.unknown(&dotted(path), &Unknown::new(one.at, format!("{} is no set", other.kind())))
                }
            }
        }
        names
    }

    /// The value of an option; nothing if it is not set.
    pub fn read(&self, path: &[&str]) -> Option<Read> {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            let at = At { file: 0, offset: 0 };
            self.unknown("the rest", &Unknown::new(at, "there is too much to be shown"));
            let datum = Datum::Unknown { unknown: "there is too much of it".to_owned() };
            return Some(Read { datum, certainty: Certainty::Hint, at });
        }
        let found = self.modules.find(self.eval, path);
        for unknown in &found.unknown {
            self.unknown(&dotted(path), unknown);
        }
        let Some(first) = found.definitions.first() else {
            // It may be set, by something that is not known.
            let unknown = found.unknown.first()?;
            let datum = Datum::Unknown { unknown: unknown.why.to_string() };
            return Some(Read { datum, certainty: Certainty::Hint, at: unknown.at });
        };
        let conditional = found.definitions.iter().all(|one| one.condition.is_some());
        for condition in found.definitions.iter().filter_map(|one| one.condition.as_ref()) {
            self.unknown(&format!("{} (the condition of it)", dotted(path)), condition);
        }
        let certainty = if conditional { Certainty::Hint } else { Certainty::Certain };
        let at = first.at;
        let datum = self.eval.nested(at, || self.merged(path, &found.definitions, &found.unknown));
        let datum = datum.unwrap_or_else(|unknown| self.lost(path, &unknown));
        Some(Read { datum, certainty, at })
    }

    fn lost(&self, path: &[&str], unknown: &Unknown) -> Datum {
        self.unknown(&dotted(path), unknown);
        Datum::Unknown { unknown: unknown.why.to_string() }
    }

    fn merged(&self, path: &[&str], definitions: &[Definition], more: &[Unknown]) -> Datum {
        let Some(first) = definitions.first() else { return Datum::Null };
        match &first.value {
            Value::Attrs(_) => {
                let mut set = BTreeMap::new();
                for name in self.names(path).into_keys() {
                    let below: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                    if let Some(read) = self.read(&below) {
                        set.insert(name, read.datum);
                    }
                }
                Datum::Set(set)
            }
            Value::List(_) => {
                let mut items = Vec::new();
                for one in definitions {
                    match self.convert(path, one.value.clone(), one.at) {
                        Datum::List(more) => items.extend(more),
                        other => items.push(other),
                    }
                }
                items.extend(more.iter().map(|unknown| Datum::Unknown { unknown: unknown.why.to_string() }));
                Datum::List(items)
            }
            _ => {
                let mut data: Vec<Datum> = Vec::new();
                for one in definitions {
                    let datum = self.convert(path, one.value.clone(), one.at);
                    if !data.contains(&datum) {
                        data.push(datum);
                    }
                }
                let lines = path.last().is_some_and(|name| LINES.contains(name));
                match data.as_mut_slice() {
                    [one] => std::mem::replace(one, Datum::Null),
                    _ if lines => Datum::Text(joined_lines(data)),
                    _ => self.lost(path, &Unknown::new(first.at, "it is set more than once, differently")),
                }
            }
        }
    }

    /// The elements of a list option, each with its place.
    pub fn items(&self, path: &[&str]) -> Vec<(Datum, Certainty, At)> {
        let found = self.modules.find(self.eval, path);
        for unknown in &found.unknown {
            self.unknown(&dotted(path), unknown);
        }
        let mut items = Vec::new();
        for one in &found.definitions {
            let certainty = match &one.condition {
                Some(condition) => {
                    self.unknown(&format!("{} (the condition of some)", dotted(path)), condition);
                    Certainty::Hint
                }
                None => Certainty::Certain,
            };
            items.extend(
                self.elements(path, one.value.clone(), one.at)
                    .into_iter()
                    .map(|(datum, at)| (datum, certainty, at)),
            );
        }
        items
    }

    /// The elements of a list value.
    pub fn elements(&self, path: &[&str], value: Value, at: At) -> Vec<(Datum, At)> {
        match self.eval.concrete(value, at) {
            Value::List(list) => {
                for unknown in &list.open {
                    self.unknown(&dotted(path), unknown);
                }
                list.items
                    .iter()
                    .map(|item| (self.convert(path, item.force(self.eval), item.at), item.at))
                    .collect()
            }
            Value::Unknown(unknown) => {
                self.unknown(&dotted(path), &unknown);
                Vec::new()
            }
            Value::Null => Vec::new(),
            other => {
                self.unknown(&dotted(path), &Unknown::new(at, format!("{} is no list", other.kind())));
                Vec::new()
            }
        }
    }

    /// A value as data; what is not known in it is noted.
    pub fn convert(&self, path: &[&str], value: Value, at: At) -> Datum {
        self.values.set(self.values.get() + 1);
        if self.values.get() > VALUES_MAX {
            return Datum::Unknown { unknown: "there is too much of it".to_owned() };
        }
        let datum = self.eval.nested(at, || match self.eval.concrete(value, at) {
            Value::Null => Datum::Null,
            Value::Bool(bool) => Datum::Bool(bool),
            Value::Int(number) => Datum::Int(number),
            Value::Float(number) => Datum::Float(number),
            Value::Text(text) => {
                for piece in text.iter() {
                    if let Piece::Unknown(unknown) = piece {
                        self.unknown(&format!("{} (a part of it)", dotted(path)), unknown);
                    }
                }
                Datum::Text(template(&text))
            }
            Value::Path(path) => Datum::Text(self.path(&path)),
            Value::Package(package) => Datum::Package { package: reference(&package) },
            list @ Value::List(_) => {
                Datum::List(self.elements(path, list, at).into_iter().map(|(datum, _)| datum).collect())
            }
            Value::Attrs(set) => {
                for unknown in &set.open {
                    self.unknown(&dotted(path), unknown);
                }
                let below = |(name, entry): (&std::rc::Rc<str>, &crate::nix::value::Entry)| {
                    let path: Vec<&str> = path.iter().copied().chain([&**name]).collect();
                    (name.to_string(), self.convert(&path, entry.value.force(self.eval), entry.at))
                };
                Datum::Set(set.map.iter().map(below).collect())
            }
            // Within elements of lists, conditions and priorities are seldom; `mkIf true x` is `x`.
            Value::Property(property) => match &*property {
                Property::Override(_, inner) => self.convert(path, inner.force(self.eval), at),
                Property::If(condition, inner) => match self.eval.concrete(condition.force(self.eval), at) {
                    Value::Bool(true) => self.convert(path, inner.force(self.eval), at),
                    Value::Bool(false) => Datum::Null,
                    Value::Unknown(unknown) => self.lost(path, &unknown),
                    other => self.lost(path, &Unknown::new(at, format!("its condition is {}", other.kind()))),
                },
                Property::Merge(_) => self.lost(path, &Unknown::new(at, "it is put together by mkMerge")),
            },
            Value::Unknown(unknown) => self.lost(path, &unknown),
            // `extensions: [ extensions.postgis ]`.
            function @ Value::Lambda(_) if path == ["services", "postgres", "extensions"] => {
                let set = Package {
                    from: "nixpkgs".into(),
                    attr: vec!["postgresqlPackages".into()],
                    changed: None,
                };
                let set = Value::Package(std::rc::Rc::new(set));
                let list = self.eval.call(&function, crate::nix::Thunk::made(at, set), at);
                self.convert(path, list, at)
            }
            other => self.lost(path, &Unknown::new(at, format!("it is {}", other.kind()))),
        });
        datum.unwrap_or_else(|unknown| self.lost(path, &unknown))
    }

    fn path(&self, path: &Path) -> Template {
        match self.eval.in_guest(path) {
            Some(text) => Template::text(text),
            None => Template(vec![Part::Unknown { unknown: "the path leads out of the project".to_owned() }]),
        }
    }
}
