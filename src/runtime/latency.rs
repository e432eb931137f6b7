//! How old what is written is, table by table.
//!
//! In: batches, and how the database took their changes. Out: for each root table, how long after the
//! broker's timestamps its rows were committed. What wrote nothing is not in it: nobody sees that.

use std::sync::Arc;

use super::prepare::Batch;
use super::settled::{now_millis, seconds_between};
use crate::error::Refusal;
use crate::model::{Catalog, RowOperation};
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
        let now = now_millis();
        let mut tables: Vec<_> = self.roots.iter().map(|(_, table)| table.collecting()).collect();
        for ((place, change), result) in batch.record_of.iter().zip(&batch.changes).zip(results) {
            let timestamp = batch.records.get(*place).and_then(|record| record.timestamp);
            let (Ok(Outcome::Written), Some(timestamp)) = (result, timestamp) else { continue };
            let age = seconds_between(timestamp, now);
            let mut wrote = |root: usize| {
                if let Some(table) = tables.get_mut(root) {
                    table.observe(age);
                }
            };
            // the sink tells of a change, not of its tables: it wrote those that it has rows for
            match &change.operation {
                RowOperation::Upsert { rows, .. } => {
                    let with_rows = rows.iter().filter(|rows| rows.row_sets.is_some());
                    with_rows.for_each(|rows| wrote(rows.root));
                }
                RowOperation::Delete { .. } => {
                    let roots = self.roots.iter().enumerate();
                    let of_type = roots.filter(|(_, (of, _))| *of == change.resource.resource_type);
                    of_type.for_each(|(root, _)| wrote(root));
                }
            }
        }
    }
}
