//! The paths of `repeat`.
//!
//! In: paths, and the type that the first round begins at. Out: paths that run on whatever the
//! rounds before found, and the type of what they find, if it is one. `answer.item` makes sense
//! only of what `item` found, so a path is judged by every type that may come up.

use std::collections::BTreeSet;

use crate::transform::fhirpath::{FhirType, Path, PathError, PathProblem, Variables};

/// Most types that are tried. Those of R4 that contain each other are few.
const MAX_TYPES: usize = 32;

/// The compiled paths.
pub(super) struct Repeat {
    pub(super) paths: Vec<Path>,
    /// The type of every element found.
    pub(super) result_type: Option<&'static str>,
}

/// Compiles the paths.
///
/// # Errors
/// The paths that can never work, by place in the list. An element that is unknown to every type
/// that may come up is one only if no type of FHIR has such an element: the official tests have a
/// path that leads nowhere, and what is misspelt is still found.
pub(super) fn compile(
    paths: &[String],
    context: Option<&str>,
    variables: &Variables,
) -> Result<Repeat, Vec<(usize, PathError)>> {
    let found = types_found(paths, context, variables);
    let known = found.iter().flatten().map(|known| Some(*known));
    let contexts: Vec<Option<&str>> = std::iter::once(context).chain(known).collect();
    let mut compiled = Vec::with_capacity(paths.len());
    let mut faults = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let attempts = contexts.iter().map(|context| Path::compile_with(path, *context, variables));
        let fault = attempts.reduce(Result::or).and_then(Result::err);
        match (fault, Path::compile_with(path, None, variables)) {
            (Some(fault), _) if !leads_nowhere(&fault) => faults.push((index, fault)),
            (_, Err(fault)) => faults.push((index, fault)),
            (_, Ok(path)) => compiled.push(path),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut found = found.into_iter();
    let result_type = match (found.next(), found.next()) {
        (Some(only), None) => only,
        _ => None,
    };
    Ok(Repeat { paths: compiled, result_type })
}

/// The types of what all rounds together find; `None` stands for what is not known.
fn types_found(
    paths: &[String],
    context: Option<&str>,
    variables: &Variables,
) -> BTreeSet<Option<&'static str>> {
    let found_from = |context| {
        let compiled =
            paths.iter().filter_map(move |path| Path::compile_with(path, context, variables).ok());
        compiled.map(|path| path.result_type()).collect::<Vec<_>>()
    };
    let mut found: BTreeSet<Option<&'static str>> = BTreeSet::new();
    let mut open = found_from(context);
    while let Some(next) = open.pop() {
        if found.insert(next) {
            if found.len() > MAX_TYPES {
                found.insert(None);
                break;
            }
            open.extend(found_from(next));
        }
    }
    found
}

/// Whether the fault is an element that exists, but on other types.
fn leads_nowhere(fault: &PathError) -> bool {
    matches!(&fault.problem, PathProblem::UnknownElement { name, .. } if FhirType::any_has(name))
}
