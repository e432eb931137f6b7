//! The PostgreSQL dialect: one array per column through UNNEST, so that a statement has one text
//! whatever the number of its rows.

use super::bookkeeping::OwnType;
use super::cell::{BindColumn, BindType};
use super::comment::Comments;
use super::dialect::{Accepted, Access, Dialect, SOME};
use super::live::LiveColumn;
use super::schema::Mending;
use super::statement::Statement;
use crate::model::{Column, ColumnType, TableName};

/// PostgreSQL 13 and later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

/// Bytes of an identifier; longer ones are cut with a notice that nobody sees.
const LONGEST_NAME: usize = 63;

/// What is accepted: names as in `pg_type.typname`.
static ACCEPTED: [Accepted; 36] = [
    Accepted::new(ColumnType::String, "text", BindType::Text),
    Accepted::new(ColumnType::String, "varchar", BindType::Text),
    Accepted::new(ColumnType::String, "bpchar", BindType::Text),
    Accepted::new(ColumnType::String, "citext", BindType::Text),
    Accepted::new(ColumnType::Int, "int4", BindType::Int4),
    Accepted::new(ColumnType::Int, "int8", BindType::Int8),
    Accepted::new(ColumnType::Int, "int2", BindType::Int2),
    Accepted::new(ColumnType::Int, "numeric", BindType::Int8),
    Accepted::new(ColumnType::BigInt, "int8", BindType::Int8),
    Accepted::new(ColumnType::BigInt, "int4", BindType::Int4),
    Accepted::new(ColumnType::BigInt, "int2", BindType::Int2),
    Accepted::new(ColumnType::BigInt, "numeric", BindType::Int8),
    Accepted::new(ColumnType::Decimal, "numeric", BindType::Numeric),
    Accepted::new(ColumnType::Decimal, "text", BindType::Text),
    Accepted::new(ColumnType::Decimal, "varchar", BindType::Text),
    Accepted::new(ColumnType::Double, "float8", BindType::Float8),
    Accepted::new(ColumnType::Double, "float4", BindType::Float8),
    Accepted::new(ColumnType::Double, "numeric", BindType::Float8),
    Accepted::new(ColumnType::Boolean, "bool", BindType::Boolean),
    Accepted::new(ColumnType::Date, "date", BindType::Date),
    Accepted::new(ColumnType::Date, "text", BindType::Text),
    Accepted::new(ColumnType::Date, "varchar", BindType::Text),
    Accepted::new(ColumnType::DateTime, "timestamptz", BindType::TimestampTz),
    Accepted::new(ColumnType::DateTime, "timestamp", BindType::Timestamp),
    Accepted::new(ColumnType::Time, "time", BindType::Time),
    Accepted::new(ColumnType::Time, "text", BindType::Text),
    Accepted::new(ColumnType::Time, "varchar", BindType::Text),
    Accepted::new(ColumnType::Uuid, "uuid", BindType::Uuid),
    Accepted::new(ColumnType::Uuid, "text", BindType::Text),
    Accepted::new(ColumnType::Uuid, "varchar", BindType::Text),
    Accepted::new(ColumnType::Uuid, "bpchar", BindType::Text),
    Accepted::new(ColumnType::Json, "jsonb", BindType::Jsonb),
    Accepted::new(ColumnType::Json, "json", BindType::Json),
    Accepted::new(ColumnType::Json, "text", BindType::Text),
    Accepted::new(ColumnType::Json, "varchar", BindType::Text),
    Accepted::new(ColumnType::Binary, "bytea", BindType::Bytes),
];

/// The type of the array's elements, and the conversion to the column's type where arrays cannot
/// carry it.
const fn element(bind: BindType) -> (&'static str, &'static str) {
    match bind {
        BindType::Text => ("text", ""),
        BindType::Int2 => ("int2", ""),
        BindType::Int4 => ("int4", ""),
        BindType::Int8 => ("int8", ""),
        BindType::Numeric => ("numeric", ""),
        BindType::Float8 => ("float8", ""),
        BindType::Boolean => ("bool", ""),
        BindType::Date => ("date", ""),
        BindType::TimestampTz => ("timestamptz", ""),
        BindType::Timestamp => ("timestamp", ""),
        BindType::Time => ("time", ""),
        BindType::Uuid | BindType::UuidBytes => ("uuid", ""),
        BindType::Json => ("text", "::json"),
        BindType::Jsonb => ("text", "::jsonb"),
        BindType::Bytes => ("bytea", ""),
    }
}

/// Whether a cast leads from a type, as in `pg_type.typname`, to ours. All types are cast to text and
/// from it.
fn casts(from: &str, to: ColumnType) -> bool {
    const NUMBERS: [&str; 6] = ["int2", "int4", "int8", "numeric", "float4", "float8"];
    const TEXTS: [&str; 4] = ["text", "varchar", "bpchar", "citext"];
    let others: &[&str] = match to {
        ColumnType::String => return true,
        ColumnType::Int => &["bool"],
        ColumnType::BigInt | ColumnType::Decimal | ColumnType::Double => &[],
        ColumnType::Boolean => &["bool", "int4"],
        ColumnType::Date | ColumnType::DateTime => &["date", "timestamp", "timestamptz"],
        ColumnType::Time => &["time", "timetz", "timestamp", "timestamptz", "interval"],
        ColumnType::Uuid => &["uuid"],
        ColumnType::Json => &["json", "jsonb"],
        ColumnType::Binary => &["bytea"],
    };
    let is_number = matches!(
        to,
        ColumnType::Int | ColumnType::BigInt | ColumnType::Decimal | ColumnType::Double
    );
    TEXTS.contains(&from) || others.contains(&from) || is_number && NUMBERS.contains(&from)
}

impl Dialect for Postgres {
    fn placeholder(&self, number: usize) -> String {
        format!("${number}")
    }

    fn over_rows(
        &self,
        attempted: &'static str,
        columns: Vec<BindColumn>,
        _constants: usize,
        tail: &str,
    ) -> Statement {
        let mut names = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        let mut cells = Vec::with_capacity(columns.len());
        for (number, column) in (1..).zip(&columns) {
            let (element, conversion) = element(column.bind);
            names.push(format!("c{number}"));
            arrays.push(format!("${number}::{element}[]"));
            cells.push(format!("u.c{number}{conversion}"));
        }
        let names = names.join(", ");
        let text = format!(
            "WITH s({names}) AS (SELECT {} FROM UNNEST({}) AS u({names})) {tail}",
            cells.join(", "),
            arrays.join(", ")
        );
        Statement::fixed(attempted, columns, text)
    }

    fn accepted(&self) -> &'static [Accepted] {
        &ACCEPTED
    }

    fn column_type(&self, column: &Column) -> String {
        let name = match (column.column_type, column.maximum_size) {
            (ColumnType::String, Some(size)) => return format!("varchar({size})"),
            (ColumnType::String, None) => "text",
            (ColumnType::Int, _) => "integer",
            (ColumnType::BigInt, _) => "bigint",
            (ColumnType::Decimal, _) => "numeric",
            (ColumnType::Double, _) => "double precision",
            (ColumnType::Boolean, _) => "boolean",
            (ColumnType::Date, _) => "date",
            (ColumnType::DateTime, _) => "timestamptz",
            (ColumnType::Time, _) => "time",
            (ColumnType::Uuid, _) => "uuid",
            (ColumnType::Json, _) => "jsonb",
            (ColumnType::Binary, _) => "bytea",
        };
        name.to_owned()
    }

    fn own_type(&self, own_type: OwnType) -> &'static str {
        match own_type {
            OwnType::Text | OwnType::Id => "text",
            OwnType::Number => "bigint",
            OwnType::Moment => "timestamptz",
        }
    }

    fn comments(&self) -> Comments {
        Comments::Statements
    }

    fn takes_name(&self, name: &str) -> bool {
        name.len() <= LONGEST_NAME
    }

    /// The same whether or not the server takes backslashes for themselves in plain constants.
    fn text(&self, text: &str) -> String {
        let quoted = text.replace('\'', "''");
        if text.contains('\\') {
            return format!("E'{}'", quoted.replace('\\', "\\\\"));
        }
        format!("'{quoted}'")
    }

    fn alter_type(&self, table: &TableName, found: &LiveColumn, ours: &Column) -> Mending {
        let (column, new_type) = (self.quote(&ours.name), self.column_type(ours));
        if !casts(&found.kind, ours.column_type) {
            return Mending::Advice(format!(
                "no cast leads from {} to {new_type}: choose another `columnType` or another path \
                 for {column} of {}, or drop the column and have it created anew",
                found.type_name,
                self.table(table)
            ));
        }
        Mending::change(format!(
            "ALTER TABLE {} ALTER COLUMN {column} TYPE {new_type} USING {column}::{new_type}",
            self.table(table)
        ))
    }

    fn drop_not_null(&self, table: &TableName, column: &str) -> Mending {
        Mending::change(format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
            self.table(table),
            self.quote(column)
        ))
    }

    fn now(&self) -> &'static str {
        "now()"
    }

    fn lock_root(&self, access: Access) -> Option<Statement> {
        let lock = match access {
            Access::Shared => "pg_advisory_xact_lock_shared",
            Access::Exclusive => "pg_advisory_xact_lock",
        };
        let text = format!("SELECT CAST(1 AS bigint) FROM {lock}(hashtextextended($1, 0))");
        Some(Statement::fixed("locking a table", Vec::new(), text))
    }

    fn delete_some(&self, quoted: &str, condition: Option<&str>) -> String {
        let condition = condition.map(|condition| format!(" WHERE {condition}"));
        format!(
            "DELETE FROM {quoted} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {quoted}{} LIMIT {SOME}))",
            condition.unwrap_or_default()
        )
    }

    fn locking(&self, table: &str) -> String {
        if table.is_empty() { " FOR UPDATE".to_owned() } else { format!(" FOR UPDATE OF {table}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    /// What it writes, in the order of [`sample::texts`].
    const STATEMENTS: [&str; 9] = [
        "WITH s(c1, c2, c3, c4, c5, c6, c7, c8, c9, c10) AS (SELECT u.c1, u.c2, u.c3, \
         u.c4, u.c5::jsonb, u.c6, u.c7, u.c8, u.c9, u.c10 FROM UNNEST($1::uuid[], \
         $2::int8[], $3::text[], $4::date[], $5::text[], $6::text[], $7::text[], \
         $8::int8[], $9::int8[], $10::int8[]) AS u(c1, c2, c3, c4, c5, c6, c7, c8, c9, \
         c10)) INSERT INTO \"fhir\".\"patient\" AS r (\"id\", \"version\", \
         \"source_resource_id\", \"born\", \"raw\") SELECT s.c1, s.c2, s.c3, s.c4, s.c5 \
         FROM s WHERE NOT EXISTS (SELECT 1 FROM rowcast_tombstone d WHERE \
         d.source_resource_id = s.c6 AND d.table_name = $11 AND (d.version >= s.c2 OR \
         (d.origin_topic = s.c7 AND d.origin_partition = s.c8 AND (d.origin_offset, \
         d.origin_index) > (s.c9, s.c10)))) ON CONFLICT (\"id\") DO UPDATE SET \
         \"version\" = excluded.\"version\", \"source_resource_id\" = \
         excluded.\"source_resource_id\", \"born\" = excluded.\"born\", \"raw\" = \
         excluded.\"raw\" WHERE r.\"version\" < excluded.\"version\" RETURNING \
         CAST(\"source_resource_id\" AS text)",
        "WITH s(c1, c2, c3, c4) AS (SELECT u.c1, u.c2, u.c3, u.c4 FROM UNNEST($1::uuid[],\
         \x20$2::text[], $3::uuid[], $4::text[]) AS u(c1, c2, c3, c4)) INSERT INTO \
         \"fhir\".\"name\" (\"id\", \"source_resource_id\", \"parent_reference\", \
         \"order\") SELECT s.c1, s.c2, s.c3, s.c4 FROM s",
        "WITH s(c1) AS (SELECT u.c1 FROM UNNEST($1::text[]) AS u(c1)) DELETE FROM \
         \"fhir\".\"name\" WHERE \"source_resource_id\" IN (SELECT c1 FROM s)",
        "WITH s(c1, c2, c3, c4, c5) AS (SELECT u.c1, u.c2, u.c3, u.c4, u.c5::jsonb FROM \
         UNNEST($1::uuid[], $2::int8[], $3::text[], $4::date[], $5::text[]) AS u(c1, c2, \
         c3, c4, c5)) INSERT INTO \"fhir\".\"patient_history\" (\"id\", \"version\", \
         \"source_resource_id\", \"born\", \"raw\") SELECT s.c1, s.c2, s.c3, s.c4, s.c5 \
         FROM s WHERE true ON CONFLICT (\"id\", \"version\") DO NOTHING RETURNING \
         CAST(\"source_resource_id\" AS text), CAST(\"version\" AS bigint)",
        "WITH s(c1, c2) AS (SELECT u.c1, u.c2 FROM UNNEST($1::text[], $2::int8[]) AS \
         u(c1, c2)) SELECT CAST(r.\"source_resource_id\" AS text), CAST(r.\"version\" AS \
         bigint) FROM s CROSS JOIN \"fhir\".\"patient\" r WHERE \
         r.\"source_resource_id\" = s.c1 AND r.\"version\" <= s.c2 ORDER BY r.\"source_resource_id\" FOR UPDATE OF r",
        "WITH s(c1) AS (SELECT u.c1 FROM UNNEST($1::text[]) AS u(c1)) SELECT \
         d.source_resource_id, d.origin_topic, d.origin_partition, d.origin_offset, \
         d.origin_index, d.refused_topic, d.refused_partition, d.refused_offset, \
         d.refused_index, \
         d.version FROM s JOIN rowcast_tombstone d ON d.source_resource_id = s.c1 \
         AND d.table_name = $2",
        "WITH s(c1, c2, c3) AS (SELECT u.c1, u.c2, u.c3 FROM UNNEST($1::text[], \
         $2::int8[], $3::int8[]) AS u(c1, c2, c3)) INSERT INTO rowcast_tombstone AS d \
         (table_name, source_resource_id, version, at, left_out) SELECT $4, s.c1, s.c2, \
         now(), s.c3 FROM s WHERE true ON CONFLICT \
         (table_name, source_resource_id) DO UPDATE SET version = excluded.version, at = \
         excluded.at, left_out = excluded.left_out WHERE d.version < excluded.version OR \
         (d.version = excluded.version AND d.left_out > excluded.left_out) RETURNING \
         source_resource_id",
        "WITH s(c1, c2, c3, c4, c5, c6) AS (SELECT u.c1, u.c2, u.c3, u.c4, u.c5, u.c6 \
         FROM UNNEST($1::text[], $2::int8[], $3::text[], $4::int8[], $5::int8[], \
         $6::int8[]) AS u(c1, c2, c3, c4, c5, c6)) INSERT INTO rowcast_tombstone AS d \
         (table_name, source_resource_id, version, at, origin_topic, origin_partition, \
         origin_offset, origin_index) SELECT $7, s.c1, s.c2, now(), s.c3, s.c4, s.c5, \
         s.c6 FROM s WHERE true ON CONFLICT (table_name, source_resource_id) DO UPDATE \
         SET version = CASE WHEN d.version > excluded.version THEN d.version ELSE excluded.version END, \
         left_out = CASE WHEN d.version > excluded.version THEN d.left_out ELSE 0 END, at = excluded.at, origin_topic = excluded.origin_topic, \
         origin_partition = excluded.origin_partition, origin_offset = CASE WHEN \
         d.origin_topic = excluded.origin_topic AND d.origin_partition = \
         excluded.origin_partition AND (d.origin_offset, d.origin_index) > \
         (excluded.origin_offset, excluded.origin_index) THEN d.origin_offset ELSE \
         excluded.origin_offset END, origin_index = CASE WHEN d.origin_topic = \
         excluded.origin_topic AND d.origin_partition = excluded.origin_partition AND \
         (d.origin_offset, d.origin_index) > (excluded.origin_offset, \
         excluded.origin_index) THEN d.origin_index ELSE excluded.origin_index END, \
         refused_topic = NULL, refused_partition = NULL, refused_offset = NULL, \
         refused_index = NULL",
        "WITH s(c1, c2, c3, c4, c5) AS (SELECT u.c1, u.c2, u.c3, u.c4, u.c5 FROM \
         UNNEST($1::text[], $2::text[], $3::int8[], $4::int8[], $5::int8[]) AS u(c1, c2, \
         c3, c4, c5)) INSERT INTO rowcast_tombstone AS d (table_name, source_resource_id,\
         \x20version, at, refused_topic, refused_partition, refused_offset, refused_index) \
         SELECT $6, s.c1, -1, now(), s.c2, s.c3, s.c4, s.c5 FROM s WHERE true ON CONFLICT\
         \x20(table_name, source_resource_id) DO UPDATE SET refused_topic = \
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
        "WITH s(c1, c2, c3, c4, c5, c6, c7) AS (SELECT u.c1, u.c2, u.c3, u.c4, u.c5, u.c6, \
         u.c7 FROM UNNEST($1::text[], $2::int8[], $3::text[], $4::text[], $5::int8[], \
         $6::int8[], $7::int8[]) AS u(c1, c2, c3, c4, c5, c6, c7)) INSERT INTO \
         \"rowcast_resource\" AS r (\"table_name\", \"source_resource_id\", \
         \"version\") SELECT t.name, s.c1, s.c2 FROM s CROSS JOIN (SELECT CAST($8 AS \
         text) AS name) t WHERE NOT EXISTS (SELECT 1 FROM rowcast_tombstone d WHERE \
         d.source_resource_id = s.c3 AND d.table_name = t.name AND (d.version >= s.c2 \
         OR (d.origin_topic = s.c4 AND d.origin_partition = s.c5 AND \
         (d.origin_offset, d.origin_index) > (s.c6, s.c7)))) ON CONFLICT \
         (\"table_name\", \"source_resource_id\") DO UPDATE SET \"version\" = \
         excluded.\"version\" WHERE r.\"version\" < excluded.\"version\" RETURNING \
         CAST(\"source_resource_id\" AS text)",
        "WITH s(c1, c2, c3) AS (SELECT u.c1, u.c2, u.c3 FROM UNNEST($1::text[], $2::text[], \
         $3::text[]) AS u(c1, c2, c3)) INSERT INTO \"fhir\".\"Patient_View\" \
         (\"source_resource_id\", \"id\", \"given\") SELECT s.c1, s.c2, s.c3 FROM s",
        "WITH s(c1) AS (SELECT u.c1 FROM UNNEST($1::text[]) AS u(c1)) DELETE FROM \
         \"fhir\".\"Patient_View\" WHERE \"source_resource_id\" IN (SELECT c1 FROM s)",
        "WITH s(c1) AS (SELECT u.c1 FROM UNNEST($1::text[]) AS u(c1)) DELETE FROM \
         \"rowcast_resource\" WHERE \"source_resource_id\" IN (SELECT c1 FROM s) AND \
         \"table_name\" = $2",
        "WITH s(c1, c2) AS (SELECT u.c1, u.c2 FROM UNNEST($1::text[], $2::int8[]) AS u(c1, \
         c2)) SELECT CAST(r.\"source_resource_id\" AS text), CAST(r.\"version\" AS \
         bigint) FROM s CROSS JOIN \"rowcast_resource\" r WHERE \
         r.\"source_resource_id\" = s.c1 AND r.\"version\" <= s.c2 AND \
         r.\"table_name\" = $3 ORDER BY r.\"source_resource_id\" FOR UPDATE OF r",
    ];

    #[test]
    fn the_text_of_every_statement_is_as_reviewed() {
        for (text, expected) in sample::texts(&Postgres, 2).iter().zip(STATEMENTS) {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_view_is_guarded_in_a_table_that_many_share() {
        assert_eq!(sample::view_texts(&Postgres, 2), VIEW_STATEMENTS);
    }
}
