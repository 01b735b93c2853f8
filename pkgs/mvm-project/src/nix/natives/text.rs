//! Strings.

use super::super::native::{Def, def, known};
use super::super::text::joined;
use super::super::value::{At, Piece, Text, Unknown, Value};
use super::super::{Eval, Thunk};
use std::rc::Rc;

pub const BUILTINS: &[Def] = &[
    def("toString", 1, to_string),
    def("concatStringsSep", 2, concat_strings_sep),
    def("replaceStrings", 3, replace_strings),
    def("stringLength", 1, |eval, args, at| {
        known(
            eval.text_arg(args, 0, at).map(|text| Value::Int(i64::try_from(text.len()).unwrap_or(i64::MAX))),
        )
    }),
    def("substring", 3, substring),
    def("baseNameOf", 1, |eval, args, at| {
        path_part(eval, args, at, |text| match text.rsplit_once('/') {
            Some((_, name)) => name.to_owned(),
            None => text.to_owned(),
        })
    }),
    def("dirOf", 1, dir_of),
    def("throw", 1, failing),
    def("abort", 1, failing),
    def("toJSON", 1, |_, _, at| Value::unknown(at, "`builtins.toJSON` is not followed")),
    def("unsafeDiscardStringContext", 1, |eval, args, at| eval.arg(args, 0, at)),
];

pub const LIB: &[Def] = &[
    def("optionalString", 2, optional_string),
    def("concatStrings", 1, |eval, args, at| join(eval, &args[0], "", at)),
    def("concatLines", 1, |eval, args, at| each(eval, args, at, |_| (String::new(), "\n".to_owned()))),
    def("concatMapStrings", 2, |eval, args, at| join(eval, &mapped(args, at), "", at)),
    def("concatMapStringsSep", 3, concat_map_strings_sep),
    def("concatStringsSep", 2, concat_strings_sep),
    def("hasPrefix", 2, |eval, args, at| test(eval, args, at, |affix, text| text.starts_with(affix))),
    def("hasSuffix", 2, |eval, args, at| test(eval, args, at, |affix, text| text.ends_with(affix))),
    def("hasInfix", 2, |eval, args, at| test(eval, args, at, |affix, text| text.contains(affix))),
    def("removePrefix", 2, |eval, args, at| {
        change(eval, args, at, |affix, text| text.strip_prefix(affix).unwrap_or(text).to_owned())
    }),
    def("removeSuffix", 2, |eval, args, at| {
        change(eval, args, at, |affix, text| text.strip_suffix(affix).unwrap_or(text).to_owned())
    }),
    def("toUpper", 1, |eval, args, at| path_part(eval, args, at, |text| text.to_ascii_uppercase())),
    def("toLower", 1, |eval, args, at| path_part(eval, args, at, |text| text.to_ascii_lowercase())),
    def("trim", 1, |eval, args, at| path_part(eval, args, at, |text| text.trim().to_owned())),
    def("escapeShellArg", 1, |eval, args, at| path_part(eval, args, at, crate::quote::shell)),
    def("escapeShellArgs", 1, escape_shell_args),
    def("splitString", 2, split_string),
    def("boolToString", 1, |eval, args, at| {
        known(eval.bool_arg(args, 0, at).map(|bool| Value::text(if bool { "true" } else { "false" })))
    }),
    def("toInt", 1, |eval, args, at| {
        known(eval.text_arg(args, 0, at).and_then(|text| {
            text.trim().parse().map(Value::Int).map_err(|_| Unknown::new(at, "the string is no number"))
        }))
    }),
];

fn to_string(eval: &Eval, args: &[Thunk], at: At) -> Value {
    let value = eval.arg(args, 0, at);
    match value {
        Value::Unknown(unknown) => Value::Unknown(unknown),
        other => Value::Text(eval.pieces(other, at)),
    }
}

/// A thrown error ends an evaluation; what would be without it is not known.
fn failing(_: &Eval, _: &[Thunk], at: At) -> Value {
    Value::unknown(at, "the project refuses this with an error of its own")
}

fn join(eval: &Eval, list: &Thunk, separator: &str, at: At) -> Value {
    known(eval.list(list.force(eval), at).map(|list| {
        let mut pieces = Vec::new();
        for (index, item) in list.items.iter().enumerate() {
            if index > 0 && !separator.is_empty() {
                pieces.push(Piece::Text(separator.into()));
            }
            pieces.extend(eval.pieces(item.force(eval), at).iter().cloned());
        }
        pieces.extend(list.open.iter().cloned().map(Piece::Unknown));
        joined(pieces, at)
    }))
}

/// All elements, with text before and after each.
fn each(eval: &Eval, args: &[Thunk], at: At, around: impl Fn(usize) -> (String, String)) -> Value {
    known(eval.list_arg(args, 0, at).map(|list| {
        let mut pieces = Vec::new();
        for (index, item) in list.items.iter().enumerate() {
            let (before, after) = around(index);
            pieces.push(Piece::Text(before.into()));
            pieces.extend(eval.pieces(item.force(eval), at).iter().cloned());
            pieces.push(Piece::Text(after.into()));
        }
        pieces.extend(list.open.iter().cloned().map(Piece::Unknown));
        joined(pieces, at)
    }))
}

fn concat_strings_sep(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).map(|separator| join(eval, &args[1], &separator, at)))
}

/// `map args[0] args[1]`, made when it is asked for.
fn mapped(args: &[Thunk], at: At) -> Thunk {
    let args = args.to_vec();
    Thunk::later(at, move |eval| match super::builtin("map") {
        Some(map) => eval.call2(&map, args[0].clone(), args[1].clone(), at),
        None => Value::Null,
    })
}

fn concat_map_strings_sep(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).map(|separator| join(eval, &mapped(&args[1..], at), &separator, at)))
}

fn replace_strings(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 2, at).and_then(|text| {
        let strings = |index| {
            let list = eval.list_arg(args, index, at)?;
            list.items.iter().map(|item| eval.plain(item.force(eval), at)).collect::<Result<Vec<_>, _>>()
        };
        let (from, to) = (strings(0)?, strings(1)?);
        let mut replaced = String::new();
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let hit =
                from.iter().zip(&to).find(|(from, _)| !from.is_empty() && rest.starts_with(from.as_str()));
            match hit {
                Some((from, to)) => {
                    replaced.push_str(to);
                    rest = &rest[from.len()..];
                }
                None => {
                    replaced.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
            if replaced.len() > super::super::TEXT_MAX_BYTES {
                return Err(Unknown::new(at, "the string becomes too long to be followed"));
            }
        }
        Ok(Value::text(replaced))
    }))
}

fn substring(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 2, at).and_then(|text| {
        let start =
            usize::try_from(eval.int(eval.arg(args, 0, at), at)?).unwrap_or(usize::MAX).min(text.len());
        let length = usize::try_from(eval.int(eval.arg(args, 1, at), at)?).unwrap_or(usize::MAX);
        let end = start.saturating_add(length).min(text.len());
        let part =
            text.get(start..end).ok_or_else(|| Unknown::new(at, "the string is cut inside a character"))?;
        Ok(Value::text(part))
    }))
}

fn path_part(eval: &Eval, args: &[Thunk], at: At, part: impl Fn(&str) -> String) -> Value {
    known(eval.text_arg(args, 0, at).map(|text| Value::text(part(&text))))
}

fn dir_of(eval: &Eval, args: &[Thunk], at: At) -> Value {
    match eval.arg(args, 0, at) {
        Value::Path(path) => Value::Path(path.parent().map_or(path.clone(), ToOwned::to_owned)),
        _ => path_part(eval, args, at, |text| match text.rsplit_once('/') {
            Some((dir, _)) => dir.to_owned(),
            None => ".".to_owned(),
        }),
    }
}

fn optional_string(eval: &Eval, args: &[Thunk], at: At) -> Value {
    match eval.bool_arg(args, 0, at) {
        Ok(true) => eval.arg(args, 1, at),
        Ok(false) => Value::text(""),
        Err(unknown) => Value::Text(Text::from([Piece::Unknown(unknown)])),
    }
}

fn test(eval: &Eval, args: &[Thunk], at: At, holds: impl Fn(&str, &str) -> bool) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|affix| {
        let text = eval.text_arg(args, 1, at)?;
        Ok(Value::Bool(holds(&affix, &text)))
    }))
}

fn change(eval: &Eval, args: &[Thunk], at: At, changed: impl Fn(&str, &str) -> String) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|affix| {
        let text = eval.text_arg(args, 1, at)?;
        Ok(Value::text(changed(&affix, &text)))
    }))
}

fn escape_shell_args(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.list_arg(args, 0, at).and_then(|list| {
        let words: Result<Vec<String>, Unknown> = list
            .items
            .iter()
            .map(|item| eval.plain(item.force(eval), at).map(|word| crate::quote::shell(&word)))
            .collect();
        Ok(Value::text(words?.join(" ")))
    }))
}

fn split_string(eval: &Eval, args: &[Thunk], at: At) -> Value {
    known(eval.text_arg(args, 0, at).and_then(|separator| {
        let text = eval.text_arg(args, 1, at)?;
        let parts: Vec<Rc<str>> = match separator.is_empty() {
            true => vec![text.as_str().into()],
            false => text.split(&separator).map(Rc::from).collect(),
        };
        if !eval.spend(parts.len()) {
            return Err(Unknown::new(at, "the project takes too many steps to follow"));
        }
        Ok(Value::list(parts.into_iter().map(|part| Thunk::made(at, Value::text(part))).collect()))
    }))
}
