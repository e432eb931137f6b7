//! Rows: what a transformer makes of a document, and what a plan writes.

use std::fmt;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use compact_str::CompactString;
use uuid::Uuid;

use super::{Origin, ResourceKey, TableIndex, Version};

/// A typed value of a column; [`Value::Null`] fits every type.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// `STRING`. Most texts of a row are short: up to 24 bytes lie in the row itself.
    Text(CompactString),
    /// `INT` and `BIGINT`.
    Int(i64),
    /// `DECIMAL`: keeps the digits as written.
    Decimal(BigDecimal),
    /// `DOUBLE`.
    Double(f64),
    /// `BOOLEAN`.
    Boolean(bool),
    /// `DATE`.
    Date(NaiveDate),
    /// `DATETIME`: an instant, microseconds.
    DateTime(DateTime<Utc>),
    /// `TIME`.
    Time(NaiveTime),
    /// `UUID`.
    Uuid(Uuid),
    /// `JSON`: valid JSON text.
    Json(String),
    /// `BINARY`.
    Binary(Vec<u8>),
}

/// Values are payload: debug output names the kind only.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    /// The kind of the value, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "string",
            Self::Int(_) => "integer",
            Self::Decimal(_) => "decimal",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::Date(_) => "date",
            Self::DateTime(_) => "date-time",
            Self::Time(_) => "time",
            Self::Uuid(_) => "uuid",
            Self::Json(_) => "json",
            Self::Binary(_) => "binary",
        }
    }
}

/// One row: values in the order of its table's columns.
pub type Row = Vec<Value>;

/// All the rows that one resource has in one table; empty means none.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSet {
    /// The table, by its place in [`super::RootTable::tables`].
    pub table: TableIndex,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// What one transformer made of one change: all rows of the resource under one root table.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceRows {
    /// The root table, by its place in [`super::Catalog::roots`].
    pub root: usize,
    /// One set per table of the root, parents before children. `None` if the transformer's
    /// `where` does not match: the resource has no rows here at this version.
    pub row_sets: Option<Vec<RowSet>>,
}

/// A change whose document has become rows: what the sink takes.
#[derive(Debug, Clone)]
pub struct RowChange {
    /// The resource.
    pub resource: ResourceKey,
    /// What is to be done to its rows.
    pub operation: RowOperation,
    /// Where the change came from first.
    pub origin: Origin,
}

/// What is to be done to a resource's rows.
#[derive(Debug, Clone)]
pub enum RowOperation {
    /// Replace them, in every root table of the resource's type, if the version is newer.
    Upsert {
        /// Version of the rows.
        version: Version,
        /// One entry per root table of the resource's type; empty if it has none.
        rows: Vec<ResourceRows>,
    },
    /// Remove them and remember that.
    Delete {
        /// Version that the deletion created, if known.
        version: Option<Version>,
    },
}
