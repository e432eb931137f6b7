//! How long to wait before trying again: exponential backoff with full jitter.
//!
//! There is no limit to the number of attempts: a retriable error is waited out, whatever it
//! takes, because the alternative is losing a record.

use std::time::Duration;

/// Delays that double from `first` to `most`, each shortened by a random share so that the tasks
/// of many instances do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
}

impl Backoff {
    /// Backoff from `first` up to `most`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempt: 0 }
    }

    /// Attempts so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// The next delay: between half of the exponential delay and all of it.
    pub fn next_delay(&mut self) -> Duration {
        let exponential = self.first.saturating_mul(1_u32 << self.attempt.min(16)).min(self.most);
        self.attempt = self.attempt.saturating_add(1);
        exponential.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// Starts over after a success.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

impl Default for Backoff {
    /// 100 ms to 10 s: fast enough that a restarted database is used again within seconds, slow
    /// enough not to hammer one that is recovering.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_never_beyond() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= Duration::from_millis(5) && delays[0] <= Duration::from_millis(10));
        assert!(delays[39] >= Duration::from_millis(500));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
    }
}
