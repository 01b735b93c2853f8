//! What reading could not tell and an evaluation can: option paths, and where the answers go.

use crate::project::{Certainty, Datum, Part, Project, Template, Variable};
use serde_json::Value;
use std::collections::BTreeMap;

/// Option paths whose values are not known, of a devenv project.
pub fn questions(project: &Project) -> Vec<Vec<String>> {
    let facts = &project.facts;
    let mut all = Vec::new();
    let mut ask = |path: &[&str]| all.push(path.iter().map(ToString::to_string).collect::<Vec<_>>());
    for one in &facts.env {
        if one.value.unknown().is_some() || one.certainty == Certainty::Hint {
            ask(&["env", &one.name]);
        }
    }
    for one in &facts.processes {
        let known = one.exec.as_ref().is_some_and(|exec| exec.unknown().is_none());
        if !known || one.certainty == Certainty::Hint {
            ask(&["processes", &one.name, "exec"]);
        }
    }
    for (room, features) in [("services", &facts.services), ("languages", &facts.languages)] {
        for one in features {
            if one.certainty == Certainty::Hint {
                ask(&[room, &one.name, "enable"]);
            }
            for (name, datum) in &one.settings {
                if unknown(datum) {
                    ask(&[room, &one.name, name]);
                }
            }
        }
    }
    all
}

fn unknown(datum: &Datum) -> bool {
    match datum {
        Datum::Unknown { .. } => true,
        Datum::Text(template) => template.unknown().is_some(),
        Datum::List(items) => items.iter().any(unknown),
        Datum::Set(set) => set.values().any(unknown),
        _ => false,
    }
}

/// Puts answers in the place of what was not known. Their positions stay those of the definitions.
pub fn merge(project: &mut Project, answers: &BTreeMap<Vec<String>, Value>) {
    for (path, value) in answers {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        merged(project, &path, value);
        let known = path.join(".");
        project.facts.unknowns.retain_mut(|one| {
            let left: Vec<&str> = one.what.split(", ").filter(|part| !answers_it(part, &known)).collect();
            let keep = !left.is_empty();
            one.what = left.join(", ");
            keep
        });
    }
    let off = |features: &mut Vec<crate::project::Feature>| {
        features.retain(|one| one.settings.get("enable") != Some(&Datum::Bool(false)));
        features.iter_mut().for_each(|one| drop(one.settings.remove("enable")));
    };
    off(&mut project.facts.services);
    off(&mut project.facts.languages);
}

/// Whether what was unknown is the option that is known now, or a part of it.
fn answers_it(what: &str, known: &str) -> bool {
    what == known || what.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
}

fn merged(project: &mut Project, path: &[&str], value: &Value) {
    let facts = &mut project.facts;
    match path {
        ["env", name] => {
            let text = plain(value);
            for Variable { value, certainty, .. } in facts.env.iter_mut().filter(|one| one.name == *name) {
                *certainty = Certainty::Certain;
                *value = Template::text(text.clone());
            }
        }
        ["processes", name, "exec"] => {
            for one in facts.processes.iter_mut().filter(|one| one.name == *name) {
                one.certainty = Certainty::Certain;
                one.exec = Some(Template::text(plain(value)));
            }
        }
        [room @ ("services" | "languages"), name, setting] => {
            let features = if *room == "services" { &mut facts.services } else { &mut facts.languages };
            for one in features.iter_mut().filter(|one| one.name == *name) {
                if *setting == "enable" {
                    one.certainty = Certainty::Certain;
                }
                one.settings.insert((*setting).to_owned(), datum(value));
            }
        }
        _ => {}
    }
}

/// What devenv makes of a value that becomes text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "1".to_owned(),
        Value::Bool(false) | Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn datum(value: &Value) -> Datum {
    match value {
        Value::Null => Datum::Null,
        Value::Bool(bool) => Datum::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Datum::Int(whole),
            (None, Some(float)) => Datum::Float(float),
            (None, None) => Datum::Null,
        },
        Value::String(text) => Datum::Text(Template(vec![Part::Text(text.clone())])),
        Value::Array(items) => Datum::List(items.iter().map(datum).collect()),
        Value::Object(entries) => {
            Datum::Set(entries.iter().map(|(name, value)| (name.clone(), datum(value))).collect())
        }
    }
}
