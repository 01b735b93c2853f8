//! Projects, from `create-microvm-env && direnv allow` to an answer on the host, as docs/tutorials/devenv.md does it.
//!
//! The user, direnv and `mvm` are in one network namespace, since forwards are on its loopback.

use crate::harness::{As, Realm, wait_for};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// An HTTP server in Python that answers with its variable GREETING, on $PORT.
const SERVER: &str = r#"import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ.get("GREETING", "hello").encode())
http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Programs of ours on the search path of the user, whose shell is in a network namespace.
struct Desk {
    realm: Realm,
    namespace: Option<std::process::Child>,
}

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let realm = Realm::of(As::Caller);
        for (name, text) in files {
            realm.write(name, text);
        }
        std::fs::create_dir(realm.project().join(".git")).unwrap();
        let namespace = Realm::root().then(|| {
            // Held until its standard input, our pipe, is closed.
            let mut child = Command::new("unshare")
                .args(["--net", "--", "sh", "-c", "ip link set lo up && echo up && exec cat"])
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut up = [0; 3];
            child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
            child
        });
        Self { realm, namespace }
    }

    fn path(&self) -> std::ffi::OsString {
        let beside = PathBuf::from(crate::harness::mvm()).parent().unwrap().to_owned();
        std::env::join_paths([
            beside,
            "/usr/local/bin".into(),
            "/usr/bin".into(),
            "/bin".into(),
            "/usr/sbin".into(),
            "/sbin".into(),
        ])
        .unwrap()
    }

    /// A command of the user, in the project.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(child) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/proc/{}/ns/net", child.id())).arg("--").args(args);
                command
            }
            None => {
                let mut command = Command::new(args[0]);
                command.args(&args[1..]);
                command
            }
        };
        for (name, value) in self.realm.program("true").get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .current_dir(self.realm.project())
            .env("PATH", self.path())
            .env_remove("MICROVM_NAME")
            .env_remove("DIRENV_DIR")
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        crate::harness::succeeded(args, self.run(args))
    }

    /// What the tutorial does, until the shell knows the port that `variable` names; gives direnv's variables.
    #[track_caller]
    fn entered(&self, variable: &str) -> serde_json::Value {
        self.ok(&["create-microvm-env", "shop"]);
        self.ok(&["direnv", "allow", "."]);
        let mut said = String::new();
        wait_for(&format!("{variable} to be known to the shell"), || {
            let output = self.run(&["direnv", "export", "json"]);
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("did not start"), "{said}");
            let loaded: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            loaded.get(variable).is_some().then_some(loaded)
        })
    }

    /// The answer to `GET /` on a port of the host.
    #[track_caller]
    fn answer(&self, port: &str) -> String {
        let url = format!("http://127.0.0.1:{port}/");
        let script = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())";
        let mut last = String::new();
        let deadline = std::time::Instant::now() + crate::harness::DEADLINE;
        loop {
            let output = self.run(&["python3", "-c", script, &url]);
            if output.status.success() {
                return String::from_utf8(output.stdout).unwrap();
            }
            last.clear();
            last.push_str(&String::from_utf8_lossy(&output.stderr));
            assert!(
                std::time::Instant::now() < deadline,
                "waited for an answer of {url}: {last}\n{}",
                String::from_utf8_lossy(&self.run(&["mvm", "status", "shop"]).stdout)
            );
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut child) = self.namespace.take() {
            let _ = self.realm.mvm(["stop", "--all", "--force", "--yes"]).output();
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

#[track_caller]
fn text<'a>(loaded: &'a serde_json::Value, name: &str) -> &'a str {
    loaded[name].as_str().unwrap_or_else(|| panic!("no {name} in {loaded}"))
}

#[test]
fn a_procfile_project_answers_on_the_host_and_vm_runs_commands_in_every_shell() {
    let desk = Desk::new(&[("Procfile", "web: python3 server.py\n"), ("server.py", SERVER), ("src/x", "")]);
    let loaded = desk.entered("MVM_PORT_WEB");
    assert_eq!(desk.answer(text(&loaded, "MVM_PORT_WEB")), "hello");
    for shell in ["bash", "zsh", "fish"] {
        let output = desk.run(&["direnv", "exec", ".", shell, "-c", "cd src; vm sh -c 'pwd; exit 7'"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/project/src\n", "{shell}: {output:?}");
        assert_eq!(output.status.code(), Some(7), "{shell}");
    }
    // On a terminal, as `script` gives one.
    let tty = desk.ok(&["direnv", "exec", ".", "script", "-qec", "vm tty", "/dev/null"]);
    assert!(tty.contains("/dev/pts/"), "{tty}");
    // Stopped, it is started again by the shell.
    desk.ok(&["mvm", "stop", "shop", "--yes"]);
    let loaded = desk.entered("MVM_PORT_WEB");
    assert_eq!(desk.answer(text(&loaded, "MVM_PORT_WEB")), "hello");
}

#[test]
fn a_node_project_answers_on_the_host_and_changes_are_applied_while_it_runs() {
    let server = "require('http').createServer((request, response) => response.end(process.env.GREETING || 'node')).listen(3000)";
    let desk = Desk::new(&[
        ("package.json", r#"{ "name": "shop", "scripts": { "start": "node server.js --port 3000" } }"#),
        ("Procfile", "web: node server.js --port 3000\n"),
        ("server.js", server),
    ]);
    // Somebody has the port already.
    let mut taken = desk
        .command(&["python3", "-c", "import socket,sys; s=socket.create_server(('127.0.0.1',3000)); print('up',flush=True); sys.stdin.read()"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    taken.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    let loaded = desk.entered("MVM_PORT_WEB");
    let port = text(&loaded, "MVM_PORT_WEB");
    assert_ne!(port, "3000");
    assert_eq!(desk.answer(port), "node");
    drop(taken.stdin.take());
    taken.wait().unwrap();
    // The project changes: the VM is marked as outdated, then changed by one command.
    desk.realm.write("Procfile", "web: GREETING=changed node server.js --port 3000\n");
    let output = desk.run(&["direnv", "export", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("VM shop is outdated: process web changed"), "{said}");
    assert!(desk.ok(&["mvm", "list"]).contains("outdated"));
    let said = desk.ok(&["mvm-devenv", ".", "shop", "--yes"]);
    assert!(
        said.contains(&format!("web  http://localhost:{port} (3000 was taken), $MVM_PORT_WEB")),
        "{said}"
    );
    assert!(!desk.ok(&["mvm", "list"]).contains("outdated"));
    assert_eq!(desk.answer(port), "changed");
}

#[test]
fn a_python_project_with_postgres_answers_with_what_its_database_says() {
    let server = r#"import http.server, os, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = subprocess.run(["psql", "-Atc", "SELECT text FROM greeting", os.environ["DATABASE_URL"]], capture_output=True, text=True)
        self.send_response(200 if said.returncode == 0 else 500)
        self.end_headers()
        self.wfile.write((said.stdout + said.stderr).encode())
http.server.HTTPServer(("", 8000), Handler).serve_forever()
"#;
    let devenv = r#"{ pkgs, ... }: {
  languages.python.enable = true;
  services.postgres = {
    enable = true;
    listen_addresses = "127.0.0.1";
    initialDatabases = [ { name = "app"; user = "ada"; pass = "pw"; initialSQL = "CREATE TABLE greeting (text text); INSERT INTO greeting VALUES ('from the database'); GRANT SELECT ON greeting TO PUBLIC;"; } ];
  };
  processes.web = { exec = "python3 server.py"; ports.http.allocate = 8000; after = [ "devenv:processes:postgres" ]; };
}
"#;
    let desk = Desk::new(&[("devenv.nix", devenv), ("server.py", server)]);
    let loaded = desk.entered("MVM_PORT_WEB");
    assert_eq!(text(&loaded, "PGPORT"), text(&loaded, "MVM_PORT_POSTGRES"));
    assert_eq!(desk.answer(text(&loaded, "MVM_PORT_WEB")), "from the database\n");
    // The host's client reaches it by the variables that the shell has.
    let asked = desk.ok(&[
        "direnv",
        "exec",
        ".",
        "sh",
        "-c",
        "psql -Atc 'SELECT text FROM greeting' \"$DATABASE_URL\"",
    ]);
    assert_eq!(asked, "from the database\n");

    // A client that stays does not keep the server from ending in order.
    let sleeper = "setsid psql -c 'SELECT pg_sleep(1000)' \"$DATABASE_URL\" >/dev/null 2>&1 &
                   until psql -Atc 'SELECT query FROM pg_stat_activity' \"$DATABASE_URL\" | grep -q '^SELECT pg_sleep'; do sleep 0.1; done";
    desk.ok(&["mvm", "exec", "shop", "--", "timeout", "60", "sh", "-c", sleeper]);
    desk.ok(&["mvm", "stop", "shop"]);
    let log = desk.ok(&["mvm", "logs", "shop", "--process", "postgres"]);
    assert!(log.contains("fast shutdown") && log.contains("database system is shut down"), "{log}");
}

#[test]
fn a_rust_project_that_is_built_on_the_host_answers_on_the_host() {
    // Toolchains of rustup are in the user's home, which no guest sees: what it builds lies in the project.
    let server = r#"use std::io::{Read, Write};
fn main() {
    for stream in std::net::TcpListener::bind("0.0.0.0:7000").unwrap().incoming() {
        let mut stream = stream.unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nrust");
    }
}
"#;
    let desk = Desk::new(&[
        ("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        ("Procfile", "web: target/debug/shop -p 7000\n"),
        ("src/main.rs", server),
    ]);
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline"])
        .current_dir(desk.realm.project())
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let loaded = desk.entered("MVM_PORT_WEB");
    assert_eq!(desk.answer(text(&loaded, "MVM_PORT_WEB")), "rust");
}

#[test]
fn the_functions_of_shell_init_find_the_vm_of_the_directory() {
    let desk = Desk::new(&[("a b/x", "")]);
    desk.ok(&["mvm", "create", "shop"]);
    for shell in ["bash", "zsh"] {
        let script = format!("eval \"$(mvm shell-init {shell})\"; cd 'a b'; vm sh -c 'pwd; exit 3'");
        let output = desk.run(&[shell, "-c", &script]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/project/a b\n", "{shell}: {output:?}");
        assert_eq!(output.status.code(), Some(3), "{shell}");
    }
    let output = desk.run(&["fish", "-c", "mvm shell-init fish | source; cd 'a b'; vm sh -c 'pwd; exit 3'"]);
    assert_eq!((&*output.stdout, output.status.code()), (&b"/project/a b\n"[..], Some(3)), "{output:?}");
    let output = desk.run(&["bash", "-c", "eval \"$(mvm shell-init bash)\"; cd /; mvmcd shop && pwd"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{}\n", desk.realm.project().canonicalize().unwrap().display())
    );
    let output = desk.run(&["bash", "-c", "eval \"$(mvm shell-init bash)\"; cd /; vm true"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no VM works on /"), "{output:?}");
}
