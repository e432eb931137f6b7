//! The PostgreSQL dialect: one array per column through UNNEST, so that a statement has one text
//! whatever the number of its rows.

use super::cell::{BindColumn, BindType};
use super::dialect::{Accepted, Dialect};
use super::statement::Statement;
use crate::model::{Column, ColumnType, TableName};

/// PostgreSQL 13 and later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postgres;

const fn accepts(column_type: ColumnType, database_type: &'static str, bind: BindType) -> Accepted {
    Accepted { column_type, database_type, bind }
}

/// What is accepted: names as in `pg_type.typname`.
static ACCEPTED: [Accepted; 36] = [
    accepts(ColumnType::String, "text", BindType::Text),
    accepts(ColumnType::String, "varchar", BindType::Text),
    accepts(ColumnType::String, "bpchar", BindType::Text),
    accepts(ColumnType::String, "citext", BindType::Text),
    accepts(ColumnType::Int, "int4", BindType::Int4),
    accepts(ColumnType::Int, "int8", BindType::Int8),
    accepts(ColumnType::Int, "int2", BindType::Int2),
    accepts(ColumnType::Int, "numeric", BindType::Int8),
    accepts(ColumnType::BigInt, "int8", BindType::Int8),
    accepts(ColumnType::BigInt, "int4", BindType::Int4),
    accepts(ColumnType::BigInt, "int2", BindType::Int2),
    accepts(ColumnType::BigInt, "numeric", BindType::Int8),
    accepts(ColumnType::Decimal, "numeric", BindType::Numeric),
    accepts(ColumnType::Decimal, "text", BindType::Text),
    accepts(ColumnType::Decimal, "varchar", BindType::Text),
    accepts(ColumnType::Double, "float8", BindType::Float8),
    accepts(ColumnType::Double, "float4", BindType::Float8),
    accepts(ColumnType::Double, "numeric", BindType::Float8),
    accepts(ColumnType::Boolean, "bool", BindType::Boolean),
    accepts(ColumnType::Date, "date", BindType::Date),
    accepts(ColumnType::Date, "text", BindType::Text),
    accepts(ColumnType::Date, "varchar", BindType::Text),
    accepts(ColumnType::DateTime, "timestamptz", BindType::TimestampTz),
    accepts(ColumnType::DateTime, "timestamp", BindType::Timestamp),
    accepts(ColumnType::Time, "time", BindType::Time),
    accepts(ColumnType::Time, "text", BindType::Text),
    accepts(ColumnType::Time, "varchar", BindType::Text),
    accepts(ColumnType::Uuid, "uuid", BindType::Uuid),
    accepts(ColumnType::Uuid, "text", BindType::Text),
    accepts(ColumnType::Uuid, "varchar", BindType::Text),
    accepts(ColumnType::Uuid, "bpchar", BindType::Text),
    accepts(ColumnType::Json, "jsonb", BindType::Jsonb),
    accepts(ColumnType::Json, "json", BindType::Json),
    accepts(ColumnType::Json, "text", BindType::Text),
    accepts(ColumnType::Json, "varchar", BindType::Text),
    accepts(ColumnType::Binary, "bytea", BindType::Bytes),
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
        BindType::Uuid => ("uuid", ""),
        BindType::Json => ("text", "::json"),
        BindType::Jsonb => ("text", "::jsonb"),
        BindType::Bytes => ("bytea", ""),
    }
}

impl Dialect for Postgres {
    fn quote(&self, identifier: &str) -> String {
        format!("\"{}\"", identifier.replace('"', "\"\""))
    }

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

    fn bookkeeping_ddl(&self) -> [(&'static str, &'static str); 2] {
        [
            (
                "rowcast_task",
                "CREATE TABLE IF NOT EXISTS rowcast_task (\n  \
                 cluster_id text NOT NULL,\n  name text NOT NULL,\n  topic text NOT NULL,\n  \
                 \"partition\" bigint NOT NULL,\n  epoch bigint NOT NULL,\n  \
                 next_offset bigint,\n  \
                 PRIMARY KEY (cluster_id, name, topic, \"partition\")\n)",
            ),
            (
                "rowcast_tombstone",
                "CREATE TABLE IF NOT EXISTS rowcast_tombstone (\n  \
                 table_name text NOT NULL,\n  source_resource_id text NOT NULL,\n  \
                 version bigint NOT NULL,\n  at timestamptz NOT NULL,\n  \
                 origin_topic text,\n  origin_partition bigint,\n  origin_offset bigint,\n  \
                 origin_index bigint,\n  \
                 refused_topic text,\n  refused_partition bigint,\n  refused_offset bigint,\n  \
                 refused_index bigint,\n  \
                 PRIMARY KEY (table_name, source_resource_id)\n)",
            ),
        ]
    }

    fn create_index(&self, table: &TableName, columns: &[&str], unique: bool) -> String {
        let columns: Vec<_> = columns.iter().map(|column| self.quote(column)).collect();
        let unique = if unique { "UNIQUE " } else { "" };
        // no name: PostgreSQL makes one that is free and short enough
        format!("CREATE {unique}INDEX ON {} ({})", self.table(table), columns.join(", "))
    }

    fn alter_type(&self, table: &TableName, column: &str, new_type: &str) -> String {
        let column = self.quote(column);
        format!(
            "ALTER TABLE {} ALTER COLUMN {column} TYPE {new_type} USING {column}::{new_type}",
            self.table(table)
        )
    }

    fn drop_not_null(&self, table: &TableName, column: &str) -> String {
        format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL",
            self.table(table),
            self.quote(column)
        )
    }

    fn now(&self) -> &'static str {
        "now()"
    }

    fn locking(&self, table: &str) -> String {
        if table.is_empty() { " FOR UPDATE".to_owned() } else { format!(" FOR UPDATE OF {table}") }
    }
}
