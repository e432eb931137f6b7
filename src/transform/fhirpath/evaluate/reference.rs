//! References: what they say of the resource they point to, and the one that is contained.
//!
//! A resource that is not contained in the document is never looked for. It does not resolve,
//! and as FHIRPath has it, what does not resolve is left out.

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use super::Evaluation;
use super::stack::{Stack, push, replace, single, tail};
use crate::model::Node;
use crate::transform::fhirpath::error::Outcome;
use crate::transform::fhirpath::types::{FhirType, TypeKind};
use crate::transform::fhirpath::value::item::{Item, resource_type};

/// Type and id of `Patient/1`, `https://example.org/fhir/Patient/1/_history/2`.
pub(in crate::transform::fhirpath) fn literal(reference: &str) -> Option<(FhirType, &str)> {
    let (resource, _) = reference.split_once("/_history/").unwrap_or((reference, ""));
    let (before, id) = resource.rsplit_once('/')?;
    let named = FhirType::named(before.rsplit('/').next()?)?;
    (named.kind() == TypeKind::Resource && !id.is_empty()).then_some((named, id))
}

impl<'d> Evaluation<'d> {
    /// Replaces references by the contained resources that they point to.
    pub(in crate::transform::fhirpath) fn resolve(
        &mut self,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let references = out.split_off(start);
        for reference in &references {
            self.budget.spend(1)?;
            if let Some(fragment) = text(reference).and_then(|text| text.strip_prefix('#'))
                && let Some(node) = self.contained(fragment)?
            {
                push(Item::resource(node), out)?;
            }
        }
        Ok(())
    }

    /// Replaces a reference by whether the resource it points to has the type. Nothing if it
    /// does not say so.
    pub(in crate::transform::fhirpath) fn refers_to(
        &mut self,
        target: FhirType,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let found = match single(tail(out, start), "is")?.cloned() {
            None => None,
            Some(reference) => self.referred_type(&reference)?,
        };
        replace(Item::boolean(found.map(|found| found.is_a(target))), start, out)
    }

    fn referred_type(&mut self, reference: &Item<'d>) -> Outcome<Option<FhirType>> {
        let text = text(reference);
        if let Some(fragment) = text.and_then(|text| text.strip_prefix('#')) {
            return Ok(self.contained(fragment)?.and_then(resource_type));
        }
        if let Some((known, _)) = text.and_then(literal) {
            return Ok(Some(known));
        }
        let said = reference.node().and_then(|node| node.as_object()?.get(&"type")?.as_str());
        let name = said.map(|said| said.rsplit('/').next().unwrap_or(said));
        Ok(name.and_then(FhirType::named))
    }

    /// `#id` is the contained resource of that id, `#` the one that contains.
    fn contained(&mut self, id: &str) -> Outcome<Option<&'d Node>> {
        let whole = self.environment.resource;
        if id.is_empty() {
            return Ok(Some(whole));
        }
        let Some(contained) = whole.get("contained").and_then(|all| all.as_array()) else {
            return Ok(None);
        };
        for node in contained {
            self.budget.spend(1)?;
            self.budget.spend_on_members(node.as_object().map_or(0, sonic_rs::Object::len))?;
            if node.get("id").and_then(|found| found.as_str()) == Some(id) {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }
}

/// The text of a reference, a canonical or a URI.
fn text<'i>(reference: &'i Item<'_>) -> Option<&'i str> {
    match reference {
        Item::String(text) => Some(text),
        Item::Node { node, .. } => match node.as_object() {
            Some(object) => object.get(&"reference")?.as_str(),
            None => node.as_str(),
        },
        _ => None,
    }
}
