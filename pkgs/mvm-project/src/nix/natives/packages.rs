//! Functions that make packages, or name parts of them.

use super::super::native::{Def, Native, def, known};
use super::super::value::{At, Package, Piece, Shell, Symbol, Text, Value};
use super::super::{Eval, Thunk};
use std::rc::Rc;

pub const BUILTINS: &[Def] = &[
    def("derivation", 1, |_, _, _| made_here("derivation", None)),
    def("fetchTarball", 1, fetched),
    def("fetchGit", 1, fetched),
    def("fetchTree", 1, fetched),
    def("getFlake", 1, fetched),
    def("getEnv", 1, |_, _, at| Value::unknown(at, "it is an environment variable of whoever evaluates")),
];

pub const LIB: &[Def] = &[
    def("getExe", 1, |eval, args, at| match eval.arg(args, 0, at) {
        Value::Package(package) => Value::Text(Text::from([Piece::Program(package)])),
        other => Value::Unknown(eval.not_a(&other, "a package", at)),
    }),
    def("getExe'", 2, get_exe_named),
    def("getBin", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("getLib", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("getDev", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("getOutput", 2, |eval, args, at| eval.arg(args, 1, at)),
    def("lowPrio", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("hiPrio", 1, |eval, args, at| eval.arg(args, 0, at)),
    def("makeBinPath", 1, |eval, args, at| search_path(eval, args, at, "bin")),
    def("makeLibraryPath", 1, |eval, args, at| search_path(eval, args, at, "lib")),
    def("makeSearchPath", 2, |eval, args, at| {
        known(eval.text_arg(args, 0, at).map(|dir| search_path(eval, &args[1..], at, &dir)))
    }),
];

pub const PKGS: &[Def] = &[
    def("mkShell", 1, shell),
    def("mkShellNoCC", 1, shell),
    def("mkShellChanged", 2, |eval, args, at| shell(eval, &args[1..], at)),
    def("callPackage", 2, |_, _, _| made_here("callPackage", None)),
    def("derivation", 1, |_, _, _| made_here("derivation", None)),
    def("runCommand", 3, |eval, args, at| named(eval, args, at, "runCommand")),
    def("writeShellScriptBin", 2, |eval, args, at| named(eval, args, at, "writeShellScriptBin")),
    def("writeScriptBin", 2, |eval, args, at| named(eval, args, at, "writeScriptBin")),
    def("writeShellScript", 2, |eval, args, at| named(eval, args, at, "writeShellScript")),
    def("writeText", 2, |eval, args, at| named(eval, args, at, "writeText")),
    def("writeShellApplication", 1, application),
    def("symlinkJoin", 1, application),
    def("buildEnv", 1, application),
];

fn package(attr: &str, changed: &str) -> Value {
    let attr = vec![attr.into()];
    Value::Package(Rc::new(Package { from: "nixpkgs".into(), attr, changed: Some(changed.into()) }))
}

fn made_here(how: &str, name: Option<&str>) -> Value {
    package(name.unwrap_or(how), how)
}

/// A package that is made on the spot, by its name.
fn named(eval: &Eval, args: &[Thunk], at: At, how: &str) -> Value {
    made_here(how, eval.text_arg(args, 0, at).ok().as_deref())
}

fn application(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let set = args[0].force(eval);
    let name = eval.plain(eval.attribute(&set, "name", at), at).ok();
    made_here("made here", name.as_deref())
}

fn shell(_: &Eval, args: &[Thunk], _: At) -> Value {
    Value::Shell(Rc::new(Shell::Make(args[0].clone())))
}

fn fetched(_: &Eval, _: &[Thunk], at: At) -> Value {
    Value::Symbol(Symbol::Input([format!("fetched at {}", at.offset).into()].into()))
}

fn get_exe_named(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let name = eval.text_arg(args, 1, at);
    known(name.map(|name| {
        let mut pieces: Vec<Piece> = eval.pieces(eval.arg(args, 0, at), at).to_vec();
        pieces.push(Piece::Text(format!("/bin/{name}").into()));
        super::super::text::joined(pieces, at)
    }))
}

fn search_path(eval: &Eval, args: &[Thunk], at: At, dir: &str) -> Value {
    known(eval.list_arg(args, 0, at).map(|list| {
        let mut pieces = Vec::new();
        for (index, item) in list.items.iter().enumerate() {
            if index > 0 {
                pieces.push(Piece::Text(":".into()));
            }
            pieces.extend(eval.pieces(item.force(eval), at).iter().cloned());
            pieces.push(Piece::Text(format!("/{dir}").into()));
        }
        pieces.extend(list.open.iter().cloned().map(Piece::Unknown));
        super::super::text::joined(pieces, at)
    }))
}

/// `package.override` and its siblings: a function whose result is the package, changed.
pub fn change(package: &Rc<Package>, how: &str) -> Value {
    let changed = Package { changed: Some(how.into()), ..(**package).clone() };
    let run = def("change", 2, |eval, args, at| eval.arg(args, 0, at));
    let first = Thunk::made(At { file: 0, offset: 0 }, Value::Package(Rc::new(changed)));
    Value::Native(Rc::new(Native { def: run, args: vec![first] }))
}
