//! Command lines that need no shell.
//!
//! SSH hands over a line for the account's shell (RFC 4254 §6.5). Most lines are one program with plain or quoted
//! words, which a shell would replace itself by; starting it at once saves the shell's start, which under emulation
//! costs more than all the rest of a short command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Words that shells take for themselves, and programs of the same name would do differently or can't do.
const SHELL_WORDS: &[&str] = &[
    ".",
    ":",
    "[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// Bytes that mean nothing but themselves outside of quotes, in any shell. `~`, `=` and `{` are missing on purpose.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./,:@%+".contains(&byte)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The words of `line`, if a shell would do nothing with them but run the first as a program.
pub fn words(line: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(|byte| is_blank(*byte)).is_some() {}
        if bytes.peek().is_none() {
            break;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next_if(|byte| !is_blank(*byte)) {
            match byte {
                b'\'' => loop {
                    match bytes.next()? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                },
                // How a quote is written among single quotes: '\''.
                b'\\' if bytes.next_if_eq(&b'\'').is_some() => word.push(b'\''),
                // Anything but an assignment only after the first word.
                b'=' if !words.is_empty() => word.push(byte),
                byte if is_plain(byte) => word.push(byte),
                _ => return None,
            }
        }
        words.push(OsString::from_vec(word));
    }
    let first = words.first()?.to_str()?;
    (!first.is_empty() && !SHELL_WORDS.contains(&first)).then_some(words)
}

/// Whether `program` is an executable file, by its path from `dir` or in one of the directories of `path` (PATH).
pub fn is_program(program: &str, path: &str, dir: &Path) -> bool {
    let executable = |file: &Path| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(&dir.join(program));
    }
    path.split(':').any(|entry| executable(&dir.join(entry).join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_quoted_words_are_told_from_the_shells_business() {
        let split = |line: &str| words(line.as_bytes());
        for (line, expected) in [
            ("true", &["true"][..]),
            (" make -j2  CC=gcc test ", &["make", "-j2", "CC=gcc", "test"]),
            ("grep 'a b; $c' file", &["grep", "a b; $c", "file"]),
            (r"sh -c 'echo '\''hi'\'''", &["sh", "-c", "echo 'hi'"]),
            ("cat ''", &["cat", ""]),
        ] {
            assert_eq!(
                split(line).unwrap(),
                expected.iter().map(OsString::from).collect::<Vec<_>>(),
                "{line}"
            );
        }
        for line in [
            "",
            "  ",
            "echo hi",
            "cd /tmp",
            "A=b make",
            "ls *",
            "ls ~",
            "ls $HOME",
            "a | b",
            "a; b",
            "a && b",
            "a > b",
            "a &",
            r#"a "b""#,
            "'unclosed",
            "if true",
            "! a",
            "a\nb",
            "{ a",
            r"a\ b",
            "a #b",
            "''",
        ] {
            assert_eq!(split(line), None, "{line}");
        }
    }

    #[test]
    fn a_program_is_an_executable_file() {
        assert!(is_program("sh", "/nonexistent:/bin", Path::new("/")));
        assert!(is_program("/bin/sh", "", Path::new("/")));
        assert!(is_program("bin/sh", "", Path::new("/")));
        assert!(!is_program("etc", "/", Path::new("/")));
        assert!(!is_program("passwd", "/etc", Path::new("/")));
    }
}
