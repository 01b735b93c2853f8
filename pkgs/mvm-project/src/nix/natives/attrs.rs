//! Sets, and what kind a value is.

use super::super::native::{Def, def, known};
use super::super::value::{At, Attrs, Entry, Symbol, Unknown, Value};
use super::super::{Eval, LIST_MAX, Thunk};
use std::collections::BTreeMap;
use std::rc::Rc;

pub const BUILTINS: &[Def] = &[
    def("attrNames", 1, attr_names),
    def("attrValues", 1, attr_values),
    def("hasAttr", 2, has_attr),
    def("getAttr", 2, get_attr),
    def("mapAttrs", 2, map_attrs),
    def("removeAttrs", 2, remove_attrs),
    def("intersectAttrs", 2, intersect_attrs),
    def("catAttrs", 2, cat_attrs),
    def("isAttrs", 1, |eval, args, at| is(eval, args, at, "a set")),
    def("isString", 1, |eval, args, at| is(eval, args, at, "a string")),
    def("isInt", 1, |eval, args, at| is(eval, args, at, "a number")),
    def("isBool", 1, |eval, args, at| is(eval, args, at, "a boolean")),
    def("isPath", 1, |eval, args, at| is(eval, args, at, "a path")),
    def("isFunction", 1, |eval, args, at| is(eval, args, at, "a function")),
    def("isNull", 1, |eval, args, at| is(eval, args, at, "null")),
];

pub const LIB: &[Def] = &[
    def("optionalAttrs", 2, optional_attrs),
    def("filterAttrs", 2, filter_attrs),
    def("mapAttrs'", 2, map_attrs_renamed),
    def("mapAttrsToList", 2, map_attrs_to_list),
    def("attrsToList", 1, attrs_to_list),
    def("genAttrs", 2, gen_attrs),
    def("nameValuePair", 2, name_value_pair),
    def("recursiveUpdate", 2, recursive_update),
    def("mergeAttrs", 2, |eval, args, at| eval.update(&eval.arg(args, 0, at), &eval.arg(args, 1, at), at)),
    def("mergeAttrsList", 1, merge_attrs_list),
    def("attrByPath", 3, attr_by_path),
    def("getAttrs", 2, get_attrs),
    def("setAttrByPath", 2, set_attr_by_path),
];

fn set(map: BTreeMap<Rc<str>, Entry>, open: Vec<Unknown>) -> Value {
    Value::Attrs(Rc::new(Attrs { map, open }))
}

/// Whether the argument is of a kind, in the words of [`Value::kind`].
pub fn is(eval: &Eval, args: &[Thunk], at: At, kind: &str) -> Value {
    match eval.arg(args, 0, at) {
        Value::Unknown(unknown) => Value::Unknown(unknown),
        Value::Symbol(_) => Value::unknown(at, "it depends on nixpkgs or an input"),
        Value::Package(_) => Value::Bool(kind == "a set"),
        value => Value::Bool(value.kind() == kind),
    }
}

fn attr_names(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.set_arg(args, 0, at).map(|attrs| {
        let names = attrs.map.iter().map(|(name, entry)| Thunk::made(entry.at, Value::text(Rc::clone(name))));
        let list = super::super::value::List { items: names.collect(), open: attrs.open.clone() };
        Value::List(Rc::new(list))
    }))
}

fn attr_values(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.set_arg(args, 0, at).map(|attrs| {
        let items = attrs.map.values().map(|entry| entry.value.clone()).collect();
        Value::List(Rc::new(super::super::value::List { items, open: attrs.open.clone() }))
    }))
}

fn has_attr(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let name = eval.text_arg(args, 0, at);
    known(name.and_then(|name| match eval.attribute_if_any(&args[1].force(eval), &name, at) {
        None => Ok(Value::Bool(false)),
        Some(Value::Unknown(unknown)) => Err(unknown),
        Some(Value::Package(_) | Value::Symbol(_)) => {
            Err(Unknown::new(at, "whether it exists depends on nixpkgs or an input"))
        }
        Some(_) => Ok(Value::Bool(true)),
    }))
}

fn get_attr(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).map(|name| eval.attribute(&args[1].force(eval), &name, at)))
}

fn map_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.set_arg(args, 1, at).map(|attrs| {
        let mapped = attrs.map.iter().map(|(name, entry)| {
            let (function, key, value) = (function.clone(), Rc::clone(name), entry.value.clone());
            let made = Thunk::later(entry.at, move |eval| {
                eval.call2(&function, Thunk::made(at, Value::text(key)), value, at)
            });
            (Rc::clone(name), Entry { value: made, at: entry.at })
        });
        set(mapped.collect(), attrs.open.clone())
    }))
}

fn map_attrs_to_list(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let mapped = map_attrs(eval, args, at);
    attr_values(eval, &[Thunk::made(at, mapped)], at)
}

fn map_attrs_renamed(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let pairs = map_attrs_to_list(eval, args, at);
    match super::builtin("listToAttrs") {
        Some(function) => eval.call(&function, Thunk::made(at, pairs), at),
        None => pairs,
    }
}

fn attrs_to_list(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.set_arg(args, 0, at).map(|attrs| {
        let items = attrs.map.iter().map(|(name, entry)| {
            let pair =
                pair(Thunk::made(entry.at, Value::text(Rc::clone(name))), entry.value.clone(), entry.at);
            Thunk::made(entry.at, pair)
        });
        let list = super::super::value::List { items: items.collect(), open: attrs.open.clone() };
        Value::List(Rc::new(list))
    }))
}

fn pair(name: Thunk, value: Thunk, at: At) -> Value {
    let entries = [("name".into(), Entry { value: name, at }), ("value".into(), Entry { value, at })];
    Value::attrs(entries.into())
}

fn name_value_pair(_: &Eval, args: &[Thunk], at: At) -> Value {
    pair(args[0].clone(), args[1].clone(), at)
}

fn filter_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.set_arg(args, 1, at).map(|attrs| {
        let mut map = BTreeMap::new();
        let mut open = attrs.open.clone();
        for (name, entry) in &attrs.map {
            let key = Thunk::made(at, Value::text(Rc::clone(name)));
            match eval.bool(eval.call2(&function, key, entry.value.clone(), at), at) {
                Ok(true) => {
                    map.insert(Rc::clone(name), entry.clone());
                }
                Ok(false) => {}
                Err(unknown) => open.push(unknown),
            }
        }
        set(map, open)
    }))
}

fn remove_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.set_arg(args, 0, at).and_then(|attrs| {
        let names = eval.list_arg(args, 1, at)?;
        if let Some(unknown) = names.open.first() {
            return Err(unknown.clone());
        }
        let mut map = attrs.map.clone();
        for name in &names.items {
            map.remove(&*eval.plain(name.force(eval), at)?);
        }
        Ok(set(map, attrs.open.clone()))
    }))
}

fn intersect_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.set_arg(args, 0, at).and_then(|left| {
        let right = eval.set_arg(args, 1, at)?;
        let map = right.map.iter().filter(|(name, _)| left.map.contains_key(*name));
        let open = left.open.iter().chain(&right.open).cloned().collect();
        Ok(set(map.map(|(name, entry)| (Rc::clone(name), entry.clone())).collect(), open))
    }))
}

fn cat_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|name| {
        let list = eval.list_arg(args, 1, at)?;
        let found = list.items.iter().filter_map(|item| eval.attribute_if_any(&item.force(eval), &name, at));
        Ok(Value::list(found.map(|value| Thunk::made(at, value)).collect()))
    }))
}

fn optional_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    match eval.bool_arg(args, 0, at) {
        Ok(true) => eval.arg(args, 1, at),
        Ok(false) => Value::attrs(BTreeMap::new()),
        Err(unknown) => set(BTreeMap::new(), vec![unknown]),
    }
}

fn gen_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 1, at);
    match eval.list_arg(args, 0, at) {
        Ok(names) if names.open.is_empty() && names.items.len() <= LIST_MAX => {
            let mut map = BTreeMap::new();
            for name in &names.items {
                match eval.plain(name.force(eval), at) {
                    Ok(key) => {
                        let value = Eval::call_later(&function, name.clone(), at);
                        map.insert(Rc::from(key), Entry { value, at: name.at });
                    }
                    Err(unknown) => return set(map, vec![unknown]),
                }
            }
            Value::attrs(map)
        }
        // Lists of systems come from inputs as a rule; whichever they are, the guest's is among them.
        _ => {
            let system = eval.system();
            let name = Thunk::made(at, Value::text(system.clone()));
            let value = Eval::call_later(&function, name, at);
            set(
                [(system.into(), Entry { value, at })].into(),
                vec![Unknown::new(at, "the names are not known")],
            )
        }
    }
}

fn recursive_update(eval: &Eval, args: &[Thunk], at: At) -> Value {
    fn deep(eval: &Eval, left: &Value, right: &Value, at: At) -> Value {
        let (Value::Attrs(a), Value::Attrs(b)) = (left, right) else { return right.clone() };
        let mut map = a.map.clone();
        for (name, entry) in &b.map {
            let value = match a.map.get(name) {
                Some(there) => {
                    let (left, right) = (there.value.clone(), entry.value.clone());
                    Thunk::later(entry.at, move |eval| {
                        let left = eval.concrete(left.force(eval), at);
                        let right = eval.concrete(right.force(eval), at);
                        eval.deeper(at, || deep(eval, &left, &right, at))
                    })
                }
                None => entry.value.clone(),
            };
            map.insert(Rc::clone(name), Entry { value, at: entry.at });
        }
        let _ = eval.spend(b.map.len());
        set(map, a.open.iter().chain(&b.open).cloned().collect())
    }
    match (eval.arg(args, 0, at), eval.arg(args, 1, at)) {
        (left @ Value::Attrs(_), right @ Value::Attrs(_)) => deep(eval, &left, &right, at),
        (left, right) => eval.update(&left, &right, at),
    }
}

fn merge_attrs_list(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).map(|list| {
        let empty = set(BTreeMap::new(), list.open.clone());
        list.items
            .iter()
            .fold(empty, |whole, item| eval.update(&whole, &eval.concrete(item.force(eval), at), at))
    }))
}

fn attr_by_path(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|path| {
        let mut value = args[2].force(eval);
        for name in &path.items {
            let name = eval.plain(name.force(eval), at)?;
            match eval.attribute_if_any(&value, &name, at) {
                Some(found) => value = found,
                None => return Ok(args[1].force(eval)),
            }
        }
        Ok(match &value {
            Value::Symbol(Symbol::Config(config)) => {
                eval.lookup(config, at).unwrap_or_else(|| args[1].force(eval))
            }
            _ => value,
        })
    }))
}

fn get_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|names| {
        let from = args[1].force(eval);
        let mut map = BTreeMap::new();
        for name in &names.items {
            let key: Rc<str> = eval.plain(name.force(eval), at)?.into();
            let value = Thunk::made(at, eval.attribute(&from, &key, at));
            map.insert(key, Entry { value, at });
        }
        Ok(set(map, names.open.clone()))
    }))
}

fn set_attr_by_path(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|path| {
        let mut value = args[1].clone();
        for name in path.items.iter().rev() {
            let key: Rc<str> = eval.plain(name.force(eval), at)?.into();
            value = Thunk::made(at, Value::attrs([(key, Entry { value, at })].into()));
        }
        Ok(value.force(eval))
    }))
}
