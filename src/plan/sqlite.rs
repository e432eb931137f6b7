//! The SQLite dialect: rows written out as VALUES, in runs under the limit of 32,766 binds.
//!
//! SQLite has affinities instead of types. DECIMAL needs TEXT (or none): numeric affinity would
//! make 72.5 of 72.50.

use super::cell::{BindColumn, BindType};
use super::dialect::{Accepted, Dialect};
use super::statement::Statement;
use crate::model::{Column, ColumnType, TableName};

/// SQLite 3.35 and later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

/// `SQLITE_MAX_VARIABLE_NUMBER` since 3.32.
const MOST_BINDS: usize = 32_766;

const fn accepts(column_type: ColumnType, database_type: &'static str, bind: BindType) -> Accepted {
    Accepted { column_type, database_type, bind }
}

/// What is accepted: affinities as in SQLite's documentation; `BLOB` is also what a column without
/// a declared type has.
static ACCEPTED: [Accepted; 30] = [
    accepts(ColumnType::String, "TEXT", BindType::Text),
    accepts(ColumnType::String, "BLOB", BindType::Text),
    accepts(ColumnType::Int, "INTEGER", BindType::Int8),
    accepts(ColumnType::Int, "NUMERIC", BindType::Int8),
    accepts(ColumnType::Int, "BLOB", BindType::Int8),
    accepts(ColumnType::BigInt, "INTEGER", BindType::Int8),
    accepts(ColumnType::BigInt, "NUMERIC", BindType::Int8),
    accepts(ColumnType::BigInt, "BLOB", BindType::Int8),
    accepts(ColumnType::Decimal, "TEXT", BindType::Text),
    accepts(ColumnType::Decimal, "BLOB", BindType::Text),
    accepts(ColumnType::Double, "REAL", BindType::Float8),
    accepts(ColumnType::Double, "NUMERIC", BindType::Float8),
    accepts(ColumnType::Double, "BLOB", BindType::Float8),
    accepts(ColumnType::Boolean, "INTEGER", BindType::Boolean),
    accepts(ColumnType::Boolean, "NUMERIC", BindType::Boolean),
    accepts(ColumnType::Boolean, "BLOB", BindType::Boolean),
    // a date, a time or a UUID is never taken for a number, so numeric affinity leaves it alone
    accepts(ColumnType::Date, "TEXT", BindType::Text),
    accepts(ColumnType::Date, "NUMERIC", BindType::Text),
    accepts(ColumnType::Date, "BLOB", BindType::Text),
    accepts(ColumnType::DateTime, "TEXT", BindType::Text),
    accepts(ColumnType::DateTime, "NUMERIC", BindType::Text),
    accepts(ColumnType::DateTime, "BLOB", BindType::Text),
    accepts(ColumnType::Time, "TEXT", BindType::Text),
    accepts(ColumnType::Time, "NUMERIC", BindType::Text),
    accepts(ColumnType::Time, "BLOB", BindType::Text),
    accepts(ColumnType::Uuid, "TEXT", BindType::Text),
    accepts(ColumnType::Uuid, "NUMERIC", BindType::Text),
    accepts(ColumnType::Uuid, "BLOB", BindType::Text),
    accepts(ColumnType::Json, "TEXT", BindType::Text),
    accepts(ColumnType::Binary, "BLOB", BindType::Bytes),
];

impl Sqlite {
    /// The affinity of a declared type, by SQLite's own rules.
    #[must_use]
    pub fn affinity(declared: &str) -> &'static str {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            "INTEGER"
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            "TEXT"
        } else if declared.is_empty() || has("BLOB") {
            "BLOB"
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            "REAL"
        } else {
            "NUMERIC"
        }
    }
}

impl Dialect for Sqlite {
    fn quote(&self, identifier: &str) -> String {
        format!("\"{}\"", identifier.replace('"', "\"\""))
    }

    fn placeholder(&self, _number: usize) -> String {
        "?".to_owned()
    }

    fn over_rows(
        &self,
        attempted: &'static str,
        columns: Vec<BindColumn>,
        constants: usize,
        tail: &str,
    ) -> Statement {
        Statement::values(attempted, columns, tail.to_owned(), MOST_BINDS, constants)
    }

    fn accepted(&self) -> &'static [Accepted] {
        &ACCEPTED
    }

    fn column_type(&self, column: &Column) -> String {
        let name = match column.column_type {
            ColumnType::Int | ColumnType::BigInt | ColumnType::Boolean => "INTEGER",
            ColumnType::Double => "REAL",
            ColumnType::Binary => "BLOB",
            ColumnType::String
            | ColumnType::Decimal
            | ColumnType::Date
            | ColumnType::DateTime
            | ColumnType::Time
            | ColumnType::Uuid
            | ColumnType::Json => "TEXT",
        };
        name.to_owned()
    }

    fn bookkeeping_ddl(&self) -> [(&'static str, &'static str); 2] {
        [
            (
                "rowcast_task",
                "CREATE TABLE IF NOT EXISTS rowcast_task (\n  \
                 cluster_id TEXT NOT NULL,\n  name TEXT NOT NULL,\n  topic TEXT NOT NULL,\n  \
                 \"partition\" INTEGER NOT NULL,\n  epoch INTEGER NOT NULL,\n  \
                 next_offset INTEGER,\n  \
                 PRIMARY KEY (cluster_id, name, topic, \"partition\")\n)",
            ),
            (
                "rowcast_tombstone",
                "CREATE TABLE IF NOT EXISTS rowcast_tombstone (\n  \
                 table_name TEXT NOT NULL,\n  source_resource_id TEXT NOT NULL,\n  \
                 version INTEGER NOT NULL,\n  at TEXT NOT NULL,\n  \
                 origin_topic TEXT,\n  origin_partition INTEGER,\n  origin_offset INTEGER,\n  \
                 origin_index INTEGER,\n  \
                 refused_topic TEXT,\n  refused_partition INTEGER,\n  refused_offset INTEGER,\n  \
                 refused_index INTEGER,\n  \
                 PRIMARY KEY (table_name, source_resource_id)\n) WITHOUT ROWID",
            ),
        ]
    }

    fn create_index(&self, table: &TableName, columns: &[&str], unique: bool) -> String {
        let suffix = if unique { "key" } else { "idx" };
        let index = TableName {
            schema: table.schema.clone(),
            name: format!("{}_{}_{suffix}", table.name, columns.join("_")).into(),
        };
        let columns: Vec<_> = columns.iter().map(|column| self.quote(column)).collect();
        format!(
            "CREATE {}INDEX {} ON {} ({})",
            if unique { "UNIQUE " } else { "" },
            self.table(&index),
            self.quote(&table.name),
            columns.join(", ")
        )
    }

    fn alter_type(&self, table: &TableName, column: &str, new_type: &str) -> String {
        format!(
            "-- SQLite cannot change the type of a column: create {} anew with {} {new_type}",
            self.table(table),
            self.quote(column)
        )
    }

    fn drop_not_null(&self, table: &TableName, column: &str) -> String {
        format!(
            "-- SQLite cannot relax a column: create {} anew without NOT NULL on {}",
            self.table(table),
            self.quote(column)
        )
    }

    fn now(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    }

    /// A foreign key stays within its schema, which must not be named.
    fn reference(&self, table: &TableName) -> String {
        self.quote(&table.name)
    }

    /// `BEGIN IMMEDIATE` has locked everything.
    fn locking(&self, _table: &str) -> String {
        String::new()
    }
}
