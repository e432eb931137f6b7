//! A database as it is, as far as it concerns the rules.

use crate::model::TableName;

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

    /// Whether some unique index is on these columns, in any order.
    #[must_use]
    pub fn is_unique(&self, key: &[&str]) -> bool {
        self.unique.iter().any(|columns| {
            columns.len() == key.len() && key.iter().all(|name| columns.iter().any(|c| c == name))
        })
    }
}

/// What a database has of the tables that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveSchema {
    /// The tables that are there, under the names that they were looked for.
    pub tables: Vec<(TableName, LiveTable)>,
    /// The schemas that are named and are not there.
    pub missing_schemas: Vec<String>,
}

impl LiveSchema {
    /// A table, if it is there.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<&LiveTable> {
        self.tables.iter().find(|(found, _)| found == name).map(|(_, table)| table)
    }
}
