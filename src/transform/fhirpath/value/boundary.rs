//! `lowBoundary`, `highBoundary` and `precision`: between which values lies what is known to so
//! many digits.
//!
//! `1.5` is anything from 1.45 to 1.55; `2024` any day of that year. A boundary is a true one:
//! given to fewer digits it is rounded away from the value, so that the value stays inside.

use bigdecimal::{BigDecimal, RoundingMode};
use chrono::{Datelike as _, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use super::item::{Item, Scalar};
use super::quantity::Quantity;
use super::temporal::{Precision, Temporal};
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::Function;

/// Digits behind the point that a boundary has if nothing else is said.
const USUAL_DIGITS: i64 = 8;

/// Most digits behind the point of a boundary; beyond, the result is empty.
const MOST_DIGITS: i64 = 31;

/// A date-time without a zone may be of the easternmost or of the westernmost.
const EASTERNMOST: i16 = 14 * 60;
const WESTERNMOST: i16 = -12 * 60;

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// `lowBoundary` or `highBoundary` to `digits`; empty for digits that there are not.
pub(in crate::transform::fhirpath) fn boundary(
    function: Function,
    item: &Item<'_>,
    digits: Option<i64>,
) -> Outcome<Option<Item<'static>>> {
    let end = if function == Function::LowBoundary { End::Low } else { End::High };
    Ok(match known(item.scalar()?) {
        Scalar::Integer(value) => of_decimal(&value.into(), end, digits).map(Item::Decimal),
        Scalar::Decimal(value) => of_decimal(&value, end, digits).map(Item::Decimal),
        Scalar::Quantity(quantity) => {
            let quantity = quantity.into_owned();
            of_decimal(&quantity.value, end, digits)
                .map(|value| Item::Quantity(Box::new(Quantity { value, ..quantity })))
        }
        Scalar::Date(value) => match digits.unwrap_or(8) {
            digits @ ..=8 => of_temporal(value, end, digits).map(Item::Date),
            _ => None,
        },
        Scalar::DateTime(value) => {
            let digits = digits.unwrap_or_else(|| date_time_digits(&value).max(17));
            of_temporal(value, end, digits).map(Item::DateTime)
        }
        Scalar::Time(value) => {
            // A time's digits are those of a date-time behind its date.
            let digits = digits.unwrap_or_else(|| (date_time_digits(&value) - 8).max(9));
            of_temporal(value, end, digits.saturating_add(8))
                .filter(|found| found.precision() >= Precision::Hour)
                .map(Item::Time)
        }
        Scalar::Nothing => None,
        _ => return Err(EvaluationError::Operands { operation: function.name() }),
    })
}

/// How many digits are known: behind the point, or of a date or time.
pub(in crate::transform::fhirpath) fn precision(item: &Item<'_>) -> Outcome<Option<i64>> {
    Ok(match known(item.scalar()?) {
        Scalar::Integer(_) => Some(0),
        Scalar::Decimal(value) => Some(fraction_digits(&value)),
        Scalar::Date(value) | Scalar::DateTime(value) => Some(date_time_digits(&value)),
        Scalar::Time(value) => Some(date_time_digits(&value) - 8),
        Scalar::Nothing => None,
        _ => return Err(EvaluationError::Operands { operation: Function::Precision.name() }),
    })
}

/// Text of unknown type is a date or time if it can be read as one.
fn known(scalar: Scalar<'_>) -> Scalar<'_> {
    let Scalar::Untyped(text) = scalar else { return scalar };
    Temporal::parse_date_time(text)
        .map(Scalar::DateTime)
        .or_else(|| Temporal::parse_time(text).map(Scalar::Time))
        .unwrap_or(scalar)
}

fn fraction_digits(value: &BigDecimal) -> i64 {
    value.fractional_digit_count().max(0)
}

fn of_decimal(value: &BigDecimal, end: End, digits: Option<i64>) -> Option<BigDecimal> {
    let known = fraction_digits(value);
    let digits = digits.unwrap_or_else(|| USUAL_DIGITS.max(known + 1));
    if !(0..=MOST_DIGITS).contains(&digits) {
        return None;
    }
    let half = BigDecimal::new(5.into(), known + 1);
    let (bound, rounding) = match end {
        End::Low => (value - half, RoundingMode::Floor),
        End::High => (value + half, RoundingMode::Ceiling),
    };
    Some(bound.with_scale_round(digits, rounding))
}

/// Digits of a date-time: 4 of a year, 17 with milliseconds.
fn date_time_digits(value: &Temporal) -> i64 {
    match value.precision() {
        Precision::Year => 4,
        Precision::Month => 6,
        Precision::Day => 8,
        Precision::Hour => 10,
        Precision::Minute => 12,
        Precision::Second => 14 + i64::from(value.fraction_digits()),
    }
}

/// The first or last moment of what is known, to so many digits of a date-time.
fn of_temporal(value: Temporal, end: End, digits: i64) -> Option<Temporal> {
    let (precision, fraction) = match digits {
        4 => (Precision::Year, 0),
        6 => (Precision::Month, 0),
        8 => (Precision::Day, 0),
        10 => (Precision::Hour, 0),
        12 => (Precision::Minute, 0),
        14..=23 => (Precision::Second, u8::try_from(digits - 14).ok()?),
        _ => return None,
    };
    let moment = match end {
        End::Low => value.local(),
        End::High => last_moment(&value)?,
    };
    let zone = value.offset_minutes().unwrap_or(match end {
        End::Low => EASTERNMOST,
        End::High => WESTERNMOST,
    });
    let moment = cut(moment, precision, fraction)?;
    Some(Temporal::of_parts(moment, precision, fraction, Some(zone)))
}

fn last_moment(value: &Temporal) -> Option<NaiveDateTime> {
    const LAST_NANOSECOND: u32 = 999_999_999;
    let local = value.local();
    let (date, time) = (local.date(), local.time());
    let months = |count| {
        let first = NaiveDate::from_ymd_opt(date.year(), date.month(), 1)?;
        first.checked_add_months(Months::new(count))?.pred_opt()
    };
    let last_date = match value.precision() {
        Precision::Year => months(12)?,
        Precision::Month => months(1)?,
        _ => date,
    };
    let (hour, minute, second) = match value.precision() {
        Precision::Year | Precision::Month | Precision::Day => (23, 59, 59),
        Precision::Hour => (time.hour(), 59, 59),
        Precision::Minute => (time.hour(), time.minute(), 59),
        Precision::Second => (time.hour(), time.minute(), time.second()),
    };
    let nanosecond = match value.precision() {
        Precision::Second => {
            let unit = 10_u32.pow(9 - u32::from(value.fraction_digits().min(9)));
            time.nanosecond() / unit * unit + (unit - 1)
        }
        _ => LAST_NANOSECOND,
    };
    Some(last_date.and_time(NaiveTime::from_hms_nano_opt(hour, minute, second, nanosecond)?))
}

/// Without what is finer.
fn cut(moment: NaiveDateTime, precision: Precision, fraction: u8) -> Option<NaiveDateTime> {
    let date = match precision {
        Precision::Year => NaiveDate::from_ymd_opt(moment.year(), 1, 1)?,
        Precision::Month => NaiveDate::from_ymd_opt(moment.year(), moment.month(), 1)?,
        _ => moment.date(),
    };
    let known = |at: Precision, part: u32| if precision >= at { part } else { 0 };
    let unit = 10_u32.pow(9 - u32::from(fraction.min(9)));
    let time = NaiveTime::from_hms_nano_opt(
        known(Precision::Hour, moment.hour()),
        known(Precision::Minute, moment.minute()),
        known(Precision::Second, moment.second()),
        known(Precision::Second, moment.nanosecond() / unit * unit),
    )?;
    Some(date.and_time(time))
}

#[cfg(test)]
mod tests {
    use bigdecimal::Zero as _;

    use super::*;

    fn decimal(text: &str) -> BigDecimal {
        text.parse().expect("a number")
    }

    #[test]
    fn a_decimal_lies_between_its_boundaries_to_any_digits() {
        for text in ["1.587", "-1.587", "0.0034", "-0.0034", "0", "120", "1e3", "9.99"] {
            let value = decimal(text);
            for digits in [None, Some(0), Some(1), Some(2), Some(6), Some(31)] {
                let low = of_decimal(&value, End::Low, digits).expect("digits that there are");
                let high = of_decimal(&value, End::High, digits).expect("digits that there are");
                assert!(low <= value && value <= high, "{text}: {low} {high}");
            }
        }
        assert!(of_decimal(&BigDecimal::zero(), End::Low, Some(32)).is_none());
    }

    #[test]
    fn a_partial_date_ends_with_its_last_moment() {
        for (text, last) in [
            ("2024-02", "2024-02-29T23:59:59.999-12:00"),
            ("2023", "2023-12-31T23:59:59.999-12:00"),
            ("9999-12", "9999-12-31T23:59:59.999-12:00"),
            ("2024-01-01T08+01:00", "2024-01-01T08:59:59.999+01:00"),
            ("2024-01-01T08:00:00.5Z", "2024-01-01T08:00:00.599Z"),
        ] {
            let value = Temporal::parse_date_time(text).expect("a date-time");
            let found = of_temporal(value, End::High, 17).expect("milliseconds");
            assert_eq!(found.to_string(), last);
        }
    }
}
