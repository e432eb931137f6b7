//! The SQLite dialect: rows written out as VALUES, in runs under the limit of 32,766 binds.
//!
//! SQLite has affinities instead of types. DECIMAL needs TEXT (or none): numeric affinity would
//! make 72.5 of 72.50.

use super::bookkeeping::OwnType;
use super::cell::{BindColumn, BindType};
use super::comment::Comments;
use super::dialect::{Accepted, Access, Dialect};
use super::live::LiveColumn;
use super::names::{self, Named};
use super::schema::Mending;
use super::statement::Statement;
use crate::model::{Column, ColumnType, TableName};

/// SQLite 3.35 and later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sqlite;

/// `SQLITE_MAX_VARIABLE_NUMBER` since 3.32.
const MOST_BINDS: usize = 32_766;

/// What is accepted: affinities as in SQLite's documentation; `BLOB` is also what a column without
/// a declared type has.
static ACCEPTED: [Accepted; 30] = [
    Accepted::new(ColumnType::String, "TEXT", BindType::Text),
    Accepted::new(ColumnType::String, "BLOB", BindType::Text),
    Accepted::new(ColumnType::Int, "INTEGER", BindType::Int8),
    Accepted::new(ColumnType::Int, "NUMERIC", BindType::Int8),
    Accepted::new(ColumnType::Int, "BLOB", BindType::Int8),
    Accepted::new(ColumnType::BigInt, "INTEGER", BindType::Int8),
    Accepted::new(ColumnType::BigInt, "NUMERIC", BindType::Int8),
    Accepted::new(ColumnType::BigInt, "BLOB", BindType::Int8),
    Accepted::new(ColumnType::Decimal, "TEXT", BindType::Text),
    Accepted::new(ColumnType::Decimal, "BLOB", BindType::Text),
    Accepted::new(ColumnType::Double, "REAL", BindType::Float8),
    Accepted::new(ColumnType::Double, "NUMERIC", BindType::Float8),
    Accepted::new(ColumnType::Double, "BLOB", BindType::Float8),
    Accepted::new(ColumnType::Boolean, "INTEGER", BindType::Boolean),
    Accepted::new(ColumnType::Boolean, "NUMERIC", BindType::Boolean),
    Accepted::new(ColumnType::Boolean, "BLOB", BindType::Boolean),
    // a date, a time or a UUID is never taken for a number, so numeric affinity leaves it alone
    Accepted::new(ColumnType::Date, "TEXT", BindType::Text),
    Accepted::new(ColumnType::Date, "NUMERIC", BindType::Text),
    Accepted::new(ColumnType::Date, "BLOB", BindType::Text),
    Accepted::new(ColumnType::DateTime, "TEXT", BindType::Text),
    Accepted::new(ColumnType::DateTime, "NUMERIC", BindType::Text),
    Accepted::new(ColumnType::DateTime, "BLOB", BindType::Text),
    Accepted::new(ColumnType::Time, "TEXT", BindType::Text),
    Accepted::new(ColumnType::Time, "NUMERIC", BindType::Text),
    Accepted::new(ColumnType::Time, "BLOB", BindType::Text),
    Accepted::new(ColumnType::Uuid, "TEXT", BindType::Text),
    Accepted::new(ColumnType::Uuid, "NUMERIC", BindType::Text),
    Accepted::new(ColumnType::Uuid, "BLOB", BindType::Text),
    Accepted::new(ColumnType::Json, "TEXT", BindType::Text),
    Accepted::new(ColumnType::Binary, "BLOB", BindType::Bytes),
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
        let names: Vec<_> = (1..=columns.len()).map(|column| format!("c{column}")).collect();
        let around = (format!("WITH s({}) AS (VALUES ", names.join(", ")), format!(") {tail}"));
        Statement::values(attempted, columns, around, MOST_BINDS - constants)
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

    fn own_type(&self, own_type: OwnType) -> &'static str {
        match own_type {
            OwnType::Text | OwnType::Id | OwnType::Moment => "TEXT",
            OwnType::Number => "INTEGER",
        }
    }

    fn own_table_options(&self) -> &'static str {
        " WITHOUT ROWID"
    }

    fn comments(&self) -> Comments {
        Comments::Lines
    }

    fn takes_name(&self, _name: &str) -> bool {
        true
    }

    /// A schema is a file that a connection attaches.
    fn create_schema(&self, _schema: &str) -> Option<String> {
        None
    }

    /// The schema is the index's to name; the table is in the same.
    fn create_index(&self, table: &TableName, columns: &[&str], unique: bool) -> String {
        let (named, kind) =
            if unique { (Named::UniqueIndex, "UNIQUE INDEX") } else { (Named::Index, "INDEX") };
        let name = names::name(|name| self.takes_name(name), &table.name, columns, named).into();
        let index = self.table(&TableName { schema: table.schema.clone(), name });
        format!("CREATE {kind} {index} ON {} ({})", self.quote(&table.name), self.list(columns))
    }

    fn alter_type(&self, table: &TableName, _found: &LiveColumn, ours: &Column) -> Mending {
        Mending::Advice(format!(
            "SQLite cannot change the type of a column: create {} anew with {} {}",
            self.table(table),
            self.quote(&ours.name),
            self.column_type(ours)
        ))
    }

    fn drop_not_null(&self, table: &TableName, column: &str) -> Mending {
        Mending::Advice(format!(
            "SQLite cannot relax a column: create {} anew without NOT NULL on {}",
            self.table(table),
            self.quote(column)
        ))
    }

    fn now(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
    }

    /// A foreign key stays within its schema, which must not be named.
    fn reference(&self, table: &TableName) -> String {
        self.quote(&table.name)
    }

    fn lock_root(&self, _access: Access) -> Option<Statement> {
        None
    }

    /// `BEGIN IMMEDIATE` has locked everything.
    fn locking(&self, _table: &str) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    /// What it writes, in the order of [`sample::texts`].
    const STATEMENTS: [&str; 9] = [
        "WITH s(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10) AS (VALUES (?, ?, ?, ?, ?, ?, ?,\
         \x20?, ?, ?), (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) INSERT INTO \"fhir\".\"patient\" AS r\
         \x20(\"id\", \"version\", \"source_resource_id\", \"born\", \"raw\") SELECT s.c1, \
         s.c2, s.c3, s.c4, s.c5 FROM s WHERE NOT EXISTS (SELECT 1 FROM rowcast_tombstone \
         d WHERE d.source_resource_id = s.c6 AND d.table_name = ? AND (d.version >= s.c2 \
         OR (d.origin_topic = s.c7 AND d.origin_partition = s.c8 AND (d.origin_offset, \
         d.origin_index) > (s.c9, s.c10)))) ON CONFLICT (\"id\") DO UPDATE SET \
         \"version\" = excluded.\"version\", \"source_resource_id\" = \
         excluded.\"source_resource_id\", \"born\" = excluded.\"born\", \"raw\" = \
         excluded.\"raw\" WHERE r.\"version\" < excluded.\"version\" RETURNING \
         CAST(\"source_resource_id\" AS text)",
        "WITH s(c1, c2, c3, c4) AS (VALUES (?, ?, ?, ?), (?, ?, ?, ?)) INSERT INTO \
         \"fhir\".\"name\" (\"id\", \"source_resource_id\", \"parent_reference\", \
         \"order\") SELECT s.c1, s.c2, s.c3, s.c4 FROM s",
        "WITH s(c1) AS (VALUES (?), (?)) DELETE FROM \"fhir\".\"name\" WHERE \
         \"source_resource_id\" IN (SELECT c1 FROM s)",
        "WITH s(c1, c2, c3, c4, c5) AS (VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?)) INSERT \
         INTO \"fhir\".\"patient_history\" (\"id\", \"version\", \"source_resource_id\", \
         \"born\", \"raw\") SELECT s.c1, s.c2, s.c3, s.c4, s.c5 FROM s WHERE true ON \
         CONFLICT (\"id\", \"version\") DO NOTHING RETURNING CAST(\"source_resource_id\" \
         AS text), CAST(\"version\" AS bigint)",
        "WITH s(c1, c2) AS (VALUES (?, ?), (?, ?)) SELECT CAST(r.\"source_resource_id\" \
         AS text), CAST(r.\"version\" AS bigint) FROM s CROSS JOIN \"fhir\".\"patient\" r \
         WHERE r.\"source_resource_id\" = s.c1 AND r.\"version\" <= s.c2 ORDER BY \
         r.\"source_resource_id\"",
        "WITH s(c1) AS (VALUES (?), (?)) SELECT d.source_resource_id, d.origin_topic, \
         d.origin_partition, d.origin_offset, d.origin_index, d.refused_topic, \
         d.refused_partition, d.refused_offset, d.refused_index, \
         d.version FROM s JOIN \
         rowcast_tombstone d ON d.source_resource_id = s.c1 AND d.table_name = ?",
        "WITH s(c1, c2, c3) AS (VALUES (?, ?, ?), (?, ?, ?)) INSERT INTO \
         rowcast_tombstone AS d (table_name, source_resource_id, version, at, left_out) \
         SELECT ?, s.c1, s.c2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), s.c3 FROM s WHERE true ON CONFLICT (table_name,\
         \x20source_resource_id) DO UPDATE SET version = excluded.version, at = \
         excluded.at, left_out = excluded.left_out WHERE d.version < excluded.version OR \
         (d.version = excluded.version AND d.left_out > excluded.left_out) RETURNING \
         source_resource_id",
        "WITH s(c1, c2, c3, c4, c5, c6) AS (VALUES (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, \
         ?)) INSERT INTO rowcast_tombstone AS d (table_name, source_resource_id, version,\
         \x20at, origin_topic, origin_partition, origin_offset, origin_index) SELECT ?, \
         s.c1, s.c2, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), s.c3, s.c4, s.c5, s.c6 FROM s\
         \x20WHERE true ON CONFLICT (table_name, source_resource_id) DO UPDATE SET version =\
         \x20CASE WHEN d.version > excluded.version THEN d.version ELSE excluded.version END, \
         left_out = CASE WHEN d.version > excluded.version THEN d.left_out ELSE 0 END, at = excluded.at, origin_topic = excluded.origin_topic, origin_partition = \
         excluded.origin_partition, origin_offset = CASE WHEN d.origin_topic = \
         excluded.origin_topic AND d.origin_partition = excluded.origin_partition AND \
         (d.origin_offset, d.origin_index) > (excluded.origin_offset, \
         excluded.origin_index) THEN d.origin_offset ELSE excluded.origin_offset END, \
         origin_index = CASE WHEN d.origin_topic = excluded.origin_topic AND \
         d.origin_partition = excluded.origin_partition AND (d.origin_offset, \
         d.origin_index) > (excluded.origin_offset, excluded.origin_index) THEN \
         d.origin_index ELSE excluded.origin_index END, refused_topic = NULL, \
         refused_partition = NULL, refused_offset = NULL, refused_index = NULL",
        "WITH s(c1, c2, c3, c4, c5) AS (VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?)) INSERT \
         INTO rowcast_tombstone AS d (table_name, source_resource_id, version, at, \
         refused_topic, refused_partition, refused_offset, refused_index) SELECT ?, s.c1,\
         \x20-1, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), s.c2, s.c3, s.c4, s.c5 FROM s WHERE \
         true ON CONFLICT (table_name, source_resource_id) DO UPDATE SET refused_topic = \
         excluded.refused_topic, refused_partition = excluded.refused_partition, \
         refused_offset = CASE WHEN d.refused_topic = excluded.refused_topic AND \
         d.refused_partition = excluded.refused_partition AND (d.refused_offset, \
         d.refused_index) > (excluded.refused_offset, excluded.refused_index) THEN \
         d.refused_offset ELSE excluded.refused_offset END, refused_index = CASE WHEN \
         d.refused_topic = excluded.refused_topic AND d.refused_partition = \
         excluded.refused_partition AND (d.refused_offset, d.refused_index) > \
         (excluded.refused_offset, excluded.refused_index) THEN d.refused_index ELSE \
         excluded.refused_index END",
    ];

    /// What it writes for a view, in the order of [`sample::view_texts`].
    const VIEW_STATEMENTS: [&str; 5] = [
        "WITH s(c1, c2, c3, c4, c5, c6, c7) AS (VALUES (?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, \
         ?, ?)) INSERT INTO \"rowcast_resource\" AS r (\"table_name\", \
         \"source_resource_id\", \"version\") SELECT t.name, s.c1, s.c2 FROM s CROSS \
         JOIN (SELECT CAST(? AS text) AS name) t WHERE NOT EXISTS (SELECT 1 FROM \
         rowcast_tombstone d WHERE d.source_resource_id = s.c3 AND d.table_name = \
         t.name AND (d.version >= s.c2 OR (d.origin_topic = s.c4 AND \
         d.origin_partition = s.c5 AND (d.origin_offset, d.origin_index) > (s.c6, \
         s.c7)))) ON CONFLICT (\"table_name\", \"source_resource_id\") DO UPDATE SET \
         \"version\" = excluded.\"version\" WHERE r.\"version\" < \
         excluded.\"version\" RETURNING CAST(\"source_resource_id\" AS text)",
        "WITH s(c1, c2, c3) AS (VALUES (?, ?, ?), (?, ?, ?)) INSERT INTO \
         \"fhir\".\"Patient_View\" (\"source_resource_id\", \"id\", \"given\") SELECT \
         s.c1, s.c2, s.c3 FROM s",
        "WITH s(c1) AS (VALUES (?), (?)) DELETE FROM \"fhir\".\"Patient_View\" WHERE \
         \"source_resource_id\" IN (SELECT c1 FROM s)",
        "WITH s(c1) AS (VALUES (?), (?)) DELETE FROM \"rowcast_resource\" WHERE \
         \"source_resource_id\" IN (SELECT c1 FROM s) AND \"table_name\" = ?",
        "WITH s(c1, c2) AS (VALUES (?, ?), (?, ?)) SELECT CAST(r.\"source_resource_id\" AS \
         text), CAST(r.\"version\" AS bigint) FROM s CROSS JOIN \"rowcast_resource\" \
         r WHERE r.\"source_resource_id\" = s.c1 AND r.\"version\" <= s.c2 AND \
         r.\"table_name\" = ? ORDER BY r.\"source_resource_id\"",
    ];

    #[test]
    fn the_text_of_every_statement_is_as_reviewed() {
        for (text, expected) in sample::texts(&Sqlite, 2).iter().zip(STATEMENTS) {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_view_is_guarded_in_a_table_that_many_share() {
        assert_eq!(sample::view_texts(&Sqlite, 2), VIEW_STATEMENTS);
    }
}
