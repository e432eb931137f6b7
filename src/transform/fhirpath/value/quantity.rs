//! Quantities: a decimal and a unit.

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::{BigDecimal, One as _};
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait};

use super::calendar::CalendarUnit;
use super::number;
use super::units;
use crate::model::Node;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::EvaluationError;
use crate::transform::fhirpath::parse::syntax::Operator;

/// What two conversions of units cost.
const STEPS_PER_CONVERSION: u32 = 50;

/// The code system that a document may have calendar units of.
const CALENDAR_UNITS: &str = "http://hl7.org/fhirpath/CodeSystem/calendar-units";

/// A number with a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quantity {
    /// How much.
    pub value: BigDecimal,
    /// UCUM code, a calendar unit in the singular, or a unit in words.
    pub unit: String,
    /// What kind of unit it is.
    pub kind: UnitKind,
}

/// Which units a quantity's unit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitKind {
    /// UCUM, as a literal writes it: `4 'mg'`.
    Ucum,
    /// A calendar unit: `4 days`.
    Calendar,
    /// UCUM, as an element of a document has it. Its `a` and `mo` are years and months to
    /// whoever asks for these.
    Recorded,
    /// Another system of units: only equal codes are the same.
    Foreign,
    /// The value is a bound (`< 5`), which says too little to compare or compute with.
    Bound,
}

impl Quantity {
    /// Of a FHIR Quantity; `None` without a value.
    pub(in crate::transform::fhirpath) fn of_node(
        node: &Node,
    ) -> Result<Option<Self>, EvaluationError> {
        let Some(object) = node.as_object() else { return Ok(None) };
        let Some(value) = object.get(&"value").and_then(JsonValueTrait::as_raw_number) else {
            return Ok(None);
        };
        let text = |name: &&str| object.get(name).and_then(|unit| unit.as_str());
        let unit = text(&"code").or_else(|| text(&"unit")).unwrap_or("1");
        let kind = match text(&"system") {
            _ if text(&"comparator").is_some() => UnitKind::Bound,
            None | Some("http://unitsofmeasure.org") => UnitKind::Recorded,
            Some(CALENDAR_UNITS) => UnitKind::Calendar,
            Some(_) => UnitKind::Foreign,
        };
        let value = number::parse_decimal(value.as_str())?;
        Ok(Some(Self { value, unit: unit.to_owned(), kind }))
    }

    /// A number without a unit.
    pub(in crate::transform::fhirpath) fn plain(value: BigDecimal) -> Self {
        Self { value, unit: "1".to_owned(), kind: UnitKind::Ucum }
    }

    /// Is the unit written in the same way, and does it mean the same?
    pub(in crate::transform::fhirpath) fn has_unit_of(&self, other: &Self) -> bool {
        self.unit == other.unit
            && self.kind != UnitKind::Bound
            && other.kind != UnitKind::Bound
            && (self.kind == UnitKind::Calendar) == (other.kind == UnitKind::Calendar)
    }

    /// Which is more; `None` if the units do not convert.
    pub(in crate::transform::fhirpath) fn compare(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<Option<Ordering>, EvaluationError> {
        let values = self.in_one_unit(other, budget)?;
        Ok(values.map(|(left, right)| left.cmp(&right)))
    }

    /// Both values in one unit; `None` if the units do not convert.
    pub(in crate::transform::fhirpath) fn in_one_unit(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<Option<(BigDecimal, BigDecimal)>, EvaluationError> {
        if self.has_unit_of(other) {
            return Ok(Some((self.value.clone(), other.value.clone())));
        }
        budget.spend(STEPS_PER_CONVERSION)?;
        Ok(units::in_one_unit(self, other))
    }

    /// Both in the larger of their units, a calendar's year and month taken for UCUM's; `None` if
    /// the units do not convert.
    pub(in crate::transform::fhirpath) fn in_larger_unit(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<Option<(BigDecimal, BigDecimal)>, EvaluationError> {
        if self.has_unit_of(other) {
            return Ok(Some((self.value.clone(), other.value.clone())));
        }
        budget.spend(2 * STEPS_PER_CONVERSION)?;
        Ok(units::in_larger_unit(self, other)
            .or_else(|| units::in_larger_unit(&self.in_ucum(), &other.in_ucum())))
    }

    /// Both in the smaller of their units; `None` if they do not convert by a factor alone.
    pub(in crate::transform::fhirpath) fn in_smaller_unit(
        &self,
        other: &Self,
        budget: &mut Budget,
    ) -> Result<Option<(Self, Self)>, EvaluationError> {
        budget.spend(STEPS_PER_CONVERSION)?;
        Ok(units::in_smaller_unit(self, other))
    }

    /// With the unit called so; `None` if it does not convert.
    pub(in crate::transform::fhirpath) fn in_unit(
        &self,
        unit: &str,
        budget: &mut Budget,
    ) -> Result<Option<Self>, EvaluationError> {
        budget.spend(STEPS_PER_CONVERSION)?;
        Ok(units::converted(self, unit))
    }

    /// `left * right` or `left / right`. `None` for a division by zero, and for units that are
    /// not multiplied: those of other systems, and calendar units with any unit but `1`.
    pub(in crate::transform::fhirpath) fn product(
        operator: Operator,
        left: &Self,
        right: &Self,
        budget: &mut Budget,
    ) -> Result<Option<Self>, EvaluationError> {
        budget.spend(STEPS_PER_CONVERSION)?;
        let is_product = operator == Operator::Times;
        let (unit, kind) = match (left, right) {
            (known, one) if known.kind != UnitKind::Bound && one.is_plain() => {
                (Some(known.unit.clone()), known.kind)
            }
            (one, known) if is_product && known.kind != UnitKind::Bound && one.is_plain() => {
                (Some(known.unit.clone()), known.kind)
            }
            _ if !left.multiplies() || !right.multiplies() => (None, UnitKind::Ucum),
            _ if is_product => (units::multiplied(&left.unit, &right.unit), UnitKind::Ucum),
            _ => (units::divided(&left.unit, &right.unit), UnitKind::Ucum),
        };
        let value = if is_product {
            Some(number::within_range(&left.value * &right.value)?)
        } else {
            number::divide(&left.value, &right.value)
        };
        Ok(value.zip(unit).map(|(value, unit)| Self { value, unit, kind }))
    }

    fn is_plain(&self) -> bool {
        self.unit == "1" && self.multiplies()
    }

    const fn multiplies(&self) -> bool {
        matches!(self.kind, UnitKind::Ucum | UnitKind::Recorded)
    }

    /// With UCUM's unit for a calendar's.
    pub(in crate::transform::fhirpath) fn in_ucum(&self) -> Self {
        let unit = match self.calendar_unit() {
            Some(unit) if self.kind == UnitKind::Calendar => unit.ucum().to_owned(),
            _ => self.unit.clone(),
        };
        let kind = match self.kind {
            UnitKind::Ucum | UnitKind::Calendar | UnitKind::Recorded => UnitKind::Ucum,
            other => other,
        };
        Self { value: self.value.clone(), unit, kind }
    }

    /// The unit it moves dates by. UCUM's `a` and `mo` are not calendar units, but what a
    /// document has recorded in them is.
    pub(in crate::transform::fhirpath) fn calendar_unit(&self) -> Option<CalendarUnit> {
        match self.kind {
            UnitKind::Calendar => CalendarUnit::named(&self.unit),
            UnitKind::Recorded => {
                CalendarUnit::of_ucum(&self.unit).or_else(|| CalendarUnit::named(&self.unit))
            }
            UnitKind::Ucum => {
                let lasting = |unit: &CalendarUnit| unit.seconds().is_some();
                CalendarUnit::of_ucum(&self.unit).filter(lasting)
            }
            UnitKind::Foreign | UnitKind::Bound => None,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.to_plain_string();
        if self.kind == UnitKind::Calendar {
            let plural = if self.value.is_one() { "" } else { "s" };
            write!(f, "{value} {}{plural}", self.unit)
        } else {
            write!(f, "{value} '{}'", self.unit)
        }
    }
}
