//! Why a document became no rows.
//!
//! In: what went wrong at a column or child table. Out: a [`Refusal`] that names rule, column
//! and path. It names kinds of values, never a value.

use std::sync::Arc;

use thiserror::Error;

use super::cast::CastError;
use super::fhirpath::EvaluationError;
use crate::error::{Cause, Place, Refusal, Stage};
use crate::model::Change;

/// Why a document became no rows. The same document is always refused again.
#[derive(Debug, Error)]
pub(super) enum TransformError {
    #[error("the FHIRPath expression failed on this document")]
    Expression(#[source] EvaluationError),
    #[error(
        "{count} values where one is expected: narrow the path or choose a \
         `multiplePrimitiveStrategy`"
    )]
    MultipleValues { count: usize },
    #[error(
        "{count} values where one is expected: narrow the path or make the column a `collection`"
    )]
    SeveralValues { count: usize },
    #[error("a condition yields one boolean, and this yields something else")]
    NoCondition,
    #[error("the value does not fit the column's type")]
    TypeMismatch(#[source] CastError),
    #[error("the value has more than the {limit} characters of `maximumSize`")]
    ValueTooLong { limit: usize },
    #[error("the value has more than the {limit} characters of its `ansi/type`")]
    LongerThanType { limit: usize },
    #[error("the elements of `repeat` are nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    #[error("the document makes rows of more than {limit} bytes")]
    TooManyBytes { limit: usize },
    #[error("the expressions take more than {limit} steps on this document, all rows together")]
    TooMuchWork { limit: u32 },
    #[error("the document makes more than {limit} rows")]
    TooManyRows { limit: usize },
}

impl TransformError {
    const fn cause(&self) -> Cause {
        match self {
            Self::Expression(_)
            | Self::NoCondition
            | Self::TooDeep { .. }
            | Self::TooManyBytes { .. }
            | Self::TooMuchWork { .. }
            | Self::TooManyRows { .. } => Cause::ExpressionError,
            Self::MultipleValues { .. } | Self::SeveralValues { .. } => Cause::MultipleValues,
            Self::TypeMismatch(_) => Cause::TypeMismatch,
            Self::ValueTooLong { .. } | Self::LongerThanType { .. } => Cause::ValueTooLong,
        }
    }

    /// The refusal of a change, with the place in rules and schema.
    pub(super) fn refuse(&self, change: &Change, at: &At<'_>) -> Box<Refusal> {
        let place = Place {
            resource_type: Some(change.resource.resource_type.clone()),
            version: change.version().map(crate::model::Version::get),
            table: Some(at.table.clone()),
            column: at.column.cloned(),
            rule: at.rule.cloned(),
            path: at.path.map(Into::into),
            sqlstate: None,
        };
        Box::new(Refusal::new(Stage::Transform, self.cause(), self, "TransformError", place))
    }
}

/// The place in rules and schema that was being filled.
pub(super) struct At<'p> {
    pub(super) table: &'p Arc<str>,
    pub(super) column: Option<&'p Arc<str>>,
    pub(super) rule: Option<&'p Arc<str>>,
    pub(super) path: Option<&'p str>,
}
