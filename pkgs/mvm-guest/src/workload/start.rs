//! A command of a process: its user, variables, directories.

use super::dotenv;
use super::places::{Directories, Places};
use crate::reaper::Reaper;
use crate::ssh::{Account, become_session, environment};
use anyhow::{Context, bail};
use mvm_spec::workload::{Process, Workload};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::net::unix::pipe;

/// The shell of commands.
const SHELL: &str = "/bin/sh";

/// What all processes of a guest have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ordinary user, who runs them.
    pub account: Account,
    /// Who runs those that refuse to run as root, where the ordinary user is root.
    pub unprivileged: Account,
    /// Variables of the VM.
    pub environment: BTreeMap<String, String>,
    /// Where their directories are.
    pub places: Places,
    /// Who waits for them.
    pub reaper: Reaper,
}

impl Settings {
    /// Who runs `process`.
    pub fn account(&self, process: &Process) -> &Account {
        if process.refuses_root && self.account.uid == 0 { &self.unprivileged } else { &self.account }
    }
}

/// A process that can be started: all that its commands have in common.
#[derive(Debug)]
pub struct Prepared<'a> {
    account: &'a Account,
    variables: BTreeMap<String, String>,
    dir: PathBuf,
    /// Its directories.
    pub directories: Directories,
    /// What its user should know, a line each.
    pub notes: Vec<String>,
}

/// How a script is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Plain,
    /// Under `set -eu`.
    Strict,
}

impl<'a> Prepared<'a> {
    /// Reads the files of variables and makes the directories of `process`.
    pub fn new(settings: &'a Settings, workload: &Workload, process: &Process) -> anyhow::Result<Self> {
        let account = settings.account(process);
        let directories = settings.places.of(&process.name);
        directories.make(account)?;
        let (files, notes) = read_files(&workload.environment_files);
        let mut variables = settings.environment.clone();
        for more in [&files, &workload.environment, &process.environment] {
            variables.extend(more.clone());
        }
        let mut account_of = account.clone();
        if account != &settings.account {
            account_of.home.clone_from(&directories.state);
        }
        let mut variables = environment(&account_of, &variables, &BTreeMap::new(), None);
        let path = variables.get("PATH").cloned().unwrap_or_default();
        variables.insert("PATH".to_owned(), search_path(&process.directories, &path));
        for (name, dir) in
            [("STATE_DIRECTORY", &directories.state), ("RUNTIME_DIRECTORY", &directories.runtime)]
        {
            variables.insert(name.to_owned(), dir.display().to_string());
        }
        let dir = Path::new(&workload.working_directory).join(process.cwd.as_deref().unwrap_or_default());
        // Otherwise a missing directory would look like a missing shell.
        if !dir.is_dir() {
            bail!("its directory {} is not there", dir.display());
        }
        variables.insert("PWD".to_owned(), dir.display().to_string());
        Ok(Self { account, variables, dir, directories, notes })
    }

    /// Whether `program` is there.
    pub fn has(&self, program: &str) -> bool {
        let path = self.variables.get("PATH").map(String::as_str).unwrap_or_default();
        crate::ssh::is_program(program, path, &self.dir)
    }

    /// The command that runs `script`; its output is thrown away.
    pub fn command(&self, script: &str, mode: Mode) -> Command {
        let mut command = Command::new(SHELL);
        if mode == Mode::Strict {
            command.arg("-eu");
        }
        command.arg("-c").arg(script).env_clear().envs(&self.variables).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        become_session(&mut command, self.account, None);
        command
    }

    /// The same, and where its output comes out.
    pub fn command_with_output(&self, script: &str, mode: Mode) -> anyhow::Result<(Command, pipe::Receiver)> {
        // One pipe for both, so that lines keep their order.
        let (read, write) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("can't make a pipe for its output")?;
        let output = pipe::Receiver::from_owned_fd(read).context("can't poll the pipe of its output")?;
        let mut command = self.command(script, mode);
        let errors = write.try_clone().context("can't share the pipe of its output")?;
        command.stdout(Stdio::from(write)).stderr(Stdio::from(errors));
        Ok((command, output))
    }
}

/// The variables in `files`, of which those that are not there are passed over; and what its user should know.
fn read_files(files: &[String]) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut variables, mut notes) = (BTreeMap::new(), Vec::new());
    for file in files {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                notes.push(format!("variables of {file} are missing: {error}"));
                continue;
            }
        };
        let (found, problems) = dotenv::parse(&String::from_utf8_lossy(&bytes));
        variables.extend(found);
        for line in problems {
            // Not the line itself: it may be half a secret.
            notes.push(format!("{file}, line {line}, is not understood and passed over"));
        }
    }
    (variables, notes)
}

/// `path` (PATH) after the directories that match `patterns`; of several that match one pattern the last first.
fn search_path(patterns: &[String], path: &str) -> String {
    let mut dirs = Vec::new();
    for pattern in patterns {
        let Ok(found) = glob::glob(pattern) else { continue };
        let mut found: Vec<String> =
            found.flatten().filter(|dir| dir.is_dir()).map(|dir| dir.display().to_string()).collect();
        // In the order of versions, 9 before 15.
        found.sort_by(|a, b| numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b)));
        dirs.extend(found.into_iter().rev());
    }
    dirs.push(path.to_owned());
    dirs.join(":")
}

/// The numbers in `text`.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reaper::Scope;
    use std::os::unix::fs::PermissionsExt;

    fn executable(path: &Path) {
        std::fs::write(path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    struct Place {
        root: tempfile::TempDir,
        settings: Settings,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let account = |uid, name: &str| Account {
            name: name.to_owned(),
            uid,
            gid: nix::unistd::getgid().as_raw(),
            home: "/home/me".into(),
            shell: "/bin/sh".into(),
        };
        let me = nix::unistd::getuid().as_raw();
        let settings = Settings {
            account: account(me, "me"),
            unprivileged: account(65534, "nobody"),
            environment: BTreeMap::from([
                ("VM".to_owned(), "vm".to_owned()),
                ("A".to_owned(), "vm".to_owned()),
            ]),
            places: Places { state: root.path().join("state"), runtime: root.path().join("run") },
            reaper: Reaper::start(Scope::Own).unwrap(),
        };
        Place { root, settings }
    }

    impl Place {
        /// A workload with one process, of which `more` says the rest.
        fn workload(&self, more: serde_json::Value) -> Workload {
            let mut process = serde_json::json!({ "name": "web", "exec": "x" });
            process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let json = serde_json::json!({
                "version": 1,
                "workingDirectory": self.root.path(),
                "environment": { "A": "workload", "B": "workload" },
                "environmentFiles": [self.root.path().join(".env"), "/nonexistent"],
                "processes": [process],
            });
            Workload::parse(&json.to_string()).unwrap()
        }
    }

    fn output(command: &mut Command) -> String {
        let output = command.stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    async fn variables_of_the_process_win_over_the_workloads_and_those_over_files_and_the_vm() {
        let place = place();
        std::fs::write(place.root.path().join(".env"), "A=file\nF=file\nbad\n").unwrap();
        let workload = place.workload(serde_json::json!({ "environment": { "B": "process" } }));
        let prepared = Prepared::new(&place.settings, &workload, &workload.processes[0]).unwrap();
        let script = "echo $VM $A $B $F; cd $STATE_DIRECTORY; cd $RUNTIME_DIRECTORY; echo $HOME $PWD";
        let said = output(&mut prepared.command(script, Mode::Strict));
        let run = place.root.path().join("run/web");
        assert_eq!(said, format!("vm workload process file\n/home/me {}\n", run.display()));
        assert_eq!(prepared.notes.len(), 1);
        assert!(prepared.notes[0].contains("line 3"), "{:?}", prepared.notes);
    }

    #[tokio::test]
    async fn programs_are_looked_for_in_the_newest_matching_directory_first() {
        let place = place();
        for version in ["9", "15", "15.1"] {
            let bin = place.root.path().join("lib").join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            executable(&bin.join("server"));
        }
        let pattern = place.root.path().join("lib/*/bin");
        let workload = place.workload(serde_json::json!({ "directories": [pattern, "/none/*"] }));
        let prepared = Prepared::new(&place.settings, &workload, &workload.processes[0]).unwrap();
        assert!(prepared.has("server") && prepared.has("sh") && !prepared.has("no-such-program"));
        let said = output(&mut prepared.command("command -v server", Mode::Plain));
        assert!(said.ends_with("lib/15.1/bin/server\n"), "{said}");
    }

    #[tokio::test]
    async fn a_process_starts_in_its_directory_and_one_that_is_not_there_is_named() {
        let place = place();
        std::fs::create_dir(place.root.path().join("app")).unwrap();
        let workload = place.workload(serde_json::json!({ "cwd": "app" }));
        let prepared = Prepared::new(&place.settings, &workload, &workload.processes[0]).unwrap();
        assert!(output(&mut prepared.command("pwd", Mode::Plain)).ends_with("/app\n"));
        let workload = place.workload(serde_json::json!({ "cwd": "none" }));
        let error = Prepared::new(&place.settings, &workload, &workload.processes[0]).unwrap_err();
        assert!(error.to_string().contains("/none is not there"), "{error}");
    }

    #[tokio::test]
    async fn only_a_process_that_refuses_root_runs_as_another_where_the_user_is_root() {
        let mut place = place();
        place.settings.account.uid = 0;
        let account = |refuses: bool| {
            let workload = place.workload(serde_json::json!({ "refusesRoot": refuses }));
            place.settings.account(&workload.processes[0]).uid
        };
        assert_eq!((account(false), account(true)), (0, 65534));
    }
}
