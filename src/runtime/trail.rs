//! Tells the troubleshooting log the way of each change of a batch.
//!
//! In: what the stages made of a batch. Out: events. Each function asks once whether anybody listens.

use std::collections::HashMap;

use super::Stages;
use super::prepare::Batch;
use crate::dead_letter::{DeadLetter, Retry};
use crate::error::{Refusal, Stage};
use crate::model::{
    Catalog, Guard, Record, ResourceKey, Reveal, RowChange, RowOperation, RowSet, Table,
};
use crate::plan::{Cell, listed};
use crate::sink::Outcome;
use crate::telemetry::troubleshooting::{self as log, Position, Transformed};

/// What decode and transform made of a batch.
pub(super) fn prepared(batch: &Batch, stages: &Stages) {
    if !log::is_on() {
        return;
    }
    let (catalog, reveal) = (stages.transformer.catalog(), stages.reveal);
    let mut changes = vec![0; batch.records.len()];
    // what decode refused never was a change
    let refused = batch.refused.iter().filter(|(_, refusal)| refusal.stage != Stage::Decode);
    for place in batch.record_of.iter().chain(refused.map(|(place, _)| place)) {
        if let Some(changes) = changes.get_mut(*place) {
            *changes += 1;
        }
    }
    for (record, changes) in batch.records.iter().zip(changes) {
        log::decoded(record, changes, reveal);
    }
    for (record, change) in places(batch) {
        tell(record, change, catalog, reveal);
    }
    for (place, refusal) in &batch.refused {
        if let Some(record) = batch.records.get(*place) {
            log::refused(Position::of(record), refusal);
        }
    }
}

/// How the database took the changes of a batch.
pub(super) fn written(batch: &Batch, results: &[Result<Outcome, Refusal>]) {
    if !log::is_on() {
        return;
    }
    let mut newest: HashMap<&ResourceKey, i64> = HashMap::new();
    for change in &batch.changes {
        let version = version(change).unwrap_or(-1);
        let newest = newest.entry(&change.resource).or_insert(version);
        *newest = version.max(*newest);
    }
    for ((record, change), result) in places(batch).zip(results) {
        let position = position(record, change);
        let is_newest = version(change) >= newest.get(&change.resource).copied();
        match result {
            Ok(Outcome::Written) => log::applied(position, "written"),
            Ok(Outcome::Stale) if is_newest => log::applied(position, "stale"),
            // overtaken by a newer version in the same batch
            Ok(Outcome::Stale) => log::applied(position, "folded"),
            Ok(Outcome::Filtered) => log::applied(position, "filtered"),
            Err(refusal) => log::refused(position, refusal),
        }
    }
}

/// The dead-letter topic has these letters.
pub(super) fn published(letters: &[DeadLetter]) {
    if !log::is_on() {
        return;
    }
    for letter in letters {
        log::dead_lettered(&letter.record, &letter.refusal);
    }
}

/// The retry topic has these letters.
pub(super) fn delayed(retries: &[Retry]) {
    if !log::is_on() {
        return;
    }
    for Retry { letter, due } in retries {
        log::delayed(&letter.record, &letter.refusal, *due);
    }
}

/// The changes of a batch, each with its record.
fn places(batch: &Batch) -> impl Iterator<Item = (&Record, &RowChange)> {
    let records = batch.record_of.iter().filter_map(|place| batch.records.get(*place));
    records.zip(&batch.changes)
}

fn position<'a>(record: &'a Record, change: &RowChange) -> Position<'a> {
    Position { index: change.origin.index, ..Position::of(record) }
}

fn version(change: &RowChange) -> Option<i64> {
    match &change.operation {
        RowOperation::Upsert { version, .. } => Some(version.get()),
        RowOperation::Delete { version } => version.map(crate::model::Version::get),
    }
}

fn tell(record: &Record, change: &RowChange, catalog: &Catalog, reveal: Reveal) {
    let position = position(record, change);
    let (operation, rows) = match &change.operation {
        RowOperation::Upsert { rows, .. } => ("upsert", rows.as_slice()),
        RowOperation::Delete { .. } => ("delete", [].as_slice()),
    };
    let mut counts = Vec::new();
    for of_root in rows {
        let Some(root) = catalog.roots.get(of_root.root) else { continue };
        // the versions of a view stand in a table of rowcast's own
        let first = usize::from(root.guard == Guard::ResourceTable);
        let tables = root.tables.iter().enumerate().skip(first);
        match &of_root.row_sets {
            None => {
                let first = tables.take(1);
                counts.extend(first.map(|(_, table)| format!("{} left out", table.name)));
            }
            Some(sets) => {
                let count = |index| rows_of(sets, index).count();
                counts.extend(
                    tables.map(|(index, table)| format!("{} {}", table.name, count(index))),
                );
            }
        }
    }
    let (resource, version) = (&change.resource, version(change));
    let rows_told = counts.join(", ");
    let told = Transformed { position, resource, version, operation, rows: &rows_told };
    log::transformed(told, reveal);
    if !log::shows_rows() {
        return;
    }
    for of_root in rows {
        let tables = catalog.roots.get(of_root.root).map(|root| root.tables.iter().enumerate());
        for (index, table) in tables.into_iter().flatten() {
            for row in rows_of(of_root.row_sets.as_deref().unwrap_or_default(), index) {
                log::row(position, &table.name.to_string(), &cells(table, row, reveal));
            }
        }
    }
}

fn rows_of(sets: &[RowSet], table: usize) -> impl Iterator<Item = &crate::model::Row> {
    sets.iter().filter(move |set| set.table == table).flat_map(|set| &set.rows)
}

fn cells(table: &Table, row: &crate::model::Row, reveal: Reveal) -> String {
    let named = table.columns.iter().zip(row);
    let named = named
        .map(|(column, value)| format!("{}: {}", column.name, listed([Cell::from(value)], reveal)));
    named.collect::<Vec<_>>().join(", ")
}
