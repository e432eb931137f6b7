//! Names in a path are looked up in the types that they are asked of.

use super::static_type::{StaticType, Types};
use crate::transform::fhirpath::error::{PathProblem, nearest};
use crate::transform::fhirpath::parse::syntax::Fault;
use crate::transform::fhirpath::program::{Program, Step};
use crate::transform::fhirpath::types::{Element, FhirType, TypeKind};
use crate::transform::fhirpath::value::item::SystemType;
use crate::transform::fhirpath::value::reflect::TypeInfo;

/// What JSON has and FHIRPath has not.
const RESOURCE_TYPE: &str = "resourceType";

type Compiled = (Program, Types);

/// A type's name at the beginning of a path.
pub(in crate::transform::fhirpath) fn root(
    at: usize,
    named: FhirType,
    this: &Types,
) -> Result<Compiled, Fault> {
    let at_run_time = Ok((Program::OfType(named), Types::fhir(named)));
    let Types::OneOf(types) = this else { return at_run_time };
    let fits = |known: &StaticType| matches!(known, StaticType::Fhir(known) if known.is_a(named));
    let may_fit = |known: &StaticType| match known {
        StaticType::Fhir(known) => known.is_abstract() || named.is_a(*known),
        StaticType::System(_) | StaticType::Info => false,
    };
    if types.iter().all(fits) {
        Ok((Program::This, this.clone()))
    } else if types.iter().any(|known| fits(known) || may_fit(known)) {
        at_run_time
    } else {
        let (name, context) = (named.name().to_owned(), this.names());
        Err((at, PathProblem::WrongContext { name, context }))
    }
}

/// One element further.
pub(in crate::transform::fhirpath) fn navigate(
    at: usize,
    (from, types): Compiled,
    name: &str,
) -> Result<Compiled, Fault> {
    let (step, found) = match &types {
        Types::Unknown if name == RESOURCE_TYPE => return Err((at, resource_type())),
        Types::Unknown => (Step::Named(name.to_owned()), Types::Unknown),
        Types::OneOf(known) if known.is_empty() => return Ok((Program::Empty, types)),
        Types::OneOf(known) => {
            if let [StaticType::Fhir(only)] = known.as_slice()
                && let Some(element) = only.element(name)
            {
                (Step::Known(element), element_types(element))
            } else {
                let found = known.iter().filter_map(|candidate| elements(*candidate, name));
                let Some(found) = found.reduce(Types::or) else {
                    return Err((at, unknown_element(&types, known, name)));
                };
                (Step::Named(name.to_owned()), found)
            }
        }
    };
    let program = match from {
        Program::Navigate { from, mut steps } => {
            steps.push(step);
            Program::Navigate { from, steps }
        }
        from => Program::Navigate { from: Box::new(from), steps: vec![step] },
    };
    Ok((program, found))
}

/// The types that the elements of that name have; `None` if there is none.
fn elements(owner: StaticType, name: &str) -> Option<Types> {
    let fhir = match owner {
        StaticType::Fhir(fhir) => fhir,
        StaticType::System(SystemType::Quantity) => {
            return match name {
                "value" => Some(Types::system(SystemType::Decimal)),
                "unit" => Some(Types::system(SystemType::String)),
                _ => None,
            };
        }
        StaticType::System(_) => return None,
        StaticType::Info => {
            let known = TypeInfo::ELEMENTS.contains(&name);
            return known.then(|| Types::system(SystemType::String));
        }
    };
    match fhir.element(name) {
        // Of an abstract type it is the instance's own type that has the element.
        None if fhir.is_abstract() => fhir
            .specialisations()
            .filter_map(|instance| instance.element(name))
            .map(element_types)
            .reduce(Types::or),
        element => element.map(element_types),
    }
}

fn element_types(element: &Element) -> Types {
    Types::OneOf(element.types.iter().copied().map(StaticType::Fhir).collect())
}

fn unknown_element(types: &Types, known: &[StaticType], name: &str) -> PathProblem {
    let is_resource = |known: &StaticType| match known {
        StaticType::Fhir(fhir) => fhir.kind() == TypeKind::Resource,
        StaticType::System(_) | StaticType::Info => false,
    };
    if name == RESOURCE_TYPE && known.iter().any(is_resource) {
        return resource_type();
    }
    let mut candidates = Vec::new();
    let mut choice = None;
    for candidate in known {
        let fhir = match candidate {
            StaticType::Fhir(fhir) => *fhir,
            StaticType::System(SystemType::Quantity) => {
                candidates.extend(["value", "unit"]);
                continue;
            }
            StaticType::System(_) => continue,
            StaticType::Info => {
                candidates.extend(TypeInfo::ELEMENTS);
                continue;
            }
        };
        let instances: Vec<FhirType> =
            if fhir.is_abstract() { fhir.specialisations().collect() } else { vec![fhir] };
        for element in instances.into_iter().flat_map(FhirType::elements) {
            candidates.push(element.name);
            let member = element.members.iter().flatten().find(|member| member.name == name);
            if let Some(member) = member {
                choice = Some(format!("{}.ofType({})", element.name, member.fhir_type.name()));
            }
        }
    }
    let nearest = nearest(name, candidates.into_iter(), choice);
    PathProblem::UnknownElement { owner: types.names(), name: name.to_owned(), nearest }
}

fn resource_type() -> PathProblem {
    PathProblem::Unsupported {
        name: RESOURCE_TYPE.to_owned(),
        reason: "it is JSON's way to name the type, no element; use `type().name`, or `is` and \
                 `ofType` with a type",
    }
}
