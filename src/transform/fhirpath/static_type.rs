//! What is known of a collection's types before there is a document.

use super::function::Function;
use super::item::SystemType;
use super::types::FhirType;

/// A type, of the document or of a computed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StaticType {
    Fhir(FhirType),
    System(SystemType),
}

impl StaticType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fhir(fhir) => fhir.name(),
            Self::System(system) => system.name(),
        }
    }
}

/// The types that the items of a collection may have.
#[derive(Debug, Clone)]
pub(super) enum Types {
    Unknown,
    /// None for `{}`.
    OneOf(Vec<StaticType>),
}

impl Types {
    /// One FHIR type.
    pub(super) fn fhir(fhir: FhirType) -> Self {
        Self::OneOf(vec![StaticType::Fhir(fhir)])
    }

    /// One type of computed values.
    pub(super) fn system(system: SystemType) -> Self {
        Self::OneOf(vec![StaticType::System(system)])
    }

    /// The types of either.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::OneOf(mut left), Self::OneOf(right)) => {
                for candidate in right {
                    if !left.contains(&candidate) {
                        left.push(candidate);
                    }
                }
                Self::OneOf(left)
            }
            _ => Self::Unknown,
        }
    }

    /// The one type that all items have.
    pub(super) fn only(&self) -> Option<StaticType> {
        match self {
            Self::OneOf(types) => match types.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            Self::Unknown => None,
        }
    }

    /// For messages.
    pub(super) fn names(&self) -> String {
        match self {
            Self::Unknown => "this".to_owned(),
            Self::OneOf(types) => {
                types.iter().map(|known| known.name()).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// Is every type known and an object?
    pub(super) fn are_objects(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::OneOf(types) => {
                let object = |known: &StaticType| match known {
                    StaticType::Fhir(fhir) => !fhir.is_primitive() && !fhir.is_abstract(),
                    StaticType::System(_) => false,
                };
                !types.is_empty() && types.iter().all(object)
            }
        }
    }

    pub(super) fn are_quantities(&self) -> bool {
        self.only().is_some_and(|only| only.name() == SystemType::Quantity.name())
    }
}

/// The types of what a function yields.
pub(super) fn result_types(function: Function, input: Types, arguments: Vec<Types>) -> Types {
    let mut arguments = arguments.into_iter();
    match function {
        Function::Distinct
        | Function::Exclude
        | Function::First
        | Function::Intersect
        | Function::Last
        | Function::Single
        | Function::Skip
        | Function::Tail
        | Function::Take
        | Function::Where => input,
        Function::Union | Function::Combine => input.or(arguments.next().unwrap_or(Types::Unknown)),
        Function::Select | Function::Repeat => arguments.next().unwrap_or(Types::Unknown),
        Function::Iif => arguments.skip(1).reduce(Types::or).unwrap_or(Types::Unknown),
        Function::Extension => FhirType::named("Extension").map_or(Types::Unknown, Types::fhir),
        Function::Abs | Function::Aggregate | Function::Children | Function::Descendants => {
            Types::Unknown
        }
        Function::Round => Types::system(SystemType::Decimal),
        Function::Ceiling
        | Function::Count
        | Function::Floor
        | Function::IndexOf
        | Function::Length
        | Function::Truncate => Types::system(SystemType::Integer),
        Function::To(system) => Types::system(system),
        Function::Join
        | Function::Lower
        | Function::Replace
        | Function::ReplaceMatches
        | Function::ResourceKey
        | Function::Split
        | Function::Substring
        | Function::ToChars
        | Function::Trim
        | Function::Upper => Types::system(SystemType::String),
        Function::All
        | Function::AllFalse
        | Function::AllTrue
        | Function::AnyFalse
        | Function::AnyTrue
        | Function::Contains
        | Function::ConvertsTo(_)
        | Function::Empty
        | Function::EndsWith
        | Function::Exists
        | Function::HasValue
        | Function::IsDistinct
        | Function::Matches
        | Function::MatchesFull
        | Function::Not
        | Function::StartsWith
        | Function::SubsetOf
        | Function::SupersetOf => Types::system(SystemType::Boolean),
    }
}
