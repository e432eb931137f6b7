//! Tells a poisonous record from a systemic failure.
//!
//! A wrong rule or a narrowed column refuses everything alike; dead-lettering the whole topic
//! would only move the problem. The circuit looks at the task's last changes *before* the first
//! dead letter of a batch is produced, since an acknowledged letter cannot be taken back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::error::{Cause, Refusal};

/// Changes remembered per task.
const WINDOW: usize = 1000;
/// Alike refusals below this never open the circuit: a lone poison record stalls nothing.
const AT_LEAST: usize = 20;

/// How a change ended, for the circuit: `None` if it went well.
pub(super) type Tried = Option<(Cause, Option<Arc<str>>)>;

/// What the circuit needs to know of a refusal. A delete that was refused before is none to it: waiting
/// would not change it, and what refused it was judged then.
#[must_use]
pub(super) fn tried(refusal: Option<&Refusal>) -> Tried {
    let refusal = refusal.filter(|refusal| refusal.cause != Cause::RefusedDelete)?;
    Some((refusal.cause, refusal.place.table.clone()))
}

/// The last changes of a task.
#[derive(Debug)]
pub(super) struct Circuit {
    max_ratio: f64,
    /// Changes remembered at most.
    last: usize,
    window: VecDeque<Tried>,
}

/// Why a circuit is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tripped {
    /// The cause that was refused alike.
    pub(super) cause: Cause,
    /// The table, if the refusals name one.
    pub(super) table: Option<Arc<str>>,
    /// Alike refusals in the window.
    pub(super) refused: usize,
    /// Changes in the window.
    pub(super) tried: usize,
}

impl Circuit {
    /// A closed circuit. More than `max_ratio` (0 to 1) of the window alike opens it; 1 never.
    #[must_use]
    pub(super) const fn new(max_ratio: f64) -> Self {
        Self::of_last(WINDOW, max_ratio)
    }

    /// The same over more changes, or fewer.
    #[must_use]
    pub(super) const fn of_last(last: usize, max_ratio: f64) -> Self {
        Self { max_ratio, last, window: VecDeque::new() }
    }

    /// Whether these results, after those before, trip the circuit. Remembers nothing: a batch
    /// that trips is tried again.
    #[must_use]
    pub(super) fn trips(&self, batch: &[Tried]) -> Option<Tripped> {
        let skipped = (self.window.len() + batch.len()).saturating_sub(self.last);
        let mut alike: HashMap<&(Cause, Option<Arc<str>>), usize> = HashMap::new();
        let mut tried = 0;
        for result in self.window.iter().chain(batch).skip(skipped) {
            tried += 1;
            if let Some(refused) = result {
                *alike.entry(refused).or_default() += 1;
            }
        }
        let ((cause, table), refused) = alike.into_iter().max_by_key(|(_, count)| *count)?;
        let ratio = ratio(refused, tried);
        (refused >= AT_LEAST && ratio > self.max_ratio).then(|| Tripped {
            cause: *cause,
            table: table.clone(),
            refused,
            tried,
        })
    }

    /// Remembers the results of a batch that was let through.
    pub(super) fn record(&mut self, batch: impl IntoIterator<Item = Tried>) {
        self.window.extend(batch);
        let surplus = self.window.len().saturating_sub(self.last);
        self.window.drain(..surplus);
    }
}

#[allow(clippy::cast_precision_loss)] // both are at most a batch
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cause: Cause, table: &str, count: usize) -> Vec<Tried> {
        vec![Some((cause, Some(table.into()))); count]
    }

    #[test]
    fn nineteen_alike_refusals_in_a_row_do_not_open_it_and_twenty_do() {
        let circuit = Circuit::new(0.5);
        assert_eq!(circuit.trips(&refused(Cause::TypeMismatch, "a", 19)), None);
        let tripped = circuit.trips(&refused(Cause::TypeMismatch, "a", 20)).expect("open");
        assert_eq!((tripped.refused, tripped.tried), (20, 20));
    }

    #[test]
    fn refusals_of_different_causes_or_tables_are_not_alike() {
        let circuit = Circuit::new(0.5);
        let mut batch = refused(Cause::TypeMismatch, "a", 15);
        batch.extend(refused(Cause::TypeMismatch, "b", 15));
        batch.extend(refused(Cause::ValueTooLong, "a", 15));
        assert_eq!(circuit.trips(&batch), None);
    }

    #[test]
    fn good_changes_before_keep_it_closed_until_the_share_is_passed() {
        let mut circuit = Circuit::new(0.5);
        circuit.record(vec![None; 100]);
        assert_eq!(circuit.trips(&refused(Cause::InvalidJson, "a", 100)), None);
        assert!(circuit.trips(&refused(Cause::InvalidJson, "a", 101)).is_some());
    }

    #[test]
    fn only_the_last_thousand_changes_count() {
        let mut circuit = Circuit::new(0.5);
        circuit.record(refused(Cause::InvalidJson, "a", 900));
        circuit.record(vec![None; 1000]);
        assert_eq!(circuit.trips(&refused(Cause::InvalidJson, "a", 400)), None);
    }

    #[test]
    fn a_ratio_of_one_never_opens_it() {
        assert_eq!(Circuit::new(1.0).trips(&refused(Cause::InvalidJson, "a", 5000)), None);
    }
}
