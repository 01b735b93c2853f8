//! In which order processes are ended: who needs another before that other.

use mvm_spec::workload::Process;
use std::collections::BTreeMap;

/// The names of `processes` in stages: all of one stage can be ended at once, when those of the stages before have ended.
pub fn stages(processes: &[&Process]) -> Vec<Vec<String>> {
    let mut left: BTreeMap<&str, &Process> =
        processes.iter().map(|process| (process.name.as_str(), *process)).collect();
    let mut stages = Vec::new();
    while !left.is_empty() {
        let needed = |name: &str| left.values().any(|other| other.after.iter().any(|after| after == name));
        let mut stage: Vec<&str> = left.keys().copied().filter(|name| !needed(name)).collect();
        if stage.is_empty() {
            // A circle, which the rules of workloads exclude; ended all the same.
            stage = left.keys().copied().collect();
        }
        stages.push(stage.iter().map(|name| (*name).to_owned()).collect());
        for name in stage {
            left.remove(name);
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvm_spec::workload::Workload;

    fn processes(list: &[(&str, &[&str])]) -> Vec<Process> {
        let list: Vec<_> = list
            .iter()
            .map(|(name, after)| serde_json::json!({ "name": name, "exec": "x", "after": after }))
            .collect();
        let json = serde_json::json!({ "version": 1, "processes": list });
        Workload::parse(&json.to_string()).unwrap().processes
    }

    #[test]
    fn who_needs_another_is_ended_first() {
        let all = processes(&[
            ("db", &[]),
            ("cache", &[]),
            ("api", &["db", "cache"]),
            ("web", &["api", "db"]),
            ("mail", &[]),
        ]);
        let all: Vec<&Process> = all.iter().collect();
        assert_eq!(stages(&all), [vec!["mail", "web"], vec!["api"], vec!["cache", "db"]]);
        // Of some alone, what the others need plays no part.
        assert_eq!(stages(&all[..2]), [vec!["cache", "db"]]);
        assert_eq!(stages(&[]), [] as [Vec<String>; 0]);
    }

    #[test]
    fn a_circle_ends_too() {
        let mut all = processes(&[("a", &[]), ("b", &["a"])]);
        all[0].after = vec!["b".to_owned()];
        assert_eq!(stages(&all.iter().collect::<Vec<_>>()), [vec!["a", "b"]]);
    }
}
