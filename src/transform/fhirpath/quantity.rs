//! Quantities: a decimal and a unit.
//!
//! Units are compared as written, and converted within time, mass, length and volume by the
//! factors below. There is no full UCUM: of other pairs of units nothing is claimed, and the
//! comparison is empty.

use std::fmt;

use bigdecimal::BigDecimal;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait};

use super::error::EvaluationError;
use super::number;
use super::temporal::CalendarUnit;
use crate::model::Node;

/// A number with a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// How much.
    pub value: BigDecimal,
    /// UCUM code, a calendar unit in the singular, or a unit in words.
    pub unit: String,
    /// Is it a calendar unit (`4 days`)? Only those are written without quotes.
    pub calendar: bool,
}

impl Quantity {
    /// Of a FHIR Quantity; `None` without a value.
    pub(super) fn of_node(node: &Node) -> Result<Option<Self>, EvaluationError> {
        let Some(object) = node.as_object() else { return Ok(None) };
        let Some(value) = object.get(&"value").and_then(JsonValueTrait::as_raw_number) else {
            return Ok(None);
        };
        let text = |name: &&str| object.get(name).and_then(|unit| unit.as_str());
        let unit = text(&"code").or_else(|| text(&"unit")).unwrap_or("1");
        Ok(Some(Self {
            value: number::parse_decimal(value.as_str())?,
            unit: unit.to_owned(),
            calendar: false,
        }))
    }

    /// Both values in one unit; `None` if the units do not convert.
    pub(super) fn in_one_unit(&self, other: &Self) -> Option<(BigDecimal, BigDecimal)> {
        if self.unit == other.unit && self.calendar == other.calendar {
            return Some((self.value.clone(), other.value.clone()));
        }
        let (left, right) = (factor(&self.unit)?, factor(&other.unit)?);
        (left.0 == right.0).then(|| (&self.value * power(left.1), &other.value * power(right.1)))
    }

    /// The unit it moves dates by. UCUM's `a` and `mo` are not calendar units.
    pub(super) fn calendar_unit(&self) -> Option<CalendarUnit> {
        Some(match self.unit.as_str() {
            "year" => CalendarUnit::Year,
            "month" => CalendarUnit::Month,
            "week" | "wk" => CalendarUnit::Week,
            "day" | "d" => CalendarUnit::Day,
            "hour" | "h" => CalendarUnit::Hour,
            "minute" | "min" => CalendarUnit::Minute,
            "second" | "s" => CalendarUnit::Second,
            "millisecond" | "ms" => CalendarUnit::Millisecond,
            _ => return None,
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.to_plain_string();
        if self.calendar {
            write!(f, "{value} {}", self.unit)
        } else {
            write!(f, "{value} '{}'", self.unit)
        }
    }
}

/// What is measured, and the unit as a multiple (mantissa, power of ten) of the smallest one.
fn factor(unit: &str) -> Option<(char, (u32, i64))> {
    Some(match unit {
        "ms" | "millisecond" => ('t', (1, 0)),
        "s" | "second" => ('t', (1, 3)),
        "min" | "minute" => ('t', (6, 4)),
        "h" | "hour" => ('t', (36, 5)),
        "d" | "day" => ('t', (864, 5)),
        "wk" | "week" => ('t', (6048, 5)),
        "ng" => ('m', (1, -9)),
        "ug" => ('m', (1, -6)),
        "mg" => ('m', (1, -3)),
        "g" => ('m', (1, 0)),
        "kg" => ('m', (1, 3)),
        "um" => ('l', (1, -6)),
        "mm" => ('l', (1, -3)),
        "cm" => ('l', (1, -2)),
        "m" => ('l', (1, 0)),
        "km" => ('l', (1, 3)),
        "uL" => ('v', (1, -6)),
        "mL" | "ml" => ('v', (1, -3)),
        "dL" | "dl" => ('v', (1, -1)),
        "L" | "l" => ('v', (1, 0)),
        _ => return None,
    })
}

fn power((mantissa, exponent): (u32, i64)) -> BigDecimal {
    BigDecimal::new(mantissa.into(), -exponent)
}
