//! Kernel modules, loaded from the initramfs.

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The paths that a `modules.load` lists: one a line, in order of loading; empty lines and `#` comments are skipped.
pub fn parse_list(text: &str) -> Vec<PathBuf> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(PathBuf::from)
        .collect()
}

/// Loads the modules of the list at `list`; returns one message for each that failed, and says in it what is missing.
pub fn load_all(list: &Path) -> Vec<String> {
    let text = match std::fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) => return vec![format!("can't read {}: {error}; no modules are loaded", list.display())],
    };
    parse_list(&text).iter().filter_map(|path| load(path).err()).collect()
}

fn load(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("can't open module {}: {error}", path.display()))?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        // EEXIST: loaded already, or built into the kernel.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(Errno::ENOENT) => Err(format!(
            "module {} needs a symbol that no loaded module has; list its dependencies before it",
            path.display()
        )),
        Err(errno) => Err(format!("can't load module {}: {errno}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_keeps_its_order_and_skips_blanks_and_comments() {
        let list = parse_list("/modules/a.ko\n\n# why b\n  /modules/b.ko \n");
        assert_eq!(list, [PathBuf::from("/modules/a.ko"), PathBuf::from("/modules/b.ko")]);
    }

    #[test]
    fn a_missing_list_is_reported_and_not_fatal() {
        let messages = load_all(Path::new("/nonexistent/modules.load"));
        assert_eq!(messages.len(), 1);
        assert!(messages[0].contains("/nonexistent/modules.load"));
    }
}
