//! Functions, applied to what is on the stack from `start` on.

use regex::Regex;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use super::stack::{Stack, integer, push, replace, single, tail};
use super::text;
use super::{Evaluation, Scope, are_distinct, is_subset};
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::{Function, Signature};
use crate::transform::fhirpath::program::Program;
use crate::transform::fhirpath::types::FhirType;
use crate::transform::fhirpath::value::compare::is_among;
use crate::transform::fhirpath::value::item::{Item, boolean_of};

impl<'d> Evaluation<'d> {
    pub(in crate::transform::fhirpath) fn call(
        &mut self,
        signature: &'static Signature,
        arguments: &[Program],
        pattern: Option<&Regex>,
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let Signature { name, function, .. } = *signature;
        match function {
            Function::Where => self.filter(arguments, scope, start, out),
            Function::Select => self.select(arguments, scope, start, out),
            Function::Repeat => self.repeat(arguments, scope, start, out),
            Function::Aggregate => self.aggregate(arguments, scope, start, out),
            Function::RepeatAll => self.repeat_all(arguments, scope, start, out),
            Function::Coalesce => {
                out.truncate(start);
                for argument in arguments {
                    self.run(argument, scope, out)?;
                    if out.len() > start {
                        break;
                    }
                }
                Ok(())
            }
            Function::Iif => self.iif(arguments, scope, start, out),
            Function::Exists => {
                if !arguments.is_empty() {
                    self.filter(arguments, scope, start, out)?;
                }
                let found = out.len() > start;
                replace(Some(Item::Boolean(found)), start, out)
            }
            Function::All => {
                let count = out.len() - start;
                self.filter(arguments, scope, start, out)?;
                let all = out.len() - start == count;
                replace(Some(Item::Boolean(all)), start, out)
            }
            Function::Empty => {
                let empty = out.len() == start;
                replace(Some(Item::Boolean(empty)), start, out)
            }
            Function::Not => {
                let truth = boolean_of(tail(out, start), name)?;
                replace(Item::boolean(truth.map(|truth| !truth)), start, out)
            }
            Function::AllTrue | Function::AllFalse | Function::AnyTrue | Function::AnyFalse => {
                let truth = quantified(signature, tail(out, start))?;
                replace(Some(Item::Boolean(truth)), start, out)
            }
            Function::Count => {
                let count = i64::try_from(out.len() - start).unwrap_or(i64::MAX);
                replace(Some(Item::Integer(count)), start, out)
            }
            Function::First => {
                out.truncate(start + 1);
                Ok(())
            }
            Function::Last => {
                let last = if out.len() > start { out.pop() } else { None };
                replace(last, start, out)
            }
            Function::Tail => {
                let end = out.len().min(start + 1);
                out.drain(start..end);
                Ok(())
            }
            Function::Single => single(tail(out, start), name).map(|_| ()),
            Function::Skip | Function::Take => {
                let end = out.len();
                self.arguments(arguments, scope, out)?;
                let count = integer(tail(out, end), name)?;
                out.truncate(end);
                let Some(count) = count else { return replace(None, start, out) };
                let at = start + usize::try_from(count).unwrap_or(0).min(end - start);
                if function == Function::Take {
                    out.truncate(at);
                } else {
                    out.drain(start..at);
                }
                Ok(())
            }
            Function::Distinct => self.distinct(start, out),
            Function::IsDistinct => {
                let distinct = are_distinct(tail(out, start), &mut self.budget)?;
                replace(Some(Item::Boolean(distinct)), start, out)
            }
            Function::Combine => self.arguments(arguments, scope, out),
            Function::Union => {
                self.arguments(arguments, scope, out)?;
                self.distinct(start, out)
            }
            Function::Intersect | Function::Exclude => {
                let other = self.argument(arguments, scope, out)?;
                let mut kept = Vec::new();
                for item in tail(out, start) {
                    let among = is_among(item, &other, &mut self.budget)?;
                    if among == (function == Function::Intersect) {
                        kept.push(item.clone());
                    }
                }
                out.truncate(start);
                out.append(&mut kept);
                if function == Function::Intersect { self.distinct(start, out) } else { Ok(()) }
            }
            Function::SubsetOf | Function::SupersetOf => {
                let other = self.argument(arguments, scope, out)?;
                let own = tail(out, start);
                let (part, whole) =
                    if function == Function::SubsetOf { (own, &*other) } else { (&*other, own) };
                let contained = is_subset(part, whole, &mut self.budget)?;
                replace(Some(Item::Boolean(contained)), start, out)
            }
            Function::Children => {
                let end = out.len();
                for at in start..end {
                    if let Some(item) = out.get(at).cloned() {
                        self.children(&item, out)?;
                    }
                }
                out.drain(start..end);
                Ok(())
            }
            Function::Descendants => self.descendants(start, out),
            Function::Extension => self.extension(arguments, scope, start, out),
            Function::HasValue => {
                let has = match tail(out, start) {
                    [item] => item.text().is_some(),
                    _ => false,
                };
                replace(Some(Item::Boolean(has)), start, out)
            }
            Function::ResourceKey => {
                let key = |item: &Item<'d>| {
                    let node = item.node()?;
                    node.get("resourceType")?;
                    node.get("id")?.as_str()
                };
                let keys: Vec<&str> = tail(out, start).iter().filter_map(key).collect();
                out.truncate(start);
                keys.into_iter().try_for_each(|key| push(Item::String(key.into()), out))
            }
            Function::Join => {
                let separator = self.argument(arguments, scope, out)?;
                let separator = text::of_items(&separator, name)?.unwrap_or_default();
                let joined = text::join(tail(out, start), &separator, &mut self.budget)?;
                replace(Some(joined), start, out)
            }
            // What it would write is data, and data never reaches a log.
            Function::Trace => Ok(()),
            Function::Resolve => self.resolve(start, out),
            Function::Sort => self.sort(arguments, scope, start, out),
            Function::CheckModifiers => self.check_modifiers(arguments, scope, start, out),
            Function::Abs
            | Function::Ceiling
            | Function::Comparable
            | Function::ConvertsTo(_)
            | Function::Exp
            | Function::Floor
            | Function::GetValue
            | Function::HighBoundary
            | Function::Ln
            | Function::Log
            | Function::LowBoundary
            | Function::Now
            | Function::Power
            | Function::Precision
            | Function::Round
            | Function::Sqrt
            | Function::TimeOfDay
            | Function::To(_)
            | Function::Today
            | Function::Truncate
            | Function::Type => self.compute(signature, arguments, scope, start, out),
            _ => {
                let mut texts = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    texts.push(self.argument(std::slice::from_ref(argument), scope, out)?);
                }
                let item = single(tail(out, start), name)?;
                let Some(subject) = text::of_item(item, name)? else {
                    return replace(None, start, out);
                };
                out.truncate(start);
                text::apply(signature, subject, &texts, pattern, &mut self.budget, out)
            }
        }
    }

    /// Appends the values of the arguments.
    pub(in crate::transform::fhirpath) fn arguments(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        arguments.iter().try_for_each(|argument| self.run(argument, scope, out))
    }

    /// The values of the arguments, taken off the stack.
    pub(in crate::transform::fhirpath) fn argument(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome<Vec<Item<'d>>> {
        let end = out.len();
        self.arguments(arguments, scope, out)?;
        Ok(out.split_off(end))
    }

    /// Keeps the items for which the criterion is true.
    fn filter(
        &mut self,
        criterion: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let end = out.len();
        let mut kept = start;
        for at in start..end {
            let Some(item) = out.get(at).cloned() else { break };
            let scope = Scope { this: &item, index: Some(at - start), ..scope };
            self.arguments(criterion, scope, out)?;
            let truth = boolean_of(tail(out, end), "where")?;
            out.truncate(end);
            if truth == Some(true) {
                out.swap(kept, at);
                kept += 1;
            }
        }
        out.truncate(kept);
        Ok(())
    }

    fn select(
        &mut self,
        projection: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let end = out.len();
        for at in start..end {
            let Some(item) = out.get(at).cloned() else { break };
            let scope = Scope { this: &item, index: Some(at - start), ..scope };
            self.arguments(projection, scope, out)?;
        }
        out.drain(start..end);
        Ok(())
    }

    /// Applies the projection to the input and to what it finds, until it finds nothing new.
    fn repeat(
        &mut self,
        projection: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let input = out.split_off(start);
        let mut turn = 0;
        while let Some(item) = match input.get(turn) {
            Some(item) => Some(item.clone()),
            None => out.get(start + turn - input.len()).cloned(),
        } {
            turn += 1;
            let end = out.len();
            let scope = Scope { this: &item, ..scope };
            self.arguments(projection, scope, out)?;
            for found in out.split_off(end) {
                if !is_among(&found, tail(out, start), &mut self.budget)? {
                    push(found, out)?;
                }
            }
        }
        Ok(())
    }

    /// As `repeat`, also of what was found before; the bounds end what would never end.
    fn repeat_all(
        &mut self,
        projection: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let end = out.len();
        let mut at = start;
        while let Some(item) = out.get(at).cloned() {
            let scope = Scope { this: &item, ..scope };
            self.arguments(projection, scope, out)?;
            at += 1;
        }
        out.drain(start..end);
        Ok(())
    }

    fn descendants(&mut self, start: usize, out: &mut Stack<'d>) -> Outcome {
        let end = out.len();
        let mut at = start;
        while let Some(item) = out.get(at).cloned() {
            self.children(&item, out)?;
            at += 1;
        }
        out.drain(start..end);
        Ok(())
    }

    fn aggregate(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let (aggregator, initial) = arguments.split_at(1.min(arguments.len()));
        let mut total = self.argument(initial, scope, out)?;
        let end = out.len();
        for at in start..end {
            let Some(item) = out.get(at).cloned() else { break };
            let scope = Scope { this: &item, index: Some(at - start), total: &total };
            total = self.argument(aggregator, scope, out)?;
        }
        out.truncate(start);
        total.into_iter().try_for_each(|item| push(item, out))
    }

    /// The condition must be a boolean, or nothing.
    fn iif(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let operation = "iif";
        let this = single(tail(out, start), operation)?.cloned();
        out.truncate(start);
        let scope = match &this {
            Some(this) => Scope { this, ..scope },
            None => scope,
        };
        let [condition, branches @ ..] = arguments else { return Ok(()) };
        self.run(condition, scope, out)?;
        let truth = match single(tail(out, start), operation)? {
            None => false,
            Some(Item::Boolean(truth)) => *truth,
            Some(Item::Node { node, .. }) if node.is_boolean() => node.as_bool() == Some(true),
            Some(_) => return Err(EvaluationError::Operands { operation }),
        };
        out.truncate(start);
        let branch = if truth { branches.first() } else { branches.get(1) };
        branch.map_or(Ok(()), |branch| self.run(branch, scope, out))
    }

    /// The extensions with that URL.
    fn extension(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let url = self.argument(arguments, scope, out)?;
        let Some(url) = text::of_items(&url, "extension")? else {
            return replace(None, start, out);
        };
        let fhir_type = FhirType::named("Extension");
        let end = out.len();
        for at in start..end {
            let Some(Item::Node { node, sidecar, .. }) = out.get(at) else { continue };
            let owner = if node.is_object() { Some(*node) } else { *sidecar };
            let extensions = owner.and_then(|owner| owner.get("extension")?.as_array());
            for node in extensions.into_iter().flatten() {
                self.budget.spend(1)?;
                if node.get("url").and_then(|found| found.as_str()) == Some(&*url) {
                    push(Item::Node { node, sidecar: None, fhir_type }, out)?;
                }
            }
        }
        out.drain(start..end);
        Ok(())
    }
}

/// Every item must be a boolean.
fn quantified(signature: &Signature, items: &[Item<'_>]) -> Outcome<bool> {
    let Signature { name: operation, function, .. } = *signature;
    let wanted = matches!(function, Function::AllTrue | Function::AnyTrue);
    let mut found = 0;
    for item in items {
        let truth = match item {
            Item::Boolean(truth) => Some(*truth),
            Item::Node { node, .. } => node.as_bool(),
            _ => None,
        };
        found += usize::from(truth.ok_or(EvaluationError::Operands { operation })? == wanted);
    }
    Ok(match function {
        Function::AllTrue | Function::AllFalse => found == items.len(),
        _ => found > 0,
    })
}
