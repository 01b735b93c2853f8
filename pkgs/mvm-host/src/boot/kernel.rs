//! The kernel that embedded guests boot.

use crate::{Error, Result};
use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A kernel image, and its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The image, a bzImage.
    pub image: PathBuf,
    /// `uname -r` of it.
    pub release: String,
    /// Its modules: `…/lib/modules/RELEASE`; none when they were not found, so that everything must be built in.
    pub modules: Option<PathBuf>,
}

/// Finds the kernel: `explicit` if given, else the newest of the kernel packages unpacked below `cache_dir`, else the
/// newest that the host's user may read. A cloud kernel, which has nothing but what VMs need, is preferred among each.
///
/// # Errors
/// `explicit` is no readable kernel image, or none was found; the error names what was looked at.
pub fn find(explicit: Option<&Path>, cache_dir: &Path) -> Result<Kernel> {
    find_below(Path::new("/"), explicit, cache_dir)
}

/// The same on the host whose root directory is `root`.
fn find_below(root: &Path, explicit: Option<&Path>, cache_dir: &Path) -> Result<Kernel> {
    if let Some(image) = explicit {
        return match Kernel::read(root, image) {
            Ok(kernel) => Ok(kernel),
            Err(problem) => Err(Error::Failed(format!(
                "can't use the kernel {}: {problem}; give another, or leave the setting out (MVM_KERNEL, `kernel` in \
                 config.toml or in the VM's spec) to have one found",
                image.display()
            ))),
        };
    }
    let mut refused = Vec::new();
    for images in [unpacked(cache_dir), installed(root)] {
        let mut kernels: Vec<Kernel> = Vec::new();
        for image in images {
            match Kernel::read(root, &image) {
                Ok(Kernel { modules: None, release, .. }) => refused.push(format!(
                    "  {}: no modules for {release} beside it, in /lib/modules or in /usr/lib/modules",
                    image.display()
                )),
                Ok(kernel) => kernels.push(kernel),
                Err(problem) => refused.push(format!("  {}: {problem}", image.display())),
            }
        }
        if let Some(best) = kernels.into_iter().max_by(Kernel::compare) {
            return Ok(best);
        }
    }
    let looked = format!(
        "looked at {}/kernels/*/boot/vmlinuz-*, /boot/vmlinuz-*, /usr/lib/modules/*/vmlinuz and \
         /run/booted-system/kernel",
        cache_dir.display()
    );
    refused.insert(0, if refused.is_empty() { looked } else { format!("{looked}:") });
    Err(Error::Failed(format!(
        "no kernel for guests was found; {}\nOn Debian, `scripts/fetch-kernel` unpacks linux-image-cloud-amd64 without \
         installing it. Ubuntu lets only root read /boot/vmlinuz-*: `sudo chmod +r` one of them. Elsewhere name an \
         image by MVM_KERNEL.",
        refused.join("\n")
    )))
}

/// Images of kernel packages that were unpacked into the cache.
fn unpacked(cache_dir: &Path) -> Vec<PathBuf> {
    entries(&cache_dir.join("kernels")).iter().flat_map(|tree| vmlinuz_in(&tree.join("boot"))).collect()
}

/// Images of the host's own kernels.
fn installed(root: &Path) -> Vec<PathBuf> {
    let mut images = vmlinuz_in(&root.join("boot"));
    let beside_modules = entries(&root.join("usr/lib/modules")).into_iter().map(|dir| dir.join("vmlinuz"));
    images
        .extend(beside_modules.chain([root.join("run/booted-system/kernel")]).filter(|image| image.exists()));
    images
}

fn vmlinuz_in(dir: &Path) -> Vec<PathBuf> {
    let is_image =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    entries(dir).into_iter().filter(is_image).collect()
}

/// Entries of a directory, in order; none if it can't be read. Hidden ones are left out: they are half unpacked.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

impl Kernel {
    /// The kernel of `image`, or what is wrong with it.
    fn read(root: &Path, image: &Path) -> Result<Self, String> {
        let release = read_release(image)?;
        // A link is followed for the search: NixOS' /run/booted-system/kernel leads into the store.
        let modules = module_dirs(root, image, &release).into_iter().find(|dir| dir.is_dir());
        Ok(Self { image: image.to_owned(), release, modules })
    }

    /// Greater is better.
    fn compare(&self, other: &Self) -> Ordering {
        let cloud = |kernel: &Self| kernel.release.contains("cloud");
        cloud(self).cmp(&cloud(other)).then_with(|| compare_releases(&self.release, &other.release))
    }
}

/// Where the modules of `image` may be, best first.
fn module_dirs(root: &Path, image: &Path, release: &str) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Some(dir) = image.parent() {
        if dir.file_name().is_some_and(|name| name == release) {
            dirs.push(dir.to_owned());
        }
        // NixOS: /run/booted-system/kernel-modules/lib/modules.
        dirs.push(dir.join("kernel-modules/lib/modules").join(release));
        if let Some(tree) = dir.parent() {
            dirs.push(tree.join("lib/modules").join(release));
            dirs.push(tree.join("usr/lib/modules").join(release));
        }
    }
    dirs.push(root.join("lib/modules").join(release));
    dirs.push(root.join("usr/lib/modules").join(release));
    dirs
}

/// The release in a bzImage's header (Linux, Documentation/arch/x86/boot.rst: `HdrS` at 0x202, `kernel_version` at
/// 0x20e, an offset into the file less 0x200).
fn read_release(image: &Path) -> Result<String, String> {
    let mut file = File::open(image).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "only its owner may read it".to_owned(),
        _ => error.to_string(),
    })?;
    // The header and the version text are in the setup code, at most 64 sectors of 512 bytes.
    let mut setup = Vec::new();
    Read::by_ref(&mut file).take(64 * 512).read_to_end(&mut setup).map_err(|error| error.to_string())?;
    release_of(&setup).ok_or_else(|| "it is no x86 bzImage".to_owned())
}

fn release_of(setup: &[u8]) -> Option<String> {
    if setup.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let offset = usize::from(u16::from_le_bytes([*setup.get(0x20e)?, *setup.get(0x20f)?])) + 0x200;
    let text = setup.get(offset..)?.split(|byte| *byte == 0).next()?;
    // `6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …`. It becomes part of paths.
    let release = std::str::from_utf8(text).ok()?.split_ascii_whitespace().next()?;
    (!release.contains('/') && release != "." && release != "..").then(|| release.to_owned())
}

/// Orders releases as people do: numbers by value, the rest by letters.
fn compare_releases(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (part_a, rest_a) = first_part(a);
        let (part_b, rest_b) = first_part(b);
        let order = match (part_a.parse::<u64>(), part_b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => part_a.cmp(part_b),
        };
        if order.is_ne() || (rest_a.is_empty() && rest_b.is_empty()) {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// Splits after the leading digits, or after the leading characters that are none.
fn first_part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a bzImage of `release`.
    fn setup(release: &str) -> Vec<u8> {
        let mut setup = vec![0; 0x400];
        setup[0x202..0x206].copy_from_slice(b"HdrS");
        setup[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        let text = format!("{release} (somebody@somewhere) #1 SMP");
        setup[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
        setup
    }

    struct Host {
        root: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }
        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }
        fn image(&self, path: &str, release: &str) {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, setup(release)).unwrap();
        }
        fn modules(&self, path: &str) {
            std::fs::create_dir_all(self.path(path)).unwrap();
        }
        fn find(&self, explicit: Option<&str>) -> Result<Kernel> {
            let explicit = explicit.map(|path| self.path(path));
            find_below(self.root.path(), explicit.as_deref(), &self.path("cache"))
        }
    }

    #[test]
    fn an_unpacked_package_comes_before_the_hosts_kernels_and_cloud_before_new() {
        let host = Host::new();
        host.image("boot/vmlinuz-7.0", "7.0");
        host.modules("lib/modules/7.0");
        for release in ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.1-amd64"] {
            host.image(&format!("cache/kernels/{release}/boot/vmlinuz-{release}"), release);
            host.modules(&format!("cache/kernels/{release}/lib/modules/{release}"));
        }
        let kernel = host.find(None).unwrap();
        assert_eq!(kernel.release, "6.1.0-56-cloud-amd64");
        assert_eq!(
            kernel.modules.unwrap(),
            host.path("cache/kernels/6.1.0-56-cloud-amd64/lib/modules/6.1.0-56-cloud-amd64")
        );
    }

    #[test]
    fn a_half_unpacked_package_is_not_used() {
        let host = Host::new();
        host.image("cache/kernels/.new-X/boot/vmlinuz-6.1", "6.1");
        host.modules("cache/kernels/.new-X/lib/modules/6.1");
        assert!(host.find(None).is_err());
    }

    #[test]
    fn kernels_of_other_distributions_are_found() {
        let fedora = Host::new();
        fedora.image("usr/lib/modules/6.9.1-fc40/vmlinuz", "6.9.1-fc40");
        let kernel = fedora.find(None).unwrap();
        assert_eq!(kernel.modules.unwrap(), fedora.path("usr/lib/modules/6.9.1-fc40"));

        let nixos = Host::new();
        nixos.image("run/booted-system/kernel", "6.6.30");
        nixos.modules("run/booted-system/kernel-modules/lib/modules/6.6.30");
        let kernel = nixos.find(None).unwrap();
        assert_eq!(
            kernel.modules.unwrap(),
            nixos.path("run/booted-system/kernel-modules/lib/modules/6.6.30")
        );
    }

    #[test]
    fn a_named_kernel_is_used_even_without_modules_and_refused_when_it_is_none() {
        let host = Host::new();
        host.image("home/bzImage", "6.8.0-custom");
        let kernel = host.find(Some("home/bzImage")).unwrap();
        assert_eq!((kernel.release.as_str(), kernel.modules), ("6.8.0-custom", None));

        std::fs::write(host.path("home/text"), "hello").unwrap();
        let error = host.find(Some("home/text")).unwrap_err().to_string();
        assert!(error.contains("home/text") && error.contains("no x86 bzImage"), "{error}");
        let error = host.find(Some("home/gone")).unwrap_err().to_string();
        assert!(error.contains("home/gone"), "{error}");
    }

    #[test]
    fn when_there_is_none_the_error_says_what_was_looked_at_and_what_to_do() {
        let host = Host::new();
        host.image("boot/vmlinuz-6.1", "6.1");
        let error = host.find(None).unwrap_err().to_string();
        assert!(error.contains("vmlinuz-6.1: no modules for 6.1"), "{error}");
        assert!(error.contains("scripts/fetch-kernel") && error.contains("MVM_KERNEL"), "{error}");
    }

    #[test]
    fn releases_are_ordered_by_number() {
        for (older, newer) in
            [("6.1.0-9", "6.1.0-56"), ("6.1", "6.1.1"), ("5.19.0", "6.1.0"), ("6.9.1-a", "6.9.1-b")]
        {
            assert_eq!(compare_releases(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare_releases(newer, older), Ordering::Greater, "{older} {newer}");
        }
        assert_eq!(compare_releases("6.1.0", "6.1.0"), Ordering::Equal);
    }

    #[test]
    fn damaged_headers_are_no_kernels() {
        assert_eq!(release_of(&[]), None);
        assert_eq!(release_of(&setup("../../etc")), None);
        let mut beyond = setup("6.1");
        beyond[0x20e..0x210].copy_from_slice(&0xffff_u16.to_le_bytes());
        assert_eq!(release_of(&beyond), None);
    }
}
