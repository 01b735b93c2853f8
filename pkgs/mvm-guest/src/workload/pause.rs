//! How long a process rests before it is started again: twice as long each time, as in systemd and Kubernetes.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A process that ran this long is well: what came before is forgotten.
const WELL: Duration = Duration::from_secs(10);

/// The pauses of one process.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    next: Duration,
}

impl Pauses {
    /// For a process that has not failed yet.
    pub fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause after it ran for `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= WELL {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_good_run() {
        let mut pauses = Pauses::new();
        let millis: Vec<u128> = (0..11).map(|_| pauses.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(pauses.after(WELL - Duration::from_millis(1)), LONGEST);
        assert_eq!(pauses.after(WELL), FIRST);
        assert_eq!(pauses.after(Duration::ZERO), FIRST * 2);
    }
}
