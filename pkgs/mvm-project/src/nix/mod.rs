//! A partial evaluator of Nix: follows what a file itself says, and knows what it does not know.
//!
//! Nothing is executed, fetched or read outside the project's root. nixpkgs, its `lib` and other inputs are names
//! ([`value::Symbol`]); functions of `lib` and `builtins` that projects use to put their settings together are
//! implemented ([`native`]); everything else is [`value::Value::Unknown`] with the place that is the cause, and spreads
//! no further than to what depends on it. Steps, depth and sizes are bounded, so that any input ends.

mod bounds;
mod call;
mod expr;
mod module_args;
mod native;
mod natives;
mod operators;
mod scope;
mod select;
mod sets;
mod source;
mod text;
mod thunk;
pub mod value;

pub use module_args::Arguments;
pub use source::Problem;
pub use thunk::Thunk;

use crate::modules::Modules;
use crate::position::Position;
use scope::{Env, Scope};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use value::{At, Unknown, Value};

/// Steps of one detection; a large real project takes some ten thousand.
const FUEL: u64 = 2_000_000;
/// Evaluations within evaluations. With [`STACK_BYTES`] each may take 64 KiB of stack, more than it does in any build.
const DEPTH_MAX: u32 = 2000;
/// Stack of the thread that evaluates: reserved, not used, until it is needed.
const STACK_BYTES: usize = 128 << 20;
/// Longest string that is put together.
pub const TEXT_MAX_BYTES: usize = 1 << 20;
/// Longest list that is put together.
pub const LIST_MAX: usize = 10_000;

/// One detection: the sources read so far, and what bounds it.
pub struct Eval {
    root: PathBuf,
    sources: RefCell<source::Sources>,
    modules: RefCell<Option<Rc<Modules>>>,
    /// Parts of the configuration that are being looked up: what is in here depends on itself when it is asked for.
    looking_up: RefCell<Vec<Rc<[Rc<str>]>>>,
    fuel: Cell<u64>,
    depth: Cell<u32>,
    /// What may hold itself, to be taken apart in the end.
    frames: RefCell<Vec<Scope>>,
    made: RefCell<Vec<Thunk>>,
}

impl Drop for Eval {
    fn drop(&mut self) {
        for frame in self.frames.take() {
            frame.clear();
        }
        for thunk in self.made.take() {
            thunk.forget();
        }
    }
}

impl Eval {
    /// An evaluation of a project with the canonical path `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            sources: RefCell::default(),
            modules: RefCell::new(None),
            looking_up: RefCell::default(),
            fuel: Cell::new(FUEL),
            depth: Cell::new(0),
            frames: RefCell::default(),
            made: RefCell::default(),
        }
    }

    /// The place of `env` with room for names of its own.
    fn frame(&self, env: &Env) -> Env {
        let scope = env.scope.bindings();
        self.frames.borrow_mut().push(scope.clone());
        env.scoped(scope)
    }

    /// Notes a thunk that has been made.
    fn remember(&self, thunk: &Thunk) {
        self.made.borrow_mut().push(thunk.clone());
    }

    /// The project's root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The guest's system, in Nix' words.
    pub fn system(&self) -> String {
        format!("{}-linux", std::env::consts::ARCH)
    }

    /// Gives `config` its meaning.
    pub fn set_modules(&self, modules: Rc<Modules>) {
        *self.modules.borrow_mut() = Some(modules);
    }

    /// Runs `make` one level deeper; at the bounds of depth or steps the result is unknown instead.
    pub(crate) fn deeper(&self, at: At, make: impl FnOnce() -> Value) -> Value {
        self.nested(at, make).unwrap_or_else(Value::Unknown)
    }

    /// The same for work with another result.
    pub(crate) fn nested<T>(&self, at: At, work: impl FnOnce() -> T) -> Result<T, Unknown> {
        let depth = self.depth.get();
        if depth >= DEPTH_MAX {
            return Err(Unknown::new(at, "it is nested too deeply to be followed"));
        }
        if !self.spend(1) {
            return Err(Unknown::new(at, "the project takes too many steps to follow"));
        }
        self.depth.set(depth + 1);
        let result = work();
        self.depth.set(depth);
        Ok(result)
    }

    /// Takes `steps` off what is left; false when nothing is.
    pub(crate) fn spend(&self, steps: usize) -> bool {
        let left = self.fuel.get().saturating_sub(u64::try_from(steps).unwrap_or(u64::MAX));
        self.fuel.set(left);
        left > 0
    }

    /// The position of a place.
    pub fn position(&self, at: At) -> Position {
        self.sources.borrow().position(at)
    }

    /// What was wrong with files read so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.sources.borrow().problems.clone()
    }

    /// Names of the files read so far, relative to the root.
    pub fn files_read(&self) -> Vec<String> {
        self.sources.borrow().names()
    }
}

/// Runs `work` on a thread with stack enough for the deepest evaluation, and survives its panics: `None`.
pub fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("detect".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .ok()?
            .join()
            .ok()
    })
}
