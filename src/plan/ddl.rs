//! The DDL of a catalog.
//!
//! In: the tables that the rules fill. Out: CREATE TABLE with keys and foreign keys, and the
//! indexes that removing and rewriting a resource's rows needs, parents before children.

use super::dialect::Dialect;
use crate::model::{Catalog, Column, ColumnSource, Guard, RootTable, Table, TableName};

/// The statements that create all tables of a catalog, in order.
#[must_use]
pub fn catalog_ddl(dialect: &dyn Dialect, catalog: &Catalog) -> Vec<String> {
    let mut statements = Vec::new();
    for root in &catalog.roots {
        for table in root.declared_tables() {
            statements.extend(table_ddl(dialect, root, table, TableKind::Live));
        }
        if root.history {
            for table in root.declared_tables() {
                statements.extend(table_ddl(dialect, root, table, TableKind::History));
            }
        }
    }
    statements
}

/// Which of the two tables that a declared table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// The table itself.
    Live,
    /// The one that keeps every version.
    History,
}

impl TableKind {
    /// Its name.
    #[must_use]
    pub fn name(self, table: &Table) -> TableName {
        match self {
            Self::Live => table.name.clone(),
            Self::History => table.name.history(),
        }
    }

    /// The unique key of a root's declared tables. Empty where the guard lies elsewhere: a resource
    /// may have any number of rows there, and two may be alike.
    #[must_use]
    pub const fn key(self, root: &RootTable) -> &'static [&'static str] {
        match (root.guard, self) {
            (Guard::ResourceTable, _) => &[],
            (Guard::RootRow, Self::Live) => &["id"],
            (Guard::RootRow, Self::History) => &["id", "version"],
        }
    }

    /// Whether it must have a column.
    #[must_use]
    pub fn requires(self, column: &Column) -> bool {
        !column.optional || (self == Self::History && &*column.name == "version")
    }
}

/// CREATE TABLE and the indexes of one table.
#[must_use]
pub fn table_ddl(
    dialect: &dyn Dialect,
    root: &RootTable,
    table: &Table,
    kind: TableKind,
) -> Vec<String> {
    let name = kind.name(table);
    let quote = |name: &str| dialect.quote(name);
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .filter(|column| kind.requires(column))
        .map(|column| format!("  {}", column_ddl(dialect, root, table, kind, column)))
        .collect();
    let key: Vec<_> = kind.key(root).iter().map(|column| quote(column)).collect();
    if !key.is_empty() {
        lines.push(format!("  PRIMARY KEY ({})", key.join(", ")));
    }
    let parent = table.parent.filter(|_| refers_to_parent(table));
    let parent = parent.and_then(|parent| root.tables.get(parent));
    if let (Some(parent), TableKind::Live) = (parent, kind) {
        lines.push(format!(
            "  {}FOREIGN KEY ({}) REFERENCES {} ({})",
            dialect.foreign_key_name(&name),
            quote("parent_reference"),
            dialect.reference(&parent.name),
            quote("id")
        ));
    }
    let mut statements = vec![format!(
        "CREATE TABLE {} (\n{}\n){}",
        dialect.table(&name),
        lines.join(",\n"),
        dialect.table_options()
    )];
    for column in indexed(root, table) {
        statements.push(dialect.create_index(&name, &[column], false));
    }
    statements
}

/// Whether the rows of a table know their parent's: those of a table that the rules declare on its
/// own do not.
fn refers_to_parent(table: &Table) -> bool {
    table.columns.iter().any(|column| column.source == ColumnSource::ParentReference)
}

/// The columns of a table that need an index of their own.
pub(super) fn indexed<'a>(root: &RootTable, table: &'a Table) -> impl Iterator<Item = &'a str> {
    let by_id = table.parent.is_none() && root.resource_column() == "id";
    let managed = table.columns.iter().filter(move |column| match column.source {
        ColumnSource::SourceResourceId => !by_id,
        ColumnSource::ParentReference => true,
        ColumnSource::Id | ColumnSource::Version | ColumnSource::Rule { .. } => false,
    });
    managed.map(|column| &*column.name)
}

/// A column as CREATE TABLE and ADD COLUMN write it.
#[must_use]
pub(super) fn column_ddl(
    dialect: &dyn Dialect,
    root: &RootTable,
    table: &Table,
    kind: TableKind,
    column: &Column,
) -> String {
    let by_rule = matches!(column.source, ColumnSource::Rule { .. });
    let needed = match &*column.name {
        // mere data, and nothing refers to it
        _ if by_rule && root.guard == Guard::ResourceTable => false,
        "id" | "source_resource_id" | "parent_reference" => kind.requires(column),
        "version" => table.parent.is_none() || kind == TableKind::History,
        _ => false,
    };
    let not_null = if needed { " NOT NULL" } else { "" };
    format!("{} {}{not_null}", dialect.quote(&column.name), dialect.column_type(column))
}
