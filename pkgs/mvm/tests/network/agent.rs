//! A program in one place of the world, a namespace or a guest: it serves there, records what arrives, and tries to
//! reach other places (`agent/agent.py`).

use crate::harness::{DEADLINE, wait_for};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// The agent's files, by name.
const FILES: [(&str, &str); 4] = [
    ("agent.py", include_str!("agent/agent.py")),
    ("packets.py", include_str!("agent/packets.py")),
    ("probes.py", include_str!("agent/probes.py")),
    ("services.py", include_str!("agent/services.py")),
];

/// The interpreter that guests have as well.
pub const PYTHON: &str = "/usr/bin/python3";

/// A running agent.
pub struct Agent {
    place: String,
    child: Child,
    requests: RefCell<Option<ChildStdin>>,
    answers: Receiver<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Outcome {
    /// `reaches`, `refused` or `silent`; `error` if the attempt could not be made.
    pub outcome: String,
    /// An answer's content, or an error.
    pub detail: Value,
}

impl Outcome {
    /// Whether there was the right answer.
    pub fn reached(&self) -> bool {
        self.outcome == "reaches"
    }
}

/// A word that is looked for where it may have arrived; each is new.
pub fn nonce() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("mvmn-{:08x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes all attempts at the same time, none of which may succeed, nor may its receiver see anything of it: who makes
/// it, how, and who must not get it.
#[track_caller]
pub fn all_are_kept(mut attempts: Vec<(&Agent, Value, &Agent)>) -> Vec<Outcome> {
    let mut nonces = Vec::new();
    for (_, probe, _) in &mut attempts {
        nonces.push(nonce());
        probe["nonce"] = json!(nonces.last());
    }
    let mut by_agent: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, (agent, ..)) in attempts.iter().enumerate() {
        by_agent.entry(agent.pid()).or_default().push(index);
    }
    for indices in by_agent.values() {
        let probes: Vec<_> = indices.iter().map(|index| &attempts[*index].1).collect();
        attempts[indices[0]].0.send(&json!({"do": "probe", "probes": probes}));
    }
    let mut outcomes: Vec<Option<Outcome>> = vec![None; attempts.len()];
    for indices in by_agent.values() {
        let answers: Vec<Outcome> = serde_json::from_value(attempts[indices[0]].0.receive()).unwrap();
        for (index, answer) in indices.iter().zip(answers) {
            outcomes[*index] = Some(answer);
        }
    }
    let outcomes: Vec<_> = outcomes.into_iter().map(Option::unwrap).collect();
    let mut seen = BTreeMap::new();
    for (index, (agent, probe, receiver)) in attempts.iter().enumerate() {
        let outcome = &outcomes[index];
        let reached = outcome.outcome == "error" || (probe["how"] != "frames" && outcome.reached());
        assert!(!reached, "{}: {probe}: {outcome:?}", agent.place);
        let seen = seen.entry(receiver.pid()).or_insert_with(|| receiver.seen());
        assert!(!seen.contains_key(&nonces[index]), "{} got it: {}: {probe}", receiver.place, agent.place);
    }
    outcomes
}

/// Writes the agent's files to `dir`, which guests have as part of their project.
pub fn install(dir: &Path) {
    std::fs::create_dir(dir).unwrap();
    for (name, content) in FILES {
        std::fs::write(dir.join(name), content).unwrap();
    }
}

impl Agent {
    /// Starts `command`, which ends in [`PYTHON`] and the agent's file; returns when it answers.
    #[track_caller]
    pub fn start(place: &str, mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let requests = RefCell::new(child.stdin.take());
        Self { place: place.to_owned(), child, requests, answers }
    }

    /// Its process, as the test sees it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request, whose answer must be fetched.
    #[track_caller]
    pub fn send(&self, request: &Value) {
        let mut requests = self.requests.borrow_mut();
        writeln!(requests.as_mut().unwrap(), "{request}")
            .unwrap_or_else(|error| panic!("the agent in {}: {error}", self.place));
    }

    /// The answer to the oldest request.
    #[track_caller]
    pub fn receive(&self) -> Value {
        let line = self
            .answers
            .recv_timeout(DEADLINE)
            .unwrap_or_else(|error| panic!("the agent in {} does not answer: {error}", self.place));
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "the agent in {}: {}", self.place, answer["error"]);
        answer["answer"].take()
    }

    /// Sends a request and waits for its answer.
    #[track_caller]
    pub fn call(&self, request: &Value) -> Value {
        self.send(request);
        self.receive()
    }

    /// Serves what the object says (see `agent.py`), from now on.
    #[track_caller]
    pub fn serve(&self, mut what: Value) {
        what["do"] = json!("serve");
        self.call(&what);
    }

    /// Makes these the names of its DNS server.
    #[track_caller]
    pub fn names(&self, names: &[(&str, &str)]) {
        let names: BTreeMap<_, _> = names.iter().map(|(name, address)| (*name, [*address])).collect();
        self.call(&json!({"do": "names", "names": names}));
    }

    /// Makes one attempt.
    #[track_caller]
    pub fn probe(&self, probe: Value) -> Outcome {
        let outcomes = self.call(&json!({"do": "probe", "probes": [probe]}));
        serde_json::from_value(outcomes[0].clone()).unwrap()
    }

    /// Reaches `to` by `how` (`icmp`, `tcp`, `udp`), sooner or later.
    #[track_caller]
    pub fn reaches(&self, how: &str, to: &str, port: u16) {
        let probe = json!({"how": how, "to": to, "port": port, "nonce": nonce(), "hopeful": true});
        let outcome = self.probe(probe);
        assert!(outcome.reached(), "{} to {to}:{port} by {how}: {outcome:?}", self.place);
    }

    /// Does not reach `to`, nor is anything of the attempt seen by `receiver`.
    #[track_caller]
    pub fn is_kept_from(&self, how: &str, to: &str, port: u16, receiver: &Agent) -> Outcome {
        self.probe_is_kept(json!({"how": how, "to": to, "port": port}), receiver)
    }

    /// The same by an attempt of any kind.
    #[track_caller]
    pub fn probe_is_kept(&self, probe: Value, receiver: &Agent) -> Outcome {
        all_are_kept(vec![(self, probe, receiver)]).remove(0)
    }

    /// What `server` answers about `name`, if it has an answer; asked once.
    #[track_caller]
    pub fn resolves(&self, server: &str, name: &str) -> Option<String> {
        let outcome = self.probe(json!({"how": "dns", "to": server, "name": name}));
        outcome.reached().then(|| outcome.detail.as_str().unwrap().to_owned())
    }

    /// Waits until `server` says that `name` is at `address` (or, with an address of none, says nothing). A `*` in the
    /// name is a new word each time, so that no cache answers.
    #[track_caller]
    pub fn comes_to_resolve(&self, server: &str, name: &str, address: Option<&str>) {
        wait_for(&format!("{name} to be {address:?}"), || {
            let name = name.replace('*', &nonce());
            (self.resolves(server, &name).as_deref() == address).then_some(())
        });
    }

    /// Which nonces arrived, and how.
    #[track_caller]
    pub fn seen(&self) -> BTreeMap<String, Vec<String>> {
        serde_json::from_value(self.call(&json!({"do": "seen"}))).unwrap()
    }

    /// Runs a shell script, which must succeed, and gives its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let done = self.call(&json!({"do": "run", "script": script}));
        assert_eq!(done["code"], 0, "in {}: {script}: {done}", self.place);
        done["output"].as_str().unwrap().to_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It ends with its input; should it hang, it is killed.
        drop(self.requests.borrow_mut().take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
