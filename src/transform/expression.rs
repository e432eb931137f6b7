//! An expression of the rules, compiled, and where it is written.
//!
//! In: what `rules` and `view` compile. Out: what runs, and the place in every refusal of it.

use std::sync::Arc;

use super::error::{At, TransformError};
use super::fhirpath::Path;
use crate::error::Refusal;
use crate::model::Change;

/// A compiled expression and where it is written.
pub(super) struct Expression {
    /// File and JSON path.
    pub(super) rule: Arc<str>,
    pub(super) path: Path,
}

impl Expression {
    /// The refusal of a change over which it failed while this table was being filled.
    pub(super) fn refuse(
        &self,
        error: &TransformError,
        change: &Change,
        table: &Arc<str>,
        column: Option<&Arc<str>>,
    ) -> Box<Refusal> {
        let (rule, path) = (Some(&self.rule), Some(self.path.expression()));
        error.refuse(change, &At { table, column, rule, path })
    }
}
