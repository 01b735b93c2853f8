//! Sets and bindings: `a.b = 1; a.c = 2; inherit (x) y;`.

use super::Eval;
use super::expr::name_of;
use super::scope::Env;
use super::thunk::Thunk;
use super::value::{At, Attrs, Entry, Unknown, Value, plain};
use rnix::ast::{self, Attr, HasEntry};
use rowan::ast::AstNode as _;
use std::collections::BTreeMap;
use std::rc::Rc;

type Map = BTreeMap<Rc<str>, Entry>;

/// What stands for one name: expressions for it, and for names below it.
#[derive(Default)]
struct Binding {
    at: Option<At>,
    values: Vec<Thunk>,
    below: BTreeMap<Rc<str>, Binding>,
    open: Vec<Unknown>,
}

impl Eval {
    pub(super) fn attr_set(&self, set: &ast::AttrSet, env: &Env, at: At) -> Value {
        let mut open = Vec::new();
        let map = if set.rec_token().is_some() {
            let inner = self.frame(env);
            let map = self.bindings(set, &inner, env, at, &mut open);
            for (name, entry) in &map {
                inner.scope.bind(Rc::clone(name), entry.value.clone());
            }
            map
        } else {
            self.bindings(set, env, env, at, &mut open)
        };
        Value::Attrs(Rc::new(Attrs { map, open }))
    }

    /// The bindings of a `let` or a set, whose values see `inner` and whose plain `inherit`s come from `outer`.
    pub(super) fn bindings(
        &self,
        form: &impl HasEntry,
        inner: &Env,
        outer: &Env,
        at: At,
        open: &mut Vec<Unknown>,
    ) -> Map {
        let mut all = Binding::default();
        for entry in form.attrpath_values() {
            let here = self.at(entry.syntax(), inner);
            let Some(path) = entry.attrpath() else { continue };
            let value = self.later(entry.value(), inner, here);
            self.place(&mut all, path.attrs(), value, inner, here);
        }
        for inherit in form.inherits() {
            let from = inherit.from().map(|from| self.later(from.expr(), inner, at));
            for attr in inherit.attrs() {
                let here = self.at(attr.syntax(), inner);
                let Ok(name) = self.attr_name(&attr, inner, here) else { continue };
                let value = match &from {
                    Some(from) => {
                        let (from, name) = (from.clone(), Rc::clone(&name));
                        Thunk::later(here, move |eval| {
                            let set = from.force(eval);
                            eval.attribute(&set, &name, here)
                        })
                    }
                    None => {
                        let (env, ident) = (outer.clone(), Rc::clone(&name));
                        Thunk::later(here, move |eval| eval.ident(&ident, &env, here))
                    }
                };
                let binding = all.below.entry(name).or_default();
                binding.at.get_or_insert(here);
                binding.values.push(value);
            }
        }
        open.append(&mut all.open);
        all.below.into_iter().map(|(name, binding)| (name, binding.entry(at))).collect()
    }

    fn place(&self, all: &mut Binding, path: impl Iterator<Item = Attr>, value: Thunk, env: &Env, at: At) {
        let mut binding = all;
        for attr in path {
            let here = self.at(attr.syntax(), env);
            match self.attr_name(&attr, env, here) {
                Ok(name) => binding = binding.below.entry(name).or_default(),
                Err(unknown) => return binding.open.push(unknown),
            }
            binding.at.get_or_insert(at);
        }
        binding.values.push(value);
    }

    /// An attribute's name, which may be computed.
    pub(super) fn attr_name(&self, attr: &Attr, env: &Env, at: At) -> Result<Rc<str>, Unknown> {
        let value = match attr {
            Attr::Ident(ident) => return Ok(name_of(ident).into()),
            Attr::Str(string) => self.expr(&ast::Expr::Str(string.clone()), env),
            Attr::Dynamic(dynamic) => self.part(dynamic.expr(), env, at),
        };
        match &value {
            Value::Text(text) if plain(text).is_some() => Ok(plain(text).unwrap_or_default().into()),
            Value::Unknown(_) => Err(self.not_a(&value, "a name", at)),
            other => match plain(&self.pieces(other.clone(), at)) {
                Some(name) => Ok(name.into()),
                None => Err(Unknown::new(at, "the attribute's name is not known")),
            },
        }
    }
}

impl Binding {
    fn entry(mut self, default: At) -> Entry {
        let at = self.at.unwrap_or(default);
        if self.below.is_empty()
            && self.open.is_empty()
            && self.values.len() == 1
            && let Some(value) = self.values.pop()
        {
            return Entry { value, at };
        }
        // `a = { … }; a.b = …;` is one set (Nix merges them when it parses).
        let below: Map = self.below.into_iter().map(|(name, binding)| (name, binding.entry(at))).collect();
        let (values, mut open) = (self.values, self.open);
        if values.is_empty() {
            return Entry { value: Thunk::made(at, Value::Attrs(Rc::new(Attrs { map: below, open }))), at };
        }
        let value = Thunk::later(at, move |eval| {
            let mut map = below;
            for value in values {
                match eval.concrete(value.force(eval), at) {
                    Value::Attrs(set) => {
                        open.extend(set.open.iter().cloned());
                        for (name, entry) in &set.map {
                            let both = match map.get(name) {
                                Some(there) => merged(there.clone(), entry.clone()),
                                None => entry.clone(),
                            };
                            map.insert(Rc::clone(name), both);
                        }
                    }
                    other => open.push(eval.not_a(&other, "a set", at)),
                }
            }
            Value::Attrs(Rc::new(Attrs { map, open }))
        });
        Entry { value, at }
    }
}

fn merged(a: Entry, b: Entry) -> Entry {
    let at = a.at;
    let binding =
        Binding { at: Some(at), values: vec![a.value, b.value], below: BTreeMap::new(), open: Vec::new() };
    binding.entry(at)
}
