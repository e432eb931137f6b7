//! What finds a resource's rows in a table, and keeps a statement to them.
//!
//! In: what guards a root. Out: the column, the unique key and the constants of the statements over
//! its table.

use std::sync::Arc;

use super::statement::Statement;
use crate::model::{Guard, RootTable};

/// What finds a resource's rows in a table.
#[derive(Debug, Clone, Copy)]
pub enum FoundBy<'a> {
    /// A column: the table is one root's own.
    Column(&'a str),
    /// `source_resource_id` among the rows of one `table_name`: `rowcast_resource`, which many
    /// roots share.
    TableNameAndResource,
}

impl<'a> FoundBy<'a> {
    /// What finds a resource's row in the table that guards it.
    #[must_use]
    pub fn of_guard(root: &'a RootTable) -> Self {
        match root.guard {
            Guard::RootRow => Self::Column(root.resource_column()),
            Guard::ResourceTable => Self::TableNameAndResource,
        }
    }

    /// The column that holds the resource.
    #[must_use]
    pub const fn column(self) -> &'a str {
        match self {
            Self::Column(column) => column,
            Self::TableNameAndResource => "source_resource_id",
        }
    }

    /// The unique key of a root table whose rows are found so.
    #[must_use]
    pub const fn unique_key(self) -> &'static [&'static str] {
        match self {
            Self::Column(_) => &["id"],
            Self::TableNameAndResource => &["table_name", "source_resource_id"],
        }
    }

    /// How many constants a statement binds that finds rows so.
    #[must_use]
    pub const fn constants(self) -> usize {
        match self {
            Self::Column(_) => 0,
            Self::TableNameAndResource => 1,
        }
    }

    /// A statement that finds rows so, about the table of this name if that counts.
    pub(super) fn bound(self, statement: Statement, table_name: &Arc<str>) -> Statement {
        match self {
            Self::Column(_) => statement,
            Self::TableNameAndResource => statement.about(table_name),
        }
    }
}
