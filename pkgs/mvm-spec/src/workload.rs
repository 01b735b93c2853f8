//! What runs in an embedded guest by itself: processes with their order and variables.
//!
//! A workload is state, not spec: it can be replaced while the VM runs. `mvm` stores it beside the VM, the guest's init
//! runs it. Its form has a version of its own.

mod difference;

use crate::{Violation, v1};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The value of `version`.
pub const VERSION: u64 = 1;
/// Most processes of a workload.
pub const PROCESSES_MAX: usize = 256;
/// Longest workload, in bytes: the guest gets it in one frame ([`crate::control::FRAME_MAX`]).
pub const BYTES_MAX: usize = 1 << 20;

/// What runs in a VM by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Version of this format: 1.
    pub version: u64,
    /// Where processes and sessions start, unless they say otherwise: an absolute path in the guest.
    #[serde(default = "project_mount")]
    pub working_directory: String,
    /// Variables of every process and session, over those of the spec.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Files of variables (`NAME=value` lines), read in the guest when a process starts; absolute paths. Those that are not
    /// there are passed over, and `environment` wins over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<String>,
    /// Processes; their order here means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
}

/// A process that the guest's init keeps running. Commands are those of a POSIX shell, run in the working directory with
/// `$STATE_DIRECTORY`, a private directory that lasts as long as the VM's state, and `$RUNTIME_DIRECTORY`, one that lasts as
/// long as the process (both as systemd.exec(5) names them).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Its name, unique in the workload: letters, digits, `.`, `_`, `-`, at most 64 of them, the first a letter or digit.
    pub name: String,
    /// What it runs.
    pub exec: String,
    /// Run before each start, under `set -eu`; does nothing when all is prepared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prepare: String,
    /// Succeeds when the process answers. Empty: when all `ports` accept connections, or, without ports, at once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ready: String,
    /// Run once in the VM's life, after the process first became ready, under `set -eu`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setup: String,
    /// Where it starts: absolute, or relative to the workload's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Variables of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Processes that must be ready before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// TCP ports that it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// When it is started again, with increasing pauses.
    #[serde(default)]
    pub restart: Restart,
    /// The signal that asks it to end.
    #[serde(default, skip_serializing_if = "StopSignal::is_default")]
    pub stop_signal: StopSignal,
    /// It refuses to run as root: where the VM's ordinary user is root, it runs as a user without privileges.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuses_root: bool,
    /// Directories that are searched for programs besides the usual ones; patterns of a shell
    /// (`/usr/lib/postgresql/*/bin`), the last match first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<String>,
    /// A program without which it can't run; if it is not there, the process is not started and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The distribution's package that has `program`, to be named then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// When a process is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// However it ended.
    Always,
    /// When it failed: another exit code than 0, or a signal.
    #[default]
    OnFailure,
    /// Never.
    No,
}

/// What a process is asked to end by (signal(7)). Only for SIGTERM are all processes that it has started asked with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
pub enum StopSignal {
    /// What most programs take for it.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// As by Ctrl-C; of PostgreSQL: without waiting for clients.
    #[serde(rename = "SIGINT")]
    Int,
    /// Of some servers: when all requests are served.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// The terminal is gone: what shells end by.
    #[serde(rename = "SIGHUP")]
    Hup,
}

impl StopSignal {
    /// Whether it need not be said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How a process of a workload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub phase: ProcessPhase,
    /// Its process id in the guest, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// What there is to know: how it ended, what it waits for, what is missing and which package has it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ProcessPhase {
    /// It waits for others to be ready.
    Waiting,
    /// It is prepared, or runs and is not ready yet.
    Starting,
    /// It is ready.
    Ready,
    /// It failed, and is started again after a pause.
    BackingOff,
    /// It ended and is not started again.
    Ended,
    /// It failed, and is not started again; or it can't be started.
    Failed,
}

/// Why a text is no usable workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// Not JSON, or JSON of another shape.
    #[error("not a workload: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A version this program doesn't know, or none.
    #[error(
        "{} this program reads version {VERSION}; update microvm-dev",
        .found.map_or("a workload must have a numeric `version` field:".to_owned(), |found| format!("workload version {found} is not known:"))
    )]
    Version {
        /// The version the text names.
        found: Option<u64>,
    },
    /// It would not fit into a frame to the guest.
    #[error(
        "the workload has {bytes} bytes; at most {BYTES_MAX} are allowed: put long commands into files of the project"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Well-formed, but breaking rules.
    #[error("the workload breaks {} rule(s):\n{}", .0.len(), .0.iter().map(|v| format!("  {v}")).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Violation>),
}

impl Workload {
    /// Nothing that runs, in the project's directory.
    pub fn empty() -> Self {
        Self {
            version: VERSION,
            working_directory: project_mount(),
            environment: BTreeMap::new(),
            environment_files: Vec::new(),
            processes: Vec::new(),
        }
    }

    /// Reads a workload and checks it.
    ///
    /// # Errors
    ///
    /// What is no JSON of this form, of another version, or breaks a rule ([`Workload::violations`]).
    pub fn parse(json: &str) -> Result<Self, WorkloadError> {
        if json.len() > BYTES_MAX {
            return Err(WorkloadError::TooLong { bytes: json.len() });
        }
        match crate::parse::version(json)? {
            Some(VERSION) => {}
            found => return Err(WorkloadError::Version { found }),
        }
        let workload: Self = serde_json::from_str(json)?;
        match workload.violations() {
            violations if violations.is_empty() => Ok(workload),
            violations => Err(WorkloadError::Invalid(violations)),
        }
    }

    /// The rules that it breaks; empty for a good one.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut rule = |holds: bool, field: String, problem: String| {
            if !holds {
                violations.push(Violation { field, problem });
            }
        };
        let absolute = |path: &str| path.starts_with('/') && !path.contains('\0');
        rule(
            absolute(&self.working_directory),
            "workingDirectory".to_owned(),
            format!("`{}` must be absolute", self.working_directory),
        );
        for (index, file) in self.environment_files.iter().enumerate() {
            rule(absolute(file), format!("environmentFiles[{index}]"), format!("`{file}` must be absolute"));
        }
        rule(
            self.processes.len() <= PROCESSES_MAX,
            "processes".to_owned(),
            format!("{} processes; at most {PROCESSES_MAX} are allowed", self.processes.len()),
        );
        variables("environment", &self.environment, &mut rule);
        let mut names = BTreeSet::new();
        for (index, process) in self.processes.iter().enumerate() {
            let Process { name, .. } = process;
            let field = |part: &str| format!("processes[{index}].{part}");
            rule(
                is_process_name(name),
                field("name"),
                format!("`{name}` is no process' name: letters, digits, `.`, `_`, `-`, at most 64"),
            );
            rule(
                names.insert(name.as_str()),
                field("name"),
                format!("`{name}` is there twice; name one otherwise"),
            );
            rule(!process.exec.trim().is_empty(), field("exec"), format!("process `{name}` runs nothing"));
            for (part, text) in [
                ("exec", &process.exec),
                ("prepare", &process.prepare),
                ("ready", &process.ready),
                ("setup", &process.setup),
            ] {
                rule(!text.contains('\0'), field(part), "a command can't hold a NUL character".to_owned());
            }
            rule(!process.ports.contains(&0), field("ports"), "ports are 1 to 65535".to_owned());
            variables(&field("environment"), &process.environment, &mut rule);
            for other in &process.after {
                rule(
                    self.processes.iter().any(|process| process.name == *other),
                    field("after"),
                    format!("there is no process `{other}` that `{name}` could wait for"),
                );
            }
        }
        if let Some(name) = self.in_a_circle() {
            rule(
                false,
                "processes".to_owned(),
                format!("`{name}` waits for itself, by way of others: nothing would start"),
            );
        }
        violations
    }

    /// The name of a process that waits for itself.
    fn in_a_circle(&self) -> Option<&str> {
        let mut left: Vec<&Process> = self.processes.iter().collect();
        loop {
            let waiting: BTreeSet<&str> = left.iter().map(|process| process.name.as_str()).collect();
            let before = left.len();
            left.retain(|process| process.after.iter().any(|other| waiting.contains(other.as_str())));
            if left.len() == before {
                return left.first().map(|process| process.name.as_str());
            }
        }
    }
}

fn variables(field: &str, variables: &BTreeMap<String, String>, rule: &mut impl FnMut(bool, String, String)) {
    for (name, value) in variables {
        let field = format!("{field}.{name}");
        let problem = format!("`{name}` is no variable name: [A-Za-z_][A-Za-z0-9_]*");
        rule(v1::is_variable_name(name), field.clone(), problem);
        rule(!value.contains('\0'), field, "a value can't hold a NUL character".to_owned());
    }
}

/// Whether `name` can be a process' name: it becomes a file's and a directory's.
pub fn is_process_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn project_mount() -> String {
    v1::PROJECT_MOUNT.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, after: &[&str]) -> serde_json::Value {
        serde_json::json!({ "name": name, "exec": "sleep infinity", "after": after })
    }

    fn problems(processes: &[serde_json::Value]) -> String {
        let json = serde_json::json!({ "version": 1, "processes": processes }).to_string();
        Workload::parse(&json).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn what_is_left_out_has_defaults_and_comes_back_the_same() {
        let workload =
            Workload::parse(r#"{ "version": 1, "processes": [{ "name": "web", "exec": "run" }] }"#).unwrap();
        assert_eq!(workload.working_directory, "/project");
        assert_eq!(workload.processes[0].restart, Restart::OnFailure);
        let json = serde_json::to_string(&workload).unwrap();
        assert_eq!(Workload::parse(&json).unwrap(), workload);
    }

    #[test]
    fn an_order_without_a_beginning_is_refused() {
        assert_eq!(problems(&[process("a", &[]), process("b", &["a"])]), "");
        let circle = [process("a", &[]), process("b", &["c", "a"]), process("c", &["b"])];
        assert!(problems(&circle).contains("waits for itself"), "{}", problems(&circle));
        assert!(problems(&[process("a", &["a"])]).contains("waits for itself"));
        assert!(problems(&[process("a", &["nobody"])]).contains("no process `nobody`"));
    }

    #[test]
    fn names_are_files_names() {
        for name in ["", "..", ".hidden", "a/b", "-a", "é", "a b"] {
            assert!(problems(&[process(name, &[])]).contains("is no process' name"), "{name}");
        }
        assert!(problems(&[process("a", &[]), process("a", &[])]).contains("there twice"));
        assert_eq!(problems(&[process("web.1_x-y", &[])]), "");
    }

    #[test]
    fn a_workload_that_fits_no_frame_is_refused() {
        let long = serde_json::json!({ "version": 1, "environment": { "A": "x".repeat(BYTES_MAX) } });
        assert!(Workload::parse(&long.to_string()).unwrap_err().to_string().contains("at most"));
    }

    #[test]
    fn another_version_and_unknown_fields_are_refused() {
        assert!(Workload::parse(r#"{ "version": 2 }"#).is_err());
        assert!(Workload::parse(r#"{ "version": 1, "processses": [] }"#).is_err());
    }
}
