//! devenv's configuration: modules that are merged (nixpkgs: `lib/modules.nix`), as far as files of the project say.

mod convert;
mod datum;
mod defaults;
mod definitions;
mod load;

pub use datum::{Read, Reader};
pub use definitions::Definition;

use crate::nix::Arguments;
use crate::nix::value::{At, Unknown, Value};
use std::cell::RefCell;

/// The modules of a project.
#[derive(Debug)]
pub struct Modules {
    /// What its modules are called with.
    arguments: Arguments,
    /// The configuration that each module sets.
    roots: RefCell<Vec<(Value, At)>>,
    /// Modules that are imported, but not known: whatever is not set elsewhere may be set by them.
    open: RefCell<Vec<Unknown>>,
    /// Where devenv's directory is, relative to the root.
    directory: String,
}

impl Modules {
    /// No modules yet; `directory` is that of `devenv.nix`, relative to the project's root.
    pub fn new(directory: &str) -> Self {
        Self { directory: directory.to_owned(), ..Self::with_arguments(Arguments::Module) }
    }

    /// No modules yet, of another kind than devenv's.
    pub fn with_arguments(arguments: Arguments) -> Self {
        Self { arguments, roots: RefCell::default(), open: RefCell::default(), directory: String::new() }
    }

    /// Modules that are imported, but not known.
    pub fn unknown_imports(&self) -> Vec<Unknown> {
        self.open.borrow().clone()
    }
}
