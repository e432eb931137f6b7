//! History rows: the same values as the live rows, under ids of their own.
//!
//! In: a live row and its version. Out: the cells of its history row. A managed `id` becomes the
//! UUIDv5 of the version in the namespace of the live id, and a `parent_reference` to a managed id
//! the same from the parent's: so redelivery makes the same row, and the rows of a version know
//! each other without a look-up.

use uuid::Uuid;

use super::cell::Cell;
use super::target::Target;
use crate::model::{ColumnSource, Value};

/// The history id of a live id at a version.
#[must_use]
pub fn history_id(live: Uuid, version: i64) -> Uuid {
    Uuid::new_v5(&live, version.to_string().as_bytes())
}

/// The cells of a live row's history row, in the order of the history table's columns.
pub fn history_cells<'a>(
    target: &'a Target,
    row: &'a [Value],
    version: i64,
) -> impl Iterator<Item = Cell<'a>> {
    target.columns.iter().map(move |column| {
        let value = row.get(column.position).unwrap_or(&Value::Null);
        match column.source {
            ColumnSource::Id => derived(value, version),
            ColumnSource::ParentReference if column.parent_id_is_managed => derived(value, version),
            ColumnSource::Version => Cell::Int(version),
            ColumnSource::Rule { .. }
            | ColumnSource::SourceResourceId
            | ColumnSource::ParentReference => Cell::from(value),
        }
    })
}

fn derived(value: &Value, version: i64) -> Cell<'_> {
    match value {
        Value::Uuid(live) => Cell::Uuid(history_id(*live, version)),
        other => Cell::from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_row_has_an_id_of_its_own_that_never_changes() {
        let live = Uuid::from_u128(1);
        assert_eq!(history_id(live, 7).to_string(), "bd0df9e0-0000-0000-0000-000000000000");
        assert_ne!(history_id(live, 7), history_id(live, 8));
        assert_ne!(history_id(live, 7), history_id(Uuid::from_u128(2), 7));
    }
}
