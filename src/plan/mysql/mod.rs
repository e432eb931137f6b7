//! The dialect of MySQL and MariaDB: wide rows written out as VALUES, ids and versions as one JSON
//! text through JSON_TABLE, and a question before a write, since neither database can say which rows
//! it inserted, updated or left alone.
//!
//! Where the two differ, what both understand is written. Neither has a number type that keeps the
//! digits of a decimal as they were, so ours is text; DECIMAL is accepted with the digits that it
//! has.

mod accepted;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::bookkeeping::OwnType;
use super::cell::BindColumn;
use super::comment::Comments;
use super::dialect::{Accepted, Access, Admission, Dialect, SOME};
use super::found_by::FoundBy;
use super::live::LiveColumn;
use super::names::{self, Named};
use super::schema::Mending;
use super::statement::Statement;
use super::target::Target;
use crate::model::{Column, ColumnType, TableName};

/// MySQL 8.0 and MariaDB 10.6, and later.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mysql;

/// VARCHAR is ours up to here; beyond, a few columns would exceed the 65,535 bytes of a row.
const LONGEST_VARCHAR: usize = 255;

/// Characters of an identifier.
const LONGEST_NAME: usize = 64;

/// Ids compare byte by byte.
const ID_TYPE: &str = "varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

impl Dialect for Mysql {
    fn quote(&self, identifier: &str) -> String {
        format!("`{}`", identifier.replace('`', "``"))
    }

    fn placeholder(&self, _number: usize) -> String {
        "?".to_owned()
    }

    fn over_rows(
        &self,
        attempted: &'static str,
        columns: Vec<BindColumn>,
        _constants: usize,
        tail: &str,
    ) -> Statement {
        let names: Vec<_> = (1..=columns.len()).map(|column| format!("c{column}")).collect();
        let names = names.join(", ");
        let rows = statements::rows(&columns);
        let text = format!("WITH s({names}) AS (SELECT {names} FROM {rows}) {tail}");
        Statement::fixed(attempted, columns, text)
    }

    fn accepted(&self) -> &'static [Accepted] {
        &accepted::ACCEPTED
    }

    fn column_type(&self, column: &Column) -> String {
        let is_id = matches!(&*column.name, "id" | "source_resource_id" | "parent_reference");
        let name = match (column.column_type, column.maximum_size) {
            (ColumnType::String, _) if is_id => ID_TYPE,
            (ColumnType::String, Some(size)) if size <= LONGEST_VARCHAR => {
                return format!("varchar({size})");
            }
            (ColumnType::String, _) => "longtext",
            (ColumnType::Int, _) => "int",
            (ColumnType::BigInt, _) => "bigint",
            (ColumnType::Decimal, _) => "varchar(255)",
            (ColumnType::Double, _) => "double",
            (ColumnType::Boolean, _) => "boolean",
            (ColumnType::Date, _) => "date",
            (ColumnType::DateTime, _) => "datetime(6)",
            (ColumnType::Time, _) => "time(6)",
            (ColumnType::Uuid, _) => "char(36)",
            (ColumnType::Json, _) => "json",
            (ColumnType::Binary, _) => "longblob",
        };
        name.to_owned()
    }

    /// Binary: collations have ideas about case and trailing spaces.
    fn own_type(&self, own_type: OwnType) -> &'static str {
        match own_type {
            OwnType::Text => "varbinary(600)",
            OwnType::Id => "varbinary(255)",
            OwnType::Number => "bigint",
            OwnType::Moment => "datetime(6)",
        }
    }

    fn table_options(&self) -> &'static str {
        " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    }

    fn comments(&self) -> Comments {
        Comments::Clauses
    }

    fn takes_name(&self, name: &str) -> bool {
        name.chars().count() <= LONGEST_NAME
    }

    /// Backslashes escape, unless the session says NO_BACKSLASH_ESCAPES: then a comment shows two.
    fn text(&self, text: &str) -> String {
        format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    }

    /// DDL is not undone here: a table that is there has its indexes, or is not there.
    fn index_clause(&self, table: &TableName, column: &str) -> Option<String> {
        let name = names::name(|name| self.takes_name(name), &table.name, &[column], Named::Index);
        Some(format!("INDEX {} ({})", self.quote(&name), self.quote(column)))
    }

    fn alter_type(&self, table: &TableName, _found: &LiveColumn, ours: &Column) -> Mending {
        let (table, column) = (self.table(table), self.quote(&ours.name));
        let new_type = self.column_type(ours);
        Mending::change(format!("ALTER TABLE {table} MODIFY {column} {new_type}"))
    }

    fn drop_not_null(&self, table: &TableName, column: &str) -> Mending {
        Mending::Advice(format!(
            "MODIFY wants the type again: ALTER TABLE {} MODIFY {} <its type> NULL",
            self.table(table),
            self.quote(column)
        ))
    }

    fn now(&self) -> &'static str {
        "UTC_TIMESTAMP(6)"
    }

    fn locking(&self, _table: &str) -> String {
        " FOR UPDATE".to_owned()
    }

    /// The table's row in `rowcast_table`, made if it is missing: a lock of its own kind for
    /// writers that only upsert would make two of them wait for each other.
    fn lock_root(&self, _access: Access) -> Option<Statement> {
        let insert = "INSERT INTO rowcast_table (table_name) VALUES (?)";
        let text = format!("{insert} {}", self.on_conflict("table_name", None));
        Some(Statement::fixed("locking a table", Vec::new(), text))
    }

    fn delete_some(&self, quoted: &str, condition: Option<&str>) -> String {
        let condition = condition.map(|condition| format!(" WHERE {condition}"));
        format!("DELETE FROM {quoted}{} LIMIT {SOME}", condition.unwrap_or_default())
    }

    fn on_conflict(&self, key: &str, assignment: Option<&str>) -> String {
        let nothing = || {
            let first = key.split(',').next().unwrap_or(key);
            format!("{first} = VALUES({first})")
        };
        let assignment = assignment.map_or_else(nothing, str::to_owned);
        format!("ON DUPLICATE KEY UPDATE {assignment}")
    }

    fn guarded_upsert(
        &self,
        target: &Target,
        found_by: FoundBy<'_>,
        table_name: &Arc<str>,
        admission: Admission,
    ) -> Statement {
        statements::guarded_upsert(target, found_by, table_name, admission)
    }

    fn insert(&self, target: &Target) -> Statement {
        statements::insert("writing child rows", target, "").on(&target.label)
    }

    fn append(&self, target: &Target, resource_column: &str) -> Statement {
        statements::append(target, resource_column)
    }

    fn delete(&self, target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
        statements::delete(target, found_by, table_name)
    }

    fn doomed(&self, target: &Target, found_by: FoundBy<'_>, table_name: &Arc<str>) -> Statement {
        statements::doomed(target, found_by, table_name)
    }

    fn remember_version(&self, table_name: &Arc<str>) -> Statement {
        statements::remember_version(table_name)
    }

    fn remember_origin(&self, table_name: &Arc<str>) -> Statement {
        statements::remember_origin(table_name)
    }

    fn remember_refused(&self, table_name: &Arc<str>) -> Statement {
        statements::remember_refused(table_name)
    }
}
