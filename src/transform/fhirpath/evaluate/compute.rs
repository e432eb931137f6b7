//! Functions that make a value of one: conversions, numbers, boundaries, the time of the change.

use super::stack::{Stack, integer, push, replace, single, tail};
use super::text;
use super::{Evaluation, Scope};
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::{Function, Signature};
use crate::transform::fhirpath::program::Program;
use crate::transform::fhirpath::value::arithmetic::rounded;
use crate::transform::fhirpath::value::boundary::{boundary, precision};
use crate::transform::fhirpath::value::compare::are_comparable;
use crate::transform::fhirpath::value::convert::{convert, value_of};
use crate::transform::fhirpath::value::item::Item;
use crate::transform::fhirpath::value::math;
use crate::transform::fhirpath::value::reflect::TypeInfo;
use crate::transform::fhirpath::value::temporal::Temporal;

impl<'d> Evaluation<'d> {
    /// Replaces what is on the stack from `start` on by the function's value.
    pub(in crate::transform::fhirpath) fn compute(
        &mut self,
        signature: &'static Signature,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let Signature { name, function, .. } = *signature;
        match function {
            Function::Now | Function::Today | Function::TimeOfDay => {
                let instant = self.environment.instant;
                let instant = instant.ok_or(EvaluationError::NoInstant { operation: name })?;
                let now = Temporal::of_instant(instant);
                let result = match function {
                    Function::Now => Item::DateTime(now),
                    Function::Today => Item::Date(now.to_date()),
                    _ => Item::Time(now.to_time()),
                };
                replace(Some(result), start, out)
            }
            Function::Type => {
                let types: Vec<TypeInfo> =
                    tail(out, start).iter().filter_map(TypeInfo::of).collect();
                out.truncate(start);
                types.into_iter().try_for_each(|known| push(Item::Type(known), out))
            }
            Function::To(target) | Function::ConvertsTo(target) => {
                let unit = self.argument(arguments, scope, out)?;
                let unit = text::of_items(&unit, name)?;
                let item = single(tail(out, start), name)?;
                let is_given = item.is_some();
                let mut converted = item.map(|item| convert(item, target)).transpose()?.flatten();
                if let (Some(Item::Quantity(quantity)), Some(unit)) = (&converted, &unit) {
                    let found = quantity.in_unit(unit, &mut self.budget)?;
                    converted = found.map(|found| Item::Quantity(Box::new(found)));
                }
                let result = match function {
                    Function::To(_) => converted,
                    _ => is_given.then_some(Item::Boolean(converted.is_some())),
                };
                replace(result, start, out)
            }
            Function::Abs
            | Function::Ceiling
            | Function::Floor
            | Function::Truncate
            | Function::Round => {
                let end = out.len();
                self.arguments(arguments, scope, out)?;
                let digits = integer(tail(out, end), name)?;
                out.truncate(end);
                let item = single(tail(out, start), name)?;
                let result = item.map(|item| rounded(function, item, digits)).transpose()?;
                replace(result, start, out)
            }
            Function::GetValue => {
                let value = single(tail(out, start), name)?.map(value_of).transpose()?.flatten();
                replace(value, start, out)
            }
            Function::LowBoundary | Function::HighBoundary => {
                let digits = self.argument(arguments, scope, out)?;
                let (item, digits) = (single(tail(out, start), name)?, integer(&digits, name)?);
                let found = item.map(|item| boundary(function, item, digits)).transpose()?;
                replace(found.flatten(), start, out)
            }
            Function::Precision => {
                let found = single(tail(out, start), name)?.map(precision).transpose()?;
                replace(found.flatten().map(Item::Integer), start, out)
            }
            Function::Comparable => {
                let other = self.argument(arguments, scope, out)?;
                let comparable = match (single(tail(out, start), name)?, single(&other, name)?) {
                    (Some(left), Some(right)) => are_comparable(left, right, &mut self.budget)?,
                    _ => None,
                };
                replace(Item::boolean(comparable), start, out)
            }
            Function::Sqrt | Function::Exp | Function::Ln | Function::Log | Function::Power => {
                self.budget.spend(math::STEPS)?;
                let other = self.argument(arguments, scope, out)?;
                let (item, other) = (single(tail(out, start), name)?, single(&other, name)?);
                let found = item.map(|item| math::apply(function, item, other)).transpose()?;
                replace(found.flatten(), start, out)
            }
            _ => Ok(()),
        }
    }
}
