//! Files of variables, as `dotenv` libraries and docker compose read them.
//!
//! ```text
//! # a comment
//! NAME=value          # a comment after a blank; blanks around the value are not part of it
//! export NAME=value
//! NAME='literal $x'   up to the next single quote, over lines
//! NAME="a\nb\"c"      with \n \r \t \" \\ \$ and, at a line's end, its continuation; over lines
//! ```
//!
//! Nothing is expanded: `$OTHER` stays as it is.

use std::collections::BTreeMap;

/// The variables of `text`, of several with one name the last; and the numbers of lines that are not understood.
pub fn parse(text: &str) -> (BTreeMap<String, String>, Vec<usize>) {
    let (mut variables, mut problems) = (BTreeMap::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (entry, after) = entry(rest);
        match entry {
            Entry::Variable(name, value) => {
                variables.insert(name.to_owned(), value);
            }
            Entry::Nothing => {}
            Entry::Problem => problems.push(line),
        }
        let taken = &rest[..rest.len() - after.len()];
        line += taken.bytes().filter(|byte| *byte == b'\n').count();
        rest = after;
    }
    (variables, problems)
}

enum Entry<'a> {
    Variable(&'a str, String),
    Nothing,
    Problem,
}

/// The first entry of `text`, and what follows its last line.
fn entry(text: &str) -> (Entry<'_>, &str) {
    let (line, after) = split_line(text);
    let line = line.trim_start();
    if line.trim_end().is_empty() || line.starts_with('#') {
        return (Entry::Nothing, after);
    }
    let assignment = match line.strip_prefix("export") {
        Some(exported) if exported.starts_with([' ', '\t']) => exported.trim_start(),
        _ => line,
    };
    let Some((name, _)) = assignment.split_once('=') else { return (Entry::Problem, after) };
    let value_at = offset(text, assignment) + name.len() + 1;
    let name = name.trim_end();
    if !is_name(name) {
        return (Entry::Problem, after);
    }
    let value = text[value_at..].trim_start_matches([' ', '\t']);
    let quoted = match value.chars().next() {
        Some('\'') => value[1..].find('\'').map(|end| (value[1..1 + end].to_owned(), &value[end + 2..])),
        Some('"') => double_quoted(&value[1..]),
        _ => {
            let (value, _) = split_line(value);
            return (plain(value).map_or(Entry::Problem, |value| Entry::Variable(name, value)), after);
        }
    };
    let Some((value, rest)) = quoted else { return (Entry::Problem, after) };
    let (trailing, after) = split_line(rest);
    let trailing = trailing.trim();
    if (trailing.is_empty() || trailing.starts_with('#')) && !value.contains('\0') {
        (Entry::Variable(name, value), after)
    } else {
        (Entry::Problem, after)
    }
}

/// Where `part`, which is a slice of `text`, begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// The first line of `text` without its end, and what follows.
fn split_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

/// A value without quotes.
fn plain(text: &str) -> Option<String> {
    let comment = text
        .char_indices()
        .find(|(at, character)| *character == '#' && (*at == 0 || text[..*at].ends_with([' ', '\t'])));
    let value = comment.map_or(text, |(at, _)| &text[..at]).trim();
    (!value.contains('\0')).then(|| value.to_owned())
}

/// The value up to the closing quote, and what follows it.
fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                '\n' => {}
                known @ ('"' | '\\' | '$' | '`') => value.push(known),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    mvm_spec::v1::is_variable_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Option<String> {
        let (variables, problems) = parse(text);
        assert!(problems.is_empty(), "{text:?}: {problems:?}");
        variables.get("A").cloned()
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b", "b"),
            ("  export\tA=b  \r\n", "b"),
            ("A=", ""),
            ("A= # nothing", ""),
            ("A=b#c", "b#c"),
            ("A=b # c", "b"),
            ("A=it's $HOME", "it's $HOME"),
            ("A='it is $HOME # x'", "it is $HOME # x"),
            ("A='one\ntwo' # comment", "one\ntwo"),
            (r#"A="a\n\"b\"\\ \$c \d" "#, "a\n\"b\"\\ $c \\d"),
            ("A=\"one\ntwo\\\nthree\"", "one\ntwothree"),
            ("A=1\nA=2", "2"),
            ("\u{feff}A=b=c", "b=c"),
            ("exported=1\nA=ä", "ä"),
        ] {
            assert_eq!(one(text).as_deref(), Some(value), "{text:?}");
        }
        for text in ["", "\n\n", "# A=b", "   # A=b\n"] {
            assert_eq!(one(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_not_understood_are_counted_and_hide_no_other() {
        let (variables, problems) =
            parse("A='x\ny'\nnonsense\n1A=b\nB=2\nC=\"unclosed\nD='x' y\nE=5\nA B=c\n");
        assert_eq!(problems, [3, 4, 6, 7, 9]);
        let expected = [("A", "x\ny"), ("B", "2"), ("E", "5")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "(?s).*") {
            parse(&text);
        }

        #[test]
        fn any_text_of_its_own_letters_is_read_to_its_end(text in "[A='\"\\\\#\\n\\r x$é]*") {
            let (variables, _) = parse(&text);
            prop_assert!(variables.keys().all(|name| is_name(name)));
        }

        #[test]
        fn what_is_quoted_comes_back(name in "[A-Za-z_][A-Za-z0-9_]{0,8}", value in "[^\\x00]{0,40}") {
            let mut escaped = String::new();
            for character in value.chars() {
                if matches!(character, '"' | '\\' | '$' | '`') {
                    escaped.push('\\');
                }
                escaped.push(character);
            }
            let text = format!("FIRST=1\nexport {name}=\"{escaped}\"\nLAST=2\n");
            let (variables, problems) = parse(&text);
            prop_assert_eq!(problems, Vec::<usize>::new());
            if name != "FIRST" && name != "LAST" {
                prop_assert_eq!(variables.get(&name), Some(&value));
            }
            prop_assert_eq!(variables.get("LAST").map(String::as_str), Some("2"));
        }
    }
}
