//! Randomness and time, which a guest gets from its host: a machine without history has neither.

use anyhow::Context;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Most bytes credited at once; the kernel's pool holds 32 (random(4)).
const SEED_MAX: usize = 512;

/// `struct rand_pool_info` of linux/random.h.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    size: libc::c_int,
    bytes: [u8; SEED_MAX],
}

nix::ioctl_write_ptr_bad!(
    /// RNDADDENTROPY.
    add_entropy,
    nix::request_code_write!(b'R', 0x03, 2 * size_of::<libc::c_int>()),
    PoolInfo
);
nix::ioctl_none!(
    /// RNDRESEEDCRNG.
    reseed,
    b'R',
    0x07
);

/// Credits the host's randomness, in hexadecimal, to the kernel's generator and makes it take effect at once
/// (RNDADDENTROPY, RNDRESEEDCRNG: random(4)).
pub fn credit_entropy(hexadecimal: &str) -> anyhow::Result<()> {
    let bytes = hex::decode(hexadecimal).context("the entropy sent by the host is not hexadecimal")?;
    let size = bytes.len().min(SEED_MAX);
    let mut info =
        PoolInfo { entropy_bits: 8 * size as libc::c_int, size: size as libc::c_int, bytes: [0; SEED_MAX] };
    info.bytes[..size].copy_from_slice(&bytes[..size]);
    let device = File::options().write(true).open("/dev/urandom").context("can't open /dev/urandom")?;
    #[expect(unsafe_code, reason = "the descriptor is open and the argument has the layout of the ioctl")]
    unsafe { add_entropy(device.as_raw_fd(), &raw const info) }
        .context("can't credit entropy to /dev/urandom")?;
    #[expect(unsafe_code, reason = "the descriptor is open; the ioctl takes no argument")]
    unsafe { reseed(device.as_raw_fd()) }.context("can't reseed /dev/urandom")?;
    Ok(())
}

/// The host's clock now, in nanoseconds since 1970, which was `sent_unix_ns` when it was sent: half the way there and back
/// ago. The guest waited `waited` for it, of which the host took `held` (as in NTP, RFC 5905 section 8).
pub fn on_arrival(sent_unix_ns: u64, waited: Duration, held: Duration) -> u64 {
    let way = waited.saturating_sub(held) / 2;
    sent_unix_ns.saturating_add(u64::try_from(way.as_nanos()).unwrap_or(0))
}

/// Sets CLOCK_REALTIME to `unix_ns` nanoseconds since 1970.
pub fn set_clock(unix_ns: u64) -> anyhow::Result<()> {
    let time = TimeSpec::new((unix_ns / 1_000_000_000) as i64, (unix_ns % 1_000_000_000) as i64);
    clock_settime(ClockId::CLOCK_REALTIME, time).context("can't set the clock")
}

#[cfg(test)]
mod tests {
    use super::on_arrival;
    use std::time::Duration;

    #[test]
    fn the_clock_is_put_forward_by_half_the_way() {
        let ms = Duration::from_millis;
        assert_eq!(on_arrival(1_000_000_000, ms(30), ms(10)), 1_010_000_000);
        assert_eq!(
            on_arrival(1_000_000_000, ms(5), ms(10)),
            1_000_000_000,
            "a host that misjudges is no reason"
        );
        assert_eq!(on_arrival(u64::MAX, ms(30), ms(10)), u64::MAX);
    }
}
