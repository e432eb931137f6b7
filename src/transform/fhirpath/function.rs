//! The functions there are: names, numbers of arguments, and what is refused with which reason.

use super::value::item::SystemType;

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
    CheckModifiers,
    Children,
    Coalesce,
    Combine,
    Comparable,
    Contains,
    ConvertsTo(SystemType),
    Count,
    Decode,
    Descendants,
    Distinct,
    Empty,
    Encode,
    EndsWith,
    Escape,
    Exclude,
    Exists,
    Exp,
    Extension,
    First,
    Floor,
    GetValue,
    HasValue,
    HighBoundary,
    Iif,
    IndexOf,
    Intersect,
    IsDistinct,
    Join,
    Last,
    LastIndexOf,
    Length,
    Ln,
    Log,
    LowBoundary,
    Lower,
    Matches,
    MatchesFull,
    Not,
    Now,
    Power,
    Precision,
    Repeat,
    RepeatAll,
    Replace,
    ReplaceMatches,
    Resolve,
    ResourceKey,
    Round,
    Select,
    Single,
    Skip,
    Sort,
    Split,
    Sqrt,
    StartsWith,
    SubsetOf,
    Substring,
    SupersetOf,
    Tail,
    Take,
    TimeOfDay,
    To(SystemType),
    ToChars,
    Today,
    Trace,
    Trim,
    Truncate,
    Type,
    Unescape,
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

/// All functions but those that take a type.
pub(super) static FUNCTIONS: [Signature; 95] = [
    of("abs", Function::Abs, 0, 0),
    of("aggregate", Function::Aggregate, 1, 2),
    of("all", Function::All, 1, 1),
    of("allFalse", Function::AllFalse, 0, 0),
    of("allTrue", Function::AllTrue, 0, 0),
    of("anyFalse", Function::AnyFalse, 0, 0),
    of("anyTrue", Function::AnyTrue, 0, 0),
    of("ceiling", Function::Ceiling, 0, 0),
    of("checkModifiers", Function::CheckModifiers, 1, 20),
    of("children", Function::Children, 0, 0),
    of("coalesce", Function::Coalesce, 1, 20),
    of("combine", Function::Combine, 1, 1),
    of("comparable", Function::Comparable, 1, 1),
    of("contains", Function::Contains, 1, 1),
    of("convertsToBoolean", Function::ConvertsTo(SystemType::Boolean), 0, 0),
    of("convertsToDate", Function::ConvertsTo(SystemType::Date), 0, 0),
    of("convertsToDateTime", Function::ConvertsTo(SystemType::DateTime), 0, 0),
    of("convertsToDecimal", Function::ConvertsTo(SystemType::Decimal), 0, 0),
    of("convertsToInteger", Function::ConvertsTo(SystemType::Integer), 0, 0),
    of("convertsToQuantity", Function::ConvertsTo(SystemType::Quantity), 0, 1),
    of("convertsToString", Function::ConvertsTo(SystemType::String), 0, 0),
    of("convertsToTime", Function::ConvertsTo(SystemType::Time), 0, 0),
    of("count", Function::Count, 0, 0),
    of("decode", Function::Decode, 1, 1),
    of("descendants", Function::Descendants, 0, 0),
    of("distinct", Function::Distinct, 0, 0),
    of("empty", Function::Empty, 0, 0),
    of("encode", Function::Encode, 1, 1),
    of("endsWith", Function::EndsWith, 1, 1),
    of("escape", Function::Escape, 1, 1),
    of("exclude", Function::Exclude, 1, 1),
    of("exists", Function::Exists, 0, 1),
    of("exp", Function::Exp, 0, 0),
    of("extension", Function::Extension, 1, 1),
    of("first", Function::First, 0, 0),
    of("floor", Function::Floor, 0, 0),
    of("getResourceKey", Function::ResourceKey, 0, 0),
    of("getValue", Function::GetValue, 0, 0),
    of("hasValue", Function::HasValue, 0, 0),
    of("highBoundary", Function::HighBoundary, 0, 1),
    of("iif", Function::Iif, 2, 3),
    of("indexOf", Function::IndexOf, 1, 1),
    of("intersect", Function::Intersect, 1, 1),
    of("isDistinct", Function::IsDistinct, 0, 0),
    of("join", Function::Join, 0, 1),
    of("last", Function::Last, 0, 0),
    of("lastIndexOf", Function::LastIndexOf, 1, 1),
    of("length", Function::Length, 0, 0),
    of("ln", Function::Ln, 0, 0),
    of("log", Function::Log, 1, 1),
    of("lowBoundary", Function::LowBoundary, 0, 1),
    of("lower", Function::Lower, 0, 0),
    of("matches", Function::Matches, 1, 1),
    of("matchesFull", Function::MatchesFull, 1, 1),
    of("not", Function::Not, 0, 0),
    of("now", Function::Now, 0, 0),
    of("power", Function::Power, 1, 1),
    of("precision", Function::Precision, 0, 0),
    of("repeat", Function::Repeat, 1, 1),
    of("repeatAll", Function::RepeatAll, 1, 1),
    of("replace", Function::Replace, 2, 2),
    of("replaceMatches", Function::ReplaceMatches, 2, 2),
    of("resolve", Function::Resolve, 0, 0),
    of("round", Function::Round, 0, 1),
    of("select", Function::Select, 1, 1),
    of("single", Function::Single, 0, 0),
    of("skip", Function::Skip, 1, 1),
    of("sort", Function::Sort, 0, 10),
    of("split", Function::Split, 1, 1),
    of("sqrt", Function::Sqrt, 0, 0),
    of("startsWith", Function::StartsWith, 1, 1),
    of("subsetOf", Function::SubsetOf, 1, 1),
    of("substring", Function::Substring, 1, 2),
    of("supersetOf", Function::SupersetOf, 1, 1),
    of("tail", Function::Tail, 0, 0),
    of("take", Function::Take, 1, 1),
    of("timeOfDay", Function::TimeOfDay, 0, 0),
    of("toBoolean", Function::To(SystemType::Boolean), 0, 0),
    of("toChars", Function::ToChars, 0, 0),
    of("toDate", Function::To(SystemType::Date), 0, 0),
    of("toDateTime", Function::To(SystemType::DateTime), 0, 0),
    of("today", Function::Today, 0, 0),
    of("toDecimal", Function::To(SystemType::Decimal), 0, 0),
    of("toInteger", Function::To(SystemType::Integer), 0, 0),
    of("toQuantity", Function::To(SystemType::Quantity), 0, 1),
    of("toString", Function::To(SystemType::String), 0, 0),
    of("toTime", Function::To(SystemType::Time), 0, 0),
    of("trace", Function::Trace, 1, 2),
    of("trim", Function::Trim, 0, 0),
    of("truncate", Function::Truncate, 0, 0),
    of("type", Function::Type, 0, 0),
    of("unescape", Function::Unescape, 1, 1),
    of("union", Function::Union, 1, 1),
    of("upper", Function::Upper, 0, 0),
    of("where", Function::Where, 1, 1),
];

/// Functions whose argument names a type or a profile.
pub(super) const TYPED: [&str; 5] = ["as", "conformsTo", "getReferenceKey", "is", "ofType"];

const LATER: &str = "it is of a later draft than the FHIRPath of R4; use `select` and `$this`";
const NO_CDA: &str = "it is for CDA documents";
const NO_FACTORY: &str = "rows are made of what documents hold, not of new resources";
const NO_PROFILES: &str = "it needs the profiles, and rows are made of the document alone";
const NO_SERVER: &str = "it needs a server to ask, and rows are made of the document alone";
const NO_TERMINOLOGY: &str = "it needs a terminology server";

/// Functions that FHIRPath or FHIR defines and that are refused, with the reason.
pub(super) const REFUSED: [(&str, &str); 13] = [
    ("defineVariable", LATER),
    ("elementDefinition", NO_PROFILES),
    ("expand", NO_TERMINOLOGY),
    ("hasTemplateIdOf", NO_CDA),
    ("htmlChecks", "it checks how a narrative is written, not what a resource says"),
    ("lookup", NO_TERMINOLOGY),
    ("memberOf", NO_TERMINOLOGY),
    ("slice", NO_PROFILES),
    ("subsumedBy", NO_TERMINOLOGY),
    ("subsumes", NO_TERMINOLOGY),
    ("translate", NO_TERMINOLOGY),
    ("validateCS", NO_TERMINOLOGY),
    ("validateVS", NO_TERMINOLOGY),
];

/// Variables that FHIR defines and that are refused, with the reason.
pub(super) const REFUSED_VARIABLES: [(&str, &str); 3] =
    [("factory", NO_FACTORY), ("server", NO_SERVER), ("terminologies", NO_TERMINOLOGY)];

impl Function {
    /// Its name, for messages. It is looked for; where there is a [`Signature`], that has it.
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
                | Self::RepeatAll
                | Self::Iif
                | Self::Aggregate
                | Self::Sort
                | Self::Trace
        )
    }

    /// Does it work on numbers, dates, times and quantities alone?
    pub(super) const fn is_on_values(self) -> bool {
        matches!(
            self,
            Self::Abs
                | Self::Ceiling
                | Self::Comparable
                | Self::Exp
                | Self::Floor
                | Self::HighBoundary
                | Self::Ln
                | Self::Log
                | Self::LowBoundary
                | Self::Power
                | Self::Precision
                | Self::Round
                | Self::Sqrt
                | Self::Truncate
        )
    }

    /// Does it work on text alone?
    pub(super) const fn is_on_text(self) -> bool {
        matches!(
            self,
            Self::Contains
                | Self::Decode
                | Self::Encode
                | Self::EndsWith
                | Self::Escape
                | Self::IndexOf
                | Self::LastIndexOf
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
                | Self::Unescape
                | Self::Upper
        )
    }
}

/// The names of all functions there are, in order.
#[must_use]
pub fn supported() -> Vec<&'static str> {
    let mut names: Vec<_> = FUNCTIONS.iter().map(|signature| signature.name).chain(TYPED).collect();
    names.sort_unstable();
    names
}

/// Functions and variables that are refused, and why.
#[must_use]
pub fn refused() -> Vec<(String, &'static str)> {
    let functions = REFUSED.iter().map(|(name, reason)| (format!("{name}()"), *reason));
    let variables = REFUSED_VARIABLES.iter().map(|(name, reason)| (format!("%{name}"), *reason));
    functions.chain(variables).collect()
}
