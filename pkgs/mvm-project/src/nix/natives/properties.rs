//! Module properties (nixpkgs: `lib/modules.nix`): conditions, priorities, merging.

use super::super::native::{Def, def, known};
use super::super::value::{At, Property, Value};
use super::super::{Eval, Thunk};
use std::rc::Rc;

pub const LIB: &[Def] = &[
    def("mkIf", 2, |_, args, _| property(Property::If(args[0].clone(), args[1].clone()))),
    def("mkMerge", 1, |_, args, _| property(Property::Merge(args[0].clone()))),
    def("mkOverride", 2, mk_override),
    def("mkForce", 1, |_, args, _| property(Property::Override(50, args[0].clone()))),
    def("mkVMOverride", 1, |_, args, _| property(Property::Override(10, args[0].clone()))),
    def("mkImageMediaOverride", 1, |_, args, _| property(Property::Override(60, args[0].clone()))),
    def("mkDefault", 1, |_, args, _| property(Property::Override(1000, args[0].clone()))),
    def("mkOptionDefault", 1, |_, args, _| property(Property::Override(1500, args[0].clone()))),
    // The order of definitions matters to lists of packages only where two provide one program.
    def("mkBefore", 1, |_, args, _| property(Property::Override(100, args[0].clone()))),
    def("mkAfter", 1, |_, args, _| property(Property::Override(100, args[0].clone()))),
    def("mkOrder", 2, |_, args, _| property(Property::Override(100, args[1].clone()))),
];

fn property(property: Property) -> Value {
    Value::Property(Rc::new(property))
}

fn mk_override(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let priority = eval.int(eval.arg(args, 0, at), at);
    known(priority.map(|priority| property(Property::Override(priority, args[1].clone()))))
}
