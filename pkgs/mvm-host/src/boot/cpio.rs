//! Archives in the "newc" format of initramfs images (Documentation/driver-api/early-userspace/buffer-format.rst of
//! Linux). The same entries give the same bytes: inode numbers count up, times are 0.

/// An archive being written. Entries must come after the directories they are in.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// Types of files in `st_mode` (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// Adds a directory of mode 0755.
    pub fn dir(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR | permissions, (0, 0), content);
    }

    /// Adds a character device, mode 0600.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // Lengths are 32 bits; an initramfs is loaded below 4 GiB anyway.
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let inode = self.entries;
        let (size, path_size) = (length(content.len()), length(path.len() + 1));
        let (uid, gid, links, mtime, check) = (0, 0, 1, 0, 0);
        let fields = [inode, mode, uid, gid, links, mtime, size, 0, 0, device.0, device.1, path_size, check];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_format_of_the_kernel() {
        let mut archive = Archive::default();
        archive.dir("dev");
        archive.character_device("dev/console", 5, 1);
        archive.file("init", 0o755, b"abcde");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.starts_with(concat!(
            "070701", "00000001", "000041ed", "00000000", "00000000", "00000001", "00000000", "00000000",
            "00000000", "00000000", "00000000", "00000000", "00000004", "00000000", "dev\0", "\0\0",
        )));
        assert!(text.contains(concat!(
            "00000005",
            "00000001",
            "0000000c",
            "00000000",
            "dev/console\0",
            "\0\0"
        )));
        assert!(text.contains(concat!("init\0\0", "abcde\0\0\0", "070701")));
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
