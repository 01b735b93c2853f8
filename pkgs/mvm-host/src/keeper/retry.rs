//! Keeping a helper running: after each end of it a pause, which grows while it does not stay.

use super::trouble::Trouble;
use crate::Error;
use std::time::Duration;
use tokio::time::Instant;

/// How long a helper must have run for the next pause to be the first one again.
const STEADY: Duration = Duration::from_secs(10);

/// The pauses between the runs of a helper, and what is said of it meanwhile.
pub struct Retry {
    trouble: Trouble,
    source: String,
    first: Duration,
    longest: Duration,
    pause: Duration,
    running_since: Option<Instant>,
}

impl Retry {
    /// For the helper that `source` names in `trouble`: pauses from `first`, doubled each time, to `longest`.
    pub fn new(trouble: &Trouble, source: impl Into<String>, first: Duration, longest: Duration) -> Self {
        let source = source.into();
        Self { trouble: trouble.clone(), source, first, longest, pause: first, running_since: None }
    }

    /// The helper runs: there is nothing wrong with it.
    pub fn runs(&mut self) {
        self.running_since = Some(Instant::now());
        self.trouble.clear(&self.source);
    }

    /// The helper has ended, or did not start. `said` is what users are told until it runs again.
    pub async fn ended(&mut self, error: &Error, said: String) {
        tracing::warn!("{error}");
        self.trouble.set(&self.source, vec![said]);
        if self.running_since.take().is_some_and(|since| since.elapsed() > STEADY) {
            self.pause = self.first;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.longest);
    }
}
