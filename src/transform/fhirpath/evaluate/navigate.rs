//! The way into the document: members, arrays, choice elements, and what stands beside a
//! primitive.

use sonic_rs::{JsonContainerTrait as _, JsonType, JsonValueTrait, Object};

use super::reference::literal;
use super::stack::{Stack, push, push_with};
use super::{Evaluation, Scope};
use crate::model::Node;
use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::Outcome;
use crate::transform::fhirpath::program::{Program, Step};
use crate::transform::fhirpath::types::{ChoiceMember, Element, FhirType, TypeKind};
use crate::transform::fhirpath::value::item::{Item, no_value, resource_type};

impl<'d> Evaluation<'d> {
    /// Appends what the steps lead to from each item.
    pub(in crate::transform::fhirpath) fn navigate(
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
                if end == start + 1
                    && let Some(item) = out.pop()
                {
                    return self.walk(&item, steps, out);
                }
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

    /// Appends what the steps lead to.
    fn walk(&mut self, from: &Item<'d>, steps: &[Step], out: &mut Stack<'d>) -> Outcome {
        match *from {
            Item::Node { node, sidecar, fhir_type } => {
                self.descend(node, sidecar, fhir_type, steps, out)
            }
            ref computed => {
                let Some((step, rest)) = steps.split_first() else {
                    return push(computed.clone(), out);
                };
                element_of_computed(computed, step)
                    .map_or(Ok(()), |item| self.walk(&item, rest, out))
            }
        }
    }

    /// Appends what the steps lead to. Each step goes a level down the document, whose depth is
    /// bounded, so the recursion is. A node's parts travel by themselves and become an item only
    /// where it will lie: to move an item costs more than a step.
    fn descend(
        &mut self,
        node: &'d Node,
        sidecar: Option<&'d Node>,
        fhir_type: Option<FhirType>,
        steps: &[Step],
        out: &mut Stack<'d>,
    ) -> Outcome {
        self.budget.spend(1)?;
        let Some((step, rest)) = steps.split_first() else {
            return push_with(|| Item::Node { node, sidecar, fhir_type }, out);
        };
        let Some(object) = object(node, sidecar) else { return Ok(()) };
        let (element, name) = match (step, fhir_type) {
            (Step::Known(element), _) => (Some(*element), element.name),
            (Step::Named(name), Some(known)) => match known.element(name) {
                None if !known.is_abstract() => return Ok(()),
                element => (element, name.as_str()),
            },
            (Step::Named(name), None) => (None, name.as_str()),
        };
        self.budget.spend_on_members(object.len())?;
        let found = match element {
            Some(element) => self.members.find(object, element),
            None => untyped_member(object, name),
        };
        self.reach(found, rest, out)
    }

    /// Goes on from what a step has found.
    fn reach(&mut self, found: Found<'d>, steps: &[Step], out: &mut Stack<'d>) -> Outcome {
        let Found { value, sidecar, fhir_type } = found;
        let value_type = value.map_or(JsonType::Null, JsonValueTrait::get_type);
        if value_type != JsonType::Array && !sidecar.is_some_and(JsonValueTrait::is_array) {
            let value = value.filter(|_| value_type != JsonType::Null);
            return self.arrive(value, sidecar, fhir_type, steps, out);
        }
        let (values, sidecars) = (nodes(value), nodes(sidecar));
        for at in 0..values.len().max(sidecars.len()) {
            let value = values.get(at).filter(|value| !value.is_null());
            self.arrive(value, sidecars.get(at), fhir_type, steps, out)?;
        }
        Ok(())
    }

    /// Goes on from a value that is not null, or where none is but something beside it.
    fn arrive(
        &mut self,
        value: Option<&'d Node>,
        sidecar: Option<&'d Node>,
        fhir_type: Option<FhirType>,
        steps: &[Step],
        out: &mut Stack<'d>,
    ) -> Outcome {
        let sidecar = sidecar.filter(JsonValueTrait::is_object);
        let Some(node) = value.or_else(|| sidecar.map(|_| no_value())) else { return Ok(()) };
        let fhir_type = match fhir_type {
            Some(known) if known.kind() != TypeKind::Resource => Some(known),
            declared => resource_type(node).or(declared),
        };
        self.descend(node, sidecar, fhir_type, steps, out)
    }

    /// Appends the child elements of an item, in the order of its type, or of the document if
    /// the type is not known.
    pub(in crate::transform::fhirpath) fn children(
        &mut self,
        item: &Item<'d>,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let Item::Node { node, sidecar, fhir_type } = *item else { return Ok(()) };
        let Some(object) = object(node, sidecar) else { return Ok(()) };
        if let Some(known) = fhir_type.filter(|known| !known.is_abstract()) {
            for element in known.elements() {
                self.budget.spend_on_members(object.len())?;
                self.reach(member(object.iter(), element), &[], out)?;
            }
            return Ok(());
        }
        for (name, value) in object {
            if name != "resourceType" && !name.starts_with('_') {
                self.budget.spend_on_members(object.len())?;
                let sidecar = untyped_member(object, name).sidecar;
                self.reach(Found { value: Some(value), sidecar, fhir_type: None }, &[], out)?;
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

/// The object that has the members of a node. The id and the extensions of a primitive are
/// beside it.
fn object<'d>(node: &'d Node, sidecar: Option<&'d Node>) -> Option<&'d Object> {
    node.as_object().or_else(|| sidecar?.as_object())
}

/// What a member holds, and what its sidecar does: a node each, or an array of them.
#[derive(Clone, Copy, Default)]
pub(in crate::transform::fhirpath) struct Found<'d> {
    pub(in crate::transform::fhirpath) value: Option<&'d Node>,
    pub(in crate::transform::fhirpath) sidecar: Option<&'d Node>,
    fhir_type: Option<FhirType>,
}

/// The nodes of an array.
pub(in crate::transform::fhirpath) fn nodes(node: Option<&Node>) -> &[Node] {
    node.and_then(|node| node.as_array()).map_or(&[], |array| array.as_slice())
}

/// The members of the object that many paths begin at, listed once: to go through an object of
/// the parser takes ten times as long as to go through this.
#[derive(Default)]
pub(in crate::transform::fhirpath) struct Members<'d> {
    of: Option<&'d Object>,
    list: Vec<(&'d str, &'d Node)>,
}

impl<'d> Members<'d> {
    /// Lists the members of an item, unless they are so few that it does not pay.
    pub(in crate::transform::fhirpath) fn list(item: &Item<'d>) -> Self {
        /// To go through so many a few times costs no more than the list.
        const FEW: usize = 4;
        let Some(object) = item.node().and_then(|node| node.as_object()) else {
            return Self::default();
        };
        let members = object.iter();
        if members.len() <= FEW {
            return Self::default();
        }
        let mut list = Vec::with_capacity(members.len());
        for (name, node) in members {
            list.push((name, node));
        }
        Self { of: Some(object), list }
    }

    /// What it is to go through them, in steps.
    pub(in crate::transform::fhirpath) fn steps(&self) -> u32 {
        Budget::steps_of_members(self.list.len())
    }

    /// An element of an object, whether or not that is the one whose members are listed.
    pub(in crate::transform::fhirpath) fn find(
        &self,
        object: &'d Object,
        element: &'static Element,
    ) -> Found<'d> {
        match self.of(object) {
            Some(members) => member(members.iter().copied(), element),
            None => member(object.iter(), element),
        }
    }

    /// The members, if they are those of this object.
    fn of(&self, object: &'d Object) -> Option<&[(&'d str, &'d Node)]> {
        self.of.is_some_and(|listed| std::ptr::eq(listed, object)).then_some(&*self.list)
    }
}

/// The id that a literal reference to a resource ends with.
pub(in crate::transform::fhirpath) fn reference_key(
    reference: &Node,
    target: Option<FhirType>,
) -> Option<&str> {
    let text = reference.as_object()?.get(&"reference")?.as_str()?;
    let (named, id) = literal(text)?;
    target.is_none_or(|asked| named.is_a(asked)).then_some(id)
}

/// The value of an element, what is beside it, and its type. Of a member given twice the first
/// counts.
fn member<'d>(
    members: impl Iterator<Item = (&'d str, &'d Node)>,
    element: &'static Element,
) -> Found<'d> {
    if let Some(choice) = &element.members {
        return choice_member(members, element.name, choice);
    }
    let fhir_type = element.types.first().copied();
    if fhir_type.is_some_and(FhirType::is_primitive) {
        let (value, sidecar) = with_sidecar(members, element.name);
        return Found { value, sidecar, fhir_type };
    }
    let value = members.into_iter().find(|(name, _)| *name == element.name).map(|(_, node)| node);
    Found { value, sidecar: None, fhir_type }
}

/// The first member that the choice element may be written as.
fn choice_member<'d>(
    members: impl Iterator<Item = (&'d str, &'d Node)>,
    element: &str,
    choice: &[ChoiceMember],
) -> Found<'d> {
    let mut found = Found::default();
    let mut chosen: Option<&ChoiceMember> = None;
    for (name, node) in members {
        let plain = name.strip_prefix('_').unwrap_or(name);
        if !plain.starts_with(element) {
            continue;
        }
        chosen = chosen.or_else(|| choice.iter().find(|member| member.name == plain));
        if let Some(chosen) = chosen.filter(|chosen| chosen.name == plain) {
            found.fhir_type = Some(chosen.fhir_type);
            let side = if name == plain { &mut found.value } else { &mut found.sidecar };
            *side = side.or(Some(node));
        }
    }
    found
}

/// As [`member`], where the owner's type is not known: the member itself, or the one that the
/// choice element of that name is written as.
fn untyped_member<'d>(object: &'d Object, element: &str) -> Found<'d> {
    let (value, sidecar) = with_sidecar(object.iter(), element);
    if value.is_some() || sidecar.is_some() {
        return Found { value, sidecar, fhir_type: None };
    }
    for (name, _) in object {
        let plain = name.strip_prefix('_').unwrap_or(name);
        if let Some(suffix) = plain.strip_prefix(element)
            && let Some(fhir_type) = FhirType::of_choice_suffix(suffix)
        {
            let (value, sidecar) = with_sidecar(object.iter(), plain);
            return Found { value, sidecar, fhir_type: Some(fhir_type) };
        }
    }
    Found::default()
}

/// `name` and `_name`, found in one pass.
fn with_sidecar<'d>(
    members: impl Iterator<Item = (&'d str, &'d Node)>,
    name: &str,
) -> (Option<&'d Node>, Option<&'d Node>) {
    let (mut value, mut sidecar) = (None, None);
    for (found, node) in members {
        if found == name {
            value = value.or(Some(node));
        } else if found.len() == name.len() + 1 && found.strip_prefix('_') == Some(name) {
            sidecar = sidecar.or(Some(node));
        }
    }
    (value, sidecar)
}
