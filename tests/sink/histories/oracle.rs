//! What must be in the tables in the end, read off a log from its first entry to its last: no
//! batches, no tombstones, no writers. Only what the database refused for good it must be told.

use std::collections::BTreeMap;

use super::log::{Copy, Entry, Kept, Step};

/// What is known of a resource at some moment of its log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known {
    /// Neither rows nor a memory.
    Nothing,
    /// It has the rows of this version; of none if there is nothing to show.
    Shown(i64, Option<Copy>),
    /// Gone, or left out, at this version.
    GoneAt(i64),
    /// Deleted without version by the entry at this place.
    DeletedBy(usize),
}

/// The end of a resource's log. `counts` says whether the entry at a place counts: what is refused
/// for good does not.
pub(super) fn end(
    kept: Kept,
    log: &[Entry],
    resource: usize,
    counts: impl Fn(usize) -> bool,
) -> Known {
    let mut known = Known::Nothing;
    // nothing at or below this version comes back
    let mut closed = -1;
    for (place, entry) in log.iter().enumerate() {
        if entry.resource != resource || !counts(place) {
            continue;
        }
        let stored = match known {
            Known::Shown(version, _) | Known::GoneAt(version) => version,
            Known::Nothing | Known::DeletedBy(_) => -1,
        };
        match entry.step {
            Step::DeleteWhatIsThere => {
                closed = closed.max(stored);
                known = Known::DeletedBy(place);
            }
            Step::LeaveOut(version) if kept.has_empty_sets(resource) => {
                if version > stored.max(closed) {
                    known = Known::Shown(version, None);
                }
            }
            Step::Upsert(version, copy) => {
                if version > stored.max(closed) {
                    known = Known::Shown(version, Some(copy));
                }
            }
            // at equal versions it beats what is shown
            Step::LeaveOut(version) | Step::Delete(version) => {
                if version >= stored && version > closed {
                    known = Known::GoneAt(version);
                }
            }
        }
    }
    known
}

/// Every version that history must have, with its content: the first.
pub(super) fn versions(
    log: &[Entry],
    resource: usize,
    counts: impl Fn(usize) -> bool,
) -> BTreeMap<i64, Copy> {
    let mut versions = BTreeMap::new();
    for (place, entry) in log.iter().enumerate() {
        if let Step::Upsert(version, copy) = entry.step
            && entry.resource == resource
            && counts(place)
        {
            versions.entry(version).or_insert(copy);
        }
    }
    versions
}
