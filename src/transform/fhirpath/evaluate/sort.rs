//! `sort`: stable, by keys. `desc` behind a key turns its order round. So does `-` before it, as
//! the specification once had it; there, what has no key still comes first.

use std::cmp::Ordering;

use super::stack::{Stack, single};
use super::{Evaluation, Scope};
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::Outcome;
use crate::transform::fhirpath::program::Program;
use crate::transform::fhirpath::value::compare::order;
use crate::transform::fhirpath::value::item::Item;

/// For messages.
const NAME: &str = "sort";

/// The order of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
    Negated,
}

/// An item and the values of its keys.
struct Entry<'d> {
    item: Item<'d>,
    keys: Vec<Option<Item<'d>>>,
}

impl<'d> Evaluation<'d> {
    /// Sorts by the keys, or by the items themselves.
    pub(in crate::transform::fhirpath) fn sort(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let directions: Vec<Direction> = arguments.iter().map(|key| ordered(key).0).collect();
        let mut entries = Vec::with_capacity(out.len().saturating_sub(start));
        for item in out.split_off(start) {
            let scope = Scope { this: &item, index: None, ..scope };
            let mut keys = Vec::with_capacity(arguments.len());
            for key in arguments {
                self.run(ordered(key).1, scope, out)?;
                let found = out.split_off(start);
                keys.push(single(&found, NAME)?.cloned());
            }
            if arguments.is_empty() {
                keys.push(Some(item.clone()));
            }
            entries.push(Entry { item, keys });
        }
        let sorted = merge_sort(entries, &directions, &mut self.budget)?;
        out.extend(sorted.into_iter().map(|entry| entry.item));
        Ok(())
    }
}

/// A key without what is said of its order.
fn ordered(key: &Program) -> (Direction, &Program) {
    match key {
        Program::Descending(key) => (Direction::Descending, key),
        Program::Negative(key) => (Direction::Negated, key),
        key => (Direction::Ascending, key),
    }
}

/// From the bottom up. The library's sorts may panic where an order contradicts itself, and that
/// of partial dates does.
fn merge_sort<'d>(
    entries: Vec<Entry<'d>>,
    directions: &[Direction],
    budget: &mut Budget,
) -> Outcome<Vec<Entry<'d>>> {
    let mut runs: Vec<Vec<Entry<'d>>> = entries.into_iter().map(|entry| vec![entry]).collect();
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(left) = pairs.next() {
            merged.push(match pairs.next() {
                Some(right) => merge(left, right, directions, budget)?,
                None => left,
            });
        }
        runs = merged;
    }
    Ok(runs.pop().unwrap_or_default())
}

fn merge<'d>(
    left: Vec<Entry<'d>>,
    right: Vec<Entry<'d>>,
    directions: &[Direction],
    budget: &mut Budget,
) -> Outcome<Vec<Entry<'d>>> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let later = compare(one, other, directions, budget)? == Ordering::Greater;
        merged.extend(if later { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// Nothing is lower than anything. What cannot be told apart stays in its order.
fn compare(
    left: &Entry<'_>,
    right: &Entry<'_>,
    directions: &[Direction],
    budget: &mut Budget,
) -> Outcome<Ordering> {
    for (at, keys) in left.keys.iter().zip(&right.keys).enumerate() {
        budget.spend(1)?;
        let ordering = match keys {
            (Some(left), Some(right)) => {
                order(left, right, NAME, budget)?.unwrap_or(Ordering::Equal)
            }
            (left, right) => left.is_some().cmp(&right.is_some()),
        };
        if ordering != Ordering::Equal {
            let turned = match directions.get(at) {
                Some(Direction::Descending) => true,
                Some(Direction::Negated) => keys.0.is_some() && keys.1.is_some(),
                Some(Direction::Ascending) | None => false,
            };
            return Ok(if turned { ordering.reverse() } else { ordering });
        }
    }
    Ok(Ordering::Equal)
}
