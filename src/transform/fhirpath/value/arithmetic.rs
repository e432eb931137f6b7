//! `+ - * / div mod &` and the sign.

use std::borrow::Cow;

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive as _, Zero as _};

use super::calendar::CalendarUnit;
use super::item::{Item, Scalar};
use super::number;
use super::quantity::Quantity;
use super::temporal::Temporal;
use crate::transform::fhirpath::MAX_NUMBER_DIGITS;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::EvaluationError;
use crate::transform::fhirpath::function::Function;
use crate::transform::fhirpath::parse::syntax::Operator;

type Outcome = Result<Option<Item<'static>>, EvaluationError>;

/// `left operator right`. Empty if one operand is, but for `&`, which takes it as no text.
pub(in crate::transform::fhirpath) fn arithmetic(
    operator: Operator,
    left: Option<&Item<'_>>,
    right: Option<&Item<'_>>,
    budget: &mut Budget,
) -> Outcome {
    let operands = EvaluationError::Operands { operation: operator.as_str() };
    if operator == Operator::Concatenate {
        let left = left.map_or(Ok(Scalar::String("")), Item::scalar)?;
        let right = right.map_or(Ok(Scalar::String("")), Item::scalar)?;
        return match (text(&left), text(&right)) {
            (Some(left), Some(right)) => concatenated(left, right, budget),
            _ => Err(operands),
        };
    }
    let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
    let (left, right) = (left.scalar()?, right.scalar()?);
    match (&left, &right) {
        (Scalar::Nothing, _) | (_, Scalar::Nothing) => Ok(None),
        (Scalar::Integer(left), Scalar::Integer(right)) if operator != Operator::Divide => {
            Ok(integers(operator, *left, *right).map(Item::Integer))
        }
        (Scalar::Date(date), Scalar::Quantity(amount)) => {
            Ok(moved(operator, *date, amount, |_| true)?.map(Item::Date))
        }
        (Scalar::DateTime(date), Scalar::Quantity(amount)) => {
            Ok(moved(operator, *date, amount, |_| true)?.map(Item::DateTime))
        }
        (Scalar::Time(time), Scalar::Quantity(amount)) => {
            let later = moved(operator, *time, amount, |unit| unit.is_of_day())?;
            Ok(later.map(|time| Item::Time(time.of_day())))
        }
        (Scalar::Quantity(left), Scalar::Quantity(right)) => {
            quantities(operator, left, right, budget)
        }
        (Scalar::Quantity(left), right) => match right.as_decimal() {
            Some(right) => quantities(operator, left, &Quantity::plain(right.into_owned()), budget),
            None => Err(operands),
        },
        (left, Scalar::Quantity(right)) => match left.as_decimal() {
            Some(left) => quantities(operator, &Quantity::plain(left.into_owned()), right, budget),
            None => Err(operands),
        },
        _ => match (text(&left), text(&right), left.as_decimal(), right.as_decimal()) {
            (Some(left), Some(right), ..) if operator == Operator::Plus => {
                concatenated(left, right, budget)
            }
            (_, _, Some(left), Some(right)) => decimals(operator, &left, &right),
            _ => Err(operands),
        },
    }
}

/// The same number with the other sign.
pub(in crate::transform::fhirpath) fn negative(
    item: &Item<'_>,
) -> Result<Item<'static>, EvaluationError> {
    match item.scalar()? {
        Scalar::Integer(value) => {
            value.checked_neg().map(Item::Integer).ok_or(EvaluationError::NumberOutOfRange)
        }
        Scalar::Decimal(value) => Ok(Item::Decimal(-value.into_owned())),
        Scalar::Quantity(quantity) => {
            let quantity = quantity.into_owned();
            Ok(Item::Quantity(Box::new(Quantity { value: -quantity.value, ..quantity })))
        }
        _ => Err(EvaluationError::Operands { operation: "-" }),
    }
}

/// `abs`, `ceiling`, `floor`, `truncate`, and `round` to so many digits.
pub(in crate::transform::fhirpath) fn rounded(
    function: Function,
    item: &Item<'_>,
    digits: Option<i64>,
) -> Result<Item<'static>, EvaluationError> {
    let value = match item.scalar()? {
        Scalar::Quantity(quantity) => {
            let quantity = quantity.into_owned();
            let value = rounded(function, &Item::Decimal(quantity.value), digits)?;
            let value = value.scalar()?.as_decimal().map_or_else(BigDecimal::zero, Cow::into_owned);
            return Ok(Item::Quantity(Box::new(Quantity { value, ..quantity })));
        }
        Scalar::Integer(value) if function == Function::Abs => {
            return value.checked_abs().map(Item::Integer).ok_or(EvaluationError::NumberOutOfRange);
        }
        Scalar::Integer(value) if function != Function::Round => return Ok(Item::Integer(value)),
        scalar => match scalar.as_decimal() {
            Some(value) => value.into_owned(),
            None => return Err(EvaluationError::Operands { operation: function.name() }),
        },
    };
    let mode = match function {
        Function::Abs => return Ok(Item::Decimal(value.abs())),
        Function::Round => {
            let digits = digits.unwrap_or(0);
            if !(0..=i64::try_from(MAX_NUMBER_DIGITS).unwrap_or(0)).contains(&digits) {
                return Err(EvaluationError::NumberOutOfRange);
            }
            let rounded = value.with_scale_round(digits, RoundingMode::HalfUp);
            return Ok(Item::Decimal(rounded));
        }
        Function::Ceiling => RoundingMode::Ceiling,
        Function::Floor => RoundingMode::Floor,
        _ => RoundingMode::Down,
    };
    let whole = value.with_scale_round(0, mode).to_i64();
    whole.map(Item::Integer).ok_or(EvaluationError::NumberOutOfRange)
}

fn text<'a>(scalar: &'a Scalar<'_>) -> Option<&'a str> {
    match scalar {
        Scalar::String(text) | Scalar::Untyped(text) => Some(text),
        _ => None,
    }
}

fn concatenated(left: &str, right: &str, budget: &mut Budget) -> Outcome {
    budget.spend_on_text(left.len() + right.len())?;
    Ok(Some(Item::String(format!("{left}{right}").into())))
}

/// Empty on overflow and division by zero, as FHIRPath has it.
fn integers(operator: Operator, left: i64, right: i64) -> Option<i64> {
    match operator {
        Operator::Plus => left.checked_add(right),
        Operator::Minus => left.checked_sub(right),
        Operator::Times => left.checked_mul(right),
        Operator::WholeDivide => left.checked_div(right),
        _ => left.checked_rem(right),
    }
}

fn decimals(operator: Operator, left: &BigDecimal, right: &BigDecimal) -> Outcome {
    let value = match operator {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Times => left * right,
        _ if right.is_zero() => return Ok(None),
        Operator::Divide => {
            return Ok(number::divide(left, right).map(Item::Decimal));
        }
        Operator::WholeDivide => {
            let whole = number::truncated(&(left / right));
            return Ok(whole.to_i64().map(Item::Integer));
        }
        _ => left % right,
    };
    Ok(Some(Item::Decimal(number::within_range(value)?)))
}

fn quantities(
    operator: Operator,
    left: &Quantity,
    right: &Quantity,
    budget: &mut Budget,
) -> Outcome {
    let result = match operator {
        Operator::Plus | Operator::Minus => sum(operator, left, right, budget)?,
        Operator::Times | Operator::Divide => Quantity::product(operator, left, right, budget)?,
        _ => return Err(EvaluationError::Operands { operation: operator.as_str() }),
    };
    let Some(quantity) = result else { return Ok(None) };
    let value = number::within_range(quantity.value)?;
    Ok(Some(Item::Quantity(Box::new(Quantity { value, ..quantity }))))
}

/// In the smaller unit of the two; `None` if they do not convert.
fn sum(
    operator: Operator,
    left: &Quantity,
    right: &Quantity,
    budget: &mut Budget,
) -> Result<Option<Quantity>, EvaluationError> {
    let both = if left.has_unit_of(right) {
        Some((left.clone(), right.clone()))
    } else {
        left.in_smaller_unit(right, budget)?
    };
    Ok(both.map(|(left, right)| {
        let value = match operator {
            Operator::Minus => left.value - right.value,
            _ => left.value + right.value,
        };
        Quantity { value, ..left }
    }))
}

fn moved(
    operator: Operator,
    from: Temporal,
    amount: &Quantity,
    applies: impl Fn(&CalendarUnit) -> bool,
) -> Result<Option<Temporal>, EvaluationError> {
    let operands = EvaluationError::Operands { operation: operator.as_str() };
    let unit = amount.calendar_unit().filter(|unit| applies(unit)).ok_or(operands)?;
    let thousandths = (&amount.value * BigDecimal::from(1000)).to_i64();
    let thousandths = match operator {
        Operator::Plus => thousandths,
        Operator::Minus => thousandths.and_then(i64::checked_neg),
        _ => return Err(operands),
    };
    Ok(thousandths.and_then(|thousandths| from.plus(thousandths, unit)))
}
