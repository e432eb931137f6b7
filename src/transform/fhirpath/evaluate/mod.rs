//! Runs a program over a document.
//!
//! All collections live on one stack, the caller's vector: a part of a program appends its
//! result, and what it was made of is taken off again. Plain navigation appends the nodes it ends
//! at and nothing else.

mod call;
mod compute;
mod modifiers;
pub(super) mod navigate;
pub(super) mod plain;
mod reference;
mod sort;
mod stack;
mod text;

use std::cmp::Ordering;

use self::navigate::{Members, reference_key};
use self::stack::{Stack, integer, push, replace, retain, single, tail};
use crate::transform::fhirpath::Environment;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::Outcome;
use crate::transform::fhirpath::parse::syntax::Operator;
use crate::transform::fhirpath::program::{Program, TypeMode, TypeTest};
use crate::transform::fhirpath::value::arithmetic::{arithmetic, negative};
use crate::transform::fhirpath::value::compare::{
    collections_equal, collections_equivalent, is_among, items_equal, order,
};
use crate::transform::fhirpath::value::item::{Item, boolean_of};

/// One evaluation.
pub(super) struct Evaluation<'d> {
    pub(super) environment: Environment<'d>,
    pub(super) context: Item<'d>,
    /// The context's members, if many paths begin at it.
    pub(super) members: Members<'d>,
    pub(super) budget: Budget,
}

/// What `$this`, `$index` and `$total` are.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'd> {
    pub(super) this: &'s Item<'d>,
    pub(super) index: Option<usize>,
    pub(super) total: &'s [Item<'d>],
}

impl<'d> Evaluation<'d> {
    /// Appends the program's value to the stack.
    pub(super) fn run(
        &mut self,
        program: &Program,
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        self.budget.spend(1)?;
        match program {
            Program::Empty => Ok(()),
            Program::This => self.push_copy(scope.this, out),
            Program::Index => {
                let index = scope.index.and_then(|index| i64::try_from(index).ok());
                index.map_or(Ok(()), |index| push(Item::Integer(index), out))
            }
            Program::Total => scope.total.iter().try_for_each(|item| self.push_copy(item, out)),
            Program::Resource => push(Item::resource(self.environment.resource), out),
            Program::Context => push(self.context.clone(), out),
            Program::RowIndex => push(Item::Integer(self.environment.row_index.into()), out),
            Program::Literal(item) => self.push_copy(item, out),
            Program::OfType(named) => match scope.this {
                Item::Node { fhir_type: Some(known), .. } if known.is_a(*named) => {
                    push(scope.this.clone(), out)
                }
                _ => Ok(()),
            },
            Program::Navigate { from, steps } => self.navigate(from, steps, scope, out),
            Program::Call { input, signature, arguments, pattern } => {
                let start = out.len();
                self.run(input, scope, out)?;
                self.call(signature, arguments, pattern.as_ref(), scope, start, out)
            }
            Program::TypeTest { input, test, mode } => {
                let start = out.len();
                self.run(input, scope, out)?;
                type_test(*test, *mode, start, out)
            }
            Program::ReferenceKey { input, target } => {
                let start = out.len();
                self.run(input, scope, out)?;
                for at in start..out.len() {
                    if let Some(Item::Node { node, .. }) = out.get(at)
                        && let Some(key) = reference_key(node, *target)
                    {
                        push(Item::String(key.into()), out)?;
                    }
                    self.budget.spend(1)?;
                }
                keep_keys(start, out);
                Ok(())
            }
            Program::RefersTo { input, target } => {
                let start = out.len();
                self.run(input, scope, out)?;
                self.refers_to(*target, start, out)
            }
            Program::Indexed { input, index } => self.indexed(input, index, scope, out),
            Program::Descending(key) => self.run(key, scope, out),
            Program::Negative(operand) => {
                let start = out.len();
                self.run(operand, scope, out)?;
                let result = single(tail(out, start), "-")?.map(negative).transpose()?;
                replace(result, start, out)
            }
            Program::Positive(operand) => {
                let start = out.len();
                self.run(operand, scope, out)?;
                if let Some(item) = single(tail(out, start), "+")? {
                    negative(item)?;
                }
                Ok(())
            }
            Program::Binary { operator, left, right } => {
                self.binary(*operator, left, right, scope, out)
            }
        }
    }

    /// A copy of computed text is work by its length.
    fn push_copy(&mut self, item: &Item<'d>, out: &mut Stack<'d>) -> Outcome {
        self.budget.spend(1)?;
        if let Item::String(text) = item {
            self.budget.spend_on_text(text.len())?;
        }
        push(item.clone(), out)
    }

    fn indexed(
        &mut self,
        input: &Program,
        index: &Program,
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let start = out.len();
        self.run(input, scope, out)?;
        let end = out.len();
        self.run(index, scope, out)?;
        let index = integer(tail(out, end), "[]")?.and_then(|index| usize::try_from(index).ok());
        let found = index.and_then(|index| out.get(start..end)?.get(index).cloned());
        replace(found, start, out)
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Program,
        right: &Program,
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let start = out.len();
        self.run(left, scope, out)?;
        if operator == Operator::Union {
            self.run(right, scope, out)?;
            return self.distinct(start, out);
        }
        if let Some(decided) = decided_by_left(operator, tail(out, start))? {
            return replace(Some(Item::Boolean(decided)), start, out);
        }
        let middle = out.len();
        // A literal need not be copied to be compared.
        let result = if let Program::Literal(literal) = right {
            apply(operator, tail(out, start), std::slice::from_ref(literal), &mut self.budget)?
        } else {
            self.run(right, scope, out)?;
            let (left, right) = tail(out, start).split_at(middle - start);
            apply(operator, left, right, &mut self.budget)?
        };
        replace(result, start, out)
    }

    /// Takes off every item from `start` on that is equal to an earlier one.
    pub(super) fn distinct(&mut self, start: usize, out: &mut Stack<'d>) -> Outcome {
        let mut kept = start;
        for at in start..out.len() {
            let (earlier, rest) = out.split_at(at);
            let earlier = earlier.get(start..kept).unwrap_or_default();
            if let Some(item) = rest.first()
                && !is_among(item, earlier, &mut self.budget)?
            {
                out.swap(kept, at);
                kept += 1;
            }
        }
        out.truncate(kept);
        Ok(())
    }
}

/// `false and …`, `true or …`, `false implies …`: what is right of it need not be evaluated.
fn decided_by_left(operator: Operator, left: &[Item<'_>]) -> Outcome<Option<bool>> {
    let (decisive, result) = match operator {
        Operator::And => (false, false),
        Operator::Or => (true, true),
        Operator::Implies => (false, true),
        _ => return Ok(None),
    };
    Ok((boolean_of(left, operator.as_str())? == Some(decisive)).then_some(result))
}

fn apply(
    operator: Operator,
    left: &[Item<'_>],
    right: &[Item<'_>],
    budget: &mut Budget,
) -> Outcome<Option<Item<'static>>> {
    let name = operator.as_str();
    let truth = match operator {
        Operator::And | Operator::Or | Operator::Xor | Operator::Implies => {
            logic(operator, boolean_of(left, name)?, boolean_of(right, name)?)
        }
        Operator::Equal => collections_equal(left, right, budget)?,
        Operator::NotEqual => collections_equal(left, right, budget)?.map(|equal| !equal),
        Operator::Equivalent => Some(collections_equivalent(left, right, budget)?),
        Operator::NotEquivalent => Some(!collections_equivalent(left, right, budget)?),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            match (single(left, name)?, single(right, name)?) {
                (Some(left), Some(right)) => {
                    order(left, right, name, budget)?.map(|found| match operator {
                        Operator::Less => found == Ordering::Less,
                        Operator::LessOrEqual => found != Ordering::Greater,
                        Operator::Greater => found == Ordering::Greater,
                        _ => found != Ordering::Less,
                    })
                }
                _ => None,
            }
        }
        Operator::In | Operator::Contains => {
            let (item, among) =
                if operator == Operator::In { (left, right) } else { (right, left) };
            match single(item, name)? {
                Some(item) => Some(is_among(item, among, budget)?),
                None => None,
            }
        }
        Operator::Union
        | Operator::Plus
        | Operator::Minus
        | Operator::Concatenate
        | Operator::Times
        | Operator::Divide
        | Operator::WholeDivide
        | Operator::Modulo => {
            return arithmetic(operator, single(left, name)?, single(right, name)?, budget);
        }
    };
    Ok(Item::boolean(truth))
}

/// Three-valued logic.
fn logic(operator: Operator, left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match operator {
        Operator::And => match (left, right) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Operator::Or => match (left, right) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Operator::Xor => Some(left? != right?),
        _ => match (left, right) {
            (Some(false), _) | (_, Some(true)) => Some(true),
            (Some(true), right) => right,
            (None, _) => None,
        },
    }
}

fn type_test(test: TypeTest, mode: TypeMode, start: usize, out: &mut Stack<'_>) -> Outcome {
    match mode {
        TypeMode::Is => {
            let result = single(tail(out, start), "is")?.map(|item| is_of(item, test));
            replace(Item::boolean(result), start, out)
        }
        TypeMode::As => {
            single(tail(out, start), "as")?;
            retain(start, out, |item| casts_to(item, test));
            Ok(())
        }
        TypeMode::OfType => {
            retain(start, out, |item| casts_to(item, test));
            Ok(())
        }
    }
}

fn is_of(item: &Item<'_>, test: TypeTest) -> bool {
    match item {
        Item::Node { fhir_type, .. } => {
            matches!((fhir_type, test.fhir), (Some(known), Some(asked)) if known.is_a(asked))
        }
        computed => test.system.is_some() && computed.system_type() == test.system,
    }
}

/// As `is`, but a primitive must be of the very type: `code` is no `string` here.
fn casts_to(item: &Item<'_>, test: TypeTest) -> bool {
    match item {
        Item::Node { fhir_type: Some(known), .. } if known.is_primitive() => {
            test.fhir == Some(*known)
        }
        _ => is_of(item, test),
    }
}

/// Takes the references off and leaves the keys, which are computed text.
fn keep_keys(start: usize, out: &mut Stack<'_>) {
    retain(start, out, |item| matches!(item, Item::String(_)));
}

/// Is every item of `part` among `whole`?
pub(super) fn is_subset(
    part: &[Item<'_>],
    whole: &[Item<'_>],
    budget: &mut Budget,
) -> Outcome<bool> {
    for item in part {
        if !is_among(item, whole, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Do no two items equal each other?
pub(super) fn are_distinct(items: &[Item<'_>], budget: &mut Budget) -> Outcome<bool> {
    for (at, item) in items.iter().enumerate() {
        for other in tail(items, at + 1) {
            if items_equal(item, other, budget)? == Some(true) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
