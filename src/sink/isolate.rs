//! Isolation: one poisonous change does not stop its neighbours.
//!
//! In: the changes of a batch. Out: one outcome or refusal per change. A refused batch is halved,
//! in changes and before the fold (so that an older good version still lands when a newer one is
//! refused), down to the single change: `k` of `n` in at most `1 + 2 k log2 n` transactions, since
//! each level of halving splits at most `k` parts into two, and never in more than `2 n`. What heals by itself, what is fatal and a lost partition
//! go back to the caller, who calls again with the same changes: every write is idempotent.

use super::{Outcome, Owner, Sink, SinkError};
use crate::error::{Cause, Place, Refusal, Stage};
use crate::model::{Offset, RowChange, RowOperation};

/// Writes changes, isolating those that the database refuses. `next` is remembered once all of
/// them are through.
///
/// A refused delete without version must not be applied late, over something newer. So it is noted
/// before anything later of its resource is written. A task's that nothing follows may be tried
/// again as it is; it is noted by [`note_refused_deletes`] once its refusal is final.
///
/// # Errors
/// [`SinkError`], but for [`SinkError::Refused`].
pub async fn write(
    sink: &dyn Sink,
    owner: &Owner,
    changes: &[RowChange],
    next: Option<Offset>,
) -> Result<Vec<Result<Outcome, Refusal>>, SinkError> {
    write_portions(sink, owner, changes, next, Portion::default()).await
}

/// How many changes are tried in one transaction: all; once they took too long twice in a row, half
/// of them, and so on down to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Portion {
    too_slow: u32,
}

impl Portion {
    /// The next one, after this error.
    #[must_use]
    pub const fn after(self, error: &SinkError) -> Self {
        match error {
            SinkError::TooSlow { .. } => Self { too_slow: self.too_slow.saturating_add(1) },
            _ => self,
        }
    }

    fn of(self, changes: usize) -> usize {
        let halvings = self.too_slow.saturating_sub(1);
        changes.checked_shr(halvings).unwrap_or(0).max(1)
    }
}

/// As [`write()`], in transactions of so many changes.
///
/// # Errors
/// As [`write()`].
pub async fn write_portions(
    sink: &dyn Sink,
    owner: &Owner,
    changes: &[RowChange],
    next: Option<Offset>,
    portion: Portion,
) -> Result<Vec<Result<Outcome, Refusal>>, SinkError> {
    let all: Vec<&RowChange> = changes.iter().collect();
    let mut results = Vec::with_capacity(changes.len());
    // parts still to be written, the first one last
    let mut parts: Vec<&[&RowChange]> = all.chunks(portion.of(all.len())).rev().collect();
    if parts.is_empty() {
        // nothing to write, but an offset to remember
        parts.push(&all);
    }
    while let Some(part) = parts.pop() {
        let last = parts.is_empty();
        match sink.apply(owner, part, next.filter(|_| last)).await {
            Ok(outcomes) => {
                for (change, outcome) in part.iter().zip(outcomes) {
                    results.push(match outcome {
                        Some(outcome) => Ok(outcome),
                        None => Err(refused_before(change)),
                    });
                }
            }
            Err(SinkError::Refused(refusal)) => match part {
                [] => return Err(SinkError::Refused(refusal)),
                [change] => {
                    let later = changes.get(results.len() + 1..).unwrap_or_default();
                    if is_delete_without_version(change) && must_be_noted(owner, change, later) {
                        sink.note_refused_delete(owner, change).await?;
                    }
                    if last && next.is_some() {
                        sink.apply(owner, &[], next).await?;
                    }
                    results.push(Err(known(*refusal, change)));
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
            },
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// Notes the deletes without version that [`write()`] found refused, now that they will be dead
/// letters. Noting one twice changes nothing.
///
/// # Errors
/// As [`write()`].
pub async fn note_refused_deletes(
    sink: &dyn Sink,
    owner: &Owner,
    refused: &[&RowChange],
) -> Result<(), SinkError> {
    for change in refused {
        sink.note_refused_delete(owner, change).await?;
    }
    Ok(())
}

/// The deletes without version among the changes that were refused just now.
#[must_use]
pub fn refused_deletes<'a>(
    changes: &'a [RowChange],
    results: &[Result<Outcome, Refusal>],
) -> Vec<&'a RowChange> {
    let refused = changes.iter().zip(results).filter(|(change, result)| {
        let refused = result.as_ref().is_err_and(|refusal| refusal.cause != Cause::RefusedDelete);
        refused && is_delete_without_version(change)
    });
    refused.map(|(change, _)| change).collect()
}

/// What [`write()`] would give at this moment; nothing stays, and nothing is noted. Parts are rehearsed
/// after all that passed before them, as they would find it written.
///
/// # Errors
/// As [`write()`].
pub async fn rehearse(
    sink: &dyn Sink,
    owner: &Owner,
    changes: &[RowChange],
) -> Result<Vec<Result<Outcome, Refusal>>, SinkError> {
    let all: Vec<&RowChange> = changes.iter().collect();
    let mut passing: Vec<&RowChange> = Vec::with_capacity(changes.len());
    let mut outcomes = Vec::new();
    // of each change so far, in their order; none: it passes
    let mut refusals = Vec::with_capacity(changes.len());
    let mut parts = vec![all.as_slice()];
    while let Some(part) = parts.pop() {
        let tried: Vec<&RowChange> = passing.iter().chain(part).copied().collect();
        match sink.rehearse(owner, &tried).await {
            Ok(found) => {
                (passing, outcomes) = (tried, found);
                refusals.extend(part.iter().map(|_| None));
            }
            Err(SinkError::Refused(refusal)) => match part {
                [] => return Err(SinkError::Refused(refusal)),
                [change] => refusals.push(Some(known(*refusal, change))),
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.push(second);
                    parts.push(first);
                }
            },
            Err(error) => return Err(error),
        }
    }
    let mut passed = passing.into_iter().zip(outcomes);
    let mut results = Vec::with_capacity(refusals.len());
    for refusal in refusals {
        if let Some(refusal) = refusal {
            results.push(Err(refusal));
            continue;
        }
        match passed.next() {
            Some((_, Some(outcome))) => results.push(Ok(outcome)),
            Some((change, None)) => results.push(Err(refused_before(change))),
            None => break,
        }
    }
    Ok(results)
}

/// Whether a refused delete without version cannot wait until its refusal is final: something later
/// of its resource comes in this batch, or may have come before a letter.
fn must_be_noted(owner: &Owner, change: &RowChange, later: &[RowChange]) -> bool {
    matches!(owner, Owner::Replay { .. })
        || later.iter().any(|later| later.resource == change.resource)
}

const fn is_delete_without_version(change: &RowChange) -> bool {
    matches!(change.operation, RowOperation::Delete { version: None })
}

/// A refusal whose change is known.
fn known(mut refusal: Refusal, change: &RowChange) -> Refusal {
    refusal.place.resource_type = Some(change.resource.resource_type.clone());
    refusal.place.version = match &change.operation {
        RowOperation::Upsert { version, .. } => Some(version.get()),
        RowOperation::Delete { version } => version.map(crate::model::Version::get),
    };
    refusal
}

#[derive(Debug, thiserror::Error)]
#[error("the delete without version was refused before; it is not applied late by itself")]
struct RefusedBefore;

fn refused_before(change: &RowChange) -> Refusal {
    let refusal = Refusal::new(
        Stage::Sink,
        Cause::RefusedDelete,
        &RefusedBefore,
        "RefusedBefore",
        Place::default(),
    );
    known(refusal, change)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::model::{Origin, ResourceKey, TopicPartition, Version};
    use crate::sink::Ownership;

    /// Refuses every batch that holds one of these offsets, and keeps a diary.
    struct Fussy {
        poison: Vec<i64>,
        diary: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Sink for Fussy {
        async fn take_over(&self, _: &TopicPartition) -> Result<Ownership, SinkError> {
            Ok(Ownership { epoch: 1, next_offset: None })
        }

        async fn apply(
            &self,
            _: &Owner,
            changes: &[&RowChange],
            next: Option<Offset>,
        ) -> Result<Vec<Option<Outcome>>, SinkError> {
            if changes.iter().any(|change| self.poison.contains(&change.origin.offset.0)) {
                return Err(SinkError::Refused(Box::new(Refusal::new(
                    Stage::Sink,
                    Cause::ConstraintCheck,
                    &RefusedBefore,
                    "Test",
                    Place::default(),
                ))));
            }
            let offsets: Vec<_> = changes.iter().map(|change| change.origin.offset.0).collect();
            self.diary.lock().unwrap().push(format!("{offsets:?} {:?}", next.map(|next| next.0)));
            Ok(vec![Some(Outcome::Written); changes.len()])
        }

        async fn rehearse(
            &self,
            owner: &Owner,
            changes: &[&RowChange],
        ) -> Result<Vec<Option<Outcome>>, SinkError> {
            self.diary.lock().unwrap().push("rehearsed".to_owned());
            self.apply(owner, changes, None).await
        }

        async fn note_refused_delete(
            &self,
            _: &Owner,
            change: &RowChange,
        ) -> Result<(), SinkError> {
            self.diary.lock().unwrap().push(format!("noted {}", change.origin.offset.0));
            Ok(())
        }
    }

    fn changes() -> Vec<RowChange> {
        (0..8)
            .map(|offset| RowChange {
                resource: ResourceKey { resource_type: "Patient".into(), id: "1".into() },
                operation: if offset == 5 {
                    RowOperation::Delete { version: None }
                } else {
                    RowOperation::Upsert { version: Version::new(offset).unwrap(), rows: vec![] }
                },
                origin: Origin {
                    source: TopicPartition::new("t", 0),
                    offset: Offset(offset),
                    index: 0,
                },
            })
            .collect()
    }

    async fn run(poison: &[i64]) -> (Vec<usize>, Vec<String>) {
        let sink = Fussy { poison: poison.to_vec(), diary: Mutex::default() };
        let owner = Owner::Task { partition: TopicPartition::new("t", 0), epoch: 1 };
        let results = write(&sink, &owner, &changes(), Some(Offset(8))).await.unwrap();
        let refused = (0..results.len()).filter(|at| results[*at].is_err()).collect();
        (refused, sink.diary.into_inner().unwrap())
    }

    #[tokio::test]
    async fn one_poisonous_change_does_not_stop_its_neighbours() {
        let (refused, diary) = run(&[2]).await;
        assert_eq!(refused, [2]);
        assert_eq!(diary, ["[0, 1] None", "[3] None", "[4, 5, 6, 7] Some(8)"]);
    }

    #[tokio::test]
    async fn a_rehearsal_isolates_in_the_same_way_after_all_that_passed_and_notes_nothing() {
        let sink = Fussy { poison: vec![2, 5], diary: Mutex::default() };
        let owner = Owner::Replay { partition: TopicPartition::new("t", 0), force: false };
        let results = rehearse(&sink, &owner, &changes()).await.unwrap();
        let refused: Vec<_> = (0..results.len()).filter(|at| results[*at].is_err()).collect();
        assert_eq!((results.len(), refused), (8, vec![2, 5]));
        let mut diary = sink.diary.into_inner().unwrap();
        diary.retain(|line| line != "rehearsed");
        let passed =
            ["[0, 1] None", "[0, 1, 3] None", "[0, 1, 3, 4] None", "[0, 1, 3, 4, 6, 7] None"];
        assert_eq!(diary, passed);
    }

    #[tokio::test]
    async fn a_refused_delete_is_noted_before_anything_later_is_written() {
        let (refused, diary) = run(&[5]).await;
        assert_eq!(refused, [5]);
        assert_eq!(diary, ["[0, 1, 2, 3] None", "[4] None", "noted 5", "[6, 7] Some(8)"]);
    }

    #[tokio::test]
    async fn a_refused_delete_that_nothing_follows_may_be_tried_again_as_it_is() {
        let sink = Fussy { poison: vec![5], diary: Mutex::default() };
        let owner = Owner::Task { partition: TopicPartition::new("t", 0), epoch: 1 };
        let changes = &changes()[..6];
        let results = write(&sink, &owner, changes, None).await.unwrap();
        let noted = || sink.diary.lock().unwrap().iter().any(|line| line == "noted 5");
        assert!(!noted());
        note_refused_deletes(&sink, &owner, &refused_deletes(changes, &results)).await.unwrap();
        assert!(noted());
    }

    #[tokio::test]
    async fn a_refused_delete_of_a_letter_is_noted_at_once() {
        let sink = Fussy { poison: vec![5], diary: Mutex::default() };
        let owner = Owner::Replay { partition: TopicPartition::new("t", 0), force: false };
        write(&sink, &owner, &changes()[..6], None).await.unwrap();
        assert_eq!(sink.diary.into_inner().unwrap().last().unwrap(), "noted 5");
    }

    #[tokio::test]
    async fn what_took_too_long_twice_is_written_in_halves_down_to_single_changes() {
        let slow = SinkError::TooSlow { attempted: "testing", reason: String::new() };
        let away = SinkError::Unavailable { attempted: "testing", reason: String::new() };
        let mut portion = Portion::default();
        let mut sizes = Vec::new();
        for error in [&slow, &away, &slow, &slow, &away, &slow, &slow] {
            portion = portion.after(error);
            sizes.push(portion.of(8));
        }
        assert_eq!(sizes, [8, 8, 4, 2, 2, 1, 1]);
        let sink = Fussy { poison: vec![2], diary: Mutex::default() };
        let owner = Owner::Task { partition: TopicPartition::new("t", 0), epoch: 1 };
        let portion = Portion { too_slow: 2 };
        let results = write_portions(&sink, &owner, &changes(), Some(Offset(8)), portion).await;
        let refused: Vec<bool> = results.unwrap().iter().map(Result::is_err).collect();
        assert_eq!(refused, [false, false, true, false, false, false, false, false]);
        let diary = sink.diary.into_inner().unwrap();
        assert_eq!(diary, ["[0, 1] None", "[3] None", "[4, 5, 6, 7] Some(8)"]);
    }

    #[tokio::test]
    async fn the_next_offset_is_remembered_though_the_last_change_is_refused() {
        let (refused, diary) = run(&[7]).await;
        assert_eq!(refused, [7]);
        assert_eq!(diary.last().unwrap(), "[] Some(8)");
    }
}
