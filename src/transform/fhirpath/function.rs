//! The functions there are: names, numbers of arguments, and what is refused with which reason.

use super::item::SystemType;

/// A function that is applied to a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    Aggregate,
    All,
    AllFalse,
    AllTrue,
    AnyFalse,
    AnyTrue,
    Ceiling,
    Children,
    Combine,
    Contains,
    ConvertsTo(SystemType),
    Count,
    Descendants,
    Distinct,
    Empty,
    EndsWith,
    Exclude,
    Exists,
    Extension,
    First,
    Floor,
    HasValue,
    Iif,
    IndexOf,
    Intersect,
    IsDistinct,
    Join,
    Last,
    Length,
    Lower,
    Matches,
    MatchesFull,
    Not,
    Repeat,
    Replace,
    ReplaceMatches,
    ResourceKey,
    Round,
    Select,
    Single,
    Skip,
    Split,
    StartsWith,
    SubsetOf,
    Substring,
    SupersetOf,
    Tail,
    Take,
    To(SystemType),
    ToChars,
    Trim,
    Truncate,
    Union,
    Upper,
    Where,
}

/// A function's name and how many arguments it takes.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) least: usize,
    pub(super) most: usize,
}

const fn of(name: &'static str, function: Function, least: usize, most: usize) -> Signature {
    Signature { name, function, least, most }
}

/// All functions but those that take a type: `is`, `as`, `ofType`, `getReferenceKey`.
pub(super) const FUNCTIONS: [Signature; 70] = [
    of("abs", Function::Abs, 0, 0),
    of("aggregate", Function::Aggregate, 1, 2),
    of("all", Function::All, 1, 1),
    of("allFalse", Function::AllFalse, 0, 0),
    of("allTrue", Function::AllTrue, 0, 0),
    of("anyFalse", Function::AnyFalse, 0, 0),
    of("anyTrue", Function::AnyTrue, 0, 0),
    of("ceiling", Function::Ceiling, 0, 0),
    of("children", Function::Children, 0, 0),
    of("combine", Function::Combine, 1, 1),
    of("contains", Function::Contains, 1, 1),
    of("convertsToBoolean", Function::ConvertsTo(SystemType::Boolean), 0, 0),
    of("convertsToDate", Function::ConvertsTo(SystemType::Date), 0, 0),
    of("convertsToDateTime", Function::ConvertsTo(SystemType::DateTime), 0, 0),
    of("convertsToDecimal", Function::ConvertsTo(SystemType::Decimal), 0, 0),
    of("convertsToInteger", Function::ConvertsTo(SystemType::Integer), 0, 0),
    of("convertsToQuantity", Function::ConvertsTo(SystemType::Quantity), 0, 0),
    of("convertsToString", Function::ConvertsTo(SystemType::String), 0, 0),
    of("convertsToTime", Function::ConvertsTo(SystemType::Time), 0, 0),
    of("count", Function::Count, 0, 0),
    of("descendants", Function::Descendants, 0, 0),
    of("distinct", Function::Distinct, 0, 0),
    of("empty", Function::Empty, 0, 0),
    of("endsWith", Function::EndsWith, 1, 1),
    of("exclude", Function::Exclude, 1, 1),
    of("exists", Function::Exists, 0, 1),
    of("extension", Function::Extension, 1, 1),
    of("first", Function::First, 0, 0),
    of("floor", Function::Floor, 0, 0),
    of("getResourceKey", Function::ResourceKey, 0, 0),
    of("hasValue", Function::HasValue, 0, 0),
    of("iif", Function::Iif, 2, 3),
    of("indexOf", Function::IndexOf, 1, 1),
    of("intersect", Function::Intersect, 1, 1),
    of("isDistinct", Function::IsDistinct, 0, 0),
    of("join", Function::Join, 0, 1),
    of("last", Function::Last, 0, 0),
    of("length", Function::Length, 0, 0),
    of("lower", Function::Lower, 0, 0),
    of("matches", Function::Matches, 1, 1),
    of("matchesFull", Function::MatchesFull, 1, 1),
    of("not", Function::Not, 0, 0),
    of("repeat", Function::Repeat, 1, 1),
    of("replace", Function::Replace, 2, 2),
    of("replaceMatches", Function::ReplaceMatches, 2, 2),
    of("round", Function::Round, 0, 1),
    of("select", Function::Select, 1, 1),
    of("single", Function::Single, 0, 0),
    of("skip", Function::Skip, 1, 1),
    of("split", Function::Split, 1, 1),
    of("startsWith", Function::StartsWith, 1, 1),
    of("subsetOf", Function::SubsetOf, 1, 1),
    of("substring", Function::Substring, 1, 2),
    of("supersetOf", Function::SupersetOf, 1, 1),
    of("tail", Function::Tail, 0, 0),
    of("take", Function::Take, 1, 1),
    of("toBoolean", Function::To(SystemType::Boolean), 0, 0),
    of("toChars", Function::ToChars, 0, 0),
    of("toDate", Function::To(SystemType::Date), 0, 0),
    of("toDateTime", Function::To(SystemType::DateTime), 0, 0),
    of("toDecimal", Function::To(SystemType::Decimal), 0, 0),
    of("toInteger", Function::To(SystemType::Integer), 0, 0),
    of("toQuantity", Function::To(SystemType::Quantity), 0, 0),
    of("toString", Function::To(SystemType::String), 0, 0),
    of("toTime", Function::To(SystemType::Time), 0, 0),
    of("trim", Function::Trim, 0, 0),
    of("truncate", Function::Truncate, 0, 0),
    of("union", Function::Union, 1, 1),
    of("upper", Function::Upper, 0, 0),
    of("where", Function::Where, 1, 1),
];

const NO_CLOCK: &str = "the same document must always make the same rows";
const NO_NETWORK: &str = "it needs a server to ask, and rows are made of the document alone";
const NO_TERMINOLOGY: &str = "it needs a terminology server";
const NOT_YET: &str = "it is not implemented";

/// Functions that FHIRPath or FHIR defines and that are refused, with the reason.
pub(super) const REFUSED: [(&str, &str); 35] = [
    ("checkModifiers", NOT_YET),
    ("comparable", NOT_YET),
    ("conformsTo", "it needs the profiles, and rows are made of the document alone"),
    ("decode", NOT_YET),
    ("defineVariable", NOT_YET),
    ("elementDefinition", NOT_YET),
    ("encode", NOT_YET),
    ("escape", NOT_YET),
    ("exp", NOT_YET),
    ("expand", NO_TERMINOLOGY),
    ("getValue", NOT_YET),
    ("highBoundary", NOT_YET),
    ("htmlChecks", NOT_YET),
    ("lastIndexOf", NOT_YET),
    ("ln", NOT_YET),
    ("log", NOT_YET),
    ("lookup", NO_TERMINOLOGY),
    ("lowBoundary", NOT_YET),
    ("memberOf", NO_TERMINOLOGY),
    ("now", NO_CLOCK),
    ("power", NOT_YET),
    ("precision", NOT_YET),
    ("resolve", NO_NETWORK),
    ("slice", "it needs the profiles, and rows are made of the document alone"),
    ("sort", NOT_YET),
    ("sqrt", NOT_YET),
    ("subsumedBy", NO_TERMINOLOGY),
    ("subsumes", NO_TERMINOLOGY),
    ("timeOfDay", NO_CLOCK),
    ("today", NO_CLOCK),
    ("trace", "it would write data into the log"),
    ("translate", NO_TERMINOLOGY),
    ("type", "use `is` or `ofType`"),
    ("unescape", NOT_YET),
    ("validateVS", NO_TERMINOLOGY),
];

impl Function {
    /// Its name, for messages.
    pub(super) fn name(self) -> &'static str {
        let signature = FUNCTIONS.iter().find(|signature| signature.function == self);
        signature.map_or("function", |signature| signature.name)
    }

    /// Does it evaluate its arguments on each item?
    pub(super) const fn is_per_item(self) -> bool {
        matches!(
            self,
            Self::Where
                | Self::Select
                | Self::All
                | Self::Exists
                | Self::Repeat
                | Self::Iif
                | Self::Aggregate
        )
    }

    /// Does it work on text alone?
    pub(super) const fn is_on_text(self) -> bool {
        matches!(
            self,
            Self::Contains
                | Self::EndsWith
                | Self::IndexOf
                | Self::Length
                | Self::Lower
                | Self::Matches
                | Self::MatchesFull
                | Self::Replace
                | Self::ReplaceMatches
                | Self::Split
                | Self::StartsWith
                | Self::Substring
                | Self::ToChars
                | Self::Trim
                | Self::Upper
        )
    }
}
