//! What this program does when a session starts it.

mod sftp;
mod tar;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the applet that `arguments` (without the program's name) ask for.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().and_then(|name| name.to_str());
    let result = match (name, arguments.get(1..).unwrap_or_default()) {
        (Some("sftp"), []) => sftp::serve(),
        (Some("tar-create"), [path]) => tar::create(Path::new(path), std::io::stdout().lock()),
        (Some("tar-extract"), [dir]) => tar::extract(Path::new(dir), std::io::stdin().lock()),
        _ => {
            eprintln!(
                "mvm-guest is the init of a microvm-dev guest. Within one it is also:\n  \
                 mvm-guest sftp               an SFTP server on standard input and output\n  \
                 mvm-guest tar-create PATH    a tar archive of PATH to standard output\n  \
                 mvm-guest tar-extract DIR    unpacks the tar archive on standard input into DIR"
            );
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm-guest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
