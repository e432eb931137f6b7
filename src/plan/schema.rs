//! What a live schema lacks.
//!
//! In: the catalog, and the tables as the database describes them. Out: every problem at once,
//! each with the DDL that mends it. A problem of severity `Error` stops writing, a `Warning` only
//! costs time.

use std::fmt;

use super::ddl::{TableKind, column_ddl, indexed, table_ddl};
use super::dialect::Dialect;
use crate::model::{Catalog, Column, ColumnSource, ColumnType, RootTable, Table, TableName};

/// A column as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveColumn {
    /// Name.
    pub name: String,
    /// Type as the database writes it: `character varying(10)`, `DECIMAL(10,2)`.
    pub type_name: String,
    /// What decides about acceptance: `pg_type.typname`, SQLite's affinity, MySQL's type with what
    /// it keeps of a second.
    pub kind: String,
    /// The most characters that it takes, or digits after the point: see [`super::BindColumn`].
    pub limit: Option<usize>,
    /// Whether it takes ids for one that differ in case, or does not compare them as UTF-8.
    pub confuses_ids: bool,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// Whether the database fills it by itself: default, identity, generated.
    pub filled: bool,
}

/// A table as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTable {
    /// The schema that its name resolves to.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Columns.
    pub columns: Vec<LiveColumn>,
    /// Column lists of the unique indexes and keys (whole table, no expressions).
    pub unique: Vec<Vec<String>>,
    /// First columns of all indexes (whole table).
    pub indexed: Vec<String>,
    /// First columns and names of the indexes, for a dialect that names the one to use; empty for the
    /// others.
    pub index_names: Vec<(String, String)>,
}

impl LiveTable {
    /// The column with this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Writing works, slowly.
    Warning,
    /// Writing cannot work, or would lose digits.
    Error,
}

/// One thing that a live schema lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaProblem {
    /// How bad it is.
    pub severity: Severity,
    /// Table as the rules write it.
    pub table: String,
    /// Column, if it is about one.
    pub column: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The DDL that mends it; begins with `--` where the database has none.
    pub ddl: String,
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table)?;
        if let Some(column) = &self.column {
            write!(f, ".{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Compares a catalog with the live tables.
pub fn compare<'a>(
    dialect: &dyn Dialect,
    catalog: &Catalog,
    live: impl Fn(&TableName) -> Option<&'a LiveTable>,
) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    for root in &catalog.roots {
        problems.extend(compare_root(dialect, root, &live));
    }
    problems
}

/// Compares one root table, its children and their history.
pub fn compare_root<'a>(
    dialect: &dyn Dialect,
    root: &RootTable,
    live: &impl Fn(&TableName) -> Option<&'a LiveTable>,
) -> Vec<SchemaProblem> {
    let kinds: &[TableKind] =
        if root.history { &[TableKind::Live, TableKind::History] } else { &[TableKind::Live] };
    let mut problems = Vec::new();
    for kind in kinds {
        for table in root.declared_tables() {
            let found = live(&kind.name(table));
            Comparison { dialect, root, table, kind: *kind }.run(found, &mut problems);
        }
    }
    problems
}

struct Comparison<'a> {
    dialect: &'a dyn Dialect,
    root: &'a RootTable,
    table: &'a Table,
    kind: TableKind,
}

impl Comparison<'_> {
    fn run(&self, live: Option<&LiveTable>, problems: &mut Vec<SchemaProblem>) {
        let Some(live) = live else {
            let ddl = table_ddl(self.dialect, self.root, self.table, self.kind).join(";\n");
            problems.push(self.problem(Severity::Error, None, "the table is missing".into(), ddl));
            return;
        };
        for column in &self.table.columns {
            problems.extend(self.column(live, column));
        }
        problems.extend(self.key(live));
        for column in &live.columns {
            let ours = self.table.position(&column.name).is_some();
            if column.not_null && !column.filled && !ours {
                problems.push(self.problem(
                    Severity::Error,
                    Some(&column.name),
                    "the column is NOT NULL without a default, and no rule fills it".into(),
                    self.dialect.drop_not_null(&self.kind.name(self.table), &column.name),
                ));
            }
        }
        for column in indexed(self.root, self.table) {
            let there = live.column(column).is_some();
            if there && !live.indexed.iter().any(|name| name == column) {
                problems.push(self.problem(
                    Severity::Warning,
                    Some(column),
                    "no index begins with the column: every write would scan the table".into(),
                    self.dialect.create_index(&self.kind.name(self.table), &[column], false),
                ));
            }
        }
    }

    fn column(&self, live: &LiveTable, column: &Column) -> Option<SchemaProblem> {
        let name = self.kind.name(self.table);
        let Some(found) = live.column(&column.name) else {
            if !self.kind.requires(column) {
                return None;
            }
            let mut message = "the column is missing".to_owned();
            let similar =
                live.columns.iter().find(|live| live.name.eq_ignore_ascii_case(&column.name));
            if let Some(similar) = similar {
                message = format!("{message}; there is `{}`, but case counts", similar.name);
            }
            let definition = column_ddl(self.dialect, self.root, self.table, self.kind, column);
            let ddl = format!("ALTER TABLE {} ADD COLUMN {definition}", self.dialect.table(&name));
            return Some(self.problem(Severity::Error, Some(&column.name), message, ddl));
        };
        let is_the_databases = found.filled && !self.kind.requires(column);
        let taken = self.dialect.bind_type(column.column_type, found).is_some();
        if taken && found.confuses_ids && self.finds_rows(column) {
            let message = format!(
                "the collation of {} does not tell ids apart as they are: `A` is not `a`",
                found.type_name
            );
            let ddl =
                self.dialect.alter_type(&name, &column.name, &self.dialect.column_type(column));
            return Some(self.problem(Severity::Error, Some(&column.name), message, ddl));
        }
        if is_the_databases || taken {
            return None;
        }
        let accepted: Vec<_> = self
            .dialect
            .accepted()
            .iter()
            .filter(|entry| entry.column_type == column.column_type)
            .map(|entry| entry.database_type)
            .collect();
        let because = if column.column_type == ColumnType::Decimal {
            " (it would lose digits: 72.50 is not 72.5)"
        } else {
            ""
        };
        let message = format!(
            "the type {} does not take {}{because}; accepted: {}",
            if found.type_name.is_empty() { "(none)" } else { &found.type_name },
            column.column_type,
            accepted.join(", ")
        );
        let ddl = self.dialect.alter_type(&name, &column.name, &self.dialect.column_type(column));
        Some(self.problem(Severity::Error, Some(&column.name), message, ddl))
    }

    /// Whether a resource's rows are found by this column.
    fn finds_rows(&self, column: &Column) -> bool {
        let by_id = self.table.parent.is_none() && self.root.resource_column() == &*column.name;
        by_id || column.source == ColumnSource::SourceResourceId
    }

    fn key(&self, live: &LiveTable) -> Option<SchemaProblem> {
        let key = self.kind.key(self.root);
        let has = key.is_empty()
            || live.unique.iter().any(|columns| {
                columns.len() == key.len()
                    && key.iter().all(|name| columns.iter().any(|c| c == name))
            });
        let columns_there = key.iter().all(|name| live.column(name).is_some());
        (!has && columns_there).then(|| {
            self.problem(
                Severity::Error,
                Some(&key.join(", ")),
                format!("there is no unique key on ({})", key.join(", ")),
                self.dialect.create_index(&self.kind.name(self.table), key, true),
            )
        })
    }

    fn problem(
        &self,
        severity: Severity,
        column: Option<&str>,
        message: String,
        ddl: String,
    ) -> SchemaProblem {
        let table = self.kind.name(self.table).to_string();
        SchemaProblem { severity, table, column: column.map(ToOwned::to_owned), message, ddl }
    }
}
