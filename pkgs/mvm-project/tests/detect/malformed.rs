//! Input that is wrong, hostile, or endless: an answer comes, with a place.

use crate::support::*;
use mvm_project::detect::detect;
use proptest::prelude::*;

#[test]
fn a_syntax_error_has_a_place_and_leaves_what_is_sound() {
    let project = devenv("{ pkgs, ... }: {\n  packages = [ pkgs.git ];\n  env.A = \"1\n}");
    assert!(
        project.facts.notes.iter().any(|note| note.text.starts_with("syntax error") && note.at.line >= 3),
        "{:?}",
        project.facts.notes
    );
    let project = devenv("{ env.A = \"1\"; env.B = ; env.C = \"3\"; }");
    assert_eq!(project.facts.notes[0].at.to_string(), "devenv.nix:1:24");
    assert_eq!(variable(&project, "A").as_deref(), Some("1"));
}

#[test]
fn files_that_are_no_text_or_too_large_are_named() {
    let large = "#".repeat(300 << 10);
    for (text, said) in [
        (b"{ x = \"\xff\"; }".as_slice(), "devenv.nix is not UTF-8"),
        (large.as_bytes(), "devenv.nix is larger than"),
    ] {
        let dir = repository(&[]);
        std::fs::write(dir.path().join("devenv.nix"), text).unwrap();
        let project = detect(dir.path()).unwrap();
        assert!(
            project.facts.notes.iter().any(|note| note.text.starts_with(said)),
            "{:?}",
            project.facts.notes
        );
    }
}

#[test]
fn circles_end() {
    for text in [
        "let a = b; b = a; in { env.A = a; }",
        "{ imports = [ ./devenv.nix ]; env.A = \"1\"; }",
        "{ config, ... }: { env.A = config.env.B; env.B = config.env.A; }",
        "let f = x: f x; in { env.A = f 1; }",
        "let f = x: f (x + 1); in { env.A = f 1; }",
        "let l = [ l ]; in { env.A = toString l; }",
        "let l = [ l l l ]; in { packages = l; services.x = { enable = true; s = l; }; }",
        "let s = { a = s; b = s; }; in { services.x = s // { enable = true; }; languages.y = s // { enable = true; }; }",
        "let d = x: x + x; p = n: s: if n == 0 then s else p (n - 1) (d s); in { env.A = p 60 \"aaaa\"; }",
        "let p = n: s: if n == 0 then s else p (n - 1) (s ++ s); in { packages = p 60 [ 1 ]; }",
        "{ packages = builtins.genList (x: x) 100000000; }",
        "let e = l: l == l; l = [ l ]; in { env.A = if e l then \"1\" else \"2\"; }",
        "import ./devenv.nix",
    ] {
        let project = devenv(text);
        assert!(
            !project.facts.unknowns.is_empty()
                || !project.facts.packages.is_empty()
                || !project.facts.env.is_empty(),
            "{text}"
        );
    }
}

#[test]
fn deep_nesting_is_an_answer_too() {
    for text in [
        "(".repeat(100_000),
        "[".repeat(100_000),
        "{a=".repeat(50_000),
        "!".repeat(100_000),
        "x:".repeat(100_000),
        format!("{{ env.A = 1{}; }}", "+1".repeat(60_000)),
        format!("{{ env.A = x{}; }}", ".a".repeat(60_000)),
        format!("{{ env.A = x{}; }}", " a".repeat(60_000)),
        "''${".repeat(60_000),
        "let a=".repeat(40_000),
    ] {
        devenv(&text);
    }
}

#[test]
fn nothing_outside_of_the_repository_is_read() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret.nix"), "{ env.SECRET = \"leaked\"; }").unwrap();
    let secret = outside.path().join("secret.nix");
    let text = format!(
        "{{ imports = [ ./link.nix {} ]; env.READ = builtins.readFile ./link.nix; env.UP = builtins.readFile ../../etc/passwd; }}",
        secret.display()
    );
    let dir = repository(&[("devenv.nix", &text)]);
    std::os::unix::fs::symlink(&secret, dir.path().join("link.nix")).unwrap();
    let project = detect(dir.path()).unwrap();
    let json = serde_json::to_string(&project).unwrap();
    assert!(!json.contains("leaked") && !json.contains("root:"), "{json}");
    assert!(
        unknowns(&project).iter().any(|one| one.contains("leads out of the project")),
        "{:?}",
        unknowns(&project)
    );
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_block() {
    let dir = repository(&[("devenv.nix", "{ imports = [ ./pipe.nix ]; }")]);
    let pipe = std::ffi::CString::new(dir.path().join("pipe.nix").to_str().unwrap()).unwrap();
    nix::unistd::mkfifo(pipe.as_c_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let project = detect(dir.path()).unwrap();
    assert!(
        project.facts.notes.iter().any(|note| note.text.contains("is not a file")),
        "{:?}",
        project.facts.notes
    );
}

/// Words that Nix files are made of, so that random text gets past the parser.
fn nixish() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "a",
        "b",
        "pkgs",
        "lib",
        "config",
        ".",
        "=",
        ";",
        ":",
        "let",
        "in",
        "with",
        "rec",
        "inherit",
        "if",
        "then",
        "else",
        "//",
        "++",
        "+",
        "\"",
        "''",
        "${",
        "1",
        "\"s\"",
        "./x",
        "@",
        ",",
        "?",
        "...",
        "or",
        "packages",
        "env",
        "services",
        "enable",
        "mkIf",
        "map",
        "import",
        "true",
        "==",
        "!",
        "-",
        "builtins",
        "toString",
        "foldl'",
        "genList",
        "99999999",
        "imports",
        "[ ./devenv.nix ]",
        "processes",
        "exec",
        "é",
        "#\n",
        "\n",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    // Each case writes files and starts threads: `cargo fuzz` is for more of them.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_has_an_answer(text in nixish()) {
        let dir = repository(&[("devenv.nix", &format!("{{ pkgs, lib, config, ... }}: {text}")), ("flake.nix", &text)]);
        prop_assert!(detect(dir.path()).is_ok());
        std::fs::remove_file(dir.path().join("devenv.nix")).unwrap();
        prop_assert!(detect(dir.path()).is_ok());
    }

    #[test]
    fn any_bytes_in_any_file_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["devenv.nix", "devenv.yaml", "package.json", "Cargo.toml", "pyproject.toml", "docker-compose.yml", "Procfile", ".env"] {
            let dir = repository(&[]);
            std::fs::write(dir.path().join(name), &bytes).unwrap();
            prop_assert!(detect(dir.path()).is_ok());
        }
    }
}
