//! Compose files: services by their images.

use super::Hint;
use crate::detect::facts::Facts;
use crate::position::Position;
use crate::project::{Certainty, Datum, Feature, Note, Template};
use crate::services;
use crate::yaml::{self, Node};
use std::collections::BTreeMap;

pub const FILES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
pub const WHAT: &str = "services of containers";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let root = match yaml::parse(hint.file, hint.text) {
        Ok(Some(root)) => root,
        Ok(None) => return,
        Err((at, problem)) => return facts.notes.push(Note { text: format!("YAML: {problem}"), at }),
    };
    if !hint.take.running {
        return;
    }
    for (name, service) in root.get("services").map(Node::entries).unwrap_or_default() {
        let at = Position::line(hint.file, service.line);
        let Some(image) = service.get("image").and_then(Node::text) else {
            let text = format!("service {name} is built from a Dockerfile: say in a Procfile how it is run");
            facts.notes.push(Note { text, at });
            continue;
        };
        let (known, tag) = by_image(image);
        match known {
            Some(known) if !facts.services.iter().any(|there| there.name == known) => {
                let mut settings = settings(known, service);
                if let Some(tag) = tag {
                    settings.insert("version".to_owned(), Datum::Text(Template::text(tag)));
                }
                let certainty = Certainty::Likely;
                facts.services.push(Feature { name: known.to_owned(), settings, certainty, at });
            }
            Some(known) => {
                let text =
                    format!("service {name}: there is {known} already; a second one is not carried over");
                facts.notes.push(Note { text, at });
            }
            None => {
                let text = format!("service {name}: image {image} is none of the known services");
                facts.notes.push(Note { text, at });
            }
        }
    }
}

/// The service in an image, and its version: `docker.io/library/postgres:16-alpine` is postgres, 16.
fn by_image(image: &str) -> (Option<&'static str>, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    let (name, tag) = last.split_once(':').map_or((last, None), |(name, tag)| (name, Some(tag)));
    let version = tag.map(|tag| tag.split('-').next().unwrap_or(tag));
    let version = version.filter(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    (services::by_image(name), version)
}

/// Variables that the images take, as settings of devenv's service.
fn settings(service: &str, node: &Node) -> BTreeMap<String, Datum> {
    let variables = environment(node);
    let known = |names: &[&str]| {
        let value = names.iter().find_map(|name| variables.get(*name))?;
        // `${DB_PASSWORD:-x}` is taken from the environment of whoever runs compose.
        let whole = !value.contains('$');
        Some(if whole {
            Datum::Text(Template::text(value.clone()))
        } else {
            Datum::Unknown { unknown: "it is a variable of compose's environment".to_owned() }
        })
    };
    let mut settings = BTreeMap::new();
    let database = match service {
        "postgres" => [
            known(&["POSTGRES_DB", "POSTGRES_USER"]),
            known(&["POSTGRES_USER"]),
            known(&["POSTGRES_PASSWORD"]),
        ],
        "mysql" => [
            known(&["MYSQL_DATABASE", "MARIADB_DATABASE"]),
            known(&["MYSQL_USER", "MARIADB_USER"]),
            known(&["MYSQL_PASSWORD", "MARIADB_PASSWORD"]),
        ],
        _ => return settings,
    };
    if let [Some(name), user, pass] = database {
        let mut one = BTreeMap::from([("name".to_owned(), name)]);
        one.extend(user.map(|user| ("user".to_owned(), user)));
        one.extend(pass.map(|pass| ("pass".to_owned(), pass)));
        settings.insert("initialDatabases".to_owned(), Datum::List(vec![Datum::Set(one)]));
    }
    settings
}

/// `environment`, as a map or a list of `NAME=VALUE`.
fn environment(node: &Node) -> BTreeMap<String, String> {
    let Some(environment) = node.get("environment") else { return BTreeMap::new() };
    let listed = environment.items().iter().filter_map(|item| item.text()?.split_once('='));
    let mapped = environment.entries().iter().filter_map(|(name, value)| Some((&**name, value.text()?)));
    listed.chain(mapped).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
