//! Functions on text. Positions and lengths count characters, not bytes.

use std::borrow::Cow;

use regex::Regex;
use sonic_rs::JsonValueTrait as _;

use super::stack::{Stack, integer, push, single};
use crate::transform::fhirpath::MAX_TEXT_BYTES;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::{Function, Signature};
use crate::transform::fhirpath::pattern::pattern as compiled;
use crate::transform::fhirpath::value::encode;
use crate::transform::fhirpath::value::item::Item;

/// What it costs to compile a regular expression that is not a literal: milliseconds at worst.
const STEPS_PER_PATTERN: u32 = 20_000;

/// The text of a single item; an error if it is none.
pub(in crate::transform::fhirpath) fn of_items<'d>(
    items: &[Item<'d>],
    operation: &'static str,
) -> Outcome<Option<Cow<'d, str>>> {
    of_item(single(items, operation)?, operation)
}

pub(in crate::transform::fhirpath) fn of_item<'d>(
    item: Option<&Item<'d>>,
    operation: &'static str,
) -> Outcome<Option<Cow<'d, str>>> {
    match item {
        None => Ok(None),
        Some(Item::String(text)) => Ok(Some(text.clone())),
        Some(Item::Node { node, .. }) if node.is_null() => Ok(None),
        Some(Item::Node { node, .. }) => match (*node).as_str() {
            Some(text) => Ok(Some(Cow::Borrowed(text))),
            None => Err(EvaluationError::Operands { operation }),
        },
        Some(_) => Err(EvaluationError::Operands { operation }),
    }
}

/// Joins the texts of primitives; what has no text is left out.
pub(in crate::transform::fhirpath) fn join(
    items: &[Item<'_>],
    separator: &str,
    budget: &mut Budget,
) -> Outcome<Item<'static>> {
    let mut joined = String::new();
    let mut texts = 0;
    for item in items {
        if item.node().is_some_and(|node| node.is_object() || node.is_array()) {
            return Err(EvaluationError::Operands { operation: "join" });
        }
        let Some(text) = item.text() else { continue };
        if texts > 0 {
            joined.push_str(separator);
        }
        budget.spend_on_text(text.len())?;
        joined.push_str(&text);
        texts += 1;
        check_length(joined.len())?;
    }
    Ok(Item::String(joined.into()))
}

/// Appends the result of a function on text. An argument that is empty makes it empty.
pub(in crate::transform::fhirpath) fn apply<'d>(
    signature: &'static Signature,
    subject: Cow<'d, str>,
    arguments: &[Vec<Item<'d>>],
    pattern: Option<&Regex>,
    budget: &mut Budget,
    out: &mut Stack<'d>,
) -> Outcome {
    let Signature { name, function, .. } = *signature;
    budget.spend_on_text(subject.len())?;
    if function == Function::Substring {
        return substring(name, &subject, arguments, out);
    }
    let mut texts = arguments.iter().map(|argument| of_items(argument, name));
    let (first, second) = (texts.next().transpose()?, texts.next().transpose()?);
    if first == Some(None) || second == Some(None) {
        return Ok(());
    }
    let first = first.flatten().unwrap_or_default();
    let second = second.flatten().unwrap_or_default();
    let regex = |budget: &mut Budget| {
        if let Some(pattern) = pattern {
            return Ok(Cow::Borrowed(pattern));
        }
        budget.spend(STEPS_PER_PATTERN)?;
        let pattern = compiled(function, &first);
        pattern.map(Cow::Owned).ok_or(EvaluationError::Pattern { operation: name })
    };
    let result = match function {
        Function::Length => Item::Integer(characters(&subject)),
        Function::Upper => Item::String(subject.to_uppercase().into()),
        Function::Lower => Item::String(subject.to_lowercase().into()),
        Function::Trim => Item::String(subject.trim().to_owned().into()),
        Function::StartsWith => Item::Boolean(subject.starts_with(&*first)),
        Function::EndsWith => Item::Boolean(subject.ends_with(&*first)),
        Function::Contains => Item::Boolean(subject.contains(&*first)),
        Function::IndexOf => Item::Integer(match subject.split_once(&*first) {
            Some((before, _)) => characters(before),
            None => -1,
        }),
        Function::Matches | Function::MatchesFull => {
            Item::Boolean(regex(budget)?.is_match(&subject))
        }
        Function::ReplaceMatches if first.is_empty() => Item::String(subject),
        Function::Replace => {
            let count = subject.matches(&*first).count();
            check_length(subject.len().saturating_add(count.saturating_mul(second.len())))?;
            let replaced = subject.replace(&*first, &second);
            budget.spend_on_text(replaced.len())?;
            Item::String(replaced.into())
        }
        Function::ReplaceMatches => {
            let replaced = replace_matches(&*regex(budget)?, &subject, &second)?;
            budget.spend_on_text(replaced.len())?;
            Item::String(replaced.into())
        }
        Function::LastIndexOf => Item::Integer(match subject.rsplit_once(&*first) {
            Some((before, _)) => characters(before),
            None => -1,
        }),
        Function::Encode | Function::Decode | Function::Escape | Function::Unescape => {
            match encode::apply(function, &subject, &first, budget)? {
                Some(text) => Item::String(text.into()),
                None => return Ok(()),
            }
        }
        Function::Split => {
            return subject
                .split(&*first)
                .try_for_each(|part| push(Item::String(part.to_owned().into()), out));
        }
        _ => {
            return subject
                .chars()
                .try_for_each(|letter| push(Item::String(letter.to_string().into()), out));
        }
    };
    push(result, out)
}

/// `$1` and its like stand for what a group matched, so a short replacement may become long.
fn replace_matches(regex: &Regex, subject: &str, replacement: &str) -> Outcome<String> {
    let groups = replacement.matches('$').count();
    let mut replaced = String::new();
    let mut copied = 0;
    for found in regex.captures_iter(subject) {
        let whole = found.get_match();
        let added = groups.saturating_mul(whole.len()).saturating_add(replacement.len());
        check_length(replaced.len().saturating_add(added))?;
        replaced.push_str(subject.get(copied..whole.start()).unwrap_or_default());
        found.expand(replacement, &mut replaced);
        copied = whole.end();
    }
    replaced.push_str(subject.get(copied..).unwrap_or_default());
    Ok(replaced)
}

fn check_length(bytes: usize) -> Outcome {
    if bytes > MAX_TEXT_BYTES {
        return Err(EvaluationError::TextTooLong { limit: MAX_TEXT_BYTES });
    }
    Ok(())
}

fn characters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Empty if it starts outside the text.
fn substring<'d>(
    name: &'static str,
    subject: &str,
    arguments: &[Vec<Item<'d>>],
    out: &mut Stack<'d>,
) -> Outcome {
    let mut numbers = arguments.iter().map(|argument| integer(argument, name));
    let start = numbers.next().transpose()?.flatten();
    let length = numbers.next().transpose()?.flatten();
    let Some(start) = start.and_then(|start| usize::try_from(start).ok()) else { return Ok(()) };
    let Some((from, _)) = subject.char_indices().nth(start) else { return Ok(()) };
    let rest = subject.get(from..).unwrap_or_default();
    let part = match length {
        None => rest.to_owned(),
        Some(length) => rest.chars().take(usize::try_from(length).unwrap_or(0)).collect(),
    };
    push(Item::String(part.into()), out)
}
