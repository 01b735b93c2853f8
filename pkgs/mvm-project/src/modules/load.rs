//! Which modules there are: a file, and what it imports.

use super::Modules;
use crate::nix::Eval;
use crate::nix::value::{At, Symbol, Unknown, Value};
use std::path::Path;

/// Modules of one project; real ones have a dozen.
const MODULES_MAX: usize = 500;
/// Imports within imports: what is deeper imports itself in a circle.
const DEPTH_MAX: usize = 50;

/// Names that are not settings when they stand at the top of a module.
const STRUCTURE: [&str; 9] =
    ["imports", "config", "options", "_file", "key", "disabledModules", "freeformType", "meta", "_class"];

impl Modules {
    /// Adds the module in a file.
    pub fn load_file(&self, eval: &Eval, path: &Path, from: At) {
        let value = eval.import(path, from);
        self.load(eval, value, from, 0);
    }

    /// Adds a module, and those that it imports.
    pub fn load_value(&self, eval: &Eval, value: Value, from: At) {
        self.load(eval, value, from, 0);
    }

    fn load(&self, eval: &Eval, value: Value, from: At, depth: usize) {
        if depth > DEPTH_MAX || self.roots.borrow().len() >= MODULES_MAX {
            self.unknown(Unknown::new(from, "there are too many modules; do they import each other?"));
            return;
        }
        let set = match self.arguments.apply(eval, value, from) {
            Value::Attrs(set) => set,
            Value::Unknown(unknown) => return self.unknown(unknown),
            property @ Value::Property(_) => {
                self.roots.borrow_mut().push((property, from));
                return;
            }
            Value::Symbol(Symbol::Input(path)) => {
                return self.unknown(Unknown::new(
                    from,
                    format!("module `inputs.{}` comes from an input", path.join(".")),
                ));
            }
            other => {
                return self.unknown(Unknown::new(from, format!("{} is no module", other.kind())));
            }
        };
        let structured = set.map.contains_key("config") || set.map.contains_key("options");
        let whole = Value::Attrs(set.clone());
        let config = match set.map.get("config") {
            Some(entry) if structured => entry.value.force(eval),
            _ if structured => Value::attrs(std::collections::BTreeMap::new()),
            _ => {
                let mut map = set.map.clone();
                map.retain(|name, _| !STRUCTURE.contains(&&**name));
                Value::Attrs(std::rc::Rc::new(crate::nix::value::Attrs { map, open: set.open.clone() }))
            }
        };
        self.roots.borrow_mut().push((config, from));
        if !set.map.contains_key("imports") {
            return;
        }
        match eval.concrete(eval.attribute(&whole, "imports", from), from) {
            Value::List(list) => {
                for unknown in &list.open {
                    self.unknown(unknown.clone());
                }
                for item in &list.items {
                    self.import(eval, item.force(eval), item.at, depth + 1);
                }
            }
            Value::Unknown(unknown) => self.unknown(unknown),
            other => self.unknown(Unknown::new(from, format!("{} is no list of modules", other.kind()))),
        }
    }

    fn import(&self, eval: &Eval, value: Value, at: At, depth: usize) {
        match value {
            Value::Path(path) => {
                let value = eval.import(&path, at);
                self.load(eval, value, at, depth);
            }
            other => self.load(eval, other, at, depth),
        }
    }

    /// Remembers that a module is not known.
    pub fn unknown(&self, unknown: Unknown) {
        if !self.open.borrow().contains(&unknown) {
            self.open.borrow_mut().push(unknown);
        }
    }
}
