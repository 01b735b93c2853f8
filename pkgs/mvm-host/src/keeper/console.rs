//! The guest's console: written to `console.log`, of which a talkative or hostile guest can fill only so much.

use super::log_file::LogFile;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Lines shown when a guest did not come up.
const TAIL_LINES: usize = 15;

/// Copies the console to `path` until its end. Errors of the file are not the guest's: reading goes on.
pub async fn copy(mut console: Receiver, path: PathBuf) {
    let mut log = LogFile::open(path);
    let mut buffer = vec![0; 16 << 10];
    loop {
        match console.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => log.write(&buffer[..read]),
        }
    }
}

/// The last lines, without control characters, which a terminal would obey.
pub fn tail(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tail_has_no_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let lines: String = (0..40).map(|n| format!("\x1b[31mline {n}\x07\r\n\r\n")).collect();
        std::fs::write(&path, lines).unwrap();
        let tail = super::tail(&path);
        assert_eq!(tail.len(), super::TAIL_LINES);
        assert_eq!(tail.last().unwrap(), "[31mline 39");
        assert!(super::tail(&dir.path().join("none")).is_empty());
    }
}
