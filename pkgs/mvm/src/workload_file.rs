//! Workloads as arguments: files, or standard input.

use anyhow::Context as _;
use mvm_spec::workload::{BYTES_MAX, Workload};
use std::io::Read;
use std::path::Path;

/// Reads and checks the workload in `file`; `-` is standard input.
pub fn read(file: &Path) -> anyhow::Result<Workload> {
    let (name, source): (String, Box<dyn Read>) = if file == Path::new("-") {
        ("standard input".to_owned(), Box::new(std::io::stdin().lock()))
    } else {
        let name = file.display().to_string();
        let opened =
            std::fs::File::open(file).with_context(|| format!("can't open the workload file {name}"))?;
        (name, Box::new(opened))
    };
    let mut text = String::new();
    // One more than allowed, for the check to see that it is too long.
    source
        .take(BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("can't read the workload in {name}"))?;
    Workload::parse(&text).with_context(|| format!("the workload in {name} can't be used"))
}
