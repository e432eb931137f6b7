//! Literals: text of the expression becomes values, which are checked here once and for all.

use super::static_type::Types;
use crate::transform::fhirpath::error::PathProblem;
use crate::transform::fhirpath::parse::syntax::{Fault, SyntaxNode};
use crate::transform::fhirpath::program::Program;
use crate::transform::fhirpath::value::calendar::CalendarUnit;
use crate::transform::fhirpath::value::item::Item;
use crate::transform::fhirpath::value::number;
use crate::transform::fhirpath::value::quantity::{Quantity, UnitKind};
use crate::transform::fhirpath::value::temporal::Temporal;

/// The program of a literal.
pub(in crate::transform::fhirpath) fn program(
    at: usize,
    node: &SyntaxNode,
) -> Result<(Program, Types), Fault> {
    let invalid = |literal| (at, PathProblem::Literal { literal });
    let item = match node {
        SyntaxNode::Boolean(value) => Item::Boolean(*value),
        SyntaxNode::String(text) => Item::String(text.clone().into()),
        SyntaxNode::Number(digits) if digits.contains('.') => {
            Item::Decimal(number::parse_decimal(digits).map_err(|_| invalid("decimal"))?)
        }
        SyntaxNode::Number(digits) => {
            Item::Integer(digits.parse().map_err(|_| invalid("integer"))?)
        }
        SyntaxNode::Date(text) => Item::Date(Temporal::parse_date(text).ok_or(invalid("date"))?),
        SyntaxNode::DateTime(text) => {
            Item::DateTime(Temporal::parse_date_time(text).ok_or(invalid("date-time"))?)
        }
        SyntaxNode::Time(text) => Item::Time(Temporal::parse_time(text).ok_or(invalid("time"))?),
        SyntaxNode::Quantity { value, unit } => {
            let value = number::parse_decimal(value).map_err(|_| invalid("quantity"))?;
            // `1 'month'` is no UCUM; it is what people write for `1 month`.
            let (unit, kind) = match CalendarUnit::named(unit) {
                Some(calendar) => (calendar.name(), UnitKind::Calendar),
                None => (&**unit, UnitKind::Ucum),
            };
            Item::Quantity(Box::new(Quantity { value, unit: unit.to_owned(), kind }))
        }
        _ => return Err(invalid("literal")),
    };
    let types = item.system_type().map_or(Types::Unknown, Types::system);
    Ok((Program::Literal(item), types))
}
