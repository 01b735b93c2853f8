//! What differs between two workloads, in words.

use super::{Process, Workload};
use std::collections::BTreeMap;

impl Workload {
    /// What `newer` has that this has not, a few words for each difference; empty if they are the same.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let processes = |workload: &'_ Self| -> BTreeMap<String, Process> {
            workload.processes.iter().map(|process| (process.name.clone(), process.clone())).collect()
        };
        compare("process", &processes(self), &processes(newer), &mut found);
        compare("variable", &self.environment, &newer.environment, &mut found);
        if self.environment_files != newer.environment_files {
            found.push("files of variables changed".to_owned());
        }
        if self.working_directory != newer.working_directory {
            found.push("working directory changed".to_owned());
        }
        found
    }
}

fn compare<T: PartialEq>(
    what: &str,
    older: &BTreeMap<String, T>,
    newer: &BTreeMap<String, T>,
    found: &mut Vec<String>,
) {
    for (name, value) in newer {
        match older.get(name) {
            None => found.push(format!("{what} {name} added")),
            Some(before) if before != value => found.push(format!("{what} {name} changed")),
            Some(_) => {}
        }
    }
    let gone = older.keys().filter(|name| !newer.contains_key(*name));
    found.extend(gone.map(|name| format!("{what} {name} removed")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(json: serde_json::Value) -> Workload {
        Workload::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn each_difference_is_named_and_values_are_not() {
        let older = workload(serde_json::json!({
            "version": 1,
            "environment": { "SAME": "1", "OTHER": "secret", "GONE": "1" },
            "processes": [{ "name": "web", "exec": "a" }, { "name": "old", "exec": "a" }, { "name": "db", "exec": "a" }],
        }));
        let newer = workload(serde_json::json!({
            "version": 1,
            "workingDirectory": "/project/app",
            "environment": { "SAME": "1", "OTHER": "secret2", "NEW": "1" },
            "environmentFiles": ["/project/.env"],
            "processes": [{ "name": "db", "exec": "a" }, { "name": "web", "exec": "b" }, { "name": "new", "exec": "a" }],
        }));
        assert_eq!(
            older.differences(&newer),
            [
                "process new added",
                "process web changed",
                "process old removed",
                "variable NEW added",
                "variable OTHER changed",
                "variable GONE removed",
                "files of variables changed",
                "working directory changed",
            ]
        );
        assert_eq!(newer.differences(&newer), [""; 0]);
    }

    #[test]
    fn the_order_of_processes_is_no_difference() {
        let processes = [
            serde_json::json!({ "name": "a", "exec": "x" }),
            serde_json::json!({ "name": "b", "exec": "x" }),
        ];
        let [a, b] = processes;
        let one = workload(serde_json::json!({ "version": 1, "processes": [a, b] }));
        let mut other = one.clone();
        other.processes.reverse();
        assert_eq!(one.differences(&other), [""; 0]);
    }
}
