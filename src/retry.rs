//! How long to wait before trying again.
//!
//! [`Backoff`] is for what is away: exponential, with jitter, without a limit to the number of
//! attempts, because the alternative is losing a record. [`Schedule`] is for one refused record: as
//! it was configured, without chance, so that an operator can tell when it is tried.

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

/// How delays go on from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The same delay before each attempt.
    Constant,
    /// Twice the delay before it.
    Exponential,
}

/// The delays of a record that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// How delays go on.
    pub strategy: Strategy,
    /// Before the first attempt.
    pub delay: Duration,
    /// No delay is longer.
    pub maximum_delay: Duration,
}

impl Schedule {
    /// How long the record waits after it was tried this often, from 1.
    #[must_use]
    pub fn delay_after(&self, attempts: u32) -> Duration {
        let factor = match self.strategy {
            Strategy::Constant => 1,
            Strategy::Exponential => 2_u32.saturating_pow(attempts.saturating_sub(1)),
        };
        self.delay.saturating_mul(factor).min(self.maximum_delay)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn exponential(delay: Duration, maximum_delay: Duration) -> Schedule {
        Schedule { strategy: Strategy::Exponential, delay, maximum_delay }
    }

    #[test]
    fn exponential_delays_double_up_to_the_longest() {
        let schedule = exponential(SECOND, 10 * SECOND);
        let seconds: Vec<_> = (1..=6).map(|n| schedule.delay_after(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn constant_delays_stay_as_they_are() {
        let schedule = Schedule { strategy: Strategy::Constant, ..exponential(SECOND, SECOND) };
        assert!((1..=6).all(|n| schedule.delay_after(n) == SECOND));
    }

    proptest! {
        #[test]
        fn whatever_is_configured_each_delay_is_the_double_of_the_one_before_or_the_longest(
            delay in 1_u64..100_000,
            more in 0_u64..100_000_000,
            attempts in 1_u32..u32::MAX,
        ) {
            let longest = Duration::from_millis(delay + more);
            let schedule = exponential(Duration::from_millis(delay), longest);
            let (this, next) = (schedule.delay_after(attempts), schedule.delay_after(attempts + 1));
            prop_assert_eq!(next, (this * 2).min(longest));
            prop_assert!(this >= Duration::from_millis(delay));
        }
    }

    #[test]
    fn delays_grow_to_the_bound_and_never_beyond() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= Duration::from_millis(5) && delays[0] <= Duration::from_millis(10));
        assert!(delays[39] >= Duration::from_millis(500));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
    }
}
