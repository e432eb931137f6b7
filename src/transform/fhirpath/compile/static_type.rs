//! What is known of a collection's types before there is a document.

use crate::transform::fhirpath::function::Function;
use crate::transform::fhirpath::parse::syntax::Operator;
use crate::transform::fhirpath::types::FhirType;
use crate::transform::fhirpath::value::item::SystemType;

/// A type, of the document or of a computed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transform::fhirpath) enum StaticType {
    Fhir(FhirType),
    System(SystemType),
    /// What `type()` yields.
    Info,
}

impl StaticType {
    pub(in crate::transform::fhirpath) fn name(self) -> &'static str {
        match self {
            Self::Fhir(fhir) => fhir.name(),
            Self::System(system) => system.name(),
            Self::Info => "TypeInfo",
        }
    }

    /// The type of its value when it is computed with; `None` if it has none.
    fn computed(self) -> Option<SystemType> {
        let fhir = match self {
            Self::System(system) => return Some(system),
            Self::Info => return None,
            Self::Fhir(fhir) => fhir,
        };
        let is_a = |name| FhirType::named(name).is_some_and(|other| fhir.is_a(other));
        Some(match fhir.name() {
            "boolean" => SystemType::Boolean,
            "decimal" => SystemType::Decimal,
            "date" => SystemType::Date,
            "dateTime" | "instant" => SystemType::DateTime,
            "time" => SystemType::Time,
            _ if is_a("integer") => SystemType::Integer,
            _ if fhir.is_primitive() => SystemType::String,
            _ if is_a("Quantity") => SystemType::Quantity,
            _ => return None,
        })
    }
}

/// The types that the items of a collection may have.
#[derive(Debug, Clone)]
pub(in crate::transform::fhirpath) enum Types {
    Unknown,
    /// None for `{}`.
    OneOf(Vec<StaticType>),
}

impl Types {
    /// One FHIR type.
    pub(in crate::transform::fhirpath) fn fhir(fhir: FhirType) -> Self {
        Self::OneOf(vec![StaticType::Fhir(fhir)])
    }

    /// One type of computed values.
    pub(in crate::transform::fhirpath) fn system(system: SystemType) -> Self {
        Self::OneOf(vec![StaticType::System(system)])
    }

    /// The types of either.
    pub(in crate::transform::fhirpath) fn or(self, other: Self) -> Self {
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
    pub(in crate::transform::fhirpath) fn only(&self) -> Option<StaticType> {
        match self {
            Self::OneOf(types) => match types.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            Self::Unknown => None,
        }
    }

    /// For messages.
    pub(in crate::transform::fhirpath) fn names(&self) -> String {
        match self {
            Self::Unknown => "this".to_owned(),
            Self::OneOf(types) => {
                types.iter().map(|known| known.name()).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// Is every type known and an object?
    pub(in crate::transform::fhirpath) fn are_objects(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::OneOf(types) => {
                let object = |known: &StaticType| match known {
                    StaticType::Fhir(fhir) => !fhir.is_primitive() && !fhir.is_abstract(),
                    StaticType::System(_) => false,
                    StaticType::Info => true,
                };
                !types.is_empty() && types.iter().all(object)
            }
        }
    }

    /// May one of them be a reference?
    pub(in crate::transform::fhirpath) fn may_refer(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::OneOf(types) => types.iter().any(|known| known.name() == "Reference"),
        }
    }

    /// May one of them be a quantity?
    pub(in crate::transform::fhirpath) fn may_be_quantities(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::OneOf(types) => {
                types.iter().any(|known| known.computed() == Some(SystemType::Quantity))
            }
        }
    }

    /// The type that all values have when they are computed with.
    fn only_computed(&self) -> Option<SystemType> {
        self.only()?.computed()
    }

    /// The type that all values have when they are computed with, as types.
    fn computed(&self) -> Self {
        self.only_computed().map_or(Self::Unknown, Self::system)
    }
}

/// The types of `left operator right`.
pub(in crate::transform::fhirpath) fn arithmetic_types(
    operator: Operator,
    left: &Types,
    right: &Types,
) -> Types {
    use SystemType::{Date, DateTime, Decimal, Integer, Quantity, String, Time};
    let (Some(left), Some(right)) = (left.only_computed(), right.only_computed()) else {
        return Types::Unknown;
    };
    Types::system(match (operator, left, right) {
        (Operator::Divide, Integer | Decimal, Integer | Decimal) => Decimal,
        (Operator::WholeDivide, Integer | Decimal, Integer | Decimal) | (_, Integer, Integer) => {
            Integer
        }
        (_, Integer | Decimal, Integer | Decimal) => Decimal,
        (
            Operator::Plus | Operator::Minus,
            known @ (Date | DateTime | Time | Quantity),
            Quantity,
        ) => known,
        (Operator::Plus, String, String) => String,
        (Operator::Times | Operator::Divide, Quantity, Quantity | Integer | Decimal)
        | (Operator::Times | Operator::Divide, Integer | Decimal, Quantity) => Quantity,
        _ => return Types::Unknown,
    })
}

/// The types of what a function yields.
pub(in crate::transform::fhirpath) fn result_types(
    function: Function,
    input: Types,
    arguments: Vec<Types>,
) -> Types {
    let mut arguments = arguments.into_iter();
    match function {
        Function::CheckModifiers
        | Function::Distinct
        | Function::Exclude
        | Function::First
        | Function::Intersect
        | Function::Last
        | Function::Single
        | Function::Skip
        | Function::Sort
        | Function::Tail
        | Function::Take
        | Function::Trace
        | Function::Where => input,
        Function::Union | Function::Combine => input.or(arguments.next().unwrap_or(Types::Unknown)),
        Function::Coalesce => arguments.reduce(Types::or).unwrap_or(Types::Unknown),
        Function::Select | Function::Repeat | Function::RepeatAll => {
            arguments.next().unwrap_or(Types::Unknown)
        }
        Function::Iif => arguments.skip(1).reduce(Types::or).unwrap_or(Types::Unknown),
        Function::Extension => FhirType::named("Extension").map_or(Types::Unknown, Types::fhir),
        Function::Aggregate | Function::Children | Function::Descendants | Function::Power => {
            Types::Unknown
        }
        Function::Abs | Function::GetValue => input.computed(),
        // The boundary of a whole number is none.
        Function::HighBoundary | Function::LowBoundary => match input.only_computed() {
            Some(SystemType::Integer) => Types::system(SystemType::Decimal),
            Some(SystemType::Boolean | SystemType::String) | None => Types::Unknown,
            Some(other) => Types::system(other),
        },
        Function::Resolve => FhirType::named("Resource").map_or(Types::Unknown, Types::fhir),
        Function::Type => Types::OneOf(vec![StaticType::Info]),
        Function::Now => Types::system(SystemType::DateTime),
        Function::Today => Types::system(SystemType::Date),
        Function::TimeOfDay => Types::system(SystemType::Time),
        Function::Exp | Function::Ln | Function::Log | Function::Round | Function::Sqrt => {
            Types::system(SystemType::Decimal)
        }
        Function::Ceiling
        | Function::Count
        | Function::Floor
        | Function::IndexOf
        | Function::LastIndexOf
        | Function::Length
        | Function::Precision
        | Function::Truncate => Types::system(SystemType::Integer),
        Function::To(system) => Types::system(system),
        Function::Decode
        | Function::Encode
        | Function::Escape
        | Function::Join
        | Function::Lower
        | Function::Replace
        | Function::ReplaceMatches
        | Function::ResourceKey
        | Function::Split
        | Function::Substring
        | Function::ToChars
        | Function::Trim
        | Function::Unescape
        | Function::Upper => Types::system(SystemType::String),
        Function::All
        | Function::AllFalse
        | Function::AllTrue
        | Function::AnyFalse
        | Function::AnyTrue
        | Function::Comparable
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
