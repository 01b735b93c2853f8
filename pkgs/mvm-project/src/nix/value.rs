//! Values of the partial evaluator: what Nix has, and what stands for a thing that is not known.

use super::native::Native;
use super::scope::Env;
use super::thunk::Thunk;
use rnix::ast;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

/// A place in one of the sources of an evaluation: file number, byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub file: u32,
    pub offset: u32,
}

/// Why something is not known, and the place that is the cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    pub why: Rc<str>,
    pub at: At,
}

impl Unknown {
    pub fn new(at: At, why: impl Into<Rc<str>>) -> Self {
        Self { why: why.into(), at }
    }
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    /// Absolute, without `.` and `..`.
    Path(PathBuf),
    List(Rc<List>),
    Attrs(Rc<Attrs>),
    Lambda(Rc<Lambda>),
    Native(Rc<Native>),
    Symbol(Symbol),
    Package(Rc<Package>),
    Property(Rc<Property>),
    /// What `mkShell` (or devenv's) makes.
    Shell(Rc<Shell>),
    Unknown(Unknown),
}

/// A string, some parts of which may not be known.
pub type Text = Rc<[Piece]>;

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Text(Rc<str>),
    /// The path of a package: `${pkgs.jq}`.
    Package(Rc<Package>),
    /// The path of a package's main program: `lib.getExe pkgs.jq`.
    Program(Rc<Package>),
    Unknown(Unknown),
}

/// A list, of which more elements may exist than are known.
#[derive(Debug, Default)]
pub struct List {
    pub items: Vec<Thunk>,
    pub open: Vec<Unknown>,
}

/// A set, of which more attributes may exist than are known.
#[derive(Debug, Default)]
pub struct Attrs {
    pub map: BTreeMap<Rc<str>, Entry>,
    pub open: Vec<Unknown>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub value: Thunk,
    pub at: At,
}

#[derive(Debug)]
pub struct Lambda {
    pub param: Option<ast::Param>,
    pub body: Option<ast::Expr>,
    pub env: Env,
    pub at: At,
}

/// What is known by its name alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Symbol {
    /// A package set; the name of the input it comes from.
    Pkgs(Rc<str>),
    Lib,
    Builtins,
    /// `stdenv` and what lies below it.
    Platform,
    /// A value of the configuration that is being made: `config.a.b`.
    Config(Rc<[Rc<str>]>),
    /// The inputs of the flake or of devenv.
    Inputs,
    /// An input, and what lies below it.
    Input(Rc<[Rc<str>]>),
}

/// A package by the way it is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The package set it is of: `nixpkgs`, or another input.
    pub from: Rc<str>,
    /// `[nodePackages, pnpm]`.
    pub attr: Vec<Rc<str>>,
    /// It was changed (`override`, `withPackages`, …), or made on the spot: how.
    pub changed: Option<Rc<str>>,
}

/// What `lib.mkIf` and its siblings make (nixpkgs: `lib/modules.nix`).
#[derive(Debug)]
pub enum Property {
    If(Thunk, Thunk),
    Merge(Thunk),
    Override(i64, Thunk),
}

#[derive(Debug)]
pub enum Shell {
    /// Arguments of `pkgs.mkShell`.
    Make(Thunk),
    /// Arguments of `devenv.lib.mkShell`.
    Devenv(Thunk),
    /// Arguments of flake-parts' `mkFlake`: the module.
    FlakeParts(Thunk),
}

impl Value {
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Rc::new([Piece::Text(text.into())]))
    }

    pub fn unknown(at: At, why: impl Into<Rc<str>>) -> Self {
        Self::Unknown(Unknown::new(at, why))
    }

    pub fn list(items: Vec<Thunk>) -> Self {
        Self::List(Rc::new(List { items, open: Vec::new() }))
    }

    /// A list whose elements are not known.
    pub fn open_list(unknown: Unknown) -> Self {
        Self::List(Rc::new(List { items: Vec::new(), open: vec![unknown] }))
    }

    pub fn attrs(map: BTreeMap<Rc<str>, Entry>) -> Self {
        Self::Attrs(Rc::new(Attrs { map, open: Vec::new() }))
    }

    /// What Nix calls it, for explanations.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Path(_) => "a path",
            Self::List(_) => "a list",
            Self::Attrs(_) => "a set",
            Self::Lambda(_) | Self::Native(_) => "a function",
            Self::Symbol(_) => "a part of nixpkgs or of an input",
            Self::Package(_) | Self::Shell(_) => "a package",
            Self::Property(_) => "a module property (mkIf, mkForce, …)",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The string, if all of it is known.
pub fn plain(text: &Text) -> Option<String> {
    let mut whole = String::new();
    for piece in text.iter() {
        match piece {
            Piece::Text(text) => whole.push_str(text),
            _ => return None,
        }
    }
    Some(whole)
}

impl Package {
    /// The way to it in Nix: `pkgs.jq`, `inputs.tool.packages.default`.
    pub fn expression(&self) -> String {
        let mut text = match &*self.from {
            "nixpkgs" => "pkgs".to_owned(),
            other => format!("inputs.{other}"),
        };
        for name in &self.attr {
            text.push('.');
            text.push_str(&attribute(name));
        }
        text
    }
}

/// An attribute's name as it stands in a Nix path: quoted where it must be.
pub fn attribute(name: &str) -> String {
    let mut characters = name.chars();
    let plain = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || "_-'".contains(c));
    let keyword =
        matches!(name, "if" | "then" | "else" | "assert" | "with" | "let" | "in" | "rec" | "inherit" | "or");
    if plain && !keyword { name.to_owned() } else { crate::quote::nix(name) }
}
