//! The stack of items: every collection of an evaluation is what lies on it from a place on.

use crate::transform::fhirpath::MAX_ITEMS;
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::value::item::{Item, Scalar};

/// The stack; at the end, the results.
pub(in crate::transform::fhirpath) type Stack<'d> = Vec<Item<'d>>;

/// What is on the stack from `start` on.
pub(in crate::transform::fhirpath) fn tail<'s, 'd>(
    out: &'s [Item<'d>],
    start: usize,
) -> &'s [Item<'d>] {
    out.get(start..).unwrap_or_default()
}

pub(in crate::transform::fhirpath) fn push<'d>(item: Item<'d>, out: &mut Stack<'d>) -> Outcome {
    check_room(out)?;
    out.push(item);
    Ok(())
}

/// As [`push`], for an item that is made where it will lie: one that is made elsewhere and moved
/// right after waits for itself.
pub(in crate::transform::fhirpath) fn push_with<'d>(
    make: impl FnOnce() -> Item<'d>,
    out: &mut Stack<'d>,
) -> Outcome {
    check_room(out)?;
    out.extend(std::iter::once_with(make));
    Ok(())
}

/// Refuses one item more than the stack may hold.
fn check_room(out: &Stack<'_>) -> Outcome {
    if out.len() < MAX_ITEMS {
        Ok(())
    } else {
        Err(EvaluationError::TooManyItems { limit: MAX_ITEMS })
    }
}

/// Takes off everything from `start` on and puts the result there.
pub(in crate::transform::fhirpath) fn replace<'d>(
    result: Option<Item<'d>>,
    start: usize,
    out: &mut Stack<'d>,
) -> Outcome {
    out.truncate(start);
    result.map_or(Ok(()), |item| push(item, out))
}

/// Takes off what does not fit, from `start` on.
pub(in crate::transform::fhirpath) fn retain<'d>(
    start: usize,
    out: &mut Stack<'d>,
    fits: impl Fn(&Item<'d>) -> bool,
) {
    let mut kept = start;
    for at in start..out.len() {
        if out.get(at).is_some_and(&fits) {
            out.swap(kept, at);
            kept += 1;
        }
    }
    out.truncate(kept);
}

/// The only item, or none.
pub(in crate::transform::fhirpath) fn single<'s, 'd>(
    items: &'s [Item<'d>],
    operation: &'static str,
) -> Outcome<Option<&'s Item<'d>>> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item)),
        _ => Err(EvaluationError::Several { operation }),
    }
}

pub(in crate::transform::fhirpath) fn integer(
    items: &[Item<'_>],
    operation: &'static str,
) -> Outcome<Option<i64>> {
    let Some(item) = single(items, operation)? else { return Ok(None) };
    match item.scalar()? {
        Scalar::Integer(value) => Ok(Some(value)),
        Scalar::Nothing => Ok(None),
        _ => Err(EvaluationError::Operands { operation }),
    }
}
