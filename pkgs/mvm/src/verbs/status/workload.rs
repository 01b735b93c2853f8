//! The lines of a VM's workload.

use crate::{output, units};
use mvm_host::store::Outdated;
use mvm_spec::workload::{ProcessPhase, ProcessStatus, Workload};
use output::Tone;

/// Adds the lines of what runs in a VM by itself: of its `processes`, or of those that it will run when it starts; and
/// whether its project asks for something else by now.
pub fn add(
    lines: &mut Vec<Vec<String>>,
    processes: &[ProcessStatus],
    asleep: Option<&Workload>,
    outdated: Option<&Outdated>,
) {
    let mut line = |label: &str, text: String| lines.push(vec![label.to_owned(), text]);
    let width = processes.iter().map(|process| process.name.len()).max().unwrap_or_default();
    for (index, process) in processes.iter().enumerate() {
        line(if index == 0 { "Workload" } else { "" }, process_line(process, width));
    }
    if let Some(workload) = asleep.filter(|workload| !workload.processes.is_empty()) {
        let names: Vec<&str> = workload.processes.iter().map(|process| process.name.as_str()).collect();
        line("Workload", format!("{}, when it runs", names.join(", ")));
    }
    if let Some(Outdated { since, what }) = outdated {
        let ago = units::uptime(units::now().saturating_sub(*since));
        let what = output::printable(&what.join(", ")).replace('\n', "?");
        line("Outdated", format!("its project changed {ago} ago: {what}"));
        line("", "mvm-devenv brings the VM up to date, or mvm workload NAME FILE".to_owned());
    }
}

fn process_line(process: &ProcessStatus, width: usize) -> String {
    let ProcessStatus { name, phase, pid, restarts, detail } = process;
    let (word, tone) = match phase {
        ProcessPhase::Waiting => ("waiting", Tone::Notice),
        ProcessPhase::Starting => ("starting", Tone::Notice),
        ProcessPhase::Ready => ("ready", Tone::Good),
        ProcessPhase::BackingOff => ("backing off", Tone::Bad),
        ProcessPhase::Ended => ("ended", Tone::Plain),
        ProcessPhase::Failed => ("failed", Tone::Bad),
    };
    let mut more = Vec::new();
    if let Some(pid) = pid {
        more.push(format!("pid {pid}"));
    }
    if *restarts > 0 {
        more.push(units::count(u64::from(*restarts), "restart"));
    }
    if !detail.is_empty() {
        // A guest's words: one line, and nothing that steers a terminal.
        more.push(output::printable(detail).replace('\n', " "));
    }
    let more = if more.is_empty() { String::new() } else { format!(": {}", more.join(", ")) };
    format!("{name:width$}  {}{more}", output::tone(word, tone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(
        name: &str,
        phase: ProcessPhase,
        pid: Option<i32>,
        restarts: u32,
        detail: &str,
    ) -> ProcessStatus {
        ProcessStatus { name: name.to_owned(), phase, pid, restarts, detail: detail.to_owned() }
    }

    #[test]
    fn each_process_has_a_line_with_all_that_is_known() {
        let processes = [
            status("db", ProcessPhase::Ready, Some(41), 0, ""),
            status("worker", ProcessPhase::BackingOff, None, 1, "ended with\nexit code 3\u{1b}"),
        ];
        let mut lines = Vec::new();
        add(&mut lines, &processes, None, None);
        assert_eq!(
            lines,
            [
                ["Workload", "db      ready: pid 41"],
                ["", "worker  backing off: 1 restart, ended with exit code 3^["],
            ]
        );
    }

    #[test]
    fn a_vm_at_rest_says_what_it_will_run_and_an_outdated_one_what_to_do() {
        let workload =
            Workload::parse(r#"{ "version": 1, "processes": [{ "name": "web", "exec": "x" }] }"#).unwrap();
        let outdated = Outdated { since: units::now(), what: vec!["process web changed".to_owned()] };
        let mut lines = Vec::new();
        add(&mut lines, &[], Some(&workload), Some(&outdated));
        assert_eq!(lines[0], ["Workload", "web, when it runs"]);
        assert!(lines[1][1].ends_with("ago: process web changed"), "{lines:?}");
        assert!(lines[2][1].contains("mvm workload"));
    }
}
