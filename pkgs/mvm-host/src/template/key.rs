//! What a template depends on, as one digest.

use crate::Result;
use crate::boot::accel::Accelerator;
use crate::boot::memo::{Fingerprint, Made, Request};
use crate::vmm::Launch;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};

/// Changes when templates of the same ingredients are made or used in another way.
const FORMAT: u32 = 2;

/// The name of a template: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a template is made of.
#[derive(Clone, Debug)]
pub struct Ingredients<'a> {
    /// How the VMM is called for it: with that machine, board, processor, memory and kernel command line. Must not hold
    /// what differs from start to start.
    pub launch: &'a Launch,
    /// Name and version of the VMM.
    pub vmm: &'a str,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The initramfs, with modules and init.
    pub initramfs: &'a Path,
    /// How it is run.
    pub accelerator: Accelerator,
}

impl Ingredients<'_> {
    /// The key. Files count by their content, which is read when they have changed.
    ///
    /// # Errors
    /// A file can't be read, or the cache not be written.
    pub fn key(&self, cache_dir: &Path) -> Result<Key> {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&FORMAT.to_string());
        add(self.vmm);
        for file in [&self.launch.program, self.kernel, self.initramfs] as [&Path; 3] {
            add(&content(cache_dir, file)?);
        }
        for argument in &self.launch.args {
            add(&argument.to_string_lossy());
        }
        // What its taps can do, and its virtualisation.
        add(&std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default());
        if self.accelerator == Accelerator::Kvm {
            // The guest has the host's processor.
            add(&processor(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()));
        }
        let mut digits = hex::encode(hash.finalize());
        digits.truncate(32);
        Ok(Key(digits))
    }
}

/// The digest of a file's content, from the cache if the file is as it was.
fn content(cache_dir: &Path, file: &Path) -> Result<String> {
    if file.parent() == Some(cache_dir)
        && let Some(name) = file.file_name().and_then(|name| name.to_str())
        && let Some((_, digest)) = name.split_once('-')
    {
        // Files of the cache have it in their names (see `boot`).
        return Ok(digest.to_owned());
    }
    let key = file.display().to_string();
    let path: PathBuf =
        Request { dir: cache_dir, kind: "digest", extension: "", key: &key }.ensure(|| {
            let inputs = vec![Fingerprint::of(file)?];
            let bytes = std::fs::read(file).map_err(crate::Error::io("read", file))?;
            Ok(Made { content: hex::encode(Sha256::digest(bytes)).into_bytes(), inputs })
        })?;
    std::fs::read_to_string(&path).map_err(crate::Error::io("read", &path))
}

/// Of `/proc/cpuinfo` what a guest sees of a processor, the first standing for all.
fn processor(text: &str) -> String {
    const SEEN: [&str; 6] = ["vendor_id", "cpu family", "model", "stepping", "microcode", "flags"];
    let first = text.split("\n\n").next().unwrap_or_default();
    let is_seen = |line: &&str| line.split(':').next().is_some_and(|name| SEEN.contains(&name.trim()));
    first.lines().filter(is_seen).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        launch: Launch,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for file in ["qemu", "kernel", "initramfs"] {
                std::fs::write(dir.path().join(file), file).unwrap();
            }
            let launch = Launch { program: dir.path().join("qemu"), args: vec!["-m".into(), "512M".into()] };
            Self { dir, launch }
        }
        fn key(&self) -> Key {
            self.key_of(&self.launch, "QEMU 7.2", Accelerator::Tcg)
        }
        fn key_of(&self, launch: &Launch, vmm: &str, accelerator: Accelerator) -> Key {
            let (kernel, initramfs) = (self.dir.path().join("kernel"), self.dir.path().join("initramfs"));
            let parts = Ingredients { launch, vmm, kernel: &kernel, initramfs: &initramfs, accelerator };
            parts.key(self.dir.path()).unwrap()
        }
    }

    #[test]
    fn equal_ingredients_give_one_key_and_each_change_another() {
        let place = Place::new();
        let mut seen = vec![place.key()];
        assert_eq!(place.key(), seen[0]);
        seen.push(place.key_of(&place.launch, "QEMU 8.0", Accelerator::Tcg));
        seen.push(place.key_of(&place.launch, "QEMU 7.2", Accelerator::Kvm));
        // Where one argument ends counts.
        let args = vec!["-m512M".into()];
        seen.push(place.key_of(&Launch { args, ..place.launch.clone() }, "QEMU 7.2", Accelerator::Tcg));
        for file in ["qemu", "kernel", "initramfs"] {
            std::fs::write(place.dir.path().join(file), "changed").unwrap();
            seen.push(place.key());
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn a_file_that_was_only_touched_keeps_the_key() {
        let place = Place::new();
        let before = place.key();
        std::fs::write(place.dir.path().join("kernel"), "kernel").unwrap();
        assert_eq!(place.key(), before);
    }

    #[test]
    fn a_processor_is_what_a_guest_sees_of_it() {
        let text = "processor\t: 0\nvendor_id\t: X\ncpu MHz\t: 1.0\nflags\t: a b\n\nprocessor\t: 1\nvendor_id\t: X\n";
        assert_eq!(processor(text), "vendor_id\t: X\nflags\t: a b");
    }
}
