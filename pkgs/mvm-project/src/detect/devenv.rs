//! `devenv.nix` and `devenv.yaml`, and devenv's modules wherever they stand.

use super::facts::Facts;
use crate::files;
use crate::modules::{Modules, Read, Reader};
use crate::nix::Eval;
use crate::nix::value::{At, Unknown};
use crate::position::Position;
use crate::project::{
    Certainty, Datum, EnvFile, Feature, Note, PackageFact, Process, Script, Template, Variable,
};
use crate::yaml;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// Largest `devenv.yaml` that is read.
const YAML_MAX_BYTES: u64 = 64 << 10;
/// Directories that import each other by `devenv.yaml`.
const DIRECTORIES_MAX: usize = 100;
/// A place before any file: what is read by name.
const NOWHERE: At = At { file: u32::MAX, offset: 0 };
/// A place in `devenv.yaml`, where what is unknown has been said.
const IN_YAML: At = At { file: u32::MAX, offset: 1 };

/// What devenv does besides, which is not carried over to a VM.
const NOT_CARRIED: [(&str, &str); 7] = [
    ("tasks", "tasks are not run by themselves: run them in the VM"),
    ("hosts", "names in /etc/hosts are not carried over"),
    ("certificates", "certificates of mkcert are not made"),
    ("containers", "containers are not built"),
    ("profiles", "profiles are not switched on"),
    ("git-hooks", "git hooks are the checkout's, not the VM's"),
    ("pre-commit", "git hooks are the checkout's, not the VM's"),
];

/// Reads the project in `directory`.
pub fn read(eval: &Eval, directory: &Path, facts: &mut Facts) {
    let modules = Rc::new(Modules::new(&relative(eval, directory)));
    eval.set_modules(Rc::clone(&modules));
    let mut seen = Vec::new();
    directory_modules(eval, directory, &modules, facts, &mut seen);
    extract(eval, &modules, facts);
    for file in eval.files_read() {
        facts.source(&file, "Nix module", Certainty::Certain);
    }
    let lock = directory.join("devenv.lock");
    if lock.is_file() {
        facts.source(&files::name(eval.root(), &lock), "devenv's pinned inputs", Certainty::Certain);
    }
}

fn relative(eval: &Eval, directory: &Path) -> String {
    match files::name(eval.root(), directory).as_str() {
        "." => String::new(),
        name => name.to_owned(),
    }
}

/// Adds the modules of a directory, and of those that its `devenv.yaml` imports.
fn directory_modules(
    eval: &Eval,
    directory: &Path,
    modules: &Modules,
    facts: &mut Facts,
    seen: &mut Vec<std::path::PathBuf>,
) {
    let directory = files::normal(directory);
    if seen.contains(&directory) || seen.len() >= DIRECTORIES_MAX {
        return;
    }
    seen.push(directory.clone());
    for name in ["devenv.nix", "devenv.local.nix"] {
        let path = directory.join(name);
        if files::resolve(eval.root(), &path).is_ok_and(|path| path.is_file()) {
            facts.source(&files::name(eval.root(), &path), "devenv module", Certainty::Certain);
            modules.load_file(eval, &path, NOWHERE);
        }
    }
    for name in ["devenv.yaml", "devenv.local.yaml"] {
        let path = directory.join(name);
        if !path.exists() {
            continue;
        }
        let shown = files::name(eval.root(), &path);
        facts.source(&shown, "devenv's inputs and imports", Certainty::Certain);
        let text = match files::read(eval.root(), &path, YAML_MAX_BYTES) {
            Ok(text) => text,
            Err(error) => {
                facts.notes.push(Note { text: error.to_string(), at: Position::line(&shown, 1) });
                continue;
            }
        };
        match yaml::parse(&shown, &text) {
            Err((at, problem)) => facts.notes.push(Note { text: format!("YAML: {problem}"), at }),
            Ok(None) => {}
            Ok(Some(node)) => {
                for import in node.get("imports").map(yaml::Node::items).unwrap_or_default() {
                    let Some(target) = import.text() else { continue };
                    let at = Position::line(&shown, import.line);
                    yaml_import(eval, &directory, target, at, modules, facts, seen);
                }
            }
        }
    }
}

/// `./dir`, `./file.nix`, `/dir` (from the root), or something of an input.
fn yaml_import(
    eval: &Eval,
    directory: &Path,
    target: &str,
    at: Position,
    modules: &Modules,
    facts: &mut Facts,
    seen: &mut Vec<std::path::PathBuf>,
) {
    let path = match target.strip_prefix('/') {
        Some(from_root) => eval.root().join(from_root),
        None if target.starts_with('.') => files::normal(&directory.join(target)),
        None => {
            let why = format!("`{target}` comes from an input");
            modules.unknown(Unknown::new(IN_YAML, why.clone()));
            facts.unknowns.push(crate::project::UnknownFact { what: "imports".to_owned(), why, at });
            return;
        }
    };
    match files::resolve(eval.root(), &path) {
        Err(error) => {
            modules.unknown(Unknown::new(IN_YAML, error.to_string()));
            facts.notes.push(Note { text: error.to_string(), at });
        }
        Ok(real) if real.is_dir() => directory_modules(eval, &real, modules, facts, seen),
        Ok(real) => modules.load_file(eval, &real, NOWHERE),
    }
}

/// Takes the facts from a configuration.
pub fn extract(eval: &Eval, modules: &Modules, facts: &mut Facts) {
    let reader = Reader::new(eval, modules);
    facts.name = reader.read(&["name"]).and_then(|read| read.datum.plain());
    for (datum, certainty, at) in reader.items(&["packages"]) {
        match datum {
            Datum::Package { package } => {
                facts.package(PackageFact { package, certainty, at: eval.position(at) });
            }
            // Said as unknown already.
            Datum::Unknown { .. } | Datum::Null => {}
            _ => reader.unknown("packages (one of them)", &Unknown::new(at, "it is no package")),
        }
    }
    facts.languages = features(eval, &reader, "languages");
    facts.services = features(eval, &reader, "services");
    for (name, at) in reader.names(&["processes"]) {
        facts.processes.extend(process(eval, &reader, name, at));
    }
    for name in reader.names(&["env"]).into_keys() {
        let Some(Read { datum, certainty, at }) = reader.read(&["env", &name]) else { continue };
        if let Some(value) = text_of(datum) {
            facts.env.push(Variable { name, value, certainty, at: eval.position(at) });
        }
    }
    for (name, at) in reader.names(&["scripts"]) {
        let text =
            |setting: &str| reader.read(&["scripts", &name, setting]).and_then(|read| text_of(read.datum));
        let description = text("description").and_then(|text| text.plain());
        facts.scripts.push(Script {
            exec: text("exec"),
            description,
            name: name.clone(),
            at: eval.position(at),
        });
    }
    facts.enter_shell = reader.read(&["enterShell"]).and_then(|read| text_of(read.datum));
    dotenv(&reader, facts);
    for (option, text) in NOT_CARRIED {
        if let Some(one) = modules.find(eval, &[option]).definitions.first() {
            facts.note(eval, one.at, format!("{option}: {text}"));
        }
    }
    for unknown in modules.unknown_imports() {
        match unknown.at {
            IN_YAML => {}
            // The module that was read by name is itself the trouble.
            NOWHERE => {
                let file = facts.sources.first().map_or(".", |source| source.file.as_str());
                let (at, why) = (Position::line(file, 1), unknown.why.to_string());
                facts.unknowns.push(crate::project::UnknownFact { what: "the module".to_owned(), why, at });
            }
            _ => facts.unknown(eval, "imports", &unknown),
        }
    }
    facts.unknowns.extend(reader.unknowns());
}

/// What is switched on below `languages` or `services`.
fn features(eval: &Eval, reader: &Reader<'_>, room: &str) -> Vec<Feature> {
    let mut features = Vec::new();
    for (name, at) in reader.names(&[room]) {
        let Some(enable) = reader.read(&[room, &name, "enable"]) else { continue };
        let certainty = match enable.datum {
            Datum::Bool(true) => enable.certainty,
            Datum::Bool(false) | Datum::Null => continue,
            _ => Certainty::Hint,
        };
        let Some(Read { datum: Datum::Set(mut settings), .. }) = reader.read(&[room, &name]) else {
            continue;
        };
        settings.remove("enable");
        let at = if enable.at == NOWHERE { at } else { enable.at };
        features.push(Feature { name, settings, certainty, at: eval.position(at) });
    }
    features
}

fn process(eval: &Eval, reader: &Reader<'_>, name: String, at: At) -> Option<Process> {
    let read = |setting: &[&str]| {
        let path: Vec<&str> = ["processes", name.as_str()].iter().chain(setting).copied().collect();
        reader.read(&path)
    };
    let enable = read(&["enable"]).map(|read| read.datum);
    if enable == Some(Datum::Bool(false)) {
        return None;
    }
    let exec = read(&["exec"]);
    let certainty = exec.as_ref().map_or(Certainty::Hint, |read| read.certainty);
    let path = ["processes", name.as_str()];
    let names = |setting: &str| reader.names(&[path[0], path[1], setting]);
    let mut env = BTreeMap::new();
    for variable in names("env").into_keys() {
        let value = read(&["env", &variable]).and_then(|read| text_of(read.datum));
        env.extend(value.map(|value| (variable, value)));
    }
    let mut ports = BTreeMap::new();
    for port in names("ports").into_keys() {
        if let Some(Datum::Int(number)) = read(&["ports", &port, "allocate"]).map(|read| read.datum)
            && let Ok(number) = u16::try_from(number)
        {
            ports.insert(port, number);
        }
    }
    let mut after: Vec<String> = Vec::new();
    if let Some(Datum::List(items)) = read(&["after"]).map(|read| read.datum) {
        let names = items.iter().filter_map(Datum::plain);
        // `devenv:processes:web@ready`; tasks are not carried over.
        after.extend(names.filter_map(|name| {
            let name = name.strip_prefix("devenv:processes:")?;
            Some(name.split('@').next().unwrap_or(name).to_owned())
        }));
    }
    after.extend(reader.names(&[path[0], path[1], "process-compose", "depends_on"]).into_keys());
    after.dedup();
    let cwd = read(&["cwd"]).or_else(|| read(&["process-compose", "working_dir"]));
    Some(Process {
        exec: exec.and_then(|read| text_of(read.datum)),
        cwd: cwd.and_then(|read| read.datum.plain()),
        env,
        after,
        ports,
        certainty,
        at: eval.position(at),
        name,
    })
}

/// What devenv makes of a value that becomes text; nothing for null.
fn text_of(datum: Datum) -> Option<Template> {
    use crate::project::Part;
    Some(match datum {
        Datum::Text(template) => template,
        Datum::Bool(true) => Template::text("1"),
        Datum::Bool(false) => Template::text(""),
        Datum::Int(number) => Template::text(number.to_string()),
        Datum::Float(number) => Template::text(number.to_string()),
        Datum::Package { package } => Template(vec![Part::Package { package }]),
        Datum::Unknown { unknown } => Template(vec![Part::Unknown { unknown }]),
        Datum::Null => return None,
        Datum::List(_) | Datum::Set(_) => {
            Template(vec![Part::Unknown { unknown: "it is a list or set".to_owned() }])
        }
    })
}

fn dotenv(reader: &Reader<'_>, facts: &mut Facts) {
    if reader.read(&["dotenv", "enable"]).map(|read| read.datum) != Some(Datum::Bool(true)) {
        return;
    }
    let files = match reader.read(&["dotenv", "filename"]).map(|read| read.datum) {
        Some(Datum::List(items)) => items.iter().filter_map(Datum::plain).collect(),
        Some(datum) => datum.plain().into_iter().collect(),
        None => vec![".env".to_owned()],
    };
    let new = |file: String| EnvFile { file, names: Vec::new(), certainty: Certainty::Certain };
    facts.env_files.extend(files.into_iter().map(new));
}
