//! What became of the records of a batch.
//!
//! In: what each stage made of its changes. Out: one outcome per record, and which of the refused
//! ones become dead letters and which wait to be tried again. Live traffic, the retry tier and a
//! rebuild judge alike.

use std::time::{SystemTime, UNIX_EPOCH};

use super::circuit::{Tried, tried};
use super::prepare::Batch;
use crate::dead_letter::DeadLetter;
use crate::error::{Cause, Refusal};
use crate::model::{Record, RowOperation};
use crate::sink::Outcome;
use crate::telemetry::metrics::RecordOutcome;

/// What became of the records of a batch.
pub(super) struct Settled {
    /// One per record.
    pub(super) outcomes: Vec<RecordOutcome>,
    /// Refused for good, by the record's place.
    pub(super) refused: Vec<(usize, Refusal)>,
    /// Refused, and to be tried again, by the record's place.
    pub(super) waiting: Vec<(usize, Refusal)>,
    /// How the changes ended, in their order, for the circuit: what is to be tried again has not.
    pub(super) tried: Vec<Tried>,
}

impl Settled {
    /// Records that were to be tried again cannot be: their places, in order.
    pub(super) fn give_up(&mut self, places: &[usize]) {
        if places.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (given_up, waiting) =
            waiting.into_iter().partition(|(place, _)| places.binary_search(place).is_ok());
        self.waiting = waiting;
        self.refused.extend::<Vec<_>>(given_up);
        self.refused.sort_by_key(|(place, _)| *place);
        for place in places {
            if let Some(outcome) = self.outcomes.get_mut(*place) {
                *outcome = RecordOutcome::DeadLettered;
            }
        }
    }
}

/// One letter per refused record: the whole record with the first cause and the count, by the
/// record's place. `of` gives the record and how often it was tried.
pub(super) fn letters(
    refused: &[(usize, Refusal)],
    of: impl Fn(usize) -> Option<(Record, u32)>,
) -> Vec<(usize, DeadLetter)> {
    let failed_at = now_millis();
    let of_one_record = refused.chunk_by(|(left, _), (right, _)| left == right);
    of_one_record
        .filter_map(|refusals| {
            let (place, first) = refusals.first()?;
            let (record, attempts) = of(*place)?;
            let refusal = first.clone();
            let changes_refused = refusals.len();
            Some((*place, DeadLetter { record, refusal, changes_refused, attempts, failed_at }))
        })
        .collect()
}

/// Joins the results of all stages into one outcome per record. `may_heal` tells whether the record
/// at a place may be tried again after a refusal for a cause. A record with several refusals is, if
/// all of them may heal; a delete without version never: applied late, it might remove something
/// newer.
pub(super) fn settle(
    batch: &Batch,
    results: Vec<Result<Outcome, Refusal>>,
    may_heal: impl Fn(usize, Cause) -> bool,
) -> Settled {
    // a record without any change (an empty bundle) has nothing to write
    let mut outcomes = vec![RecordOutcome::Filtered; batch.records.len()];
    let mut heals = vec![true; batch.records.len()];
    let mut refused = batch.refused.clone();
    let mut attempts: Vec<(usize, Tried)> =
        refused.iter().map(|(place, refusal)| (*place, tried(Some(refusal)))).collect();
    for ((&place, change), result) in batch.record_of.iter().zip(&batch.changes).zip(results) {
        attempts.push((place, tried(result.as_ref().err())));
        match result {
            Ok(outcome) => {
                if let Some(record) = outcomes.get_mut(place) {
                    *record = (*record).max(match outcome {
                        Outcome::Filtered => RecordOutcome::Filtered,
                        Outcome::Stale => RecordOutcome::Stale,
                        Outcome::Written => RecordOutcome::Written,
                    });
                }
            }
            Err(refusal) => {
                if matches!(change.operation, RowOperation::Delete { version: None })
                    && let Some(heals) = heals.get_mut(place)
                {
                    *heals = false;
                }
                refused.push((place, refusal));
            }
        }
    }
    refused.sort_by_key(|(place, _)| *place);
    for (place, refusal) in &refused {
        if let Some(heals) = heals.get_mut(*place) {
            *heals &= may_heal(*place, refusal.cause);
        }
    }
    let heals = |place: usize| heals.get(place).copied().unwrap_or(false);
    for (place, _) in &refused {
        if let Some(outcome) = outcomes.get_mut(*place) {
            *outcome =
                if heals(*place) { RecordOutcome::Retried } else { RecordOutcome::DeadLettered };
        }
    }
    attempts.retain(|(place, tried)| tried.is_none() || !heals(*place));
    let tried = attempts.into_iter().map(|(_, tried)| tried).collect();
    let (waiting, refused) = refused.into_iter().partition(|(place, _)| heals(*place));
    Settled { outcomes, refused, waiting, tried }
}

/// Milliseconds since the epoch.
pub(super) fn now_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds between two timestamps in milliseconds; 0 if the first is not the earlier one.
#[allow(clippy::cast_precision_loss)] // ages are far below 2^52 ms
pub(super) fn seconds_between(earlier: i64, later: i64) -> f64 {
    later.saturating_sub(earlier).max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Place, Stage};
    use crate::model::{Offset, Origin, ResourceKey, RowChange, TopicPartition, Version};

    fn refusal(cause: Cause) -> Refusal {
        let messages = vec!["refused".to_owned()];
        let (stage, exception) = (Stage::Sink, "Test");
        Refusal { stage, cause, exception, messages, place: Place::default() }
    }

    /// Records with a change for each of these results; a delete without version where it says so.
    fn settled(records: Vec<Vec<(bool, Result<Outcome, Refusal>)>>) -> Settled {
        let source = TopicPartition::new("t", 0);
        let mut batch = Batch {
            records: Vec::new(),
            changes: Vec::new(),
            record_of: Vec::new(),
            refused: Vec::new(),
            next: Offset(0),
        };
        let mut results = Vec::new();
        for (place, changes) in records.into_iter().enumerate() {
            let offset = Offset(i64::try_from(place).unwrap());
            batch.records.push(Record {
                source: source.clone(),
                offset,
                timestamp: None,
                key: None,
                value: None,
                headers: Vec::new(),
            });
            for (without_version, result) in changes {
                let version = (!without_version).then(|| Version::new(1).unwrap());
                batch.changes.push(RowChange {
                    resource: ResourceKey { resource_type: "Patient".into(), id: "1".into() },
                    operation: RowOperation::Delete { version },
                    origin: Origin { source: source.clone(), offset, index: 0 },
                });
                batch.record_of.push(place);
                results.push(result);
            }
        }
        settle(&batch, results, |_, cause| cause == Cause::ConstraintForeignKey)
    }

    const WRITTEN: (bool, Result<Outcome, Refusal>) = (false, Ok(Outcome::Written));

    fn refused(cause: Cause) -> (bool, Result<Outcome, Refusal>) {
        (false, Err(refusal(cause)))
    }

    #[test]
    fn a_record_waits_only_if_all_that_was_refused_of_it_may_heal() {
        let heals = || refused(Cause::ConstraintForeignKey);
        let settled = settled(vec![
            vec![WRITTEN, heals(), heals()],
            vec![heals(), refused(Cause::ConstraintCheck)],
            vec![WRITTEN],
        ]);
        let places = |refused: &[(usize, Refusal)]| -> Vec<usize> {
            refused.iter().map(|(place, _)| *place).collect()
        };
        assert_eq!(places(&settled.waiting), [0, 0]);
        assert_eq!(places(&settled.refused), [1, 1]);
        let (retried, dead) = (RecordOutcome::Retried, RecordOutcome::DeadLettered);
        assert_eq!(settled.outcomes, [retried, dead, RecordOutcome::Written]);
    }

    #[test]
    fn a_delete_without_version_never_waits_since_late_it_might_remove_something_newer() {
        let delete = (true, Err(refusal(Cause::ConstraintForeignKey)));
        let settled = settled(vec![vec![delete]]);
        assert!(settled.waiting.is_empty());
        assert_eq!(settled.outcomes, [RecordOutcome::DeadLettered]);
    }

    #[test]
    fn what_waits_is_no_refusal_to_the_circuit_and_the_rest_stays_in_order() {
        let check = || refused(Cause::ConstraintCheck);
        let heals = refused(Cause::ConstraintForeignKey);
        let settled = settled(vec![vec![check()], vec![WRITTEN, heals], vec![check()]]);
        let kinds: Vec<bool> = settled.tried.iter().map(Option::is_some).collect();
        assert_eq!(kinds, [true, false, true]);
    }

    #[test]
    fn what_is_too_large_to_wait_is_refused_with_the_rest_in_order() {
        let heals = || refused(Cause::ConstraintForeignKey);
        let check = refused(Cause::ConstraintCheck);
        let mut settled = settled(vec![vec![heals()], vec![heals()], vec![check]]);
        settled.give_up(&[1]);
        let refused: Vec<usize> = settled.refused.iter().map(|(place, _)| *place).collect();
        assert_eq!(refused, [1, 2]);
        assert_eq!(settled.waiting.len(), 1);
        let (retried, dead) = (RecordOutcome::Retried, RecordOutcome::DeadLettered);
        assert_eq!(settled.outcomes, [retried, dead, dead]);
    }
}
