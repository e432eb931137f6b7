//! `checkModifiers`: whether all that changes an element's meaning is known.

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use super::stack::{Stack, tail};
use super::text;
use super::{Evaluation, Scope};
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::program::Program;
use crate::transform::fhirpath::value::item::Item;

impl<'d> Evaluation<'d> {
    /// Leaves the items as they are, if they have no modifier extensions but those named.
    pub(in crate::transform::fhirpath) fn check_modifiers(
        &mut self,
        arguments: &[Program],
        scope: Scope<'_, 'd>,
        start: usize,
        out: &mut Stack<'d>,
    ) -> Outcome {
        let mut known = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let url = self.argument(std::slice::from_ref(argument), scope, out)?;
            known.extend(text::of_items(&url, "checkModifiers")?);
        }
        for item in tail(out, start) {
            let Item::Node { node, .. } = item else { continue };
            let modifiers = node.get("modifierExtension");
            let modifiers = modifiers.and_then(|modifiers| modifiers.as_array());
            for modifier in modifiers.into_iter().flatten() {
                self.budget.spend(1)?;
                let url = modifier.get("url").and_then(|url| url.as_str());
                if !url.is_some_and(|url| known.iter().any(|known| known == url)) {
                    return Err(EvaluationError::UnknownModifier);
                }
            }
        }
        Ok(())
    }
}
