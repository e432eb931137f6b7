//! When each type was last caught up with.
//!
//! In: completed catch-ups. Out: how long the one is ago that is longest ago, and whether every type
//! was caught up with since the start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When each type was last caught up with.
pub(super) struct Progress {
    /// By type; `None`: not since the start.
    completed: Mutex<HashMap<Arc<str>, Option<Instant>>>,
    started: Instant,
    /// Cancelled once each was.
    all: CancellationToken,
}

impl Progress {
    pub(super) fn new(types: impl IntoIterator<Item = Arc<str>>) -> Self {
        let completed: HashMap<_, _> = types.into_iter().map(|name| (name, None)).collect();
        let all = CancellationToken::new();
        if completed.is_empty() {
            all.cancel();
        }
        Self { completed: Mutex::new(completed), started: Instant::now(), all }
    }

    /// A type was caught up with.
    pub(super) fn completed(&self, resource_type: &str) {
        let mut completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = completed.get_mut(resource_type) {
            *last = Some(Instant::now());
        }
        if completed.values().all(Option::is_some) {
            self.all.cancel();
        }
    }

    /// Seconds since the oldest of the last catch-ups; since the start if one was not caught up with.
    pub(super) fn age(&self) -> u64 {
        let completed = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = completed.values().map(|last| last.unwrap_or(self.started)).min();
        oldest.map_or(0, |oldest| oldest.elapsed().as_secs())
    }

    /// Cancelled once every type was caught up with.
    pub(super) fn all(&self) -> CancellationToken {
        self.all.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_type_that_waits_longest_tells_the_age() {
        let progress = Progress::new(["Patient", "Claim"].map(Arc::from));
        tokio::time::advance(Duration::from_secs(10)).await;
        progress.completed("Patient");
        assert_eq!((progress.age(), progress.all().is_cancelled()), (10, false));
        progress.completed("Claim");
        tokio::time::advance(Duration::from_secs(3)).await;
        progress.completed("Patient");
        assert_eq!((progress.age(), progress.all().is_cancelled()), (3, true));
    }
}
