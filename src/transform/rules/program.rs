//! Rules in the form in which they run.
//!
//! In: what `validate` made of the documents. Out: nothing but data for `row`: every expression
//! compiled, every constant converted, every column in the order of its table.

use std::sync::Arc;

use super::document::{MultipleStrategy, OverflowStrategy, PartialDate};
use crate::model::{ColumnType, TableIndex, Value};
use crate::transform::expression::Expression;
use crate::transform::fhirpath::Path;

/// One root transformer.
pub(in crate::transform) struct RootProgram {
    pub(in crate::transform) condition: Option<Expression>,
    pub(in crate::transform) table: TableProgram,
    /// Tables of the root, the children included.
    pub(in crate::transform) tables: usize,
}

/// What fills one table.
pub(in crate::transform) struct TableProgram {
    pub(in crate::transform) index: TableIndex,
    pub(in crate::transform) name: Arc<str>,
    /// In the order of the table's columns.
    pub(in crate::transform) columns: Vec<ColumnProgram>,
    pub(in crate::transform) children: Vec<ChildProgram>,
}

/// One row for each element.
pub(in crate::transform) struct ChildProgram {
    pub(in crate::transform) elements: Expression,
    pub(in crate::transform) condition: Option<Expression>,
    pub(in crate::transform) table: TableProgram,
}

/// What fills one column.
pub(in crate::transform) struct ColumnProgram {
    pub(in crate::transform) name: Arc<str>,
    pub(in crate::transform) column_type: ColumnType,
    /// `None` for managed columns.
    pub(in crate::transform) rule: Option<Arc<str>>,
    pub(in crate::transform) fill: Fill,
}

/// Where a column's value comes from.
pub(in crate::transform) enum Fill {
    /// The row's own UUID.
    Id,
    /// The resource's logical id, as the column's type.
    ResourceId,
    /// The change's version.
    Version,
    /// The parent row's `id`.
    ParentReference,
    /// The same in every row.
    Constant(Value),
    /// What a path yields.
    Path(PathColumn),
}

/// A column filled from the document.
pub(in crate::transform) struct PathColumn {
    pub(in crate::transform) path: Path,
    pub(in crate::transform) strategy: MultipleStrategy,
    pub(in crate::transform) delimiter: Arc<str>,
    pub(in crate::transform) maximum: Option<Maximum>,
    pub(in crate::transform) default: Value,
    pub(in crate::transform) partial_date: PartialDate,
}

/// The longest value of a column, and what happens to longer ones.
#[derive(Clone, Copy)]
pub(in crate::transform) struct Maximum {
    /// Characters.
    pub(in crate::transform) size: usize,
    pub(in crate::transform) overflow: OverflowStrategy,
}
