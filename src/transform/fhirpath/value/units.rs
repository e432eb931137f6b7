//! Units of measure: which convert into each other, and by how much.
//!
//! In: units as text. Out: what they measure, with factors of 28 digits. UCUM's tables and its
//! grammar are a library's; the values are multiplied here, so that they keep their digits. A
//! text that is no UCUM measures nothing, which is never an error: documents have such units.

use std::num::NonZeroU64;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Zero as _};
use octofhir_ucum::{
    Dimension, Number, SpecialKind, evaluate, parse_expression, simplify_expression,
};

use super::calendar::CalendarUnit;
use super::number;
use super::quantity::{Quantity, UnitKind};

/// Longest unit that is looked at, in bytes. UCUM's own examples have at most 40.
const MAX_UNIT_BYTES: usize = 128;

/// Digits of a value that was multiplied with a rounded factor.
const CERTAIN_DIGITS: NonZeroU64 = NonZeroU64::new(24).expect("not zero");

/// What a unit measures. `(value * scale + offset) * factor` is the value in base units.
struct Measure {
    scale: BigDecimal,
    offset: BigDecimal,
    factor: BigDecimal,
    dimension: Dimension,
    /// Units without a physical dimension, `[IU]`, and their powers.
    arbitrary: Vec<(&'static str, i32)>,
}

impl Measure {
    fn of_ucum(unit: &str) -> Option<Self> {
        if unit.len() > MAX_UNIT_BYTES {
            return None;
        }
        let found = evaluate(&parse_expression(unit).ok()?).ok()?;
        let (scale, offset) = match found.special {
            None => (BigDecimal::from(1), BigDecimal::zero()),
            Some(special) => {
                // Degrees begin elsewhere. Logarithmic units compare in the same unit only.
                let offset = match special.unit.special {
                    SpecialKind::Celsius => 27_315,
                    SpecialKind::Fahrenheit => 45_967,
                    SpecialKind::Reaumur => 21_852,
                    _ => return None,
                };
                (decimal(special.scale)?, BigDecimal::new(offset.into(), 2))
            }
        };
        let (factor, dimension) = (decimal(found.factor)?, found.dim);
        Some(Self { scale, offset, factor, dimension, arbitrary: found.arbitrary })
    }

    /// A calendar unit that lasts so many seconds.
    fn of_seconds(seconds: BigDecimal) -> Option<Self> {
        Some(Self { factor: seconds, ..Self::of_ucum("s")? })
    }

    fn is_comparable(&self, other: &Self) -> bool {
        self.dimension == other.dimension && self.arbitrary == other.arbitrary
    }

    /// Has its factor fewer digits than it was rounded to?
    fn is_exact(&self) -> bool {
        self.factor.digits() < number::DIGITS.get() - 1
    }

    fn in_base_units(&self, value: &BigDecimal) -> Option<BigDecimal> {
        number::within_range((value * &self.scale + &self.offset) * &self.factor).ok()
    }

    fn of_base_units(&self, value: &BigDecimal) -> Option<BigDecimal> {
        let own = number::divide(value, &self.factor)? - &self.offset;
        number::divide(&own, &self.scale)
    }
}

/// The number that a factor is.
fn decimal(factor: Number) -> Option<BigDecimal> {
    let (digits, exponent) = factor.to_integer_and_exponent();
    number::within_range(BigDecimal::new(BigInt::from(digits), -i64::from(exponent))).ok()
}

/// What each of two quantities measures, if they can be compared.
fn measures(left: &Quantity, right: &Quantity) -> Option<(Measure, Measure)> {
    let converts =
        |quantity: &Quantity| !matches!(quantity.kind, UnitKind::Foreign | UnitKind::Bound);
    if !converts(left) || !converts(right) {
        return None;
    }
    let is_calendar = |quantity: &Quantity| quantity.kind == UnitKind::Calendar;
    // What was recorded in UCUM is a calendar's where it meets one.
    let calendar = |own: &Quantity, other: &Quantity| {
        let recorded = own.kind == UnitKind::Recorded && is_calendar(other);
        if is_calendar(own) || recorded { own.calendar_unit() } else { None }
    };
    let one = |own: &Quantity, unit: Option<CalendarUnit>, other: Option<CalendarUnit>| match unit {
        None => Measure::of_ucum(&own.unit),
        // How long a year or a month is, no other unit than a calendar's knows.
        Some(unit) if other.is_none() => Measure::of_seconds(unit.seconds()?),
        Some(unit) => Measure::of_seconds(unit.usual_seconds(other)),
    };
    let (left_unit, right_unit) = (calendar(left, right), calendar(right, left));
    let (left, right) = (one(left, left_unit, right_unit)?, one(right, right_unit, left_unit)?);
    left.is_comparable(&right).then_some((left, right))
}

/// Both values in base units; `None` if the units do not convert.
pub(in crate::transform::fhirpath) fn in_one_unit(
    left: &Quantity,
    right: &Quantity,
) -> Option<(BigDecimal, BigDecimal)> {
    let (one, other) = measures(left, right)?;
    let (left, right) = (one.in_base_units(&left.value)?, other.in_base_units(&right.value)?);
    if one.is_exact() && other.is_exact() {
        return Some((left, right));
    }
    Some((to_certain_digits(&left), to_certain_digits(&right)))
}

/// The digits that are right though a factor (5/9 of a degree) was rounded.
fn to_certain_digits(value: &BigDecimal) -> BigDecimal {
    value.with_precision_round(CERTAIN_DIGITS, RoundingMode::HalfUp)
}

/// Both values in the larger of the two units; `None` if they do not convert.
pub(in crate::transform::fhirpath) fn in_larger_unit(
    left: &Quantity,
    right: &Quantity,
) -> Option<(BigDecimal, BigDecimal)> {
    let (one, other) = measures(left, right)?;
    if one.factor >= other.factor {
        Some((left.value.clone(), one.of_base_units(&other.in_base_units(&right.value)?)?))
    } else {
        Some((other.of_base_units(&one.in_base_units(&left.value)?)?, right.value.clone()))
    }
}

/// Both in the smaller of their units; `None` if they do not convert by a factor alone.
pub(in crate::transform::fhirpath) fn in_smaller_unit(
    left: &Quantity,
    right: &Quantity,
) -> Option<(Quantity, Quantity)> {
    let (one, other) = measures(left, right)?;
    if !one.offset.is_zero() || !other.offset.is_zero() {
        return None;
    }
    if one.factor <= other.factor {
        let value = one.of_base_units(&other.in_base_units(&right.value)?)?;
        Some((left.clone(), Quantity { value, ..left.clone() }))
    } else {
        let value = other.of_base_units(&one.in_base_units(&left.value)?)?;
        Some((Quantity { value, ..right.clone() }, right.clone()))
    }
}

/// With another unit; `None` if it does not convert. A calendar's units convert among themselves
/// first, as those of UCUM do.
pub(in crate::transform::fhirpath) fn converted(from: &Quantity, unit: &str) -> Option<Quantity> {
    let calendar = CalendarUnit::named(unit);
    let kind = if calendar.is_some() { UnitKind::Calendar } else { UnitKind::Ucum };
    let unit = calendar.map_or_else(|| unit.to_owned(), |known| known.name().to_owned());
    let target = Quantity { value: BigDecimal::from(1), unit, kind };
    if from.has_unit_of(&target) {
        return Some(Quantity { value: from.value.clone(), ..target });
    }
    let own = match (from.kind, kind) {
        (UnitKind::Foreign | UnitKind::Bound, _) => return None,
        (UnitKind::Calendar, UnitKind::Ucum) => {
            let unit = CalendarUnit::of_ucum(&target.unit)?.name().to_owned();
            Quantity { unit, kind: UnitKind::Calendar, ..target.clone() }
        }
        (UnitKind::Ucum | UnitKind::Recorded, UnitKind::Calendar) => target.in_ucum(),
        _ => target.clone(),
    };
    let (one, other) = measures(from, &own)?;
    Some(Quantity { value: other.of_base_units(&one.in_base_units(&from.value)?)?, ..target })
}

/// The unit of a product; `None` if there is none.
pub(in crate::transform::fhirpath) fn multiplied(left: &str, right: &str) -> Option<String> {
    simplified(&format!("({left}).({right})"))
}

/// The unit of a quotient; `None` if there is none.
pub(in crate::transform::fhirpath) fn divided(left: &str, right: &str) -> Option<String> {
    simplified(&format!("({left})/({right})"))
}

/// In its shortest form.
fn simplified(unit: &str) -> Option<String> {
    Measure::of_ucum(unit)?;
    let short = simplify_expression(unit).ok()?;
    Measure::of_ucum(&short).map(|_| short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converts(left: &str, right: &str) -> bool {
        let quantity = |unit: &str| Quantity {
            value: BigDecimal::from(1),
            unit: unit.to_owned(),
            kind: UnitKind::Ucum,
        };
        in_one_unit(&quantity(left), &quantity(right)).is_some()
    }

    #[test]
    fn units_convert_if_they_measure_the_same() {
        for (left, right) in [
            ("cm", "[in_i]"),
            ("mm[Hg]", "Pa"),
            ("Cel", "[degF]"),
            ("mg/dL", "g/L"),
            ("/min", "Hz"),
        ] {
            assert!(converts(left, right), "{left} {right}");
        }
        for (left, right) in [("cm", "s"), ("[IU]", "[arb'U]"), ("[IU]", "1"), ("[pH]", "mol/L")] {
            assert!(!converts(left, right), "{left} {right}");
        }
    }

    #[test]
    fn a_text_that_is_no_unit_measures_nothing() {
        for unit in ["lbs per week", "m//s", "((", "10*99999999999", &"m.".repeat(500), "é", "\0"]
        {
            assert!(Measure::of_ucum(unit).is_none(), "{unit}");
        }
    }

    #[test]
    fn the_unit_of_a_product_is_as_short_as_can_be() {
        assert_eq!(multiplied("cm", "cm").as_deref(), Some("cm2"));
        assert_eq!(multiplied("m/s", "s").as_deref(), Some("m"));
        assert_eq!(divided("g", "m").as_deref(), Some("g.m-1"));
        assert_eq!(divided("m/s", "m/s").as_deref(), Some("1"));
        assert_eq!(multiplied("Cel", "m"), None);
    }
}
