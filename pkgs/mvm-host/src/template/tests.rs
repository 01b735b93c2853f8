use super::key::Ingredients;
use super::*;
use crate::boot::accel::Accelerator;
use crate::vmm::Launch;
use std::os::unix::fs::FileExt;

struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn key(&self) -> Key {
        let file = self.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let launch = Launch { program: file.clone(), args: Vec::new() };
        Ingredients {
            launch: &launch,
            vmm: "v",
            kernel: &file,
            initramfs: &file,
            accelerator: Accelerator::Tcg,
        }
        .key(self.path())
        .unwrap()
    }
    fn make(&self) -> Template {
        let draft = Draft::begin(self.path(), &self.key()).unwrap().unwrap();
        draft.finish(about(), &memory(), b"state").unwrap()
    }
    fn find(&self, tsc_khz: u64) -> Found {
        find(self.path(), &self.key(), Some(tsc_khz))
    }
}

fn about() -> About {
    About {
        created_at: 1,
        mem_mib: 1,
        vcpu: 1,
        accel: "tcg".to_owned(),
        vmm: "QEMU".to_owned(),
        kernel: "6.1".to_owned(),
        tsc_khz: Some(2_000_000),
        memory: Packed::default(),
        state_crc: 0,
    }
}

fn memory() -> File {
    let memory = tempfile::tempfile().unwrap();
    memory.set_len(1 << 20).unwrap();
    memory.write_all_at(b"kernel", 8192).unwrap();
    memory
}

fn blank() -> File {
    let blank = tempfile::tempfile().unwrap();
    blank.set_len(1 << 20).unwrap();
    blank
}

#[test]
fn a_template_is_found_again_with_its_memory_and_state() {
    let cache = Cache::new();
    assert!(matches!(cache.find(2_000_000), Found::Missing));
    cache.make();
    let Found::Ready(template) = cache.find(2_000_100) else { panic!("not found") };
    assert_eq!(template.state().unwrap(), b"state");
    let target = blank();
    template.unpack_memory(&target).unwrap();
    let mut found = [0; 6];
    target.read_exact_at(&mut found, 8192).unwrap();
    assert_eq!(&found, b"kernel");
}

#[test]
fn a_damaged_template_is_not_used() {
    for (file, at) in [("memory", 100), ("state", 2)] {
        let cache = Cache::new();
        let template = cache.make();
        let path = template.dir.join(file);
        File::options().write(true).open(&path).unwrap().write_all_at(b"!", at).unwrap();
        let broken = template.unpack_memory(&blank()).and(template.state().map(drop));
        let error = broken.unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("checksum"), "{error}");
    }
    let cache = Cache::new();
    let template = cache.make();
    std::fs::write(template.dir.join("about.json"), "{}").unwrap();
    assert!(matches!(cache.find(2_000_000), Found::Missing));
    assert!(!template.dir.exists(), "it is made anew");
}

#[test]
fn a_template_of_another_clock_is_not_used() {
    let cache = Cache::new();
    cache.make();
    assert!(matches!(cache.find(2_100_000), Found::Missing));
}

#[test]
fn a_failure_keeps_the_next_start_from_trying_and_is_forgotten_by_success_and_with_time() {
    let cache = Cache::new();
    cache.make();
    note_failure(cache.path(), &cache.key(), "it hangs");
    assert!(matches!(cache.find(2_000_000), Found::Failed(reason) if reason == "it hangs"));
    assert_eq!(cache::failures(cache.path())[0].reason, "it hangs");
    let note = File::options().write(true).open(failure_path(cache.path(), &cache.key())).unwrap();
    note.set_modified(SystemTime::now() - FAILURE_HOLDS * 2).unwrap();
    assert!(matches!(cache.find(2_000_000), Found::Missing));
    note.set_modified(SystemTime::now()).unwrap();
    cache.make();
    assert!(matches!(cache.find(2_000_000), Found::Ready(_)));
    assert!(cache::failures(cache.path()).is_empty());
}

#[test]
fn one_template_is_made_by_one_at_a_time_and_leaves_nothing_when_given_up() {
    let cache = Cache::new();
    let draft = Draft::begin(cache.path(), &cache.key()).unwrap();
    assert!(draft.is_some());
    assert!(Draft::begin(cache.path(), &cache.key()).unwrap().is_none());
    drop(draft);
    assert!(cache::list(cache.path()).is_empty());
    let left = std::fs::read_dir(dir(cache.path())).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(left, [format!("{}.lock", cache.key())]);
}
