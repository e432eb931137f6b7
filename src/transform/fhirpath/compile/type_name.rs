//! The names of types in expressions: `Patient`, `FHIR.Patient`, `System.String`, or the canonical
//! of the profile that a type of FHIR itself is.

use crate::transform::fhirpath::error::{PathProblem, nearest};
use crate::transform::fhirpath::parse::syntax::{Fault, Syntax, SyntaxNode};
use crate::transform::fhirpath::program::TypeTest;
use crate::transform::fhirpath::types::FhirType;
use crate::transform::fhirpath::value::item::SystemType;

/// Where the profiles of FHIR's own types are.
const OWN_PROFILES: &str = "http://hl7.org/fhir/StructureDefinition/";

/// The type that the argument of `ofType` and its like names.
pub(in crate::transform::fhirpath) fn argument(arguments: &[Syntax]) -> Result<TypeTest, Fault> {
    let Some(argument) = arguments.first() else {
        return Err((0, PathProblem::UnknownType { name: String::new(), nearest: Vec::new() }));
    };
    let Some(name) = written_type(argument) else {
        let expected = "a type's name".to_owned();
        let found = "another expression".to_owned();
        return Err((argument.at, PathProblem::Syntax { expected, found }));
    };
    named(first_place(argument), &name)
}

/// Where a dotted name begins.
fn first_place(mut syntax: &Syntax) -> usize {
    while let SyntaxNode::Member { input: Some(input), .. } = &syntax.node {
        syntax = input;
    }
    syntax.at
}

/// `Patient`, `FHIR.Patient`.
fn written_type(syntax: &Syntax) -> Option<String> {
    let SyntaxNode::Member { input, name } = &syntax.node else { return None };
    match input {
        None => Some(name.clone()),
        Some(input) => Some(format!("{}.{name}", written_type(input)?)),
    }
}

/// The type of that name, or the two of that name.
pub(in crate::transform::fhirpath) fn named(at: usize, name: &str) -> Result<TypeTest, Fault> {
    let (fhir, system) = if let Some(system) = name.strip_prefix("System.") {
        (None, SystemType::named(system))
    } else if let Some(fhir) = name.strip_prefix("FHIR.") {
        (FhirType::named(fhir), None)
    } else {
        (FhirType::named(name), SystemType::named(name))
    };
    if fhir.is_none() && system.is_none() {
        let nearest = nearest(name, FhirType::all_names(), None);
        return Err((at, PathProblem::UnknownType { name: name.to_owned(), nearest }));
    }
    Ok(TypeTest { fhir, system })
}

/// The type whose own profile the argument of `conformsTo` names. No other profile is known.
pub(in crate::transform::fhirpath) fn profile(arguments: &[Syntax]) -> Result<TypeTest, Fault> {
    let unknown = PathProblem::Unsupported {
        name: "conformsTo".to_owned(),
        reason: "the only profiles it knows are those of FHIR's own types, as a literal: \
                 'http://hl7.org/fhir/StructureDefinition/Patient'",
    };
    let Some(argument) = arguments.first() else { return Err((0, unknown)) };
    let fhir = match &argument.node {
        SyntaxNode::String(url) => url.strip_prefix(OWN_PROFILES).and_then(FhirType::named),
        _ => None,
    };
    match fhir {
        Some(fhir) => Ok(TypeTest { fhir: Some(fhir), system: None }),
        None => Err((argument.at, unknown)),
    }
}
