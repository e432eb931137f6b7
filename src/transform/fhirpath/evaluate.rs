//! Runs a program over a document.
//!
//! All collections live on one stack, the caller's vector: a part of a program appends its
//! result, and what it was made of is taken off again. Plain navigation appends the nodes it ends
//! at and nothing else.

use std::cmp::Ordering;

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait};

use super::MAX_ITEMS;
use super::arithmetic::{arithmetic, negative};
use super::compare::{collections_equal, collections_equivalent, is_among, items_equal, order};
use super::error::EvaluationError;
use super::item::{Item, Scalar, boolean_of, no_value, resource_type};
use super::program::{Budget, Program, Step, TypeMode, TypeTest};
use super::syntax::Operator;
use super::types::{Element, FhirType, TypeKind};
use crate::model::Node;

pub(super) type Outcome<T = ()> = Result<T, EvaluationError>;

/// The stack of items.
pub(super) type Stack<'d> = Vec<Item<'d>>;

/// One evaluation.
pub(super) struct Evaluation<'d> {
    pub(super) resource: Item<'d>,
    pub(super) context: Item<'d>,
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
            Program::Resource => push(self.resource.clone(), out),
            Program::Context => push(self.context.clone(), out),
            Program::Literal(item) => self.push_copy(item, out),
            Program::OfType(named) => match scope.this {
                Item::Node { fhir_type: Some(known), .. } if known.is_a(*named) => {
                    push(scope.this.clone(), out)
                }
                _ => Ok(()),
            },
            Program::Navigate { from, steps } => self.navigate(from, steps, scope, out),
            Program::Call { input, function, arguments, pattern } => {
                let start = out.len();
                self.run(input, scope, out)?;
                self.call(*function, arguments, pattern.as_ref(), scope, start, out)
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
            Program::Indexed { input, index } => self.indexed(input, index, scope, out),
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

    fn navigate(
        &mut self,
        from: &Program,
        steps: &[Step],
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        match from {
            Program::This => self.walk(scope.this, steps, out),
            Program::Resource => {
                let resource = self.resource.clone();
                self.walk(&resource, steps, out)
            }
            from => {
                let start = out.len();
                self.run(from, scope, out)?;
                let end = out.len();
                for at in start..end {
                    if let Some(item) = out.get(at).cloned() {
                        self.walk(&item, steps, out)?;
                    }
                }
                out.drain(start..end);
                Ok(())
            }
        }
    }

    /// Appends what the steps lead to. Each step goes a level down the document, whose depth is
    /// bounded, so the recursion is.
    fn walk(&mut self, from: &Item<'d>, steps: &[Step], out: &mut Stack<'d>) -> Outcome {
        self.budget.spend(1)?;
        let Some((step, rest)) = steps.split_first() else { return push(from.clone(), out) };
        let Item::Node { node, sidecar, fhir_type } = from else { return Ok(()) };
        // The id and the extensions of a primitive are beside it.
        let owner = if node.is_object() { *node } else { sidecar.unwrap_or(*node) };
        let (element, name) = match (step, fhir_type) {
            (Step::Known(element), _) => (Some(*element), element.name),
            (Step::Named(name), Some(known)) => match known.element(name) {
                None if !known.is_abstract() => return Ok(()),
                element => (element, name.as_str()),
            },
            (Step::Named(name), None) => (None, name.as_str()),
        };
        self.budget.spend_on_members(owner)?;
        let (value, sidecar, fhir_type) = match element {
            Some(element) => member(owner, element),
            None => untyped_member(owner, name),
        };
        self.found(value, sidecar, fhir_type, rest, out)
    }

    /// A member's value, or its values if it is an array.
    fn found(
        &mut self,
        value: Option<&'d Node>,
        sidecar: Option<&'d Node>,
        fhir_type: Option<FhirType>,
        rest: &[Step],
        out: &mut Stack<'d>,
    ) -> Outcome {
        let (values, sidecars) =
            (value.and_then(|value| value.as_array()), sidecar.and_then(|side| side.as_array()));
        if values.is_none() && sidecars.is_none() {
            return self.one(value, sidecar, fhir_type, rest, out);
        }
        let values = values.map_or(&[][..], |values| values.as_slice());
        let sidecars = sidecars.map_or(&[][..], |sidecars| sidecars.as_slice());
        for at in 0..values.len().max(sidecars.len()) {
            self.one(values.get(at), sidecars.get(at), fhir_type, rest, out)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        value: Option<&'d Node>,
        sidecar: Option<&'d Node>,
        fhir_type: Option<FhirType>,
        rest: &[Step],
        out: &mut Stack<'d>,
    ) -> Outcome {
        let sidecar = sidecar.filter(JsonValueTrait::is_object);
        let node = match value {
            Some(value) if !value.is_null() => value,
            _ if sidecar.is_some() => no_value(),
            _ => return Ok(()),
        };
        let fhir_type = match fhir_type {
            Some(known) if known.kind() != TypeKind::Resource => Some(known),
            declared => resource_type(node).or(declared),
        };
        self.walk(&Item::Node { node, sidecar, fhir_type }, rest, out)
    }

    /// Appends the child elements of an item, in the order of its type, or of the document if
    /// the type is not known.
    pub(super) fn children(&mut self, item: &Item<'d>, out: &mut Stack<'d>) -> Outcome {
        let Item::Node { node, sidecar, fhir_type } = item else { return Ok(()) };
        let owner = if node.is_object() { *node } else { sidecar.unwrap_or(*node) };
        let Some(object) = owner.as_object() else { return Ok(()) };
        if let Some(known) = fhir_type.filter(|known| !known.is_abstract()) {
            for element in known.elements() {
                self.budget.spend_on_members(owner)?;
                let (value, sidecar, fhir_type) = member(owner, element);
                self.found(value, sidecar, fhir_type, &[], out)?;
            }
            return Ok(());
        }
        for (name, value) in object {
            if name != "resourceType" && !name.starts_with('_') {
                self.budget.spend_on_members(owner)?;
                let (_, sidecar, _) = untyped_member(owner, name);
                self.found(Some(value), sidecar, None, &[], out)?;
            }
        }
        Ok(())
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
                    order(left, right, name)?.map(|found| match operator {
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

/// The id that a literal reference to a resource ends with.
fn reference_key(reference: &Node, target: Option<FhirType>) -> Option<&str> {
    let text = reference.as_object()?.get(&"reference")?.as_str()?;
    let text = text.split_once("/_history/").map_or(text, |(resource, _)| resource);
    let (before, id) = text.rsplit_once('/')?;
    let named = FhirType::named(before.rsplit('/').next()?)?;
    let fits = named.kind() == TypeKind::Resource && target.is_none_or(|asked| named.is_a(asked));
    (fits && !id.is_empty()).then_some(id)
}

/// Takes the references off and leaves the keys, which are computed text.
fn keep_keys(start: usize, out: &mut Stack<'_>) {
    retain(start, out, |item| matches!(item, Item::String(_)));
}

/// The value of an element, what is beside it, and its type.
fn member<'d>(
    owner: &'d Node,
    element: &'static Element,
) -> (Option<&'d Node>, Option<&'d Node>, Option<FhirType>) {
    let Some(object) = owner.as_object() else { return (None, None, None) };
    let Some(members) = &element.members else {
        let fhir_type = element.types.first().copied();
        if !fhir_type.is_some_and(FhirType::is_primitive) {
            return (object.get(&element.name), None, fhir_type);
        }
        let (value, sidecar) = with_sidecar(object, element.name);
        return (value, sidecar, fhir_type);
    };
    for (name, _) in object {
        let plain = name.strip_prefix('_').unwrap_or(name);
        if plain.starts_with(element.name)
            && let Some(found) = members.iter().find(|member| member.name == plain)
        {
            let (value, sidecar) = with_sidecar(object, plain);
            return (value, sidecar, Some(found.fhir_type));
        }
    }
    (None, None, None)
}

/// As [`member`], where the owner's type is not known: the member itself, or the one that the
/// choice element of that name is written as.
fn untyped_member<'d>(
    owner: &'d Node,
    element: &str,
) -> (Option<&'d Node>, Option<&'d Node>, Option<FhirType>) {
    let Some(object) = owner.as_object() else { return (None, None, None) };
    let (value, sidecar) = with_sidecar(object, element);
    if value.is_some() || sidecar.is_some() {
        return (value, sidecar, None);
    }
    for (name, _) in object {
        let plain = name.strip_prefix('_').unwrap_or(name);
        if let Some(suffix) = plain.strip_prefix(element)
            && let Some(fhir_type) = FhirType::of_choice_suffix(suffix)
        {
            let (value, sidecar) = with_sidecar(object, plain);
            return (value, sidecar, Some(fhir_type));
        }
    }
    (None, None, None)
}

/// `name` and `_name`, found in one pass. Of a member given twice the first counts.
fn with_sidecar<'d>(
    object: &'d sonic_rs::Object,
    name: &str,
) -> (Option<&'d Node>, Option<&'d Node>) {
    let (mut value, mut sidecar) = (None, None);
    for (found, node) in object {
        if found == name {
            value = value.or(Some(node));
        } else if found.strip_prefix('_') == Some(name) {
            sidecar = sidecar.or(Some(node));
        }
    }
    (value, sidecar)
}

/// What is on the stack from `start` on.
pub(super) fn tail<'s, 'd>(out: &'s [Item<'d>], start: usize) -> &'s [Item<'d>] {
    out.get(start..).unwrap_or_default()
}

pub(super) fn push<'d>(item: Item<'d>, out: &mut Stack<'d>) -> Outcome {
    if out.len() >= MAX_ITEMS {
        return Err(EvaluationError::TooManyItems { limit: MAX_ITEMS });
    }
    out.push(item);
    Ok(())
}

/// Takes off everything from `start` on and puts the result there.
pub(super) fn replace<'d>(result: Option<Item<'d>>, start: usize, out: &mut Stack<'d>) -> Outcome {
    out.truncate(start);
    result.map_or(Ok(()), |item| push(item, out))
}

/// Takes off what does not fit, from `start` on.
pub(super) fn retain<'d>(start: usize, out: &mut Stack<'d>, fits: impl Fn(&Item<'d>) -> bool) {
    let mut kept = start;
    for at in start..out.len() {
        if out.get(at).is_some_and(&fits) {
            out.swap(kept, at);
            kept += 1;
        }
    }
    out.truncate(kept);
}

/// The only item, or none.
pub(super) fn single<'s, 'd>(
    items: &'s [Item<'d>],
    operation: &'static str,
) -> Outcome<Option<&'s Item<'d>>> {
    match items {
        [] => Ok(None),
        [item] => Ok(Some(item)),
        _ => Err(EvaluationError::Several { operation }),
    }
}

pub(super) fn integer(items: &[Item<'_>], operation: &'static str) -> Outcome<Option<i64>> {
    let Some(item) = single(items, operation)? else { return Ok(None) };
    match item.scalar()? {
        Scalar::Integer(value) => Ok(Some(value)),
        Scalar::Nothing => Ok(None),
        _ => Err(EvaluationError::Operands { operation }),
    }
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
