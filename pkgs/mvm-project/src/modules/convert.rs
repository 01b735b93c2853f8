//! Values as plain data.

use crate::nix::value::{Package, Piece, Text};
use crate::project::{Datum, PackageRef, Part, Template};

/// An option's path, as people write it.
pub fn dotted(path: &[&str]) -> String {
    path.iter().map(|name| crate::nix::value::attribute(name)).collect::<Vec<_>>().join(".")
}

/// Texts one below the other.
pub fn joined_lines(data: Vec<Datum>) -> Template {
    let mut parts = Vec::new();
    for (index, datum) in data.into_iter().enumerate() {
        if index > 0 {
            parts.push(Part::Text("\n".to_owned()));
        }
        match datum {
            Datum::Text(template) => parts.extend(template.0),
            Datum::Unknown { unknown } => parts.push(Part::Unknown { unknown }),
            _ => {}
        }
    }
    Template(parts)
}

/// A string as data.
pub fn template(text: &Text) -> Template {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => Part::Text(text.to_string()),
        Piece::Package(package) => Part::Package { package: reference(package) },
        Piece::Program(package) => Part::Program { program: reference(package) },
        Piece::Unknown(unknown) => Part::Unknown { unknown: unknown.why.to_string() },
    };
    Template(text.iter().map(part).collect())
}

/// A package as data.
pub fn reference(package: &Package) -> PackageRef {
    PackageRef {
        attr: package.attr.iter().map(ToString::to_string).collect(),
        input: (&*package.from != "nixpkgs").then(|| package.from.to_string()),
        changed: package.changed.as_ref().map(ToString::to_string),
    }
}
