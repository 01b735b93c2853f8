//! From a list to one value.

use super::super::native::{Def, def, known};
use super::super::value::{At, Value};
use super::super::{Eval, Thunk};

pub const BUILTINS: &[Def] = &[
    def("foldl'", 3, foldl),
    def("any", 2, |eval, args, at| quantified(eval, args, at, true)),
    def("all", 2, |eval, args, at| quantified(eval, args, at, false)),
];

pub const LIB: &[Def] = &[
    def("foldl", 3, foldl),
    def("foldr", 3, |eval, args, at| fold(eval, args, at, Direction::FromRight)),
    def("findFirst", 3, find_first),
];

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    FromLeft,
    FromRight,
}

fn foldl(eval: &Eval, args: &[Thunk], at: At) -> Value {
    fold(eval, args, at, Direction::FromLeft)
}

fn fold(eval: &Eval, args: &[Thunk], at: At, direction: Direction) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 2, at).and_then(|list| {
        if let Some(unknown) = list.open.first() {
            return Err(unknown.clone());
        }
        let mut folded = args[1].clone();
        let step = |folded: Thunk, item: &Thunk| match direction {
            Direction::FromLeft => Thunk::made(at, eval.call2(&function, folded, item.clone(), at)),
            Direction::FromRight => Thunk::made(at, eval.call2(&function, item.clone(), folded, at)),
        };
        match direction {
            Direction::FromLeft => list.items.iter().for_each(|item| folded = step(folded.clone(), item)),
            Direction::FromRight => {
                list.items.iter().rev().for_each(|item| folded = step(folded.clone(), item));
            }
        }
        Ok(folded.force(eval))
    }))
}

/// `any` (`deciding` true) and `all` (false).
fn quantified(eval: &Eval, args: &[Thunk], at: At, deciding: bool) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 1, at).and_then(|list| {
        let mut doubt = list.open.first().cloned();
        for item in &list.items {
            match eval.bool(eval.call(&function, item.clone(), at), at) {
                Ok(bool) if bool == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(unknown) => doubt = Some(unknown),
            }
        }
        doubt.map_or(Ok(Value::Bool(!deciding)), Err)
    }))
}

fn find_first(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = eval.arg(args, 0, at);
    known(eval.list_arg(args, 2, at).and_then(|list| {
        for item in &list.items {
            if eval.bool(eval.call(&function, item.clone(), at), at)? {
                return Ok(item.force(eval));
            }
        }
        list.open.first().cloned().map_or_else(|| Ok(args[1].force(eval)), Err)
    }))
}
