//! Opens taps (`linux/if_tun.h`, Documentation/networking/tuntap.rst).

use crate::{Error, Result};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";

mod ioctl {
    nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
}

/// Makes the tap `name` in the network namespace of the calling thread: down, and connected to nothing. It goes when the
/// last copy of the returned file is closed, which is what QEMU takes as `-netdev tap,fd=`. Frames on it begin with a
/// `struct virtio_net_hdr` of 10 bytes.
///
/// # Errors
/// No tun driver, no access to it, no right to change the namespace's network, or the tap is in use.
pub fn open(name: &str) -> Result<OwnedFd> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(DEVICE)
        .map_err(explain_open)?;
    let fd = OwnedFd::from(file);
    let request = request(name)?;
    // SAFETY: `request` is the `struct ifreq` that TUNSETIFF reads, valid for the call.
    #[expect(unsafe_code, reason = "ioctl(2)")]
    unsafe { ioctl::set_interface(fd.as_raw_fd(), &request) }.map_err(|errno| explain_set(name, errno))?;
    Ok(fd)
}

/// A tap as [`open`] makes it, in a network namespace that has nothing else and goes with the returned file.
///
/// # Errors
/// As those of [`open`]; or no namespace can be made.
pub fn open_alone() -> Result<OwnedFd> {
    // A namespace belongs to a thread, and lives on by the tap when the thread has ended.
    let make = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .map_err(Error::system("make a network namespace"))?;
        open("tap")
    };
    let thread = std::thread::Builder::new()
        .name("lone tap".to_owned())
        .spawn(make)
        .map_err(Error::system("start a thread"))?;
    thread.join().map_err(|_| Error::Failed("making a tap broke off".to_owned()))?
}

fn request(name: &str) -> Result<libc::ifreq> {
    // SAFETY: `struct ifreq` is plain data, for which zeros are valid.
    #[expect(unsafe_code, reason = "libc offers no other way to make one")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('%') {
        return Err(Error::Failed(format!("`{name}` is no interface name of 1 to 15 characters")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)
        .map_err(|_| Error::Failed("the flags of a tap don't fit its request".to_owned()))?;
    Ok(request)
}

fn explain_open(error: std::io::Error) -> Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "the kernel's tun driver is not there: `sudo modprobe tun`, and in a container pass the device in \
             (`--device /dev/net/tun`); `--no-network` needs none"
        }
        Some(libc::EACCES | libc::EPERM) => {
            "it should be open to everybody, as creating a tap needs rights over the network namespace anyway: \
             `sudo chmod 0666 /dev/net/tun`; `--no-network` needs none"
        }
        _ => "`--no-network` needs none",
    };
    Error::Failed(format!("can't open {DEVICE}: {error}; {hint}"))
}

fn explain_set(name: &str, errno: nix::Error) -> Error {
    let hint = match errno {
        nix::Error::EBUSY => "it exists and another process holds it; does the VM run already?",
        nix::Error::EINVAL => "an interface of that name exists and is no tap of this kind; remove it",
        nix::Error::EPERM => "it needs CAP_NET_ADMIN over the network namespace",
        _ => "see `mvm doctor`",
    };
    Error::Failed(format!("can't create the tap `{name}`: {errno}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_cut_or_expand_are_refused() {
        for name in ["", "sixteen-letters-", "mvm-%d"] {
            assert!(request(name).is_err(), "{name}");
        }
        assert!(request("fifteen-letters").is_ok());
    }
}
