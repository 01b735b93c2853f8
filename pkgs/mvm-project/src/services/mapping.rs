//! The one shape that all services have.

use super::{NixValue, Settings};
use mvm_spec::workload::StopSignal;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a service of devenv is run elsewhere.
#[derive(Debug)]
pub struct Mapping {
    /// devenv's name of it: `services.NAME`.
    pub name: &'static str,
    /// Names of container images that hold it.
    pub images: &'static [&'static str],
    /// devenv's process.
    pub process: &'static str,
    /// Its ports; the first is the one that clients use.
    pub ports: &'static [Port],
    /// The program that serves.
    pub program: &'static str,
    /// Directories outside of the search path in which Debian has it; patterns of a shell.
    pub directories: &'static [&'static str],
    /// The package of Debian 12 that has it; none if Debian has none.
    pub debian: Option<&'static str>,
    /// It refuses to run as root.
    pub refuses_root: bool,
    /// How true the embedded guest is to devenv.
    pub embedded: Fidelity,
    /// How true NixOS' module is to devenv.
    pub nixos: Fidelity,
    /// From settings to commands and options.
    pub run: fn(&Settings<'_>) -> Run,
}

/// How true a mapping is, and what differs.
#[derive(Clone, Copy, Debug)]
pub struct Fidelity {
    /// How true.
    pub accuracy: Accuracy,
    /// What differs, or what there is to know.
    pub remark: &'static str,
}

/// How true a mapping is to devenv.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accuracy {
    /// The settings that are carried over mean the same.
    Exact,
    /// Something differs; the remark says what.
    Approximate,
}

/// A port of a service.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Its name among the service's.
    pub label: &'static str,
    /// devenv's default.
    pub default: u16,
    /// The setting that changes it.
    pub setting: PortSetting,
}

/// Where a port is set.
#[derive(Clone, Copy, Debug)]
pub enum PortSetting {
    /// A number at this path.
    Number(&'static [&'static str]),
    /// The end of an address at this path: `127.0.0.1:9000`.
    Address(&'static [&'static str]),
    /// In a text that this function looks through; its first find counts.
    Found(fn(&Settings<'_>) -> Option<u16>),
    /// Nowhere: the service's own configuration, which is not read, may change it.
    Fixed,
}

/// How a service with its settings is run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// In the embedded guest.
    pub command: Command,
    /// In a NixOS guest: options and their values.
    pub options: BTreeMap<Vec<String>, NixValue>,
    /// Variables for the project's processes and shells, as devenv has them; `{LABEL}` stands for a port, which is another
    /// on the host.
    pub variables: BTreeMap<String, String>,
    /// What is different from what the project says.
    pub remarks: Vec<String>,
}

/// Commands of a POSIX shell. `$STATE_DIRECTORY` is an existing, private directory that lasts as long as the VM's state,
/// `$RUNTIME_DIRECTORY` one that lasts as long as it runs (both as systemd names them), the working directory the project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// Run before each start, under `set -eu`; does nothing when all is prepared. Empty: nothing to prepare.
    pub prepare: String,
    /// Replaces the shell by the service.
    pub exec: String,
    /// Succeeds when the service answers. Empty: when its port accepts connections.
    pub ready: String,
    /// Run once after the service first became ready. Empty: nothing.
    pub setup: String,
    /// The signal that asks the service to end.
    #[serde(skip_serializing_if = "StopSignal::is_default")]
    pub stop_signal: StopSignal,
}

impl Run {
    /// Adds a NixOS option: `services.redis.enable`.
    pub fn option(&mut self, path: &str, value: impl Into<NixValue>) -> &mut Self {
        self.option_at(path.split('.'), value)
    }

    /// Adds a NixOS option by the parts of its path, which may have dots in them.
    pub fn option_at<'a>(
        &mut self,
        path: impl IntoIterator<Item = &'a str>,
        value: impl Into<NixValue>,
    ) -> &mut Self {
        self.options.insert(path.into_iter().map(ToOwned::to_owned).collect(), value.into());
        self
    }

    /// Adds a variable.
    pub fn variable(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// A unit of systemd for a service that NixOS has no module for.
    pub fn unit(&mut self, name: &str, package: &str, arguments: &[String]) -> &mut Self {
        let words: Vec<String> = arguments.iter().map(|word| systemd_word(word)).collect();
        let start = NixValue::Interpolated(vec![
            NixValue::program(package),
            NixValue::Text(format!(" {}", words.join(" "))),
        ]);
        let room = |rest: &str| format!("systemd.services.{name}.{rest}");
        self.option(&room("wantedBy"), NixValue::List(vec!["multi-user.target".into()]))
            .option(&room("serviceConfig.ExecStart"), start)
            .option(&room("serviceConfig.DynamicUser"), true)
            .option(&room("serviceConfig.StateDirectory"), name)
            .option(&room("serviceConfig.Restart"), "on-failure")
    }
}

/// Variables with the ports put in; those whose port is not known are left out.
pub fn with_ports(
    variables: &BTreeMap<String, String>,
    ports: &BTreeMap<String, u16>,
) -> BTreeMap<String, String> {
    let put_in = |text: &String| {
        let whole = ports.iter().fold(text.clone(), |text, (label, port)| {
            text.replace(&format!("{{{label}}}"), &port.to_string())
        });
        (!whole.contains('{')).then_some(whole)
    };
    variables.iter().filter_map(|(name, text)| Some((name.clone(), put_in(text)?))).collect()
}

/// A word of a command line in a unit (systemd.service(5), "COMMAND LINES"), in which `%S` stays a specifier.
fn systemd_word(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
