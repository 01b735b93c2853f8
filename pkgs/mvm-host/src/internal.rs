//! Processes that `mvm` starts of itself: `mvm internal WHAT …`. Not for people.
//!
//! Called before anything else in `main`: the keeper makes user and process namespaces, which a process with threads
//! can't.

use std::process::ExitCode;

/// Runs the process that `arguments` (those after `internal`) name.
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments: Vec<String> =
        arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["keeper", kind] => crate::keeper::main(kind),
        ["fs", config] => crate::fileserver::main(config),
        ["proxy", config] => crate::ports::proxy::main(config),
        ["vmm", config] => crate::vmm_process::main(config),
        ["dnsmasq", config] => crate::dnsmasq_process::main(config),
        _ => {
            eprintln!("mvm internal: unknown process {arguments:?}; this command is for mvm itself");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm: {error}");
            ExitCode::FAILURE
        }
    }
}
