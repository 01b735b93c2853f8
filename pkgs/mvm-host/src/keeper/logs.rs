//! What the processes of a VM's workload print: written to a log each, below `processes/`.

use super::log_file::{LogFile, before, rotate};
use super::mux::GuestStream;
use crate::store::VmPaths;
use mvm_spec::control::LogHeader;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// How long what a guest printed last may take to be written after its end.
const DRAINING: Duration = Duration::from_secs(1);

/// Logs that are being written.
pub struct Logs {
    expected: Rc<RefCell<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Logs {
    /// Writes what comes through `stream` from the processes called `names`; must be called within a `LocalSet`.
    pub fn start(stream: GuestStream, paths: VmPaths, names: BTreeSet<String>) -> Self {
        let expected = Rc::new(RefCell::new(names));
        let names = expected.clone();
        let task = tokio::task::spawn_local(async move {
            // An error is the guest's end, or that of its good manners.
            let _ = copy(stream, &paths, &names).await;
        });
        Self { expected, task }
    }

    /// From now on `names` are those that there are.
    pub fn expect(&self, names: BTreeSet<String>) {
        // What those that are gone printed may still be under way.
        self.expected.borrow_mut().extend(names);
    }

    /// After the guest's end: waits until all is written.
    pub async fn drain(self) {
        let mut task = self.task;
        if tokio::time::timeout(DRAINING, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Makes room for the logs of a new start, and removes those of processes that are not among `names` any more.
pub fn begin(paths: &VmPaths, names: &BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(paths.process_logs()) else { return };
    let keep: BTreeSet<_> = names
        .iter()
        .flat_map(|name| {
            let log = paths.process_log(name);
            [before(&log), log]
        })
        .collect();
    for entry in entries.flatten().map(|entry| entry.path()).filter(|path| !keep.contains(path)) {
        let _ = std::fs::remove_file(entry);
    }
    for name in names {
        rotate(&paths.process_log(name));
    }
}

/// Copies what the guest sends to the logs. Its word for a process' name is not taken: only names that are expected
/// become files.
async fn copy(
    mut stream: impl AsyncRead + Unpin,
    paths: &VmPaths,
    expected: &RefCell<BTreeSet<String>>,
) -> std::io::Result<()> {
    let mut open: HashMap<String, LogFile> = HashMap::new();
    let mut output = Vec::new();
    loop {
        let mut fixed = [0; LogHeader::FIXED];
        stream.read_exact(&mut fixed).await?;
        let (name, length) = LogHeader::lengths(fixed);
        output.resize(name + length, 0);
        stream.read_exact(&mut output).await?;
        let (name, output) = output.split_at(name);
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if !expected.borrow().contains(name) {
            continue;
        }
        open.entry(name.to_owned()).or_insert_with(|| LogFile::open(paths.process_log(name))).write(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn sent(host: &mut (impl AsyncWriteExt + Unpin), process: &str, output: &[u8]) {
        let header = LogHeader { process: process.to_owned(), length: output.len() as u16 };
        host.write_all(&header.to_bytes()).await.unwrap();
        host.write_all(output).await.unwrap();
    }

    #[tokio::test]
    async fn each_process_has_its_log_and_a_guest_can_name_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let paths = VmPaths { dir: dir.path().to_owned() };
        std::fs::create_dir(paths.process_logs()).unwrap();
        let (mut guest, host) = tokio::io::duplex(64);
        let guest = async move {
            sent(&mut guest, "web", b"one\n").await;
            sent(&mut guest, "../spec", b"evil").await;
            sent(&mut guest, "stranger", b"evil").await;
            sent(&mut guest, "db", b"two\n").await;
            sent(&mut guest, "web", b"three\n").await;
        };
        let expected = RefCell::new(names(&["web", "db"]));
        let (_, ended) = tokio::join!(guest, copy(host, &paths, &expected));
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(std::fs::read_to_string(paths.process_log("web")).unwrap(), "one\nthree\n");
        assert_eq!(std::fs::read_to_string(paths.process_log("db")).unwrap(), "two\n");
        assert_eq!(std::fs::read_dir(paths.process_logs()).unwrap().count(), 2);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_start_keeps_the_logs_before_it_and_forgets_processes_that_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let paths = VmPaths { dir: dir.path().to_owned() };
        std::fs::create_dir(paths.process_logs()).unwrap();
        for name in ["web", "gone"] {
            std::fs::write(paths.process_log(name), name).unwrap();
        }
        std::fs::write(before(&paths.process_log("gone")), "").unwrap();
        begin(&paths, &names(&["web"]));
        let left: Vec<_> = std::fs::read_dir(paths.process_logs())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["web.log.1"]);
    }
}
