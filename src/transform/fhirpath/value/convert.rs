//! Conversions: `toInteger()` and its like.

use bigdecimal::{BigDecimal, One as _, Zero as _};

use super::calendar::CalendarUnit;
use super::item::{Item, Scalar, SystemType};
use super::number;
use super::quantity::{Quantity, UnitKind};
use super::temporal::Temporal;
use crate::transform::fhirpath::error::EvaluationError;

/// The item as the other type; `None` if it does not convert.
pub(in crate::transform::fhirpath) fn convert<'d>(
    item: &Item<'d>,
    target: SystemType,
) -> Result<Option<Item<'d>>, EvaluationError> {
    let scalar = match item.scalar()? {
        Scalar::Untyped(text) => Scalar::String(text),
        Scalar::Nothing | Scalar::Complex(_) | Scalar::Type(_) => return Ok(None),
        scalar => scalar,
    };
    Ok(match target {
        SystemType::String => match (item.text(), &scalar) {
            (Some(text), _) => Some(Item::String(text)),
            (None, Scalar::Quantity(quantity)) => Some(Item::String(quantity.to_string().into())),
            (None, _) => None,
        },
        SystemType::Boolean => boolean(&scalar).map(Item::Boolean),
        SystemType::Integer => match scalar {
            Scalar::Integer(value) => Some(Item::Integer(value)),
            Scalar::Boolean(value) => Some(Item::Integer(value.into())),
            Scalar::String(text) => text.parse().ok().map(Item::Integer),
            _ => None,
        },
        SystemType::Decimal => decimal(&scalar).map(Item::Decimal),
        SystemType::Date => match scalar {
            Scalar::Date(value) | Scalar::DateTime(value) => Some(value.to_date()),
            Scalar::String(text) => Temporal::parse_date_time(text).map(Temporal::to_date),
            _ => None,
        }
        .map(Item::Date),
        SystemType::DateTime => match scalar {
            Scalar::Date(value) | Scalar::DateTime(value) => Some(value),
            Scalar::String(text) => Temporal::parse_date_time(text),
            _ => None,
        }
        .map(Item::DateTime),
        SystemType::Time => match scalar {
            Scalar::Time(value) => Some(value),
            Scalar::String(text) => Temporal::parse_time(text),
            _ => None,
        }
        .map(Item::Time),
        SystemType::Quantity => match &scalar {
            Scalar::Quantity(quantity) => Some(quantity.clone().into_owned()),
            Scalar::String(text) => quantity(text),
            other => decimal(other).map(Quantity::plain),
        }
        .map(|quantity| Item::Quantity(Box::new(quantity))),
    })
}

/// The value of a primitive, without its id and extensions; `None` if it has no value.
pub(in crate::transform::fhirpath) fn value_of<'d>(
    item: &Item<'d>,
) -> Result<Option<Item<'d>>, EvaluationError> {
    Ok(match item.scalar()? {
        Scalar::Boolean(value) => Some(Item::Boolean(value)),
        Scalar::Integer(value) => Some(Item::Integer(value)),
        Scalar::Decimal(value) => Some(Item::Decimal(value.into_owned())),
        Scalar::Date(value) => Some(Item::Date(value)),
        Scalar::DateTime(value) => Some(Item::DateTime(value)),
        Scalar::Time(value) => Some(Item::Time(value)),
        Scalar::String(_) | Scalar::Untyped(_) => item.text().map(Item::String),
        Scalar::Quantity(_) | Scalar::Type(_) | Scalar::Complex(_) | Scalar::Nothing => None,
    })
}

fn boolean(scalar: &Scalar<'_>) -> Option<bool> {
    match scalar {
        Scalar::Boolean(value) => Some(*value),
        Scalar::String(text) => match text.to_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        number => {
            let value = number.as_decimal()?;
            let (one, zero) = (value.is_one(), value.is_zero());
            (one || zero).then_some(one)
        }
    }
}

fn decimal(scalar: &Scalar<'_>) -> Option<BigDecimal> {
    match scalar {
        Scalar::Boolean(value) => Some(BigDecimal::from(i64::from(*value))),
        Scalar::String(text) => plain_number(text),
        number => number.as_decimal().map(std::borrow::Cow::into_owned),
    }
}

/// `-1.5`; without an exponent.
fn plain_number(text: &str) -> Option<BigDecimal> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    number::parse_decimal(text).ok()
}

/// `1.5 'mg'`, `4 days`, `2`.
fn quantity(text: &str) -> Option<Quantity> {
    let (value, unit) = text.split_once(' ').unwrap_or((text, "'1'"));
    let value = plain_number(value)?;
    let unit = unit.trim();
    if let Some(calendar) = CalendarUnit::named(unit) {
        let unit = calendar.name().to_owned();
        return Some(Quantity { value, unit, kind: UnitKind::Calendar });
    }
    let unit = unit.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
    Some(Quantity { value, unit, kind: UnitKind::Ucum })
}
