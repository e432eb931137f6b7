//! The tables that rowcast keeps for itself, beside the user's.
//!
//! In: a dialect. Out: their DDL. What stands in them, and when it is read, is said with the
//! statements.

use super::dialect::Dialect;
use super::live::{LiveSchema, LiveTable};
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
        // 1: no delete, the version was left out by a `where`, which a rebuild may let in again
        ("left_out", OwnType::Number),
    ],
};

/// Rule 3 for tables without root rows: the version that guards a resource's rows. A rebuild under
/// way keeps here, under a name of its own, which versions it has come to.
static RESOURCE: OwnTable = OwnTable {
    name: "rowcast_resource",
    key: &[("table_name", OwnType::Text), ("source_resource_id", OwnType::Id)],
    needed: &[("version", OwnType::Number)],
    optional: &[],
};

/// Rule 8: whose a table is, and under which rules it was filled. Also rule 7 where the database has
/// no other lock for it: a row stands for a table, claimed or not.
static TABLE: OwnTable = OwnTable {
    name: "rowcast_table",
    key: &[("table_name", OwnType::Text)],
    needed: &[],
    optional: &[("topology", OwnType::Text), ("rules_hash", OwnType::Text)],
};

/// All of them.
static ALL: [&OwnTable; 4] = [&TASK, &TOMBSTONE, &RESOURCE, &TABLE];

/// The DDL of the tables, with their names.
#[must_use]
pub fn bookkeeping_ddl(dialect: &dyn Dialect) -> Vec<(&'static str, String)> {
    ALL.iter().map(|table| (table.name, create(dialect, table))).collect()
}

/// The DDL of the columns that a bookkeeping table lacks because an older rowcast made it.
#[must_use]
pub fn missing_bookkeeping(dialect: &dyn Dialect, live: &LiveTable) -> Vec<String> {
    let Some(table) = ALL.iter().find(|table| table.name == live.name) else { return Vec::new() };
    let missing = table.optional.iter().filter(|(name, _)| live.column(name).is_none());
    missing.map(|column| add_column(dialect, table, column)).collect()
}

fn add_column(
    dialect: &dyn Dialect,
    table: &OwnTable,
    (name, own_type): &(&str, OwnType),
) -> String {
    let (name, own_type) = (dialect.quote(name), dialect.own_type(*own_type));
    format!("ALTER TABLE {} ADD COLUMN {name} {own_type}", table.name)
}

/// What is missing of the tables. What an older rowcast did not have is made at start too.
#[must_use]
pub fn compare_bookkeeping(dialect: &dyn Dialect, live: &LiveSchema) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    for table in ALL {
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
        let (error, information) = (Severity::Error, Severity::Information);
        let needed = table.key.iter().chain(table.needed).map(|column| (column, error));
        let columns = needed.chain(table.optional.iter().map(|column| (column, information)));
        for (column, severity) in columns.filter(|((name, _), _)| found.column(name).is_none()) {
            let message = match severity {
                Severity::Error => "the column of rowcast's own is missing",
                _ => "rowcast's own column is missing; `run` adds it too, if it may",
            };
            let ddl = add_column(dialect, table, column);
            problems.push(problem(
                severity,
                ProblemKind::MissingColumn,
                Some(column.0),
                message,
                ddl,
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
