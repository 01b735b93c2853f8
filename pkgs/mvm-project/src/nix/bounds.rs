//! Bounds on the form of a text, checked before it is parsed: parser and syntax tree take time that grows with the square of
//! what is bounded here.

use rnix::SyntaxKind::{
    self, TOKEN_COMMA, TOKEN_COMMENT, TOKEN_INTERPOL_END, TOKEN_INTERPOL_START, TOKEN_L_BRACE, TOKEN_L_BRACK,
    TOKEN_L_PAREN, TOKEN_R_BRACE, TOKEN_R_BRACK, TOKEN_R_PAREN, TOKEN_SEMICOLON, TOKEN_STRING_CONTENT,
    TOKEN_STRING_END, TOKEN_STRING_START, TOKEN_WHITESPACE,
};

/// Characters without white space that may be one path; hand-written ones have a few dozen.
const WORD_MAX: usize = 4096;
/// Brackets within brackets.
const BRACKETS_MAX: usize = 250;
/// Tokens of one expression, not counting those within brackets and strings: each may be a level of the tree.
const TOKENS_MAX: usize = 1000;

/// The place and name of the first bound that `text` breaks.
pub fn check(text: &str) -> Result<(), (usize, &'static str)> {
    let mut word = 0;
    for (offset, byte) in text.bytes().enumerate() {
        // What rnix' tokenizer takes for a path (tokenizer.rs, `is_valid_path_char`).
        word = if byte.is_ascii_alphanumeric() || b"/_-+.".contains(&byte) { word + 1 } else { 0 };
        if word > WORD_MAX {
            return Err((offset, "it has a word of thousands of characters"));
        }
    }
    // Open brackets: whether it is a list's, whose elements are no levels, and tokens so far.
    let mut open = vec![(false, 0)];
    let mut offset = 0;
    for (kind, token) in rnix::tokenize(text) {
        step(kind, &mut open).map_err(|why| (offset, why))?;
        offset += token.len();
    }
    Ok(())
}

fn step(kind: SyntaxKind, open: &mut Vec<(bool, usize)>) -> Result<(), &'static str> {
    match kind {
        TOKEN_L_PAREN | TOKEN_L_BRACE | TOKEN_INTERPOL_START | TOKEN_L_BRACK => {
            count(open)?;
            open.push((kind == TOKEN_L_BRACK, 0));
            if open.len() > BRACKETS_MAX {
                return Err("it is nested too deeply");
            }
        }
        TOKEN_R_PAREN | TOKEN_R_BRACE | TOKEN_INTERPOL_END | TOKEN_R_BRACK => {
            if open.len() > 1 {
                open.pop();
            }
        }
        TOKEN_SEMICOLON | TOKEN_COMMA => {
            if let Some((_, tokens)) = open.last_mut() {
                *tokens = 0;
            }
        }
        TOKEN_WHITESPACE | TOKEN_COMMENT | TOKEN_STRING_CONTENT | TOKEN_STRING_START | TOKEN_STRING_END => {}
        _ => count(open)?,
    }
    Ok(())
}

fn count(open: &mut [(bool, usize)]) -> Result<(), &'static str> {
    if let Some((false, tokens)) = open.last_mut() {
        *tokens += 1;
        if *tokens > TOKENS_MAX {
            return Err("it has an expression of thousands of parts");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_pass_and_deep_ones_do_not() {
        let list = format!("{{ p = [ {} ]; }}", "a.b (c d) \"${e}\" ".repeat(3000));
        let set = format!("{{ {} }}", "a.b = f x y; ".repeat(5000));
        let script = format!("''{}''", "text ${x} it's\n".repeat(900));
        for sound in [list, set, script, "/* ((((( */ \"(((((\"".to_owned()] {
            assert_eq!(check(&sound), Ok(()));
        }
        for deep in
            ["(".repeat(300), "!".repeat(2000), "a ".repeat(2000), "1+".repeat(3000), "{a=".repeat(300)]
        {
            assert!(check(&deep).is_err(), "{}", &deep[..10]);
        }
    }
}
