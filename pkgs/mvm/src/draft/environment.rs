//! `--env NAME=VALUE` and `--env NAME`.

use anyhow::bail;
use std::collections::BTreeMap;
use std::ffi::OsString;

/// Reads the arguments; `caller` gives the value of a variable that is only named. A later argument wins.
pub fn parse(
    args: &[String],
    caller: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    for arg in args {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match caller(arg).map(OsString::into_string) {
                Some(Ok(value)) => (arg.as_str(), value),
                Some(Err(_)) => bail!("--env {arg}: its value here is no UTF-8 text"),
                None => bail!("--env {arg}: there is no such variable here; write --env {arg}=VALUE"),
            },
        };
        if !mvm_spec::latest::is_variable_name(name) {
            bail!("--env {arg}: `{name}` is no variable name: [A-Za-z_][A-Za-z0-9_]*");
        }
        environment.insert(name.to_owned(), value);
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        parse(&args, |name| (name == "HERE").then(|| OsString::from("value")))
    }

    #[test]
    fn values_are_given_or_taken_from_the_caller() {
        let environment = parsed(&["A=1", "B=", "C=x=y", "HERE", "A=2"]).unwrap();
        let expected = [("A", "2"), ("B", ""), ("C", "x=y"), ("HERE", "value")];
        assert_eq!(environment, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for bad in ["NOT_HERE", "=x", "1A=x", "A-B=x", "a b=c"] {
            assert!(parsed(&[bad]).is_err(), "{bad}");
        }
    }
}
