//! The marked block: made, put in, taken out.

use crate::quote::shell;
use crate::{Error, Result};
use mvm_spec::VmName;
use std::path::PathBuf;

const BEGIN: &str = "# >>> microvm-dev >>>";
const END: &str = "# <<< microvm-dev <<<";
const TEMPLATE: &str = include_str!("envrc.tera");

/// A text with the block put in or taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The whole text.
    pub text: String,
    /// Lines of the user that do something alike (`use devenv`, `use flake`), which stay.
    pub kept: Vec<String>,
}

/// Whether entering the directory brings its VM up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is made and started, if need be.
    Always,
    /// It is said how.
    Never,
}

/// The block for VM `name`, which is reloaded when one of `watch`, relative to the directory of the `.envrc`, changes.
///
/// Errors: the template can't be rendered, which is an error of this program.
pub fn block(name: &VmName, watch: &[PathBuf], start: Start) -> Result<String> {
    let mut context = tera::Context::new();
    context.insert("name", &shell(name.as_str()));
    // `./`, lest a name that begins with `-` becomes an option.
    let watch: Vec<String> =
        watch.iter().map(|path| shell(&format!("./{}", path.to_string_lossy()))).collect();
    context.insert("watch", &watch);
    let start = match start {
        Start::Always => " --start \"$_microvm_dir\"",
        Start::Never => "",
    };
    context.insert("start", start);
    // Not HTML: what is put in is quoted for the shell already.
    let rendered = tera::Tera::one_off(TEMPLATE, &context, false);
    rendered.map_err(|error| Error::Render { what: "the block of .envrc", error })
}

/// `text` with `block` in the place of the one that is there, or else at its end.
///
/// Errors: there are marks that make no pair.
pub fn insert(text: &str, block: &str) -> Result<Edit> {
    let mut whole = match marked(text)? {
        Some((start, end)) => return Ok(edit(format!("{}{block}{}", &text[..start], &text[end..]))),
        None => text.to_owned(),
    };
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    if !whole.is_empty() {
        whole.push('\n');
    }
    whole.push_str(block);
    Ok(edit(whole))
}

/// `text` without the block, and without the empty line that [`insert`] put before it.
///
/// Errors: there are marks that make no pair.
pub fn remove(text: &str) -> Result<Edit> {
    let Some((start, end)) = marked(text)? else { return Ok(edit(text.to_owned())) };
    let before = &text[..start];
    let before = before.strip_suffix("\n\n").map_or(before.to_owned(), |lines| format!("{lines}\n"));
    Ok(edit(format!("{before}{}", &text[end..])))
}

fn edit(text: String) -> Edit {
    let alike = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some("use") && matches!(words.next(), Some("devenv" | "flake" | "nix" | "microvm"))
    };
    let kept = text.lines().filter(alike).map(|line| line.trim().to_owned()).collect();
    Edit { text, kept }
}

/// Where the block is: bytes from its first mark to behind the line of its last.
fn marked(text: &str) -> Result<Option<(usize, usize)>> {
    let wrong =
        |line: usize, problem| Err(Error::Marks { file: ".envrc".to_owned(), line: line + 1, problem });
    let mut found: Option<(usize, Option<usize>)> = None;
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match (line.trim_end(), found) {
            (BEGIN, None) => found = Some((offset, None)),
            (BEGIN, Some(_)) => return wrong(number, "a second block of microvm-dev begins here"),
            (END, Some((start, None))) => found = Some((start, Some(offset + line.len()))),
            (END, _) => return wrong(number, "a block of microvm-dev ends here that did not begin"),
            _ => {}
        }
        offset += line.len();
    }
    match found {
        None => Ok(None),
        Some((start, Some(end))) => Ok(Some((start, end))),
        Some((start, None)) => {
            wrong(text[..start].lines().count(), "the block of microvm-dev that begins here has no end")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(watch: &[&str]) -> String {
        let watch: Vec<PathBuf> = watch.iter().map(PathBuf::from).collect();
        block(&VmName::new("shop").unwrap(), &watch, Start::Always).unwrap()
    }

    #[test]
    fn the_block_is_as_documented() {
        insta::assert_snapshot!(made(&["devenv.nix", "a dir/$(touch x)'\n.nix"]));
    }

    #[test]
    fn the_users_lines_survive_and_a_second_time_changes_nothing() {
        let own = "use devenv\nexport A=1";
        let once = insert(own, &made(&[])).unwrap();
        assert!(once.text.starts_with("use devenv\nexport A=1\n\n# >>> "), "{}", once.text);
        assert_eq!(once.kept, ["use devenv"]);
        assert_eq!(insert(&once.text, &made(&[])).unwrap().text, once.text);
        assert_eq!(remove(&once.text).unwrap().text, "use devenv\nexport A=1\n");
        let other = insert(&format!("{}export B=2\n", once.text), &made(&["flake.nix"])).unwrap().text;
        assert!(
            other.contains("watch_file ./flake.nix\n") && other.ends_with("<<<\nexport B=2\n"),
            "{other}"
        );
    }

    #[test]
    fn marks_without_a_partner_are_an_error_with_their_line() {
        let problem = |text: &str| insert(text, "x").unwrap_err().to_string();
        assert!(problem(&format!("a\n{BEGIN}\n")).starts_with(".envrc:2: the block"));
        assert!(problem(&format!("{END}\n")).starts_with(".envrc:1: a block"));
        assert!(problem(&format!("{BEGIN}\n{END}\n{BEGIN}\n")).starts_with(".envrc:3: a second"));
    }

    proptest! {
        #[test]
        fn any_text_survives_putting_in_and_taking_out(text in "([a-z #\\n]|\\PC){0,60}") {
            let block = made(&[]);
            let once = insert(&text, &block).unwrap().text;
            prop_assert_eq!(&insert(&once, &block).unwrap().text, &once);
            let without = remove(&once).unwrap().text;
            prop_assert_eq!(without.trim_end_matches('\n'), text.trim_end_matches('\n'));
        }

        #[test]
        fn nothing_of_a_path_is_executed(path in "([^\\x00/]|[$`'\"\\\\ \n;&|()<>!*]){1,20}") {
            let text = block(&VmName::new("shop").unwrap(), &[PathBuf::from(&path)], Start::Always).unwrap();
            // A shell in which watch_file prints what it gets, and everything else is nothing.
            let script = format!(
                "watch_file() {{ printf %s \"$1\"; }}\nhas() {{ return 1; }}\nlog_error() {{ :; }}\nPATH=/nonexistent\n{text}"
            );
            let output = std::process::Command::new("/bin/bash").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("./{path}"));
        }
    }
}
