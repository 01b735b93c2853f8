//! Values of NixOS options, and how they are written in Nix. How they are written in JSON, `nix_json` says.

use crate::project::{Datum, PackageRef, Part, Template};
use crate::quote;
use std::collections::BTreeMap;

/// A value in Nix.
#[derive(Clone, Debug, PartialEq)]
pub enum NixValue {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string.
    Text(String),
    /// A string with code in it; [`NixValue::Text`] is text here, anything else is interpolated.
    Interpolated(Vec<NixValue>),
    /// A package.
    Package(PackageRef),
    /// The path of a package's main program.
    Program(PackageRef),
    /// The name of the user whom the project belongs to in the guest.
    User,
    /// A file in the store.
    File {
        /// Its name.
        name: String,
        /// What is in it.
        text: String,
    },
    /// A list.
    List(Vec<NixValue>),
    /// A set.
    Set(BTreeMap<String, NixValue>),
}

impl From<bool> for NixValue {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<u16> for NixValue {
    fn from(port: u16) -> Self {
        Self::Int(port.into())
    }
}

impl From<&str> for NixValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for NixValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&PackageRef> for NixValue {
    fn from(package: &PackageRef) -> Self {
        Self::Package(package.clone())
    }
}

impl From<&Template> for NixValue {
    fn from(template: &Template) -> Self {
        if let Some(text) = template.plain() {
            return Self::Text(text);
        }
        let part = |part: &Part| match part {
            Part::Text(text) => Self::Text(text.clone()),
            Part::Package { package } => package.into(),
            Part::Program { program } => Self::Program(program.clone()),
            Part::Unknown { unknown } => Self::Text(format!("<not known: {unknown}>")),
        };
        Self::Interpolated(template.0.iter().map(part).collect())
    }
}

/// A setting as a value; nothing if it is not known whole.
impl TryFrom<&Datum> for NixValue {
    type Error = ();

    fn try_from(datum: &Datum) -> Result<Self, ()> {
        Ok(match datum {
            Datum::Null => Self::Null,
            Datum::Bool(bool) => Self::Bool(*bool),
            Datum::Int(number) => Self::Int(*number),
            Datum::Float(number) => Self::Float(*number),
            Datum::Text(template) if template.unknown().is_some() => return Err(()),
            Datum::Text(template) => template.into(),
            Datum::Package { package } => package.into(),
            Datum::Unknown { .. } => return Err(()),
            Datum::List(items) => Self::List(items.iter().map(Self::try_from).collect::<Result<_, _>>()?),
            Datum::Set(set) => {
                let entry = |(name, datum): (&String, &Datum)| Ok((name.clone(), Self::try_from(datum)?));
                Self::Set(set.iter().map(entry).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl NixValue {
    /// The value as code, its further lines indented by `indent` spaces.
    pub fn code(&self, indent: usize) -> String {
        let inner = " ".repeat(indent + 2);
        let outer = " ".repeat(indent);
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(bool) => bool.to_string(),
            Self::Int(number) if *number < 0 => format!("({number})"),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Text(text) => quote::nix(text),
            Self::Interpolated(parts) => {
                let part = |part: &Self| match part {
                    Self::Text(text) => quote::nix_inner(text),
                    other => format!("${{{}}}", other.code(0)),
                };
                format!("\"{}\"", parts.iter().map(part).collect::<String>())
            }
            Self::Package(package) => package.expression(),
            Self::Program(package) => format!("pkgs.lib.getExe {}", package.expression()),
            Self::User => "vmSpec.user.name".to_owned(),
            Self::File { name, text } => {
                format!("pkgs.writeText {} {}", quote::nix(name), quote::nix(text))
            }
            Self::List(items) if items.is_empty() => "[ ]".to_owned(),
            Self::List(items) => {
                let lines: String =
                    items.iter().map(|item| format!("{inner}{}\n", item.element(indent + 2))).collect();
                format!("[\n{lines}{outer}]")
            }
            Self::Set(set) if set.is_empty() => "{ }".to_owned(),
            Self::Set(set) => {
                let line = |(name, value): (&String, &Self)| {
                    format!("{inner}{} = {};\n", crate::nix::value::attribute(name), value.code(indent + 2))
                };
                format!("{{\n{}{outer}}}", set.iter().map(line).collect::<String>())
            }
        }
    }

    /// A package of nixpkgs, by its name at the top.
    pub fn package(name: &str) -> Self {
        Self::Package(PackageRef { attr: vec![name.to_owned()], input: None, changed: None })
    }

    /// The path of the main program of a package of nixpkgs.
    pub fn program(package: &str) -> Self {
        Self::Program(PackageRef { attr: vec![package.to_owned()], input: None, changed: None })
    }

    /// A package in it that is of another input than nixpkgs, and so out of a guest's reach.
    pub fn foreign(&self) -> Option<&PackageRef> {
        match self {
            Self::Package(package) | Self::Program(package) => package.input.is_some().then_some(package),
            Self::Interpolated(parts) | Self::List(parts) => parts.iter().find_map(Self::foreign),
            Self::Set(set) => set.values().find_map(Self::foreign),
            _ => None,
        }
    }

    /// As an element of a list, where calls need parentheses.
    fn element(&self, indent: usize) -> String {
        match self {
            Self::Program(_) | Self::File { .. } => format!("({})", self.code(indent)),
            other => other.code(indent),
        }
    }
}
