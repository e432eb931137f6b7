//! Random logs: what may happen to two resources, where each step lies in its topic, and what the
//! database says to it.

use proptest::prelude::*;
use rowcast::model::{Catalog, RowChange, Value};

use crate::sink::fixture::{
    delete, delete_what_is_there, left_out, named, shown, upsert_as, views, with_history,
};

/// Whose rows are written: what guards them differs, what must come of a history does not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// Patients, their children and their history.
    Patients,
    /// A view, with one row at even versions, two at odd ones, none where `where` does not match.
    View,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Another copy of one version has other content.
    Upsert(i64, Copy),
    LeaveOut(i64),
    Delete(i64),
    DeleteWhatIsThere,
}

/// Which of two contents a version has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Copy {
    First,
    Second,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Accepted,
    /// Whatever is in a transaction with it, the transaction is refused.
    Refused,
    /// The same until somebody mends what is wrong.
    RefusedUntilMended,
}

/// A change in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) resource: usize,
    pub(super) step: Step,
    pub(super) fate: Fate,
}

/// Two resources per case; every case has its own.
pub(super) type Log = Vec<Entry>;

/// What of a case is in a place of the log: every second change is a bundle's second one.
pub(super) fn position(place: usize) -> (i64, u32) {
    (i64::try_from(place / 2).unwrap(), u32::try_from(place % 2).unwrap())
}

pub(super) fn resource_id(case: usize, resource: usize) -> String {
    format!("{case:06}-{resource}")
}

/// What the rows of an upsert say.
pub(super) fn content(version: i64, copy: Copy) -> String {
    match copy {
        Copy::First => version.to_string(),
        Copy::Second => format!("{version}b"),
    }
}

fn accepted((resource, step): (usize, Step)) -> Entry {
    Entry { resource, step, fate: Fate::Accepted }
}

/// Versions in any order, again, and with other content or another answer of `where`.
pub(super) fn versioned() -> impl Strategy<Value = Log> {
    let step = (0_i64..7, 0_u8..10).prop_map(|(version, kind)| match kind {
        0..=4 => Step::Upsert(version, Copy::First),
        5..=6 => Step::Upsert(version, Copy::Second),
        7 => Step::LeaveOut(version),
        _ => Step::Delete(version),
    });
    let entry = (0_usize..2, step).prop_map(accepted);
    prop::collection::vec(entry, 1..14)
}

/// The same for a topic that is not keyed: of two changes of one version nobody can say which came
/// first, so they are the same, or one is a delete.
pub(super) fn unkeyed() -> impl Strategy<Value = Vec<(i32, Entry)>> {
    let step = (0_i64..7, 0_u8..10).prop_map(|(version, kind)| match kind {
        0..=7 if version % 4 == 3 => Step::LeaveOut(version),
        0..=7 => Step::Upsert(version, Copy::First),
        _ => Step::Delete(version),
    });
    let entry = (0_usize..2, step).prop_map(accepted);
    prop::collection::vec((0..2, entry), 1..20)
}

/// Versions that grow per resource, deletes without version in between, and repetitions.
pub(super) fn keyed() -> impl Strategy<Value = Log> {
    let step = (0_usize..2, 0_u8..10, any::<prop::sample::Index>());
    prop::collection::vec(step, 1..14).prop_map(|steps| {
        let mut versions = [0, 0];
        let mut log: Vec<(usize, Step)> = Vec::new();
        for (resource, kind, earlier) in steps {
            versions[resource] += 1;
            let version = versions[resource];
            let step = match kind {
                0..=3 => Step::Upsert(version, Copy::First),
                4 => Step::LeaveOut(version),
                5 => Step::Delete(version),
                6..=8 => Step::DeleteWhatIsThere,
                _ if log.is_empty() => Step::Upsert(version, Copy::First),
                _ => {
                    // a producer that sends an old version again
                    let (resource, step) = log[earlier.index(log.len())];
                    if step != Step::DeleteWhatIsThere {
                        log.push((resource, step));
                    }
                    continue;
                }
            };
            log.push((resource, step));
        }
        log.into_iter().map(accepted).collect()
    })
}

/// The same without repetitions, but any of it may be refused.
pub(super) fn refused() -> impl Strategy<Value = Log> {
    prop::collection::vec((0_usize..2, 0_u8..10, 0_u8..8), 1..14).prop_map(|steps| {
        let mut versions = [0, 0];
        let entry = |(resource, kind, fate): (usize, u8, u8)| {
            versions[resource] += 1;
            let version = versions[resource];
            let step = match kind {
                0..=5 => Step::Upsert(version, Copy::First),
                6 => Step::LeaveOut(version),
                7 => Step::Delete(version),
                _ => Step::DeleteWhatIsThere,
            };
            let fate = match fate {
                0 => Fate::Refused,
                1..=2 => Fate::RefusedUntilMended,
                _ => Fate::Accepted,
            };
            Entry { resource, step, fate }
        };
        steps.into_iter().map(entry).collect()
    })
}

impl Kept {
    pub(super) fn catalog(self) -> Catalog {
        match self {
            Self::Patients => with_history(),
            Self::View => views(&["patient_name"]),
        }
    }

    /// The table that is named in rules.
    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Patients => "patient",
            Self::View => "patient_name",
        }
    }

    /// Whether a view has no rows of this resource because there is nothing to show, not because of
    /// its `where`.
    pub(super) const fn has_empty_sets(self, resource: usize) -> bool {
        matches!(self, Self::View) && resource % 2 == 1
    }

    /// The changes of a log whose first offset is `first`.
    pub(super) fn changes(self, log: &[Entry], case: usize, first: i64) -> Vec<RowChange> {
        let change = |(place, entry): (usize, &Entry)| {
            let (offset, index) = position(place);
            let mut change = self.change(entry, &resource_id(case, entry.resource), first + offset);
            change.origin.index = index;
            change
        };
        log.iter().enumerate().map(change).collect()
    }

    fn change(self, entry: &Entry, id: &str, offset: i64) -> RowChange {
        match (entry.step, self) {
            // what the database itself refuses, at the row of the root or of the view
            (Step::Upsert(version, _), Self::Patients) if entry.fate == Fate::Refused => {
                named(id, version, offset, Value::Text("refused".into()))
            }
            (Step::Upsert(version, _), Self::View) if entry.fate == Fate::Refused => {
                shown(id, version, offset, &["good", "refused"])
            }
            (Step::Upsert(version, copy), Self::Patients) => {
                upsert_as(id, version, offset, &content(version, copy))
            }
            (Step::Upsert(version, copy), Self::View) => {
                let name = content(version, copy);
                let twice = [name.as_str(); 2];
                shown(id, version, offset, if version % 2 == 0 { &twice[..1] } else { &twice })
            }
            (Step::LeaveOut(version), _) if self.has_empty_sets(entry.resource) => {
                shown(id, version, offset, &[])
            }
            (Step::LeaveOut(version), _) => left_out(id, version, offset),
            (Step::Delete(version), _) => delete(id, version, offset),
            (Step::DeleteWhatIsThere, _) => delete_what_is_there(id, offset),
        }
    }
}
