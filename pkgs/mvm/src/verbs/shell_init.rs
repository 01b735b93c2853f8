//! `mvm shell-init`.

use crate::exit::{Exit, Outcome};
use crate::output;
use anyhow::Context as _;
use clap::ValueEnum;

/// Prints functions for a shell: `vm COMMAND` runs a command in the VM of the current directory, `mvmcd NAME` changes to a
/// VM's project.
///
/// For those who work without direnv. `vm` starts the VM if need be, and runs the command in the directory below /project
/// that corresponds to the current one; alone it is a shell there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  eval \"$(mvm shell-init bash)\"       in ~/.bashrc
  eval \"$(mvm shell-init zsh)\"        in ~/.zshrc
  mvm shell-init fish | source        in ~/.config/fish/config.fish")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

const POSIX: &str = "vm() {
  if [ $# -eq 0 ]; then
    @MVM@ shell --here ${MICROVM_NAME:+\"$MICROVM_NAME\"}
  else
    @MVM@ shell --here ${MICROVM_NAME:+\"$MICROVM_NAME\"} -- \"$@\"
  fi
}
mvmcd() {
  if [ $# -ne 1 ]; then
    echo 'usage: mvmcd VM' >&2
    return 2
  fi
  local dir
  # The dot keeps line feeds at a directory's end.
  dir=$(@MVM@ project -- \"$1\" && echo .) || return
  cd -- \"${dir%??}\"
}
";

const FISH: &str = "function vm
  if test (count $argv) -eq 0
    @MVM@ shell --here $MICROVM_NAME
  else
    @MVM@ shell --here $MICROVM_NAME -- $argv
  end
end
function mvmcd
  if test (count $argv) -ne 1
    echo 'usage: mvmcd VM' >&2
    return 2
  end
  # What failed has said why, and printed nothing.
  set -l dir (@MVM@ project -- $argv[1] | string collect)
  test -n \"$dir\"; or return 1
  cd -- $dir
end
";

impl Args {
    /// Prints the functions.
    pub fn run(self) -> Outcome {
        let program = std::env::current_exe().context("can't find this program's own path")?;
        let program = program.to_str().context("this program's own path is no UTF-8 text")?;
        output::print(functions(self.shell, program))?;
        Ok(Exit::SUCCESS)
    }
}

fn functions(shell: Shell, program: &str) -> String {
    match shell {
        Shell::Bash | Shell::Zsh => POSIX.replace("@MVM@", &format!("'{}'", program.replace('\'', r"'\''"))),
        Shell::Fish => {
            let quoted = program.replace('\\', r"\\").replace('\'', r"\'");
            FISH.replace("@MVM@", &format!("'{quoted}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    /// What each shell calls `mvm` with when it runs `line`.
    fn called(line: &str, name: Option<&str>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().canonicalize().unwrap().join("it's $HOME");
        let project = bin.join("a b");
        std::fs::create_dir_all(&project).unwrap();
        let mvm = bin.join("mvm");
        let script = format!(
            "#!/bin/sh\ncase $1 in project) printf '%s\\n' '{}' ;; *) printf '<%s>' \"$@\"; exit 7 ;; esac\n",
            project.display().to_string().replace('\'', r"'\''")
        );
        std::fs::write(&mvm, script).unwrap();
        std::fs::set_permissions(&mvm, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut all = Vec::new();
        for (shell, kind) in [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)] {
            let file = bin.join(shell);
            std::fs::write(&file, functions(kind, mvm.to_str().unwrap())).unwrap();
            let quoted = match kind {
                Shell::Fish => format!("'{}'", file.to_str().unwrap().replace('\'', r"\'")),
                _ => format!("'{}'", file.to_str().unwrap().replace('\'', r"'\''")),
            };
            let mut command = Command::new(shell);
            command
                .args(["-c", &format!(". {quoted}; {line}")])
                .env_remove("MICROVM_NAME")
                .env("HOME", dir.path())
                .env("LC_ALL", "C.UTF-8");
            if let Some(name) = name {
                command.env("MICROVM_NAME", name);
            }
            let output = command.output().unwrap_or_else(|error| panic!("{shell}: {error}"));
            let code = output.status.code().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).replace(bin.to_str().unwrap(), "BIN");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell}");
            all.push(format!("{said}{code}"));
        }
        all
    }

    #[test]
    fn vm_passes_words_on_as_they_are_and_gives_the_exit_code() {
        let expected = "<shell><--here><--><npm><a b><$x>7";
        assert_eq!(called("vm npm 'a b' '$x'", None), [expected; 3]);
        assert_eq!(called("vm ls", Some("shop")), ["<shell><--here><shop><--><ls>7"; 3]);
        assert_eq!(called("vm", None), ["<shell><--here>7"; 3]);
    }

    #[test]
    fn mvmcd_changes_to_a_directory_with_a_difficult_name() {
        assert_eq!(called("mvmcd shop && pwd", None), ["BIN/a b\n0"; 3]);
    }
}
