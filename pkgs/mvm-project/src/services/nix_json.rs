//! Values of NixOS options in JSON, as `modules/guest/value.nix` reads them: what JSON has is itself, and whatever else there
//! is, sets too, is an object of one field that says what it is.

use super::NixValue;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

impl Serialize for NixValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(bool) => serializer.serialize_bool(*bool),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Interpolated(parts) => tagged(serializer, "text", parts),
            Self::Package(package) => tagged(serializer, "package", &package.attr),
            Self::Program(package) => tagged(serializer, "program", &package.attr),
            Self::User => tagged(serializer, "user", &true),
            Self::File { name, text } => {
                tagged(serializer, "file", &serde_json::json!({ "name": name, "text": text }))
            }
            Self::Set(set) => tagged(serializer, "set", set),
        }
    }
}

fn tagged<S: Serializer>(serializer: S, tag: &str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(tag, value)?;
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_told_from_what_is_not_a_value_of_json() {
        let set = NixValue::Set([("package".to_owned(), NixValue::Int(1))].into());
        let value = NixValue::List(vec![set, NixValue::package("hello"), NixValue::User, "user".into()]);
        assert_eq!(
            serde_json::to_string(&value).unwrap(),
            r#"[{"set":{"package":1}},{"package":["hello"]},{"user":true},"user"]"#
        );
    }
}
