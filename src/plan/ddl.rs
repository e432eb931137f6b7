//! The DDL of a catalog.
//!
//! In: the tables that the rules fill. Out: CREATE TABLE with keys, foreign keys and comments, and the
//! indexes that removing and rewriting a resource's rows needs, parents before children.

use std::collections::BTreeSet;

use super::comment::{self, Comments};
use super::dialect::Dialect;
use super::names::{self, Named};
use crate::model::{Catalog, Column, ColumnSource, Guard, RootTable, Table, TableName};

/// Whether child tables refer to their parents' by a foreign key. Writing is right either way: one
/// transaction writes parents before children, and removes children before parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForeignKeys {
    /// They do: what else writes to the tables cannot leave children without a parent.
    #[default]
    Declared,
    /// They do not: each child row is written without looking its parent up.
    LeftOut,
}

/// The statements that create the schemas and all tables of a catalog, in order. Schemas may be
/// there already.
#[must_use]
pub fn catalog_ddl(
    dialect: &dyn Dialect,
    catalog: &Catalog,
    foreign_keys: ForeignKeys,
) -> Vec<String> {
    let mut statements = Vec::new();
    for schema in schemas(catalog) {
        statements.extend(dialect.create_schema(schema));
    }
    for root in &catalog.roots {
        for (table, kind) in tables_of(root) {
            statements.extend(table_ddl(dialect, root, table, kind, foreign_keys));
        }
    }
    statements
}

/// The schemas that a catalog names.
pub fn schemas(catalog: &Catalog) -> BTreeSet<&str> {
    let tables = catalog.roots.iter().flat_map(RootTable::declared_tables);
    tables.filter_map(|table| table.name.schema.as_deref()).collect()
}

/// The tables that a root asks for: those declared, then their history.
pub fn tables_of(root: &RootTable) -> impl Iterator<Item = (&Table, TableKind)> {
    let of = |kind| root.declared_tables().iter().map(move |table| (table, kind));
    let history = root.history.then(|| of(TableKind::History));
    of(TableKind::Live).chain(history.into_iter().flatten())
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

/// CREATE TABLE of one table, and what belongs to it: comments and indexes, where the dialect has
/// statements of their own for them.
#[must_use]
pub fn table_ddl(
    dialect: &dyn Dialect,
    root: &RootTable,
    table: &Table,
    kind: TableKind,
    foreign_keys: ForeignKeys,
) -> Vec<String> {
    Definition { dialect, root, table, kind }.create(foreign_keys)
}

/// ADD COLUMN, and the comment where that is a statement. The column takes NULL, whatever CREATE TABLE
/// would say: rows that are there have nothing in it.
#[must_use]
pub(super) fn add_column(
    dialect: &dyn Dialect,
    root: &RootTable,
    table: &Table,
    kind: TableKind,
    column: &Column,
) -> Vec<String> {
    let definition = Definition { dialect, root, table, kind };
    let column_definition = definition.column(column, "");
    let quoted = dialect.table(&kind.name(table));
    let mut statements = vec![format!("ALTER TABLE {quoted} ADD COLUMN {column_definition}")];
    statements.extend(definition.column_comment(column));
    statements
}

/// The table that a table's rows refer to: those of a table that the rules declare on its own, and
/// those of history, refer to none.
pub(super) fn parent_referred_to<'a>(
    root: &'a RootTable,
    table: &Table,
    kind: TableKind,
) -> Option<&'a Table> {
    let refers = table.columns.iter().any(|column| column.source == ColumnSource::ParentReference);
    let parent = table.parent.filter(|_| refers && kind == TableKind::Live)?;
    root.tables.get(parent)
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

/// A table that is to be created or completed.
struct Definition<'a> {
    dialect: &'a dyn Dialect,
    root: &'a RootTable,
    table: &'a Table,
    kind: TableKind,
}

impl Definition<'_> {
    fn create(&self, foreign_keys: ForeignKeys) -> Vec<String> {
        let dialect = self.dialect;
        let name = self.kind.name(self.table);
        let mut lines = Vec::new();
        let mut following = Vec::new();
        for column in self.table.columns.iter().filter(|column| self.kind.requires(column)) {
            let line = format!("  {}", self.column(column, self.nullability(column)));
            lines.push(match dialect.comments() {
                Comments::Lines => format!("  -- {}\n{line}", self.about(column)),
                Comments::Clauses | Comments::Statements => line,
            });
            following.extend(self.column_comment(column));
        }
        let key = self.kind.key(self.root);
        if !key.is_empty() {
            lines.push(format!("  PRIMARY KEY ({})", dialect.list(key)));
        }
        if foreign_keys == ForeignKeys::Declared {
            let parent = parent_referred_to(self.root, self.table, self.kind);
            lines.extend(parent.map(|parent| self.foreign_key(&name, parent)));
        }
        for column in indexed(self.root, self.table) {
            match dialect.index_clause(&name, column) {
                Some(clause) => lines.push(format!("  {clause}")),
                None => following.push(dialect.create_index(&name, &[column], false)),
            }
        }
        let quoted = dialect.table(&name);
        let about = comment::of_table(self.root, self.table, self.kind);
        let mut opening = String::new();
        let mut options = dialect.table_options().to_owned();
        match dialect.comments() {
            Comments::Lines => opening = format!("  -- {about}\n"),
            Comments::Clauses => {
                options.push_str(" COMMENT=");
                options.push_str(&dialect.text(&about));
            }
            Comments::Statements => {
                let about = dialect.text(&about);
                following.insert(0, format!("COMMENT ON TABLE {quoted} IS {about}"));
            }
        }
        let definition = lines.join(",\n");
        let create = format!("CREATE TABLE {quoted} (\n{opening}{definition}\n){options}");
        let mut statements = vec![create];
        statements.append(&mut following);
        statements
    }

    fn foreign_key(&self, name: &TableName, parent: &Table) -> String {
        let columns = ["parent_reference"];
        let takes = |name: &str| self.dialect.takes_name(name);
        format!(
            "  CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
            self.dialect.quote(&names::name(takes, &name.name, &columns, Named::ForeignKey)),
            self.dialect.list(&columns),
            self.dialect.reference(&parent.name),
            self.dialect.quote("id")
        )
    }

    /// A column as CREATE TABLE and ADD COLUMN write it.
    fn column(&self, column: &Column, nullability: &str) -> String {
        let quoted = self.dialect.quote(&column.name);
        let comment = match self.dialect.comments() {
            Comments::Clauses => format!(" COMMENT {}", self.dialect.text(&self.about(column))),
            Comments::Statements | Comments::Lines => String::new(),
        };
        format!("{quoted} {}{nullability}{comment}", self.dialect.column_type(column))
    }

    /// The statement that says what fills a column, where that is one.
    fn column_comment(&self, column: &Column) -> Option<String> {
        (self.dialect.comments() == Comments::Statements).then(|| {
            format!(
                "COMMENT ON COLUMN {}.{} IS {}",
                self.dialect.table(&self.kind.name(self.table)),
                self.dialect.quote(&column.name),
                self.dialect.text(&self.about(column))
            )
        })
    }

    fn about(&self, column: &Column) -> String {
        comment::of_column(self.root, self.table, self.kind, column)
    }

    fn nullability(&self, column: &Column) -> &'static str {
        let by_rule = matches!(column.source, ColumnSource::Rule { .. });
        let needed = match &*column.name {
            // mere data, and nothing refers to it
            _ if by_rule && self.root.guard == Guard::ResourceTable => false,
            "id" | "source_resource_id" | "parent_reference" => self.kind.requires(column),
            "version" => self.table.parent.is_none() || self.kind == TableKind::History,
            _ => false,
        };
        if needed { " NOT NULL" } else { "" }
    }
}
