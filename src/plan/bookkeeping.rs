//! The tables that rowcast keeps for itself, beside the user's.
//!
//! In: a dialect. Out: their DDL. What stands in them, and when it is read, is said with the
//! statements.

use super::dialect::Dialect;
use super::live::LiveSchema;
use super::schema::{Mending, ProblemKind, SchemaProblem, Severity};
use crate::model::TableName;

/// The type of a column of rowcast's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnType {
    /// A name: of a topic, a topology, a table.
    Text,
    /// A resource's id.
    Id,
    /// A version, an offset.
    Number,
    /// A moment.
    Moment,
}

/// A table of rowcast's own.
#[derive(Debug)]
pub struct OwnTable {
    /// Its name.
    pub name: &'static str,
    /// The columns of its primary key, which come first.
    pub key: &'static [(&'static str, OwnType)],
    /// Columns that are never NULL.
    pub needed: &'static [(&'static str, OwnType)],
    /// Columns that may be NULL.
    pub optional: &'static [(&'static str, OwnType)],
}

/// Rule 1: who may write for a partition.
static TASK: OwnTable = OwnTable {
    name: "rowcast_task",
    key: &[
        ("cluster_id", OwnType::Text),
        ("name", OwnType::Text),
        ("topic", OwnType::Text),
        ("partition", OwnType::Number),
    ],
    needed: &[("epoch", OwnType::Number)],
    optional: &[("next_offset", OwnType::Number)],
};

/// Rule 5: what is gone.
static TOMBSTONE: OwnTable = OwnTable {
    name: "rowcast_tombstone",
    key: &[("table_name", OwnType::Text), ("source_resource_id", OwnType::Id)],
    needed: &[("version", OwnType::Number), ("at", OwnType::Moment)],
    optional: &[
        ("origin_topic", OwnType::Text),
        ("origin_partition", OwnType::Number),
        ("origin_offset", OwnType::Number),
        ("origin_index", OwnType::Number),
        ("refused_topic", OwnType::Text),
        ("refused_partition", OwnType::Number),
        ("refused_offset", OwnType::Number),
        ("refused_index", OwnType::Number),
    ],
};

/// Rule 3 for tables without root rows: the version that guards a resource's rows.
static RESOURCE: OwnTable = OwnTable {
    name: "rowcast_resource",
    key: &[("table_name", OwnType::Text), ("source_resource_id", OwnType::Id)],
    needed: &[("version", OwnType::Number)],
    optional: &[],
};

/// Rule 7 where the database has no other lock for it: a row stands for a table.
static TABLE: OwnTable = OwnTable {
    name: "rowcast_table",
    key: &[("table_name", OwnType::Text)],
    needed: &[],
    optional: &[],
};

/// What every database has.
pub(super) static USUAL: [&OwnTable; 3] = [&TASK, &TOMBSTONE, &RESOURCE];

/// What a database has that locks tables by rows.
pub(super) static WITH_LOCKS: [&OwnTable; 4] = [&TASK, &TOMBSTONE, &RESOURCE, &TABLE];

/// The DDL of the tables, with their names.
#[must_use]
pub fn bookkeeping_ddl(dialect: &dyn Dialect) -> Vec<(&'static str, String)> {
    let tables = dialect.own_tables().iter();
    tables.map(|table| (table.name, create(dialect, table))).collect()
}

/// What is missing of the tables: whole ones are made at start too, columns never.
#[must_use]
pub fn compare_bookkeeping(dialect: &dyn Dialect, live: &LiveSchema) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    for table in dialect.own_tables() {
        let problem = |severity, kind, column: Option<&str>, message: &str, ddl| SchemaProblem {
            severity,
            kind,
            table: table.name.to_owned(),
            column: column.map(ToOwned::to_owned),
            message: message.to_owned(),
            mending: Mending::Create(vec![ddl]),
        };
        let name = TableName { schema: None, name: table.name.into() };
        let Some(found) = live.table(&name) else {
            let kind = ProblemKind::MissingTable;
            let message = "rowcast's own table is missing; `run` creates it too, if it may";
            problems.push(problem(
                Severity::Information,
                kind,
                None,
                message,
                create(dialect, table),
            ));
            continue;
        };
        let columns = table.key.iter().chain(table.needed).chain(table.optional);
        for (column, own_type) in columns.filter(|(name, _)| found.column(name).is_none()) {
            let (quoted, own_type) = (dialect.quote(column), dialect.own_type(*own_type));
            problems.push(problem(
                Severity::Error,
                ProblemKind::MissingColumn,
                Some(column),
                "the column of rowcast's own is missing",
                format!("ALTER TABLE {} ADD COLUMN {quoted} {own_type}", table.name),
            ));
        }
    }
    problems
}

fn create(dialect: &dyn Dialect, table: &OwnTable) -> String {
    let column = |(name, own_type): &(&str, OwnType), suffix: &str| {
        format!("  {} {}{suffix}", dialect.quote(name), dialect.own_type(*own_type))
    };
    let needed = table.key.iter().chain(table.needed).map(|named| column(named, " NOT NULL"));
    let mut lines: Vec<_> = needed.collect();
    lines.extend(table.optional.iter().map(|named| column(named, "")));
    let key: Vec<_> = table.key.iter().map(|(name, _)| dialect.quote(name)).collect();
    lines.push(format!("  PRIMARY KEY ({})", key.join(", ")));
    format!(
        "CREATE TABLE IF NOT EXISTS {} (\n{}\n){}",
        table.name,
        lines.join(",\n"),
        dialect.own_table_options()
    )
}
