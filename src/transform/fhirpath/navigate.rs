//! The way into the document: members, arrays, choice elements, and what stands beside a
//! primitive.

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait};

use super::evaluate::{Evaluation, Outcome, Scope};
use super::item::{Item, no_value, resource_type};
use super::program::{Program, Step};
use super::reference::literal;
use super::stack::{Stack, push};
use super::types::{Element, FhirType, TypeKind};
use crate::model::Node;

impl<'d> Evaluation<'d> {
    /// Appends what the steps lead to from each item.
    pub(super) fn navigate(
        &mut self,
        from: &Program,
        steps: &[Step],
        scope: Scope<'_, 'd>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        match from {
            Program::This => self.walk(scope.this, steps, out),
            Program::Resource => self.walk(&Item::resource(self.environment.resource), steps, out),
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
        let Item::Node { node, sidecar, fhir_type } = from else {
            return element_of_computed(from, step)
                .map_or(Ok(()), |item| self.walk(&item, rest, out));
        };
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
}

/// A quantity that was computed has a value and a unit, a type its name.
fn element_of_computed<'d>(item: &Item<'d>, step: &Step) -> Option<Item<'d>> {
    let name = match step {
        Step::Known(element) => element.name,
        Step::Named(name) => name,
    };
    match (item, name) {
        (Item::Quantity(quantity), "value") => Some(Item::Decimal(quantity.value.clone())),
        (Item::Quantity(quantity), "unit") => Some(Item::String(quantity.unit.clone().into())),
        (Item::Type(info), name) => info.element(name).map(|text| Item::String(text.into())),
        _ => None,
    }
}

/// The id that a literal reference to a resource ends with.
pub(super) fn reference_key(reference: &Node, target: Option<FhirType>) -> Option<&str> {
    let text = reference.as_object()?.get(&"reference")?.as_str()?;
    let (named, id) = literal(text)?;
    target.is_none_or(|asked| named.is_a(asked)).then_some(id)
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
        } else if found.len() == name.len() + 1 && found.strip_prefix('_') == Some(name) {
            sidecar = sidecar.or(Some(node));
        }
    }
    (value, sidecar)
}
