//! Child processes that keep some capabilities.
//!
//! In a user realm the keeper has every capability over its own namespaces, but an `execve` of a user id other than 0
//! drops them all, unless they are in the ambient set (capabilities(7)).

use std::os::unix::process::CommandExt;

/// A capability that a child keeps; numbers of `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Listen on ports below 1024.
    NetBindService = 10,
    /// Configure interfaces, addresses, rules.
    NetAdmin = 12,
    /// Send and receive raw packets.
    NetRaw = 13,
    /// Enter namespaces, mount.
    SysAdmin = 21,
}

/// What `nft` needs.
pub const NFT: &[Capability] = &[Capability::NetAdmin, Capability::NetRaw];
/// What `pasta --netns-only` needs: to enter the namespace and set up its interface, and what it keeps by itself.
pub const PASTA: &[Capability] =
    &[Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService];

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities each.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Lets the child of `command` keep `capabilities`, and only those if its user id is not 0.
///
/// The spawn fails with `EPERM` if the calling thread does not have them itself. The child starts in the network
/// namespace of the thread that calls `spawn`.
pub fn keep_capabilities(command: &mut std::process::Command, capabilities: &'static [Capability]) {
    let keep = move || raise(capabilities);
    // SAFETY: `raise` only makes system calls on memory of its own stack: safe between fork and exec.
    #[expect(unsafe_code, reason = "pre_exec: capabilities are a property of the child's thread")]
    unsafe {
        command.pre_exec(keep);
    }
}

fn raise(capabilities: &[Capability]) -> std::io::Result<()> {
    let check = |result: libc::c_long| match result {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut words = [Word::default(); 2];
    // SAFETY: both pointers are valid for the sizes that version 3 defines (capget(2)).
    #[expect(unsafe_code, reason = "capget(2) has no safe wrapper that is free of allocation")]
    check(unsafe { libc::syscall(libc::SYS_capget, &mut header, words.as_mut_ptr()) })?;
    for capability in capabilities {
        let number = *capability as u32;
        if let Some(word) = words.get_mut((number / 32) as usize) {
            word.inheritable |= 1 << (number % 32);
        }
    }
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "capset(2) has no safe wrapper that is free of allocation")]
    check(unsafe { libc::syscall(libc::SYS_capset, &mut header, words.as_ptr()) })?;
    for capability in capabilities {
        let number = libc::c_ulong::from(*capability as u8);
        // SAFETY: integers only.
        #[expect(unsafe_code, reason = "prctl(2) has no safe wrapper for the ambient set")]
        let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) };
        check(result.into())?;
    }
    Ok(())
}

/// Where `program` is: in `PATH`, or in the system directories that an ordinary user's `PATH` lacks on Debian.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|dir| dir.join(program))
        .find(|file| file.is_absolute() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok())
}
