//! Equality, equivalence and order of items.

use std::borrow::Cow;
use std::cmp::Ordering;

use bigdecimal::{BigDecimal, Zero as _};
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use super::item::{Item, Scalar};
use super::number;
use super::quantity::Quantity;
use super::temporal::Temporal;
use crate::model::Node;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::EvaluationError;

/// `=` on collections: empty if one is, else item by item in order.
pub(in crate::transform::fhirpath) fn collections_equal(
    left: &[Item<'_>],
    right: &[Item<'_>],
    budget: &mut Budget,
) -> Result<Option<bool>, EvaluationError> {
    if left.is_empty() || right.is_empty() {
        return Ok(None);
    }
    if left.len() != right.len() {
        return Ok(Some(false));
    }
    let mut all = Some(true);
    for (left, right) in left.iter().zip(right) {
        match items_equal(left, right, budget)? {
            Some(true) => {}
            Some(false) => return Ok(Some(false)),
            None => all = None,
        }
    }
    Ok(all)
}

/// `~` on collections: the same items in any order; two empty ones are equivalent.
pub(in crate::transform::fhirpath) fn collections_equivalent(
    left: &[Item<'_>],
    right: &[Item<'_>],
    budget: &mut Budget,
) -> Result<bool, EvaluationError> {
    if left.len() != right.len() {
        return Ok(false);
    }
    let mut open: Vec<&Item<'_>> = right.iter().collect();
    'left: for item in left {
        for at in 0..open.len() {
            if let Some(other) = open.get(at)
                && items_equivalent(item, other, budget)?
            {
                open.swap_remove(at);
                continue 'left;
            }
        }
        return Ok(false);
    }
    Ok(true)
}

/// Is the item among the others, by `=`?
pub(in crate::transform::fhirpath) fn is_among(
    item: &Item<'_>,
    others: &[Item<'_>],
    budget: &mut Budget,
) -> Result<bool, EvaluationError> {
    for other in others {
        if items_equal(item, other, budget)? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `=` on two items; `None` where precision or units leave it open.
pub(in crate::transform::fhirpath) fn items_equal(
    left: &Item<'_>,
    right: &Item<'_>,
    budget: &mut Budget,
) -> Result<Option<bool>, EvaluationError> {
    budget.spend(1)?;
    let (one, other) = (left.scalar()?, right.scalar()?);
    if let Some((one, other)) = texts(&one, &other) {
        return Ok(Some(one == other));
    }
    if let Some((one, other)) = temporals(&one, &other) {
        return Ok(one.compare(&other).map(Ordering::is_eq));
    }
    if let Some((one, other)) = quantities(&one, &other) {
        return match (one.compare(&other, budget)?, left.node(), right.node()) {
            // What cannot be compared may still be the very same.
            (None, Some(left), Some(right)) => {
                Ok(nodes_equal(left, right, budget)?.then_some(true))
            }
            (ordering, ..) => Ok(ordering.map(Ordering::is_eq)),
        };
    }
    Ok(Some(match (&one, &other) {
        (Scalar::Boolean(one), Scalar::Boolean(other)) => one == other,
        (Scalar::Integer(one), Scalar::Integer(other)) => one == other,
        (Scalar::Complex(one), Scalar::Complex(other)) => nodes_equal(one, other, budget)?,
        (Scalar::Type(one), Scalar::Type(other)) => one == other,
        (Scalar::Nothing, Scalar::Nothing) => true,
        _ => numbers(&one, &other).is_some_and(|(one, other)| one == other),
    }))
}

/// `~` on two items: text without case and with white space as one blank, decimals to the fewer
/// digits, anything that cannot be compared as different.
pub(in crate::transform::fhirpath) fn items_equivalent(
    left: &Item<'_>,
    right: &Item<'_>,
    budget: &mut Budget,
) -> Result<bool, EvaluationError> {
    budget.spend(1)?;
    let (one, other) = (left.scalar()?, right.scalar()?);
    if let Some((one, other)) = texts(&one, &other) {
        budget.spend_on_text(one.len() + other.len())?;
        return Ok(normalized(one) == normalized(other));
    }
    if let Some((one, other)) = numbers(&one, &other) {
        return Ok(equal_to_fewer_digits(&one, &other));
    }
    if let Some((one, other)) = quantities(&one, &other) {
        let values = one.in_larger_unit(&other, budget)?;
        return Ok(values.is_some_and(|(one, other)| equal_to_fewer_digits(&one, &other)));
    }
    Ok(items_equal(left, right, budget)?.unwrap_or(false))
}

/// `<` and its like.
pub(in crate::transform::fhirpath) fn order(
    left: &Item<'_>,
    right: &Item<'_>,
    operation: &'static str,
    budget: &mut Budget,
) -> Result<Option<Ordering>, EvaluationError> {
    let (left, right) = (left.scalar()?, right.scalar()?);
    if let Some((left, right)) = temporals(&left, &right) {
        return Ok(left.compare(&right));
    }
    if let (Scalar::Integer(left), Scalar::Integer(right)) = (&left, &right) {
        return Ok(Some(left.cmp(right)));
    }
    if let Some((left, right)) = quantities(&left, &right) {
        return left.compare(&right, budget);
    }
    if matches!(left, Scalar::Nothing) || matches!(right, Scalar::Nothing) {
        return Ok(None);
    }
    match (texts(&left, &right), numbers(&left, &right)) {
        (Some((left, right)), _) => Ok(Some(left.cmp(right))),
        (None, Some((left, right))) => Ok(Some(left.cmp(&right))),
        (None, None) => Err(EvaluationError::Operands { operation }),
    }
}

/// Have both units that convert? `None` if one is no quantity.
pub(in crate::transform::fhirpath) fn are_comparable(
    left: &Item<'_>,
    right: &Item<'_>,
    budget: &mut Budget,
) -> Result<Option<bool>, EvaluationError> {
    let (left, right) = (left.scalar()?, right.scalar()?);
    if numbers(&left, &right).is_some() {
        return Ok(Some(true));
    }
    let Some((left, right)) = quantities(&left, &right) else { return Ok(None) };
    Ok(Some(left.in_one_unit(&right, budget)?.is_some()))
}

/// Two quantities; a number beside a quantity is one without a unit.
fn quantities<'a>(
    left: &'a Scalar<'_>,
    right: &'a Scalar<'_>,
) -> Option<(Cow<'a, Quantity>, Cow<'a, Quantity>)> {
    let plain = |number: Cow<'_, BigDecimal>| Cow::Owned(Quantity::plain(number.into_owned()));
    match (left, right) {
        (Scalar::Quantity(left), Scalar::Quantity(right)) => {
            Some((Cow::Borrowed(&**left), Cow::Borrowed(&**right)))
        }
        (Scalar::Quantity(left), number) => {
            Some((Cow::Borrowed(&**left), number.as_decimal().map(plain)?))
        }
        (number, Scalar::Quantity(right)) => {
            Some((number.as_decimal().map(plain)?, Cow::Borrowed(&**right)))
        }
        _ => None,
    }
}

fn texts<'a>(left: &'a Scalar<'_>, right: &'a Scalar<'_>) -> Option<(&'a str, &'a str)> {
    let text = |scalar: &'a Scalar<'_>| match scalar {
        Scalar::String(text) | Scalar::Untyped(text) => Some(*text),
        _ => None,
    };
    Some((text(left)?, text(right)?))
}

fn numbers(left: &Scalar<'_>, right: &Scalar<'_>) -> Option<(BigDecimal, BigDecimal)> {
    Some((left.as_decimal()?.into_owned(), right.as_decimal()?.into_owned()))
}

/// Two dates or date-times, or two times. Text of unknown type is read as the other side's type.
fn temporals(left: &Scalar<'_>, right: &Scalar<'_>) -> Option<(Temporal, Temporal)> {
    match (left, right) {
        (
            Scalar::Date(left) | Scalar::DateTime(left),
            Scalar::Date(right) | Scalar::DateTime(right),
        )
        | (Scalar::Time(left), Scalar::Time(right)) => Some((*left, *right)),
        (Scalar::Date(left) | Scalar::DateTime(left), Scalar::Untyped(text)) => {
            Temporal::parse_date_time(text).map(|right| (*left, right))
        }
        (Scalar::Untyped(text), Scalar::Date(right) | Scalar::DateTime(right)) => {
            Temporal::parse_date_time(text).map(|left| (left, *right))
        }
        (Scalar::Time(left), Scalar::Untyped(text)) => {
            Temporal::parse_time(text).map(|right| (*left, right))
        }
        (Scalar::Untyped(text), Scalar::Time(right)) => {
            Temporal::parse_time(text).map(|left| (left, *right))
        }
        _ => None,
    }
}

fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn equal_to_fewer_digits(left: &BigDecimal, right: &BigDecimal) -> bool {
    let digits = |value: &BigDecimal| {
        if value.is_zero() { 0 } else { value.normalized().fractional_digit_count().max(0) }
    };
    let shared = digits(left).min(digits(right));
    left.round(shared) == right.round(shared)
}

/// Are two nodes the same, member by member in any order, numbers by value? The document's depth
/// bounds the recursion.
fn nodes_equal(left: &Node, right: &Node, budget: &mut Budget) -> Result<bool, EvaluationError> {
    budget.spend(1)?;
    if std::ptr::eq(left, right) {
        return Ok(true);
    }
    if let (Some(members), Some(others)) = (left.as_object(), right.as_object()) {
        if members.len() != others.len() {
            return Ok(false);
        }
        for (name, value) in members {
            budget.spend_on_members(others.len())?;
            match others.get(&name) {
                Some(other) if nodes_equal(value, other, budget)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    if let (Some(left), Some(right)) = (left.as_array(), right.as_array()) {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (value, other) in left.iter().zip(right) {
            if !nodes_equal(value, other, budget)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let (Some(left), Some(right)) = (left.as_raw_number(), right.as_raw_number()) {
        return Ok(left.as_str() == right.as_str()
            || number::parse_decimal(left.as_str())? == number::parse_decimal(right.as_str())?);
    }
    Ok(match (left.as_str(), right.as_str()) {
        (Some(left), Some(right)) => left == right,
        _ => left.get_type() == right.get_type() && left.as_bool() == right.as_bool(),
    })
}
