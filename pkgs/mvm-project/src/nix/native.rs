//! Functions that are implemented here.

use super::Eval;
use super::thunk::Thunk;
use super::value::{At, Attrs, List, Unknown, Value};
use std::rc::Rc;

/// What a native function does with all its arguments.
pub type Run = fn(&Eval, &[Thunk], At) -> Value;

/// A native function: name, number of arguments, what it does.
#[derive(Clone, Copy)]
pub struct Def {
    pub name: &'static str,
    pub arity: usize,
    pub run: Run,
}

/// A native function with the arguments it has got so far.
pub struct Native {
    pub def: Def,
    pub args: Vec<Thunk>,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} with {} of {}>", self.def.name, self.args.len(), self.def.arity)
    }
}

/// Shorthand of the tables of functions.
pub const fn def(name: &'static str, arity: usize, run: Run) -> Def {
    Def { name, arity, run }
}

impl From<Def> for Value {
    fn from(def: Def) -> Self {
        Self::Native(Rc::new(Native { def, args: Vec::new() }))
    }
}

/// What functions ask of their arguments.
impl Eval {
    pub(super) fn arg(&self, args: &[Thunk], index: usize, at: At) -> Value {
        match args.get(index) {
            Some(arg) => self.concrete(arg.force(self), at),
            None => Value::unknown(at, "an argument is missing"),
        }
    }

    pub(super) fn list(&self, value: Value, at: At) -> Result<Rc<List>, Unknown> {
        match self.concrete(value, at) {
            Value::List(list) => Ok(list),
            other => Err(self.not_a(&other, "a list", at)),
        }
    }

    pub(super) fn set(&self, value: Value, at: At) -> Result<Rc<Attrs>, Unknown> {
        match self.concrete(value, at) {
            Value::Attrs(set) => Ok(set),
            other => Err(self.not_a(&other, "a set", at)),
        }
    }

    pub(super) fn bool(&self, value: Value, at: At) -> Result<bool, Unknown> {
        match self.concrete(value, at) {
            Value::Bool(bool) => Ok(bool),
            other => Err(self.not_a(&other, "a boolean", at)),
        }
    }

    pub(super) fn int(&self, value: Value, at: At) -> Result<i64, Unknown> {
        match self.concrete(value, at) {
            Value::Int(number) => Ok(number),
            other => Err(self.not_a(&other, "a whole number", at)),
        }
    }

    pub(super) fn list_arg(&self, args: &[Thunk], index: usize, at: At) -> Result<Rc<List>, Unknown> {
        self.list(self.arg(args, index, at), at)
    }

    pub(super) fn set_arg(&self, args: &[Thunk], index: usize, at: At) -> Result<Rc<Attrs>, Unknown> {
        self.set(self.arg(args, index, at), at)
    }

    pub(super) fn bool_arg(&self, args: &[Thunk], index: usize, at: At) -> Result<bool, Unknown> {
        self.bool(self.arg(args, index, at), at)
    }

    pub(super) fn text_arg(&self, args: &[Thunk], index: usize, at: At) -> Result<String, Unknown> {
        self.plain(self.arg(args, index, at), at)
    }

    /// `function argument`, made when it is asked for.
    pub(super) fn call_later(function: &Value, argument: Thunk, at: At) -> Thunk {
        let function = function.clone();
        Thunk::later(at, move |eval| eval.call(&function, argument, at))
    }

    /// `function a b`.
    pub(super) fn call2(&self, function: &Value, a: Thunk, b: Thunk, at: At) -> Value {
        let partial = self.call(function, a, at);
        self.call(&partial, b, at)
    }
}

/// Turns the reason why there is no value into an unknown one.
pub fn known(result: Result<Value, Unknown>) -> Value {
    result.unwrap_or_else(Value::Unknown)
}
