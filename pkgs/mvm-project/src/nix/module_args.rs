//! What modules and flakes are called with.

use super::value::{At, Symbol, Value};
use super::{Eval, Thunk};

/// The arguments of a kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// A module of devenv: `{ pkgs, lib, config, inputs, ... }:`.
    Module,
    /// A module of flake-parts: without packages.
    FlakeParts,
    /// flake-parts' `perSystem`.
    PerSystem,
    /// A flake's `outputs`.
    Outputs,
    /// `shell.nix`: every argument has a default; `pkgs` is known without.
    Shell,
}

impl Arguments {
    /// The set that a function gets.
    pub fn set(self, eval: &Eval, at: At) -> Thunk {
        let pkgs = || ("pkgs", Value::Symbol(Symbol::Pkgs("nixpkgs".into())));
        let lib = || ("lib", Value::Symbol(Symbol::Lib));
        let inputs = || ("inputs", Value::Symbol(Symbol::Inputs));
        let config = || ("config", Value::Symbol(Symbol::Config([].into())));
        let system = || ("system", Value::text(eval.system()));
        let (known, others) = match self {
            Self::Module => (
                vec![pkgs(), lib(), inputs(), config(), system()],
                "it is an argument of the module that only devenv knows",
            ),
            Self::FlakeParts => (vec![lib(), inputs()], "it is an argument of the flake's module"),
            Self::PerSystem => (
                vec![pkgs(), lib(), inputs(), system()],
                "it is an argument of `perSystem` that only flake-parts knows",
            ),
            Self::Outputs => return Thunk::made(at, Value::Symbol(Symbol::Inputs)),
            Self::Shell => (vec![pkgs(), system()], ""),
        };
        if self == Self::Shell {
            let entries = known.into_iter().map(|(name, value)| {
                (name.into(), super::value::Entry { value: Thunk::made(at, value), at })
            });
            return Thunk::made(at, Value::attrs(entries.collect()));
        }
        Eval::arguments(at, known, others)
    }

    /// The value, called with these arguments if it is a function.
    pub fn apply(self, eval: &Eval, value: Value, at: At) -> Value {
        match &value {
            Value::Lambda(_) => {
                let set = self.set(eval, at);
                eval.call(&value, set, at)
            }
            _ => value,
        }
    }
}
