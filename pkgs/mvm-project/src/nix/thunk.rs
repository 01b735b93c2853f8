//! Values that are made when they are first asked for.

use super::Eval;
use super::value::{At, Unknown, Value};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

type Make = Box<dyn FnOnce(&Eval) -> Value>;

enum State {
    Made(Value),
    ToMake(Make),
    /// Asked for while it is being made: it depends on itself.
    Making,
}

/// A value that may not have been made yet.
#[derive(Clone)]
pub struct Thunk {
    state: Rc<RefCell<State>>,
    pub at: At,
}

impl Thunk {
    pub fn made(at: At, value: Value) -> Self {
        Self { state: Rc::new(RefCell::new(State::Made(value))), at }
    }

    pub fn later(at: At, make: impl FnOnce(&Eval) -> Value + 'static) -> Self {
        Self { state: Rc::new(RefCell::new(State::ToMake(Box::new(make)))), at }
    }

    /// The value, which is made at most once.
    pub fn force(&self, eval: &Eval) -> Value {
        let make = {
            let mut state = self.state.borrow_mut();
            match std::mem::replace(&mut *state, State::Making) {
                State::Made(value) => {
                    *state = State::Made(value.clone());
                    return value;
                }
                State::Making => return Value::Unknown(Unknown::new(self.at, "it depends on itself")),
                State::ToMake(make) => make,
            }
        };
        let value = eval.deeper(self.at, || make(eval));
        *self.state.borrow_mut() = State::Made(value.clone());
        eval.remember(self);
        value
    }

    /// Forgets the value: values that hold themselves are otherwise never freed.
    pub(super) fn forget(&self) {
        let value = std::mem::replace(&mut *self.state.borrow_mut(), State::Made(Value::Null));
        drop(value);
    }
}

impl fmt::Debug for Thunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<thunk {}:{}>", self.at.file, self.at.offset)
    }
}
