//! Lists.

use super::super::native::{Def, def, known};
use super::super::value::{At, Attrs, Entry, List, Unknown, Value};
use super::super::{Eval, LIST_MAX, Thunk};
use std::collections::BTreeMap;
use std::rc::Rc;

pub const BUILTINS: &[Def] = &[
    def("map", 2, map),
    def("filter", 2, filter),
    def("concatMap", 2, concat_map),
    def("concatLists", 1, concat_lists),
    def("head", 1, |eval, args, at| nth(eval, args, at, |_| 0)),
    def("elemAt", 2, elem_at),
    def("tail", 1, tail),
    def("length", 1, length),
    def("elem", 2, elem),
    def("genList", 2, gen_list),
    def("listToAttrs", 1, list_to_attrs),
    def("isList", 1, |eval, args, at| super::attrs::is(eval, args, at, "a list")),
    def("sort", 2, |eval, args, at| eval.arg(args, 1, at)),
    def("seq", 2, |eval, args, at| eval.arg(args, 1, at)),
    def("deepSeq", 2, |eval, args, at| eval.arg(args, 1, at)),
    def("trace", 2, |eval, args, at| eval.arg(args, 1, at)),
    def("warn", 2, |eval, args, at| eval.arg(args, 1, at)),
];

pub const LIB: &[Def] = &[
    def("optional", 2, |eval, args, at| optional(eval, args, at, Value::list(vec![args[1].clone()]))),
    def("optionals", 2, |eval, args, at| {
        let value = eval.arg(args, 1, at);
        optional(eval, args, at, value)
    }),
    def("flatten", 1, flatten),
    def("unique", 1, unique),
    def("last", 1, |eval, args, at| nth(eval, args, at, |length| length.saturating_sub(1))),
    def("singleton", 1, |_, args, _| Value::list(vec![args[0].clone()])),
    def("toList", 1, |eval, args, at| match eval.arg(args, 0, at) {
        list @ (Value::List(_) | Value::Unknown(_)) => list,
        _ => Value::list(vec![args[0].clone()]),
    }),
    def("forEach", 2, |eval, args, at| map(eval, &[args[1].clone(), args[0].clone()], at)),
    def("imap0", 2, |eval, args, at| imap(eval, args, at, 0)),
    def("imap1", 2, |eval, args, at| imap(eval, args, at, 1)),
    def("range", 2, range),
    def("pipe", 2, pipe),
    def("id", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("warnIf", 3, |eval, args, at| eval.arg(args, 2, at)),
    def("assertMsg", 2, |eval, args, at| eval.arg(args, 0, at)),
];

fn build(items: Vec<Thunk>, open: Vec<Unknown>) -> Value {
    Value::List(Rc::new(List { items, open }))
}

fn map(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 1, at).map(|list| {
        let items = list.items.iter().map(|item| Eval::call_later(&function, item.clone(), at)).collect();
        build(items, list.open.clone())
    }))
}

fn filter(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 1, at).map(|list| {
        let mut open = list.open.clone();
        let mut items = Vec::new();
        for item in &list.items {
            match eval.bool(eval.call(&function, item.clone(), at), at) {
                Ok(true) => items.push(item.clone()),
                Ok(false) => {}
                Err(unknown) => open.push(unknown),
            }
        }
        build(items, open)
    }))
}

fn concat_map(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let lists = map(eval, args, at);
    concat_lists(eval, &[Thunk::made(at, lists)], at)
}

fn concat_lists(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).map(|lists| {
        let mut whole = build(Vec::new(), lists.open.clone());
        for list in &lists.items {
            let list = eval.concrete(list.force(eval), at);
            whole = eval.concat(whole, list, at);
        }
        whole
    }))
}

fn nth(eval: &Eval, args: &[Thunk], at: At, index: impl Fn(usize) -> usize) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|list| match list.items.get(index(list.items.len())) {
        Some(item) => Ok(item.force(eval)),
        None => Err(list.open.first().cloned().unwrap_or_else(|| Unknown::new(at, "the list is empty"))),
    }))
}

fn elem_at(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let index = eval.arg(args, 1, at);
    known(
        eval.int(index, at)
            .map(|index| nth(eval, args, at, |_| usize::try_from(index).unwrap_or(usize::MAX))),
    )
}

fn tail(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(
        eval.list_arg(args, 0, at)
            .map(|list| build(list.items.iter().skip(1).cloned().collect(), list.open.clone())),
    )
}

fn length(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|list| match list.open.first() {
        Some(unknown) => Err(unknown.clone()),
        None => Ok(Value::Int(i64::try_from(list.items.len()).unwrap_or(i64::MAX))),
    }))
}

fn elem(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let wanted = eval.arg(args, 0, at);
    known(eval.list_arg(args, 1, at).and_then(|list| {
        let mut doubt = list.open.first().cloned();
        for item in &list.items {
            match eval.equal(&eval.concrete(item.force(eval), at), &wanted, at) {
                Ok(true) => return Ok(Value::Bool(true)),
                Ok(false) => {}
                Err(unknown) => doubt = Some(unknown),
            }
        }
        doubt.map_or(Ok(Value::Bool(false)), Err)
    }))
}

fn gen_list(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.int(eval.arg(args, 1, at), at).map(|count| generated(eval, at, 0, count, Some(&function))))
}

fn range(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let first = eval.int(eval.arg(args, 0, at), at);
    known(first.and_then(|first| {
        let last = eval.int(eval.arg(args, 1, at), at)?;
        Ok(generated(eval, at, first, last.saturating_sub(first).saturating_add(1), None))
    }))
}

fn generated(eval: &Eval, at: At, first: i64, count: i64, function: Option<&Value>) -> Value {
    let count = usize::try_from(count).unwrap_or(0);
    if count > LIST_MAX || !eval.spend(count) {
        return Value::unknown(at, "the list becomes too long to be followed");
    }
    let numbers = (0..count).map(|index| {
        let number = first.saturating_add(i64::try_from(index).unwrap_or(i64::MAX));
        Thunk::made(at, Value::Int(number))
    });
    Value::list(match function {
        Some(function) => numbers.map(|number| Eval::call_later(function, number, at)).collect(),
        None => numbers.collect(),
    })
}

fn imap(eval: &Eval, args: &[Thunk], at: At, first: i64) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 1, at).map(|list| {
        let numbered = list.items.iter().zip(first..).map(|(item, index)| {
            let (function, item) = (function.clone(), item.clone());
            Thunk::later(at, move |eval| eval.call2(&function, Thunk::made(at, Value::Int(index)), item, at))
        });
        build(numbered.collect(), list.open.clone())
    }))
}

fn list_to_attrs(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).map(|list| {
        let mut set = Attrs { map: BTreeMap::new(), open: list.open.clone() };
        for item in &list.items {
            let pair = item.force(eval);
            let name = eval.plain(eval.attribute(&pair, "name", at), at);
            match name {
                Ok(name) => {
                    let at = item.at;
                    let value = Thunk::later(at, move |eval| eval.attribute(&pair, "value", at));
                    set.map.entry(name.into()).or_insert(Entry { value, at });
                }
                Err(unknown) => set.open.push(unknown),
            }
        }
        Value::Attrs(Rc::new(set))
    }))
}

/// `value` if the first argument is true, an empty list if it is false, an open one if it is not known.
fn optional(eval: &Eval, args: &[Thunk], at: At, value: Value) -> Value {
    match eval.bool_arg(args, 0, at) {
        Ok(true) => value,
        Ok(false) => Value::list(Vec::new()),
        Err(unknown) => Value::open_list(unknown),
    }
}

fn flatten(eval: &Eval, args: &[Thunk], at: At) -> Value {
    fn add(eval: &Eval, item: &Thunk, at: At, whole: &mut List) {
        match eval.concrete(item.force(eval), at) {
            Value::List(list) if whole.items.len() < LIST_MAX => {
                whole.open.extend(list.open.iter().cloned());
                for item in &list.items {
                    if let Err(unknown) = eval.nested(at, || add(eval, item, at, whole)) {
                        whole.open.push(unknown);
                    }
                }
            }
            _ => whole.items.push(item.clone()),
        }
    }
    let mut whole = List::default();
    add(eval, &args[0], at, &mut whole);
    Value::List(Rc::new(whole))
}

fn unique(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).map(|list| {
        let mut items: Vec<Thunk> = Vec::new();
        for item in &list.items {
            let value = eval.concrete(item.force(eval), at);
            let there = items
                .iter()
                .any(|other| eval.equal(&eval.concrete(other.force(eval), at), &value, at) == Ok(true));
            if !there && eval.spend(items.len()) {
                items.push(item.clone());
            }
        }
        build(items, list.open.clone())
    }))
}

fn pipe(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 1, at).and_then(|functions| {
        if let Some(unknown) = functions.open.first() {
            return Err(unknown.clone());
        }
        let mut value = args[0].clone();
        for function in &functions.items {
            value = Thunk::made(at, eval.call(&function.force(eval), value, at));
        }
        Ok(value.force(eval))
    }))
}
