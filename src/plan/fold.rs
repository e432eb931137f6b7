//! The fold: at most one delete without version, then one upsert or versioned delete, per
//! resource in a batch.
//!
//! In: the changes of one root table's type, in origin order, without those deletes that the
//! tombstones say were applied or refused before. Out: what is left to do per resource. A delete
//! without version is never folded away: it removes whatever there is, so it runs before the one
//! newest change that follows it, and drops everything before it, of which only the highest
//! version is remembered.

use crate::model::{RowChange, RowOperation};

/// What a change leaves of its resource in the table. Ordered: of changes of one version the last of
/// these wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Rows.
    Rows,
    /// Nothing, because `where` leaves this version out; a rebuild under other rules may let it in.
    LeftOut,
    /// Nothing, because it deletes.
    Gone,
}

/// A delete without version that is left of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteWithoutVersion {
    /// Place of the last such delete in the batch.
    pub index: usize,
    /// The highest version seen before it in the batch; -1 if none.
    pub seen: i64,
}

/// What is left to do for one resource, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Remove whatever is there.
    pub delete_without_version: Option<DeleteWithoutVersion>,
    /// Then apply the change at this place of the batch: the newest, what leaves nothing before
    /// what leaves rows at the same version (as if they came in two batches), the first among equals.
    pub newest: Option<usize>,
}

/// Folds changes (each with its place in the batch and what it leaves) per resource id, in the order
/// of the ids, so that all writers touch rows in one order.
pub fn fold<'a>(changes: impl IntoIterator<Item = (usize, &'a RowChange, Leaves)>) -> Vec<Folded> {
    let mut changes: Vec<_> = changes.into_iter().collect();
    // stable: the changes of a resource stay in origin order
    changes.sort_by(|(_, one, _), (_, other, _)| one.resource.id.cmp(&other.resource.id));
    changes
        .chunk_by(|(_, one, _), (_, other, _)| one.resource.id == other.resource.id)
        .map(fold_one)
        .collect()
}

/// Folds the changes of one resource.
fn fold_one(changes: &[(usize, &RowChange, Leaves)]) -> Folded {
    let mut folded = Folded::default();
    // of `folded.newest`
    let mut rank: Option<(i64, Leaves)> = None;
    // the highest version so far, also of what was dropped
    let mut highest: Option<i64> = None;
    for (index, change, leaves) in changes {
        let of_change = match &change.operation {
            RowOperation::Upsert { version, .. } => (version.get(), *leaves),
            RowOperation::Delete { version: Some(version) } => (version.get(), Leaves::Gone),
            RowOperation::Delete { version: None } => {
                let seen = highest.unwrap_or(-1);
                let delete = DeleteWithoutVersion { index: *index, seen };
                folded = Folded { delete_without_version: Some(delete), newest: None };
                rank = None;
                continue;
            }
        };
        highest = highest.max(Some(of_change.0));
        if rank.is_none_or(|best| of_change > best) {
            rank = Some(of_change);
            folded.newest = Some(*index);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Offset, Origin, ResourceKey, TopicPartition, Version};

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Step {
        Upsert(i64),
        LeaveOut(i64),
        Delete(i64),
        DeleteWithoutVersion,
    }

    fn change(id: u8, step: Step, index: usize) -> RowChange {
        let operation = match step {
            Step::Upsert(version) | Step::LeaveOut(version) => {
                RowOperation::Upsert { version: Version::new(version).unwrap(), rows: Vec::new() }
            }
            Step::Delete(version) => RowOperation::Delete { version: Version::new(version) },
            Step::DeleteWithoutVersion => RowOperation::Delete { version: None },
        };
        RowChange {
            resource: ResourceKey { resource_type: "Patient".into(), id: id.to_string().into() },
            operation,
            origin: Origin {
                source: TopicPartition::new("t", 0),
                offset: Offset(i64::try_from(index).unwrap()),
                index: 0,
            },
        }
    }

    const fn leaves(step: Step) -> Leaves {
        match step {
            Step::Upsert(_) => Leaves::Rows,
            Step::LeaveOut(_) => Leaves::LeftOut,
            Step::Delete(_) | Step::DeleteWithoutVersion => Leaves::Gone,
        }
    }

    fn folded(steps: &[Step]) -> Folded {
        let changes: Vec<_> =
            steps.iter().enumerate().map(|(at, step)| change(1, *step, at)).collect();
        let changes = changes.iter().zip(steps).enumerate();
        let folded = fold(changes.map(|(at, (change, step))| (at, change, leaves(*step))));
        assert_eq!(folded.len(), 1);
        folded[0]
    }

    #[test]
    fn the_newest_version_wins_whatever_the_order() {
        assert_eq!(folded(&[Step::Upsert(3), Step::Upsert(1)]).newest, Some(0));
        assert_eq!(folded(&[Step::Upsert(1), Step::Upsert(3)]).newest, Some(1));
    }

    #[test]
    fn a_delete_beats_an_upsert_of_the_same_version() {
        assert_eq!(folded(&[Step::Delete(2), Step::Upsert(2)]).newest, Some(0));
        assert_eq!(folded(&[Step::Upsert(2), Step::Delete(2)]).newest, Some(1));
    }

    #[test]
    fn a_version_left_out_beats_an_upsert_of_the_same_version() {
        assert_eq!(folded(&[Step::LeaveOut(2), Step::Upsert(2)]).newest, Some(0));
        assert_eq!(folded(&[Step::Upsert(2), Step::LeaveOut(2)]).newest, Some(1));
    }

    #[test]
    fn a_delete_beats_a_version_left_out_of_the_same_version() {
        assert_eq!(folded(&[Step::Delete(2), Step::LeaveOut(2)]).newest, Some(0));
        assert_eq!(folded(&[Step::LeaveOut(2), Step::Delete(2)]).newest, Some(1));
    }

    #[test]
    fn the_first_of_equals_stays() {
        assert_eq!(folded(&[Step::Upsert(2), Step::Upsert(2)]).newest, Some(0));
    }

    #[test]
    fn a_delete_without_version_drops_what_came_before_and_remembers_its_version() {
        let steps = [
            Step::Upsert(7),
            Step::DeleteWithoutVersion,
            Step::Upsert(2),
            Step::DeleteWithoutVersion,
            Step::Upsert(8),
        ];
        assert_eq!(
            folded(&steps),
            Folded {
                delete_without_version: Some(DeleteWithoutVersion { index: 3, seen: 7 }),
                newest: Some(4)
            }
        );
    }

    /// The definition, read off DESIGN: quadratic and plain.
    fn oracle(steps: &[(u8, Step)], id: u8) -> Folded {
        let mine: Vec<_> =
            steps.iter().enumerate().filter(|(_, (other, _))| *other == id).collect();
        let last_delete =
            mine.iter().rposition(|(_, (_, step))| *step == Step::DeleteWithoutVersion);
        let rank = |step: &Step| match step {
            Step::Upsert(version) => (*version, 0),
            Step::LeaveOut(version) => (*version, 1),
            Step::Delete(version) => (*version, 2),
            Step::DeleteWithoutVersion => (-1, -1),
        };
        let delete_without_version = last_delete.map(|at| DeleteWithoutVersion {
            index: mine[at].0,
            seen: mine[..at].iter().map(|(_, (_, step))| rank(step).0).max().unwrap_or(-1),
        });
        let rest = &mine[last_delete.map_or(0, |at| at + 1)..];
        let best = rest.iter().map(|(_, (_, step))| rank(step)).max();
        let newest = rest.iter().find(|(_, (_, step))| Some(rank(step)) == best).map(|(at, _)| *at);
        Folded { delete_without_version, newest }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_i64..5).prop_map(Step::Upsert),
            1 => (0_i64..5).prop_map(Step::LeaveOut),
            2 => (0_i64..5).prop_map(Step::Delete),
            1 => Just(Step::DeleteWithoutVersion),
        ]
    }

    proptest! {
        #[test]
        fn the_fold_is_its_definition(steps in prop::collection::vec((0_u8..3, step()), 0..14)) {
            let changes: Vec<_> =
                steps.iter().enumerate().map(|(at, (id, step))| change(*id, *step, at)).collect();
            let changes = changes.iter().zip(&steps).enumerate();
            let there = (0..3).filter(|id| steps.iter().any(|(other, _)| other == id));
            let expected: Vec<_> = there.map(|id| oracle(&steps, id)).collect();
            let found = fold(changes.map(|(at, (change, (_, step)))| (at, change, leaves(*step))));
            prop_assert_eq!(found, expected);
        }
    }
}
