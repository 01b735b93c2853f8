//! The kernel modules that the embedded guest needs: which files, in which order.

use super::decompress::decompress;
use super::elf;
use super::kernel::Kernel;
use super::memo::Fingerprint;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name as the kernel knows it (`virtio_rng`).
    pub name: String,
    /// The module, uncompressed.
    pub bytes: Vec<u8>,
}

/// The modules of a kernel, in the order of loading, and the files this answer rests on.
#[derive(Debug)]
pub struct Collected {
    /// Each after those it depends on.
    pub modules: Vec<Module>,
    /// Of every file that was read.
    pub inputs: Vec<Fingerprint>,
}

/// What the guest can't do without.
const REQUIRED: [&str; 9] = [
    "virtio",
    "virtio_ring",
    "virtio_mmio",
    "virtio_console",
    "virtio_net",
    "fuse",
    "virtiofs",
    "overlay",
    // Of the q35 platform only.
    "virtio_pci",
];
/// What it uses where the kernel has it. The checksum comes before ext4, which asks for it by request_module, and
/// the guest has no modprobe.
const OPTIONAL: [&str; 5] = ["virtio_rng", "virtio_blk", "crc32c_generic", "crc32c", "ext4"];

/// Marks a signature at a module's end (Linux, include/linux/module_signature.h), after `struct module_signature`.
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// Finds and reads the modules that the embedded guest needs of `kernel`.
///
/// # Errors
/// The kernel has a needed one neither as a module nor built in, or a module can't be read.
pub fn collect(kernel: &Kernel) -> Result<Collected> {
    let mut tree = Tree::open(kernel)?;
    let mut loader = Loader::default();
    for name in REQUIRED {
        if !loader.add(&mut tree, name)? && !tree.is_built_in(name) {
            return Err(missing(kernel, name));
        }
    }
    for name in OPTIONAL {
        loader.add(&mut tree, name)?;
    }
    let keep_signatures = tree.signatures_enforced;
    let mut modules = loader.modules;
    for module in modules.iter_mut().filter(|_| !keep_signatures) {
        strip_signature(&mut module.bytes);
    }
    Ok(Collected { modules, inputs: tree.inputs })
}

fn missing(kernel: &Kernel, name: &str) -> Error {
    let place = match &kernel.modules {
        Some(dir) => format!("{} has no {name}.ko", dir.display()),
        None => "its modules were not found".to_owned(),
    };
    Error::Failed(format!(
        "the kernel {} ({}) can't run guests: it needs {name}, which is not built in, and {place}; use a distribution's \
         kernel with virtio and virtiofs (Debian: `scripts/fetch-kernel`), or name one by MVM_KERNEL",
        kernel.release,
        kernel.image.display()
    ))
}

/// Modules in the order of loading.
#[derive(Default)]
struct Loader {
    modules: Vec<Module>,
    seen: BTreeSet<String>,
}

impl Loader {
    /// Adds the module `name` after what it depends on; `false` if the kernel has no such module.
    fn add(&mut self, tree: &mut Tree, name: &str) -> Result<bool> {
        let name = canonical(name);
        if self.seen.contains(&name) {
            return Ok(true);
        }
        let Some(path) = tree.files.get(&name).cloned() else { return Ok(false) };
        let bytes = tree.read_module(&path)?;
        self.seen.insert(name.clone());
        let depends = match tree.depends.get(&name) {
            Some(depends) => depends.clone(),
            None => depends_of(&bytes).map_err(|problem| {
                Error::Failed(format!("{} is no kernel module: {problem}", path.display()))
            })?,
        };
        for dependency in depends {
            if !self.add(tree, &dependency)? && !tree.is_built_in(&dependency) {
                return Err(Error::Failed(format!(
                    "the kernel module {} needs {dependency}, which is neither beside it nor built in; install the \
                     kernel's package again, or name another kernel by MVM_KERNEL",
                    path.display()
                )));
            }
        }
        self.modules.push(Module { name, bytes });
        Ok(true)
    }
}

/// The directory of a kernel's modules.
#[derive(Default)]
struct Tree {
    /// Files by canonical name.
    files: BTreeMap<String, PathBuf>,
    /// Dependencies by canonical name, as far as depmod wrote them down.
    depends: BTreeMap<String, Vec<String>>,
    built_in: BTreeSet<String>,
    /// Whether the kernel takes only signed modules.
    signatures_enforced: bool,
    inputs: Vec<Fingerprint>,
}

impl Tree {
    fn open(kernel: &Kernel) -> Result<Self> {
        let mut tree = Self::default();
        let Some(dir) = &kernel.modules else { return Ok(tree) };
        let built_in = tree.read_text(&dir.join("modules.builtin"))?.unwrap_or_default();
        tree.built_in = built_in.lines().filter_map(|path| name_of(Path::new(path))).collect();
        match tree.read_text(&dir.join("modules.dep"))? {
            Some(text) => tree.index(dir, &text),
            // A package that was unpacked and not installed: depmod never ran.
            None => tree.walk(&dir.join("kernel"))?,
        }
        let config = kernel.image.with_file_name(format!("config-{}", kernel.release));
        for config in [config, dir.join("config")] {
            if let Some(text) = tree.read_text(&config)? {
                tree.signatures_enforced |= text.lines().any(|line| line == "CONFIG_MODULE_SIG_FORCE=y");
            }
        }
        Ok(tree)
    }

    /// Reads modules.dep(5): `kernel/fs/fuse/virtiofs.ko.xz: kernel/fs/fuse/fuse.ko.xz …`, paths below `dir`.
    fn index(&mut self, dir: &Path, text: &str) {
        for line in text.lines() {
            let Some((path, depends)) = line.split_once(':') else { continue };
            let Some(name) = name_of(Path::new(path)) else { continue };
            let depends = depends.split_ascii_whitespace().filter_map(|path| name_of(Path::new(path)));
            self.depends.insert(name.clone(), depends.collect());
            self.files.insert(name, dir.join(path));
        }
    }

    fn walk(&mut self, dir: &Path) -> Result<()> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            // A kernel with everything built in.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("read", dir))?;
            let path = entry.path();
            if entry.file_type().map_err(Error::io("examine", &path))?.is_dir() {
                self.walk(&path)?;
            } else if let Some(name) = name_of(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(&canonical(name))
    }

    /// The text of an input that may be missing.
    fn read_text(&mut self, path: &Path) -> Result<Option<String>> {
        if !path.exists() {
            return Ok(None);
        }
        self.inputs.push(Fingerprint::of(path)?);
        std::fs::read_to_string(path).map(Some).map_err(Error::io("read", path))
    }

    fn read_module(&mut self, path: &Path) -> Result<Vec<u8>> {
        self.inputs.push(Fingerprint::of(path)?);
        let bytes = std::fs::read(path).map_err(Error::io("read the kernel module", path))?;
        match decompress(&bytes) {
            Ok(unpacked) => Ok(unpacked.into_owned()),
            Err(problem) => Err(Error::Failed(format!(
                "can't decompress the kernel module {}: {problem}; install the kernel's package again",
                path.display()
            ))),
        }
    }
}

/// Names are equal up to `-` and `_`, in file names, dependencies and lists.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file; `None` for other files.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, extension) = file.split_once(".ko")?;
    matches!(extension, "" | ".xz" | ".zst" | ".gz").then(|| canonical(name))
}

/// The `depends=` of a module's `.modinfo` section: NUL-terminated `key=value` texts.
fn depends_of(module: &[u8]) -> Result<Vec<String>, String> {
    let modinfo = elf::section(module, ".modinfo").map_err(|error| error.to_string())?;
    let modinfo = modinfo.ok_or("it has no .modinfo section")?;
    Ok(modinfo
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(b"depends="))
        .flat_map(|names| names.split(|byte| *byte == b','))
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

/// Cuts the signature off: its check takes most of the time that loading takes under emulation, and a guest's kernel,
/// which gets its modules from whom it gets itself, has nothing from it.
fn strip_signature(module: &mut Vec<u8>) {
    /// Size of `struct module_signature`; its last four bytes are the signature's length, big-endian.
    const TRAILER: usize = 12;
    let Some(signed) = module.strip_suffix(SIGNATURE_MARK) else { return };
    let Some((rest, trailer)) = signed.len().checked_sub(TRAILER).and_then(|at| signed.split_at_checked(at))
    else {
        return;
    };
    let Some(length) = trailer.last_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
        return;
    };
    if let Some(end) = rest.len().checked_sub(length) {
        module.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module: an ELF header, the sections `.modinfo` and names of sections.
    fn module(depends: &str) -> Vec<u8> {
        let info = format!("license=GPL\0depends={depends}\0name=x\0");
        let names = b"\0.modinfo\0.shstrtab\0";
        let names_at = 64 + info.len();
        let sections_at = (names_at + names.len()).next_multiple_of(8);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend([1, 0, 62, 0, 1, 0, 0, 0]);
        elf.extend([0; 16]);
        elf.extend((sections_at as u64).to_le_bytes());
        elf.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        elf.extend(info.as_bytes());
        elf.extend(names);
        elf.resize(sections_at, 0);
        elf.extend([0; 64]);
        for (name, kind, offset, size) in [(1_u32, 1_u32, 64, info.len()), (10, 3, names_at, names.len())] {
            elf.extend(name.to_le_bytes());
            elf.extend(kind.to_le_bytes());
            elf.extend([0; 16]);
            elf.extend((offset as u64).to_le_bytes());
            elf.extend((size as u64).to_le_bytes());
            elf.extend([0; 24]);
        }
        elf
    }

    struct Host {
        root: tempfile::TempDir,
    }

    /// The modules of Debian's cloud kernel 6.1 that matter here, with their dependencies.
    const CLOUD: [(&str, &str); 14] = [
        ("virtio/virtio", "virtio_ring"),
        ("virtio/virtio_ring", ""),
        ("virtio/virtio_mmio", "virtio,virtio_ring"),
        ("virtio/virtio_pci", "virtio_pci_modern_dev,virtio,virtio_ring"),
        ("virtio/virtio_pci_modern_dev", ""),
        ("net/virtio_net", "net_failover,virtio,virtio_ring"),
        ("net/net_failover", "failover"),
        ("net/failover", ""),
        ("char/virtio_console", "virtio,virtio_ring"),
        ("char/virtio-rng", "virtio,virtio_ring"),
        ("block/virtio_blk", "virtio,virtio_ring"),
        ("fs/fuse", ""),
        ("fs/virtiofs", "fuse,virtio,virtio_ring"),
        ("fs/overlay", ""),
    ];

    impl Host {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }
        fn cloud() -> Self {
            let host = Self::new();
            for (path, depends) in CLOUD {
                host.write(&format!("kernel/{path}.ko"), &module(depends));
            }
            host.write("modules.builtin", b"kernel/fs/ext4/ext4.ko\n");
            host
        }
        fn write(&self, path: &str, content: &[u8]) {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        fn remove(&self, path: &str) {
            std::fs::remove_file(self.root.path().join(path)).unwrap();
        }
        fn kernel(&self) -> Kernel {
            Kernel {
                image: self.root.path().join("vmlinuz"),
                release: "6.1.0-test".to_owned(),
                modules: Some(self.root.path().to_owned()),
            }
        }
        fn names(&self) -> Result<Vec<String>> {
            collect(&self.kernel()).map(|found| found.modules.into_iter().map(|module| module.name).collect())
        }
    }

    fn assert_dependencies_come_first(names: &[String]) {
        let place = |name: &str| names.iter().position(|other| *other == canonical(name));
        for (path, depends) in CLOUD {
            let (_, name) = path.split_once('/').unwrap();
            let at = place(name).unwrap_or_else(|| panic!("{name} is missing in {names:?}"));
            for dependency in depends.split(',').filter(|dependency| !dependency.is_empty()) {
                assert!(place(dependency).unwrap() < at, "{dependency} after {name} in {names:?}");
            }
        }
    }

    #[test]
    fn modules_of_an_unpacked_package_are_ordered_by_what_they_say_themselves() {
        let names = Host::cloud().names().unwrap();
        assert_eq!(names.len(), CLOUD.len(), "each once: {names:?}");
        assert_dependencies_come_first(&names);
    }

    #[test]
    fn modules_of_an_installed_package_are_ordered_by_depmod() {
        let host = Host::cloud();
        let dep: String = CLOUD
            .iter()
            .map(|(path, depends)| {
                let file = |name: &str| {
                    CLOUD.iter().find(|(path, _)| path.ends_with(&format!("/{name}"))).unwrap().0
                };
                let depends = depends.split(',').filter(|name| !name.is_empty());
                let depends: String = depends.map(|name| format!(" kernel/{}.ko", file(name))).collect();
                format!("kernel/{path}.ko:{depends}\n")
            })
            .collect();
        host.write("modules.dep", dep.as_bytes());
        assert_dependencies_come_first(&host.names().unwrap());
    }

    #[test]
    fn compressed_modules_are_unpacked() {
        let host = Host::cloud();
        host.remove("kernel/fs/overlay.ko");
        let mut xz = Vec::new();
        lzma_rs::xz_compress(&mut module("").as_slice(), &mut xz).unwrap();
        host.write("kernel/fs/overlay.ko.xz", &xz);
        let found = collect(&host.kernel()).unwrap();
        let overlay = found.modules.iter().find(|found| found.name == "overlay").unwrap();
        assert_eq!(overlay.bytes, module(""));
    }

    #[test]
    fn what_is_built_in_is_not_missing() {
        let host = Host::cloud();
        host.remove("kernel/fs/fuse.ko");
        host.write("modules.builtin", b"kernel/fs/fuse/fuse.ko\n");
        assert!(!host.names().unwrap().contains(&"fuse".to_owned()));
    }

    #[test]
    fn a_missing_module_is_named_with_its_kernel_but_optional_ones_may_be_missing() {
        let host = Host::cloud();
        host.remove("kernel/char/virtio-rng.ko");
        assert!(host.names().is_ok());
        host.remove("kernel/fs/virtiofs.ko");
        let error = host.names().unwrap_err().to_string();
        assert!(error.contains("6.1.0-test") && error.contains("virtiofs"), "{error}");
        assert!(error.contains("scripts/fetch-kernel"), "{error}");
    }

    #[test]
    fn a_missing_dependency_is_named() {
        let host = Host::cloud();
        host.remove("kernel/net/failover.ko");
        let error = host.names().unwrap_err().to_string();
        assert!(error.contains("net_failover.ko") && error.contains("failover"), "{error}");
    }

    #[test]
    fn signatures_go_unless_the_kernel_insists_on_them() {
        let signed = |module: &[u8]| {
            let mut signed = module.to_vec();
            signed.extend([7; 100]);
            signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
            signed.extend(SIGNATURE_MARK);
            signed
        };
        let host = Host::cloud();
        host.write("kernel/fs/overlay.ko", &signed(&module("")));
        let overlay = |host: &Host| {
            let modules = collect(&host.kernel()).unwrap().modules;
            modules.into_iter().find(|module| module.name == "overlay").unwrap().bytes
        };
        assert_eq!(overlay(&host), module(""));
        host.write("config", b"CONFIG_MODULES=y\nCONFIG_MODULE_SIG_FORCE=y\n");
        assert_eq!(overlay(&host), signed(&module("")));
    }

    #[test]
    fn a_damaged_signature_is_left_alone() {
        let mut damaged = vec![1, 2, 3, 255, 255, 255, 255];
        damaged.extend(SIGNATURE_MARK);
        let before = damaged.clone();
        strip_signature(&mut damaged);
        assert_eq!(damaged, before);
    }

    #[test]
    fn names_are_told_by_files() {
        let name = |path: &str| name_of(Path::new(path));
        assert_eq!(name("kernel/drivers/char/hw_random/virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(name("a/overlay.ko").as_deref(), Some("overlay"));
        assert_eq!(name("a/overlay.ko.debug"), None);
        assert_eq!(name("modules.dep"), None);
    }
}
