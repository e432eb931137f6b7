//! Why a view has no rows of a resource.
//!
//! In: a compiled view and a document of which it made none. Out: the `where` that does not match,
//! or the iterations that find nothing, and how far their paths come. For explaining only; it
//! never fails: what cannot be evaluated was refused already.

use std::sync::Arc;

use super::program::{Iteration, SelectProgram, ViewProgram};
use crate::transform::explain::Absence;
use crate::transform::expression::Expression;
use crate::transform::fhirpath::{Environment, Item, Trail, convert_to_boolean};

/// The reasons, first what stands first in the view.
pub(in crate::transform) fn absences(
    program: &ViewProgram,
    environment: Environment<'_>,
) -> Vec<Absence> {
    let resource = Item::resource(environment.resource);
    for condition in &program.conditions {
        let found = evaluate(condition, &resource, environment);
        let truth = convert_to_boolean(&found).ok().flatten();
        if truth != Some(true) {
            return vec![Absence::not_matched(condition, truth)];
        }
    }
    let mut absences = Vec::new();
    dry(&program.select, &[resource], environment, &mut absences);
    absences
}

/// Appends the iterations of a select that find nothing from any of these items.
fn dry<'d>(
    select: &SelectProgram,
    from: &[Item<'d>],
    environment: Environment<'d>,
    out: &mut Vec<Absence>,
) {
    let paths = match &select.iteration {
        Iteration::Once => &[],
        Iteration::Each(path) | Iteration::EachOrNull(path) => std::slice::from_ref(path),
        Iteration::Repeat(paths) => paths.as_slice(),
    };
    let mut elements = Vec::new();
    for path in paths {
        elements.extend(from.iter().flat_map(|item| evaluate(path, item, environment)));
    }
    if let Iteration::Once = select.iteration {
        elements.extend_from_slice(from);
    }
    if elements.is_empty() {
        // `forEachOrNull` has a row all the same
        if !matches!(select.iteration, Iteration::EachOrNull(_)) {
            out.extend(paths.iter().map(|path| Absence::NoElements {
                rule: Arc::clone(&path.rule),
                trail: Trail::of(&path.path).follow(environment, from),
            }));
        }
        return;
    }
    for nested in select.selects.iter().chain(&select.union) {
        dry(nested, &elements, environment, out);
    }
}

fn evaluate<'d>(
    expression: &Expression,
    focus: &Item<'d>,
    environment: Environment<'d>,
) -> Vec<Item<'d>> {
    let mut found = Vec::new();
    // a failure leaves nothing behind
    let _ = expression.path.evaluate(environment, focus.clone(), &mut found);
    found
}
