//! From an argument vector to the text that the guest's shell runs.

use anyhow::Context as _;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// `argv` as a command line of sh(1) that runs exactly these arguments, in `workdir` if given.
pub fn line(argv: &[OsString], workdir: Option<&OsStr>) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Some(dir) = workdir {
        text.extend_from_slice(b"cd -- ");
        text.extend_from_slice(&quoted(dir)?);
        text.extend_from_slice(b" && ");
    }
    for (index, arg) in argv.iter().enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(&quoted(arg)?);
    }
    Ok(text)
}

/// The user's login shell in `dir`, or in the home where there is no such directory: a shell is for finding out why.
pub fn shell(dir: &OsStr) -> anyhow::Result<Vec<u8>> {
    Ok([b"cd -- ", quoted(dir)?.as_slice(), b"; exec \"$SHELL\" -l"].concat())
}

/// One word of sh(1). A word of letters alone is quoted too: as the first of a command it could be `if` or `time`.
fn quoted(word: &OsStr) -> anyhow::Result<Vec<u8>> {
    let bytes = word.as_bytes();
    let quoted = shlex::bytes::try_quote(bytes)
        .with_context(|| format!("the argument {word:?} has a NUL character, which no argument can have"))?;
    if quoted.as_ref() == bytes { Ok([b"'", bytes, b"'"].concat()) } else { Ok(quoted.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    /// What `/bin/sh` makes of the line: its arguments, each followed by NUL.
    fn through_sh(argv: &[OsString]) -> Vec<u8> {
        let script = r#"for arg do printf '%s\0' "$arg"; done"#;
        let mut full = vec![OsString::from("sh"), "-c".into(), script.into(), "sh".into()];
        full.extend_from_slice(argv);
        let text = line(&full, None).unwrap();
        let output = Command::new("/bin/sh").arg("-c").arg(OsStr::from_bytes(&text)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_arguments_reach_a_command_unchanged(
            argv in prop::collection::vec(prop::collection::vec(1u8..=255, 0..20), 0..6)
        ) {
            let expected: Vec<u8> = argv.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
            let argv: Vec<OsString> = argv.into_iter().map(OsString::from_vec).collect();
            prop_assert_eq!(through_sh(&argv), expected);
        }
    }

    #[test]
    fn what_the_shell_could_take_for_its_own_is_quoted() {
        let tricky =
            ["", "if", "a b", "$HOME", "`id`", "!", "~", "*", "'", "\"", "\\", "\n", "a=b", "-n", "{", "ä"];
        let argv: Vec<OsString> = tricky.iter().map(OsString::from).collect();
        let expected: Vec<u8> = tricky.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
        assert_eq!(through_sh(&argv), expected);
        assert_eq!(line(&["time".into(), "ls".into()], None).unwrap(), b"'time' 'ls'");
    }

    #[test]
    fn a_directory_is_entered_first() {
        let text = line(&["pwd".into()], Some(OsStr::new("/tmp"))).unwrap();
        let output = Command::new("/bin/sh").arg("-c").arg(OsStr::from_bytes(&text)).output().unwrap();
        assert_eq!(output.stdout, b"/tmp\n");
    }

    #[test]
    fn a_nul_is_refused() {
        assert!(line(&[OsString::from_vec(b"a\0b".to_vec())], None).is_err());
    }
}
