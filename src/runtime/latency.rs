//! How old what is written is, table by table.
//!
//! In: batches, and how the database took their changes. Out: for each root table, how long after the
//! broker's timestamps its rows were committed. What wrote nothing is not in it: nobody sees that.

use std::sync::Arc;

use super::prepare::Batch;
use super::settled::seconds_since;
use crate::error::Refusal;
use crate::model::{Catalog, RowChange, RowOperation};
use crate::sink::Outcome;
use crate::telemetry::metrics::{Metrics, TableLatency};

/// The root tables of a catalog, each with its resource type.
pub(super) struct Latency {
    roots: Vec<(Arc<str>, TableLatency)>,
}

impl Latency {
    pub(super) fn new(catalog: &Catalog, metrics: &Metrics) -> Self {
        let roots = catalog.roots.iter().map(|root| {
            let table = root.named_table().name.to_string();
            (Arc::clone(&root.resource_type), metrics.latency(&table))
        });
        Self { roots: roots.collect() }
    }

    /// The database has committed a batch. `results` are those of its changes, in their order.
    pub(super) fn committed(&self, batch: &Batch, results: &[Result<Outcome, Refusal>]) {
        for ((place, change), result) in batch.record_of.iter().zip(&batch.changes).zip(results) {
            let timestamp = batch.records.get(*place).and_then(|record| record.timestamp);
            if let (Ok(Outcome::Written), Some(timestamp)) = (result, timestamp) {
                let seconds = seconds_since(timestamp);
                self.of_change(change).for_each(|table| table.observe(seconds));
            }
        }
    }

    /// The tables that a change writes to, if to any: the sink tells of a change, not of its tables.
    fn of_change<'a>(&'a self, change: &'a RowChange) -> impl Iterator<Item = &'a TableLatency> {
        let wrote = |root: usize| match &change.operation {
            RowOperation::Upsert { rows, .. } => {
                rows.iter().any(|rows| rows.root == root && rows.row_sets.is_some())
            }
            RowOperation::Delete { .. } => true,
        };
        let roots = self.roots.iter().enumerate();
        let of_type = roots.filter(|(_, (of, _))| **of == *change.resource.resource_type);
        of_type.filter(move |(root, _)| wrote(*root)).map(|(_, (_, table))| table)
    }
}
