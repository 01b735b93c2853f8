//! `vm`: a command in the project's VM, in the directory where it is called.

/// The program, for a POSIX shell. It takes VM and project from the variables that [`super::exports`] sets.
pub const SHIM: &str = include_str!("vm.sh");

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    /// What `mvm` is called with, when `vm ARGS` is called in `below` the project.
    fn called(below: &str, args: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("it's $HOME");
        let here = root.join(below);
        std::fs::create_dir_all(&here).unwrap();
        for (name, text) in [("vm", SHIM), ("mvm", "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n")] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let output = Command::new(dir.path().join("vm"))
            .args(args)
            .current_dir(&here)
            .env("PATH", path)
            .env("MICROVM_NAME", "shop")
            .env("MICROVM_PROJECT", &root)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_command_runs_in_the_same_directory_below_project_with_its_exit_code() {
        assert_eq!(
            called("a/b c", &["npm", "run", "x y", ""]),
            "<exec><shop><--workdir></project/a/b c><--><npm><run><x y><>"
        );
        assert_eq!(called("", &["ls"]), "<exec><shop><--workdir></project><--><ls>");
        assert_eq!(called("", &[]), "<shell><shop>");
    }
}
