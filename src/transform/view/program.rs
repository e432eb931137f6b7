//! Views in the form in which they run.
//!
//! In: what `compile` made of the documents. Out: nothing but data for `rows`: every expression
//! compiled, every column in the order of its table.

use std::sync::Arc;

use crate::model::{ColumnType, Row};
use crate::transform::expression::Expression;

/// One view.
pub(in crate::transform) struct ViewProgram {
    pub(super) table: Arc<str>,
    /// What must be true of the resource.
    pub(super) conditions: Vec<Expression>,
    /// What the rows begin with.
    pub(super) managed: Vec<Managed>,
    /// The view's selects, below one that is the resource itself.
    pub(super) select: SelectProgram,
}

/// A column that rowcast fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Managed {
    /// The row's own UUID.
    Id,
    /// The change's version.
    Version,
    /// The resource's logical id.
    ResourceId,
}

/// Rows for each element of an iteration: its columns, with every row of each nested select and of
/// the union.
pub(super) struct SelectProgram {
    pub(super) iteration: Iteration,
    pub(super) columns: Vec<ColumnProgram>,
    pub(super) selects: Vec<SelectProgram>,
    pub(super) union: Vec<SelectProgram>,
    /// The row of an iteration that yields nothing, for [`Iteration::EachOrNull`].
    pub(super) nothing: Row,
}

/// What a select is evaluated on.
pub(super) enum Iteration {
    /// What the select around it is evaluated on.
    Once,
    /// `forEach`
    Each(Expression),
    /// `forEachOrNull`
    EachOrNull(Expression),
    /// `repeat`
    Repeat(Vec<Expression>),
}

/// What fills one column.
pub(super) struct ColumnProgram {
    pub(super) name: Arc<str>,
    pub(super) value: Expression,
    pub(super) column_type: ColumnType,
    pub(super) count: Count,
    /// Longest text, characters.
    pub(super) maximum: Option<usize>,
}

/// How many values a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// One or none; several are refused.
    One,
    /// Any number, as a JSON array.
    Collection,
}
