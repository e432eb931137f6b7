//! The rows that a transformer written in Rust makes.
//!
//! In: a change and the columns' values. Out: [`ResourceRows`] with the managed columns filled as
//! the rules fill them, so that redelivery meets the rows it made before.

use std::sync::Arc;

use uuid::Uuid;

use super::cast::Scalar;
use super::error::{At, TransformError};
use super::fhirpath::{Environment, Item, Path};
use super::identity;
use super::rules::PartialDate;
use crate::error::Refusal;
use crate::model::{
    Catalog, Change, ColumnSource, ColumnType, Document, Operation, ResourceRows, RootTable, Row,
    RowSet, TableIndex, Value, Version,
};

/// The rows of one upsert below one root table.
#[derive(Debug)]
pub struct Rows<'c> {
    index: usize,
    root: &'c RootTable,
    change: &'c Change,
    version: Version,
    document: &'c Document,
    sets: Vec<RowSet>,
}

impl<'c> Rows<'c> {
    /// Begins the rows of a change below the root at `index` of the catalog; `None` if it is a
    /// delete or of another resource type, and so has none to be made.
    #[must_use]
    pub fn of(catalog: &'c Catalog, index: usize, change: &'c Change) -> Option<Self> {
        let root = catalog.roots.get(index)?;
        let Operation::Upsert { version, document } = &change.operation else { return None };
        if root.resource_type != change.resource.resource_type {
            return None;
        }
        let sets = (0..root.tables.len()).map(|table| RowSet { table, rows: Vec::new() });
        Some(Self { index, root, change, version: *version, document, sets: sets.collect() })
    }

    /// The value that a path has in the document, as a column of this type takes it; NULL if
    /// there is none.
    ///
    /// # Errors
    /// A [`Refusal`] as rules would make it: several values, a wrong type, a failed expression.
    pub fn read(&self, path: &Path, column_type: ColumnType) -> Result<Value, Box<Refusal>> {
        let resource = self.document.root();
        let mut found = Vec::new();
        let read = path
            .evaluate(
                Environment::of_change(self.change, self.document),
                Item::resource(resource),
                &mut found,
            )
            .map_err(TransformError::Expression)
            .and_then(|()| {
                match found.iter().filter_map(Scalar::of).collect::<Vec<_>>().as_slice() {
                    [] => Ok(Value::Null),
                    [one] => one
                        .cast(column_type, PartialDate::Start)
                        .map_err(TransformError::TypeMismatch),
                    several => Err(TransformError::MultipleValues { count: several.len() }),
                }
            });
        read.map_err(|error| {
            let table: Arc<str> = self.root.named_table().name.to_string().into();
            let (rule, path) = (Some(&self.root.rule), Some(path.expression()));
            error.refuse(self.change, &At { table: &table, column: None, rule, path })
        })
    }

    /// Adds the resource's row; `values` are those of the columns that were declared, in their
    /// order. Call it once.
    ///
    /// # Panics
    /// If there are more or fewer values than columns: a mistake of the program, whatever the
    /// document.
    pub fn root(&mut self, values: impl IntoIterator<Item = Value>) -> Uuid {
        let table = self.root.named_table().name.to_string();
        let id = identity::root(&table, &self.change.resource);
        self.push(0, id, &Value::Null, values);
        id
    }

    /// Adds a row of a child table, at its place in [`RootTable::tables`], below the row with the
    /// id `parent`.
    ///
    /// # Panics
    /// As [`Rows::root`], or if there is no such table.
    pub fn child(
        &mut self,
        table: TableIndex,
        parent: Uuid,
        values: impl IntoIterator<Item = Value>,
    ) {
        let name = self.root.tables[table].name.to_string();
        let id = identity::child(parent, &name, self.sets[table].rows.len());
        self.push(table, id, &Value::Uuid(parent), values);
    }

    /// The rows. If [`Rows::root`] was not called, the resource has none here at this version, and
    /// those of older versions go.
    #[must_use]
    pub fn finish(self) -> ResourceRows {
        let has_root = self.sets.first().is_some_and(|set| !set.rows.is_empty());
        ResourceRows { root: self.index, row_sets: has_root.then_some(self.sets) }
    }

    fn push(
        &mut self,
        table: TableIndex,
        id: Uuid,
        parent: &Value,
        values: impl IntoIterator<Item = Value>,
    ) {
        let columns = &self.root.tables[table].columns;
        let mut values = values.into_iter();
        let mut row = Row::with_capacity(columns.len());
        for column in columns {
            row.push(match &column.source {
                ColumnSource::Id => Value::Uuid(id),
                ColumnSource::Version => Value::Int(self.version.get()),
                ColumnSource::SourceResourceId => Value::Text((*self.change.resource.id).into()),
                ColumnSource::ParentReference => parent.clone(),
                ColumnSource::Rule { .. } => values.next().expect("a value for every column"),
            });
        }
        assert!(values.next().is_none(), "more values than columns");
        self.sets[table].rows.push(row);
    }
}
