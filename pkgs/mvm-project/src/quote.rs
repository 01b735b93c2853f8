//! Text as it stands in other languages, such that nothing in it has a meaning there.

/// A word of a POSIX shell (also bash, zsh and fish, for which single quotes are as literal, save that fish reads `\\`
/// and `\'` in them; see [`fish`]): within single quotes unless it is harmless.
pub fn shell(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && !text.starts_with('=') && !text.starts_with('~') && text.chars().all(harmless) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word of fish.
pub fn fish(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A string of Nix (manual, "String literal"), on one line.
pub fn nix(text: &str) -> String {
    format!("\"{}\"", nix_inner(text))
}

/// What stands between the quotes of [`nix`].
pub fn nix_inner(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str(r"\\"),
            '"' => quoted.push_str("\\\""),
            '\n' => quoted.push_str(r"\n"),
            '\r' => quoted.push_str(r"\r"),
            '\t' => quoted.push_str(r"\t"),
            '$' => quoted.push_str(r"\$"),
            other => quoted.push(other),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn harmless_words_stay_and_others_are_quoted() {
        for (text, quoted) in [
            ("web", "web"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("it's", r"'it'\''s'"),
            ("=ls", "'=ls'"),
            ("~", "'~'"),
            ("ä", "'ä'"),
        ] {
            assert_eq!(shell(text), quoted);
        }
        assert_eq!(nix("a\"${b}\\\n"), r#""a\"\${b}\\\n""#);
        assert_eq!(fish(r"a'\b"), r"'a\'\\b'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "([^\\x00]|[$'\"\\\\` \n~=*?!]){0,20}") {
            let script = format!("printf %s {}", shell(&text));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }

        #[test]
        fn a_nix_parser_reads_back_what_was_quoted(text in "([^\\x00]|[$'\"\\\\{}\n]){0,20}") {
            let quoted = nix(&text);
            let root = rnix::Root::parse(&quoted).ok().unwrap();
            let Some(rnix::ast::Expr::Str(string)) = root.expr() else { panic!("{quoted} is no string") };
            let read: String = string
                .normalized_parts()
                .into_iter()
                .map(|part| match part {
                    rnix::ast::InterpolPart::Literal(text) => text,
                    rnix::ast::InterpolPart::Interpolation(_) => panic!("{quoted} interpolates"),
                })
                .collect();
            prop_assert_eq!(read, text);
        }
    }
}
