//! Tables declared in Rust: what a transformer that is not made of rules fills.
//!
//! In: names and types. Out: tables with the managed columns in their places, so that plan and
//! sink find them where they look for them.

use std::panic::Location;
use std::sync::Arc;

use super::{Catalog, Column, ColumnSource, ColumnType, Guard, RootTable, Table, TableName};

impl RootTable {
    /// A root table with rowcast's own columns `id`, `version` and `source_resource_id`. `table`
    /// is `vitals` or `clinical.vitals`.
    #[must_use]
    #[track_caller]
    pub fn new(resource_type: &str, table: &str) -> Self {
        let at = Location::caller();
        Self {
            resource_type: resource_type.into(),
            guard: Guard::RootRow,
            tables: vec![Table::new(table, None)],
            history: false,
            rule: format!("{}:{}", at.file(), at.line()).into(),
        }
    }

    /// The same with one more column in the table declared last.
    ///
    /// # Panics
    /// If the table has a column of that name: a mistake of the program.
    #[must_use]
    pub fn column(mut self, name: &str, column_type: ColumnType) -> Self {
        let table = self.tables.last_mut().expect("a root has its own table");
        assert!(table.position(name).is_none(), "the column `{name}` is declared twice");
        let source = ColumnSource::Rule { rule: Arc::clone(&self.rule), path: "".into() };
        table.columns.push(Column {
            name: name.into(),
            column_type,
            maximum_size: None,
            source,
            optional: false,
        });
        self
    }

    /// The same with a child table of the root, which also has `parent_reference`.
    #[must_use]
    pub fn child(mut self, table: &str) -> Self {
        self.tables.push(Table::new(table, Some(ColumnType::Uuid)));
        self
    }
}

impl From<RootTable> for Catalog {
    fn from(root: RootTable) -> Self {
        Self { roots: vec![root] }
    }
}

impl Table {
    /// A table with its managed columns; a child's parent is the root, whose `id` has this type.
    fn new(name: &str, parent_id: Option<ColumnType>) -> Self {
        let managed = |name: &str, column_type, source, optional| Column {
            name: name.into(),
            column_type,
            maximum_size: None,
            source,
            optional,
        };
        let is_child = parent_id.is_some();
        let mut columns = vec![
            managed("id", ColumnType::Uuid, ColumnSource::Id, false),
            managed("version", ColumnType::BigInt, ColumnSource::Version, is_child),
            managed(
                "source_resource_id",
                ColumnType::String,
                ColumnSource::SourceResourceId,
                false,
            ),
        ];
        columns.extend(
            parent_id
                .map(|id| managed("parent_reference", id, ColumnSource::ParentReference, false)),
        );
        Self { name: TableName::parse(name), columns, parent: parent_id.map(|_| 0) }
    }
}
