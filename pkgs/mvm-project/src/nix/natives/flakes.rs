//! Functions of inputs that flakes are made with: flake-utils, flake-parts, devenv.

use super::super::native::{Def, def};
use super::super::value::{At, Attrs, Entry, Shell, Unknown, Value};
use super::super::{Eval, Thunk};
use std::collections::BTreeMap;
use std::rc::Rc;

pub const INPUTS: &[Def] = &[
    def("eachDefaultSystem", 1, |eval, args, at| each_system(eval, &args[0], at)),
    def("eachSystem", 2, |eval, args, at| each_system(eval, &args[1], at)),
    def("eachDefaultSystemMap", 1, each_system_map),
    def("mkFlake", 2, |_, args, _| Value::Shell(Rc::new(Shell::FlakeParts(args[1].clone())))),
    def("devenvShell", 1, |_, args, _| Value::Shell(Rc::new(Shell::Devenv(args[0].clone())))),
];

fn of_system(eval: &Eval, function: &Thunk, at: At) -> Value {
    let function = function.force(eval);
    eval.call(&function, Thunk::made(at, Value::text(eval.system())), at)
}

/// flake-utils: `{ a = …; }` of each system becomes `{ a.SYSTEM = …; }`. One system, the guest's, is of interest.
fn each_system(eval: &Eval, function: &Thunk, at: At) -> Value {
    match of_system(eval, function, at) {
        Value::Attrs(set) => {
            let below = |entry: &Entry| {
                let inner = Attrs {
                    map: [(Rc::from(eval.system()), entry.clone())].into(),
                    open: vec![Unknown::new(at, "it is another system's")],
                };
                Entry { value: Thunk::made(entry.at, Value::Attrs(Rc::new(inner))), at: entry.at }
            };
            let map: BTreeMap<_, _> =
                set.map.iter().map(|(name, entry)| (Rc::clone(name), below(entry))).collect();
            Value::Attrs(Rc::new(Attrs { map, open: set.open.clone() }))
        }
        other => Value::Unknown(eval.not_a(&other, "a set", at)),
    }
}

fn each_system_map(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let function = args[0].clone();
    let value = Thunk::later(at, move |eval| of_system(eval, &function, at));
    let map = [(Rc::from(eval.system()), Entry { value, at })].into();
    Value::Attrs(Rc::new(Attrs { map, open: vec![Unknown::new(at, "it is another system's")] }))
}
