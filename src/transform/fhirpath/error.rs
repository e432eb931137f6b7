//! What can go wrong: with an expression when it is compiled, with a document when it is
//! evaluated.
//!
//! A [`PathError`] quotes the expression, which is configuration. An [`EvaluationError`] never
//! quotes anything, because what it speaks of is a document.

use std::fmt;

use thiserror::Error;

/// A value or why there is none.
pub(super) type Outcome<T = ()> = Result<T, EvaluationError>;

/// An expression that cannot be used, and where. Shown with the line and a caret under the place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct PathError {
    /// The whole expression.
    pub expression: String,
    /// Bytes before the place.
    pub at: usize,
    /// What is wrong there.
    #[source]
    pub problem: PathProblem,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.expression.floor_char_boundary(self.at);
        let before = self.expression.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.expression.get(line_start..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        write!(f, "the FHIRPath expression is refused at byte {}\n{line}\n", self.at)?;
        write!(f, "{:column$}^", "")
    }
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathProblem {
    /// Not the grammar of FHIRPath.
    #[error("expected {expected}, found {found}")]
    Syntax {
        /// What may stand here.
        expected: String,
        /// What stands here.
        found: String,
    },
    /// A literal that names no value: `@2024-13`, `'\q'`.
    #[error("this is no valid {literal}")]
    Literal {
        /// Kind of literal.
        literal: &'static str,
    },
    /// The type has no such element.
    #[error("{owner} has no element `{name}`{}", Suggestion(nearest))]
    UnknownElement {
        /// Type or types that were searched.
        owner: String,
        /// Name as written.
        name: String,
        /// What it might have meant, best first.
        nearest: Vec<String>,
    },
    /// The expression begins with another type than the one it is evaluated on.
    #[error("the expression begins with {name}, but is evaluated on {context}")]
    WrongContext {
        /// Type the expression begins with.
        name: String,
        /// Type it is evaluated on.
        context: String,
    },
    /// No such type.
    #[error("there is no type `{name}`{}", Suggestion(nearest))]
    UnknownType {
        /// Name as written.
        name: String,
        /// What it might have meant, best first.
        nearest: Vec<String>,
    },
    /// No such function.
    #[error("there is no function `{name}`{}", Suggestion(nearest))]
    UnknownFunction {
        /// Name as written.
        name: String,
        /// What it might have meant, best first.
        nearest: Vec<String>,
    },
    /// No such environment variable.
    #[error("there is no variable `%{name}`{}", Suggestion(nearest))]
    UnknownVariable {
        /// Name as written, without `%`.
        name: String,
        /// What it might have meant, best first, with `%`.
        nearest: Vec<String>,
    },
    /// FHIRPath, but not done here.
    #[error("`{name}` is not supported: {reason}")]
    Unsupported {
        /// Function or operator.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A function with too few or too many arguments.
    #[error("`{function}` takes {expected} arguments, found {found}")]
    Arguments {
        /// Function's name.
        function: String,
        /// How many it takes.
        expected: String,
        /// How many there are.
        found: usize,
    },
    /// The operand's type is known and can never work.
    #[error("`{operation}` does not apply to {operand}")]
    Operand {
        /// Function or operator.
        operation: String,
        /// Type of what it is applied to.
        operand: String,
    },
    /// An argument that the function does not know.
    #[error("`{function}` takes one of {}", accepted.join(", "))]
    Format {
        /// Function's name.
        function: String,
        /// What it knows.
        accepted: &'static [&'static str],
    },
    /// A regular expression that does not compile.
    #[error("this is no valid regular expression")]
    Pattern,
    /// Longer than [`MAX_EXPRESSION_BYTES`](super::MAX_EXPRESSION_BYTES).
    #[error("the expression is longer than {limit} bytes")]
    TooLong {
        /// Limit in force.
        limit: usize,
    },
    /// Nested deeper than [`MAX_EXPRESSION_DEPTH`](super::MAX_EXPRESSION_DEPTH).
    #[error("the expression is nested deeper than {limit} levels")]
    TooDeep {
        /// Limit in force.
        limit: usize,
    },
}

struct Suggestion<'a>(&'a [String]);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "; did you mean " } else { ", " })?;
            write!(f, "`{name}`")?;
        }
        Ok(())
    }
}

/// Why an expression has no result on a document. The document will always be refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// Several items where FHIRPath allows one at most.
    #[error("`{operation}` needs one item at most and there are several")]
    Several {
        /// Function or operator.
        operation: &'static str,
    },
    /// Items of types that do not go together.
    #[error("`{operation}` does not apply to items of these types")]
    Operands {
        /// Function or operator.
        operation: &'static str,
    },
    /// A regular expression that was computed does not compile.
    #[error("`{operation}` was given an invalid regular expression")]
    Pattern {
        /// Function.
        operation: &'static str,
    },
    /// `encode` and its like were given a format that they do not know.
    #[error("`{operation}` was given a format that it does not know")]
    Format {
        /// Function.
        operation: &'static str,
    },
    /// An element has an extension that changes its meaning, and `checkModifiers` was not told of
    /// it.
    #[error("`checkModifiers` found a modifier extension that it was not told of")]
    UnknownModifier,
    /// The time of the change was asked for, and its record has none.
    #[error("`{operation}` is the time of the change, and the record has no timestamp")]
    NoInstant {
        /// Function.
        operation: &'static str,
    },
    /// A number of more than [`MAX_NUMBER_DIGITS`](super::MAX_NUMBER_DIGITS) digits.
    #[error("a number is out of the range that is computed with")]
    NumberOutOfRange,
    /// Text longer than [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES).
    #[error("a computed text is longer than {limit} bytes")]
    TextTooLong {
        /// Limit in force.
        limit: usize,
    },
    /// More work than [`MAX_STEPS`](super::MAX_STEPS).
    #[error("the evaluation takes more than {limit} steps")]
    TooManySteps {
        /// Limit in force.
        limit: u32,
    },
    /// More items than [`MAX_ITEMS`](super::MAX_ITEMS).
    #[error("the evaluation yields more than {limit} items")]
    TooManyItems {
        /// Limit in force.
        limit: usize,
    },
}

/// The names nearest to a misspelt one, best first, three at most.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
    extra: Option<String>,
) -> Vec<String> {
    let lower = name.to_lowercase();
    let mut ranked: Vec<(usize, &str)> = candidates
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 3 + 1)
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    extra.into_iter().chain(ranked.into_iter().map(|(_, found)| found.to_owned())).take(3).collect()
}

/// How many letters to change, two neighbours changing places included. Long names are not
/// compared: nobody misspells them by a letter.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    if left.len() > LONGEST || right.len() > LONGEST {
        return usize::MAX;
    }
    strsim::osa_distance(left, right)
}
