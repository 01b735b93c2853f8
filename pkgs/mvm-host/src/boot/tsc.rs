//! The rate of the host's time stamp counter.
//!
//! An emulated guest reads the host's counter but has no reliable way to calibrate it when the host is busy: it then
//! hangs at boot. So it is told.

use std::time::Duration;

/// How long the counter is watched, at least: an error of 30 ns in reading the clocks is then one of 10 ppm.
const PERIOD: Duration = Duration::from_millis(3);

/// A measurement under way.
#[derive(Debug)]
pub struct Calibration {
    #[cfg(target_arch = "x86_64")]
    began: Option<imp::Sample>,
}

#[cfg(target_arch = "x86_64")]
impl Calibration {
    /// Begins the measurement, which goes on while the caller does something else.
    pub fn start() -> Self {
        Self { began: imp::sample() }
    }

    /// The counter's rate in kHz. Waits for what is left of about 3 ms since the start.
    pub fn khz(self) -> Option<u64> {
        let began = self.began?;
        std::thread::sleep(PERIOD.saturating_sub(imp::sample()?.clock.saturating_sub(began.clock)));
        imp::rate_khz(began, imp::sample()?)
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Calibration {
    /// Begins nothing: there is no time stamp counter here.
    pub fn start() -> Self {
        Self {}
    }

    /// `None`: there is no time stamp counter here.
    pub fn khz(self) -> Option<u64> {
        None
    }
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use nix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    /// Counter and clock, read at the same moment.
    #[derive(Clone, Copy, Debug)]
    pub struct Sample {
        pub ticks: u64,
        pub clock: Duration,
    }

    /// The closest of a few pairs of readings: another process may get the processor between the two of a pair.
    pub fn sample() -> Option<Sample> {
        (0..5)
            .filter_map(|_| {
                let before = ticks();
                // The raw clock: the others are slewed by NTP.
                let clock = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).ok()?);
                let distance = ticks().saturating_sub(before);
                Some((distance, Sample { ticks: before + distance / 2, clock }))
            })
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, sample)| sample)
    }

    /// Rate between two samples; none if the counter or the clock did not advance.
    pub fn rate_khz(from: Sample, to: Sample) -> Option<u64> {
        let ticks = u128::from(to.ticks.checked_sub(from.ticks)?);
        let nanoseconds = to.clock.checked_sub(from.clock)?.as_nanos();
        let khz = (ticks * 1_000_000 + nanoseconds / 2).checked_div(nanoseconds)?;
        u64::try_from(khz).ok().filter(|khz| *khz > 0)
    }

    #[expect(unsafe_code, reason = "the instruction is an intrinsic; it only reads a counter")]
    fn ticks() -> u64 {
        // SAFETY: every x86-64 processor has `rdtsc`, and Linux lets processes use it.
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_ticks_over_time() {
        let at = |ticks, ms| imp::Sample { ticks, clock: Duration::from_millis(ms) };
        assert_eq!(imp::rate_khz(at(1000, 5), at(23_001_000, 15)), Some(2_300_000));
        assert_eq!(imp::rate_khz(at(1000, 5), at(1000, 15)), None);
        assert_eq!(imp::rate_khz(at(1000, 5), at(2000, 5)), None);
        assert_eq!(imp::rate_khz(at(2000, 5), at(1000, 15)), None);
    }

    #[test]
    fn two_measurements_agree() {
        let first = Calibration::start();
        let second = Calibration::start();
        let (first, second) = (first.khz().unwrap(), second.khz().unwrap());
        assert!(first.abs_diff(second) < first / 500, "{first} and {second} kHz");
    }
}
