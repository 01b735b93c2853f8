//! Applies nft rules.

use super::spawn;
use crate::{Error, Result};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// Whether `nft` is installed.
pub fn installed() -> bool {
    spawn::find("nft").is_some()
}

/// Applies `text` (nft(8) syntax) as one transaction, in the network namespace of the calling thread.
///
/// Errors: `nft` is missing, or refuses the text, with its own message; then nothing has changed.
pub async fn apply(text: &str) -> Result<()> {
    run(&["-f", "-"], text).await.map(drop)
}

/// The rules of `table` (`inet microvm-dev`) as nft writes them, in the network namespace of the calling thread.
pub async fn read_back(family: &str, table: &str) -> Result<String> {
    run(&["-n", "list", "table", family, table], "").await
}

/// As [`read_back`], without counters and the elements of sets.
pub async fn list_terse(family: &str, table: &str) -> Result<String> {
    run(&["-n", "-s", "-t", "list", "table", family, table], "").await
}

/// The answer to a command (`list set inet …`) as a JSON document (libnftables-json(5)).
pub async fn json(command: &[&str]) -> Result<String> {
    run(&[&["-j"], command].concat(), "").await
}

async fn run(arguments: &[&str], input: &str) -> Result<String> {
    let program = spawn::find("nft")
        .ok_or_else(|| Error::Failed("`nft` is not installed; install the package `nftables`".to_owned()))?;
    let mut command = std::process::Command::new(&program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn::keep_capabilities(&mut command, spawn::NFT);
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("run", &program))?;
    let mut stdin = child.stdin.take();
    let write = async {
        if let Some(stdin) = &mut stdin {
            // A refusal may close the pipe early; nft's own message says more than the broken pipe.
            stdin.write_all(input.as_bytes()).await.ok();
        }
        drop(stdin);
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    let output = output.map_err(Error::io("wait for", &program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed(format!(
        "`nft {}` failed ({}): {}",
        arguments.join(" "),
        output.status,
        message.trim_end()
    )))
}
