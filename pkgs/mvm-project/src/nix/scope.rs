//! Which names an expression sees.

use super::thunk::Thunk;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// Where an expression stands: the names it sees, its file, and the directory that its paths start from.
#[derive(Clone, Debug)]
pub struct Env {
    pub scope: Scope,
    pub file: u32,
    pub dir: Rc<Path>,
}

impl Env {
    /// The same place with other names.
    pub fn scoped(&self, scope: Scope) -> Self {
        Self { scope, file: self.file, dir: Rc::clone(&self.dir) }
    }
}

/// The names in scope, from the innermost outward.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<Rc<Frame>>);

#[derive(Debug)]
struct Frame {
    names: Names,
    outer: Scope,
}

#[derive(Debug)]
enum Names {
    /// `let`, `rec`, parameters. Filled after it is made, since bindings see each other.
    Bound(RefCell<HashMap<Rc<str>, Thunk>>),
    /// `with`: asked only when no binding has the name.
    With(Thunk),
}

impl Scope {
    /// A scope with room for bindings, which [`Scope::bind`] adds.
    pub fn bindings(&self) -> Self {
        Self(Some(Rc::new(Frame { names: Names::Bound(RefCell::default()), outer: self.clone() })))
    }

    pub fn with(&self, set: Thunk) -> Self {
        Self(Some(Rc::new(Frame { names: Names::With(set), outer: self.clone() })))
    }

    /// Forgets all names of the innermost frame. Bindings see their own frame, so that without this none is ever freed.
    pub fn clear(&self) {
        if let Some(frame) = &self.0
            && let Names::Bound(names) = &frame.names
        {
            let all = std::mem::take(&mut *names.borrow_mut());
            drop(all);
        }
    }

    /// Adds a name to the innermost frame, which [`Scope::bindings`] made.
    pub fn bind(&self, name: Rc<str>, value: Thunk) {
        if let Some(frame) = &self.0
            && let Names::Bound(names) = &frame.names
        {
            names.borrow_mut().insert(name, value);
        }
    }

    /// The innermost binding of a name.
    pub fn bound(&self, name: &str) -> Option<Thunk> {
        let mut scope = self;
        while let Some(frame) = &scope.0 {
            if let Names::Bound(names) = &frame.names
                && let Some(found) = names.borrow().get(name)
            {
                return Some(found.clone());
            }
            scope = &frame.outer;
        }
        None
    }

    /// The sets of all `with` around, innermost first.
    pub fn withs(&self) -> Vec<Thunk> {
        let mut sets = Vec::new();
        let mut scope = self;
        while let Some(frame) = &scope.0 {
            if let Names::With(set) = &frame.names {
                sets.push(set.clone());
            }
            scope = &frame.outer;
        }
        sets
    }
}
