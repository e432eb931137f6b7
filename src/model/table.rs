//! The tables that the rules fill: the contract between transform, plan and sink.

use std::fmt;
use std::sync::Arc;

/// A table's name as the rules write it: `patient` or `clinical.patient`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Schema, if named.
    pub schema: Option<Arc<str>>,
    /// Table.
    pub name: Arc<str>,
}

impl TableName {
    /// Reads `table` or `schema.table`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((schema, name)) => Self { schema: Some(schema.into()), name: name.into() },
            None => Self { schema: None, name: text.into() },
        }
    }

    /// The table that keeps every version: `<table>_history`.
    #[must_use]
    pub fn history(&self) -> Self {
        Self { schema: self.schema.clone(), name: format!("{}_history", self.name).into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// `columnType` of the rules document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text.
    String,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    BigInt,
    /// Decimal that keeps its digits.
    Decimal,
    /// 64-bit float.
    Double,
    /// Truth value.
    Boolean,
    /// Calendar date.
    Date,
    /// Instant, microseconds, UTC.
    DateTime,
    /// Time of day.
    Time,
    /// UUID.
    Uuid,
    /// JSON text.
    Json,
    /// Bytes, from base64.
    Binary,
}

impl ColumnType {
    /// All types.
    pub const ALL: [Self; 12] = [
        Self::String,
        Self::Int,
        Self::BigInt,
        Self::Decimal,
        Self::Double,
        Self::Boolean,
        Self::Date,
        Self::DateTime,
        Self::Time,
        Self::Uuid,
        Self::Json,
        Self::Binary,
    ];

    /// The name in the rules document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "STRING",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::Decimal => "DECIMAL",
            Self::Double => "DOUBLE",
            Self::Boolean => "BOOLEAN",
            Self::Date => "DATE",
            Self::DateTime => "DATETIME",
            Self::Time => "TIME",
            Self::Uuid => "UUID",
            Self::Json => "JSON",
            Self::Binary => "BINARY",
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who fills a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSource {
    /// A rule: its place (`rules/patient.json#/transformers/0/columns/2`) and FHIRPath.
    Rule {
        /// File and JSON path of the rule.
        rule: Arc<str>,
        /// The expression.
        path: Arc<str>,
    },
    /// Managed `id`: a deterministic UUID.
    Id,
    /// Managed `version`: the change's version, what guards updates.
    Version,
    /// Managed `source_resource_id`: the bare logical id.
    SourceResourceId,
    /// Managed `parent_reference`: the parent row's `id`.
    ParentReference,
}

/// A column that rowcast fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name as the rules write it.
    pub name: Arc<str>,
    /// Declared type.
    pub column_type: ColumnType,
    /// `maximumSize` of the rule, characters.
    pub maximum_size: Option<usize>,
    /// Who fills it.
    pub source: ColumnSource,
    /// Managed columns that a table may do without (`version` in a child, `source_resource_id`
    /// in a root whose `id` is mapped): filled where the live table has them, not in our DDL.
    pub optional: bool,
}

/// Place of a table among the tables of its root.
pub type TableIndex = usize;

/// A table that rowcast fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: TableName,
    /// Columns in the order of the rows' values. `id`, `version`, `source_resource_id` and (child
    /// only) `parent_reference` come first, each once, whether managed or mapped by a rule.
    pub columns: Vec<Column>,
    /// The parent table; `None` for the root.
    pub parent: Option<TableIndex>,
}

impl Table {
    /// Position of a column.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.name == name)
    }
}

/// What holds the version that guards a resource's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The resource's one row in the root table.
    RootRow,
    /// The resource's row in `rowcast_resource (table_name, source_resource_id, version)`. Then the
    /// root of [`RootTable::tables`] is that table with the columns `source_resource_id` and
    /// `version` (its `table_name` is the plan's business), and its one child is the table that
    /// the rules name, which holds any number of rows for a resource, none included. Such a root
    /// has no history, and every upsert brings its row of `rowcast_resource`.
    ResourceTable,
}

/// A root table with its child tables: what one transformer fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootTable {
    /// The resource type whose rows it holds.
    pub resource_type: Arc<str>,
    /// What holds the version that guards its rows.
    pub guard: Guard,
    /// The root first, then children, each after its parent.
    pub tables: Vec<Table>,
    /// Whether every version is appended to `<table>_history` too. Never with
    /// [`Guard::ResourceTable`].
    pub history: bool,
    /// Where the transformer is declared: file and JSON path.
    pub rule: Arc<str>,
}

impl RootTable {
    /// The root table itself: what holds the guard.
    #[must_use]
    pub fn root(&self) -> &Table {
        &self.tables[0]
    }

    /// The table that the rules name for this root, and by which everybody knows it: in labels,
    /// refusals, locks, tombstones.
    #[must_use]
    pub fn named_table(&self) -> &Table {
        self.declared_tables().first().unwrap_or_else(|| self.root())
    }

    /// The tables that the rules declare and the user's database must have: all of them, but for
    /// `rowcast_resource`, which is rowcast's own.
    #[must_use]
    pub fn declared_tables(&self) -> &[Table] {
        self.tables.get(self.own_tables()..).unwrap_or_default()
    }

    /// The table at this place, if the rules declare it.
    #[must_use]
    pub fn declared_table(&self, index: TableIndex) -> Option<&Table> {
        self.declared_tables().get(index.checked_sub(self.own_tables())?)
    }

    /// How many of [`RootTable::tables`], from the first on, are rowcast's own.
    const fn own_tables(&self) -> usize {
        match self.guard {
            Guard::RootRow => 0,
            Guard::ResourceTable => 1,
        }
    }

    /// The column that finds a resource's root row: `source_resource_id`, or `id` where the
    /// rules map `id` to the resource's id.
    #[must_use]
    pub fn resource_column(&self) -> &str {
        let by_id = self.root().columns.iter().any(|column| {
            &*column.name == "id" && matches!(column.source, ColumnSource::Rule { .. })
        });
        if by_id { "id" } else { "source_resource_id" }
    }
}

/// All tables that a set of rules fills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    /// One entry per transformer, in the order of the rules.
    pub roots: Vec<RootTable>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(guard: Guard, tables: &[&str]) -> RootTable {
        let table =
            |name: &&str| Table { name: TableName::parse(name), columns: Vec::new(), parent: None };
        RootTable {
            resource_type: "Patient".into(),
            guard,
            tables: tables.iter().map(table).collect(),
            history: false,
            rule: "rules/test.json".into(),
        }
    }

    #[test]
    fn a_view_is_known_by_its_table_and_not_by_what_guards_it() {
        let view = root(Guard::ResourceTable, &["rowcast_resource", "patient_view"]);
        assert_eq!(&*view.named_table().name.name, "patient_view");
        assert_eq!(view.declared_tables(), &view.tables[1..]);
        assert_eq!(view.declared_table(0), None);
        assert_eq!(view.declared_table(1), Some(&view.tables[1]));
        let patients = root(Guard::RootRow, &["patient", "patient_name"]);
        assert_eq!(&*patients.named_table().name.name, "patient");
        assert_eq!(patients.declared_tables(), &patients.tables);
        assert_eq!(patients.declared_table(1), Some(&patients.tables[1]));
    }
}
