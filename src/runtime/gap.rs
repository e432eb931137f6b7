//! Offsets at the end of a log that hold no record to be read: a transactional producer ends each
//! transaction with a control record, and what it aborted is passed over.
//!
//! In: the committed offset and the end of the log, while nothing arrives. Out: the end, once it is
//! sure that nothing lies before it, to be committed as Kafka's own consumer does it; else the
//! partition would stand there as one record behind until the next one comes. Never passes a record:
//! whoever reads from the committed offset on is asked, and the transactions before the end are all
//! decided.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::task::Shared;
use crate::model::Offset;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// A committed offset, and the end of the log.
type Stretch = (Offset, Offset);

/// What was seen while nothing arrived.
#[derive(Debug, Default)]
pub(super) struct Gap {
    seen: Option<Stretch>,
    /// A reader was asked, and found a record.
    asked: Option<Stretch>,
}

impl Gap {
    /// Waits until such offsets are there between what is committed and the end of the log: that end.
    /// Cancel-safe.
    pub(super) async fn found(&mut self, shared: &Shared) -> Offset {
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(stretch) = stretch(shared).await else { continue };
            if !self.is_to_be_asked(stretch) {
                continue;
            }
            let (from, end) = stretch;
            // who cannot tell now is asked again
            match shared.group.holds_none(&shared.partition, from, end).await {
                Ok(true) => return end,
                Ok(false) => self.asked = Some(stretch),
                Err(_) => {}
            }
        }
    }

    /// Once it stands as it was at the look before: what arrives needs no asking.
    fn is_to_be_asked(&mut self, stretch: Stretch) -> bool {
        let stands = self.seen.replace(stretch) == Some(stretch);
        stands && stretch.0 < stretch.1 && self.asked != Some(stretch)
    }
}

/// From the committed offset to the end of the log, if all that was received is committed.
async fn stretch(shared: &Shared) -> Option<Stretch> {
    let (start, end) = shared.group.ends(&shared.partition).await.ok()?;
    let committed = shared.committed_offset().max(start);
    let received = shared.received();
    let all = shared.in_flight.load(Ordering::Relaxed) == 0
        && received.is_none_or(|received| received <= committed);
    all.then_some((committed, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from: i64, end: i64) -> Stretch {
        (Offset(from), Offset(end))
    }

    #[test]
    fn what_stands_for_a_while_is_asked_for_once() {
        let mut gap = Gap::default();
        assert!(!gap.is_to_be_asked(stretch(3, 4)), "it may be a record that arrives");
        assert!(gap.is_to_be_asked(stretch(3, 4)));
        assert!(gap.is_to_be_asked(stretch(3, 4)), "nobody could tell");
        gap.asked = Some(stretch(3, 4));
        assert!(!gap.is_to_be_asked(stretch(3, 4)), "there is a record");
        assert!(!gap.is_to_be_asked(stretch(3, 6)), "more arrives");
        assert!(gap.is_to_be_asked(stretch(3, 6)));
    }

    #[test]
    fn the_end_of_a_log_is_no_gap() {
        let mut gap = Gap::default();
        for _ in 0..3 {
            assert!(!gap.is_to_be_asked(stretch(4, 4)));
        }
    }
}
