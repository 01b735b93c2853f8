//! Values that are known as far as they are known: packages, strings, settings.

use serde::Serialize;
use std::collections::BTreeMap;

/// A package by its way through a package set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageRef {
    /// `["nodePackages", "pnpm"]`.
    pub attr: Vec<String>,
    /// The input that it comes from, if it is not nixpkgs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// How it was changed or made (`override`, `withPackages`, `writeShellScriptBin`, …): the package itself is only an
    /// approximation then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl PackageRef {
    /// `pkgs.nodePackages.pnpm`.
    pub fn expression(&self) -> String {
        let mut text =
            self.input.as_ref().map_or_else(|| "pkgs".to_owned(), |input| format!("inputs.{input}"));
        for name in &self.attr {
            text.push('.');
            text.push_str(&crate::nix::value::attribute(name));
        }
        text
    }

    /// The attribute path alone.
    pub fn path(&self) -> String {
        self.attr.join(".")
    }
}

/// A string that may hold what only Nix (paths of packages) or nobody (unknown parts) can put in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Template(pub Vec<Part>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A package's path in the store.
    Package {
        /// Which.
        package: PackageRef,
    },
    /// The path of a package's main program.
    Program {
        /// Whose.
        program: PackageRef,
    },
    /// Not known.
    Unknown {
        /// Why.
        unknown: String,
    },
}

impl Template {
    /// A string that is known whole.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// The string, if it is known whole and holds no package's path.
    pub fn plain(&self) -> Option<String> {
        let mut whole = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => whole.push_str(text),
                _ => return None,
            }
        }
        Some(whole)
    }

    /// Why it is not known whole, if it isn't.
    pub fn unknown(&self) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            Part::Unknown { unknown } => Some(unknown.as_str()),
            _ => None,
        })
    }
}

/// A plain string where it is one, else `{"parts": […]}`.
impl Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        if let Some(text) = self.plain() {
            return serializer.serialize_str(&text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("parts", &self.0)?;
        map.end()
    }
}

/// A setting's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Datum {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A string.
    Text(Template),
    /// A package.
    Package {
        /// Which.
        package: PackageRef,
    },
    /// Not known. Comes before the set, whose form it has.
    Unknown {
        /// Why.
        unknown: String,
    },
    /// A list.
    List(Vec<Datum>),
    /// A set.
    Set(BTreeMap<String, Datum>),
}

impl Datum {
    /// The value below a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |datum, name| match datum {
            Self::Set(set) => set.get(*name),
            unknown @ Self::Unknown { .. } => Some(unknown),
            _ => None,
        })
    }

    /// The string, if it is known whole.
    pub fn plain(&self) -> Option<String> {
        match self {
            Self::Text(template) => template.plain(),
            _ => None,
        }
    }
}
