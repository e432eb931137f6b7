//! Records that were settled long ago through the same stages again, for tables whose rules changed.
//!
//! In: records as they were read again, and the right to write (a sink that rebuilds, with its
//! owners). Out: counts. It publishes no letters and commits no offsets: a refused record leaves the
//! rows as they are and is told; whatever else it meant for the topic was settled before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use thiserror::Error;

use super::patience::patiently;
use super::prepare::{Batch, prepare};
use super::settled::settle;
use crate::error::{Cause, Refusal, Stage};
use crate::model::{Offset, Record, RowChange, TopicPartition};
use crate::sink::{Owner, Sink as _, SinkError, SqlSink, write};
use crate::source::Decoder;
use crate::telemetry::metrics::{Metrics, RecordOutcome};
use crate::transform::Transformer;

/// The stages that a record goes through again.
pub struct RebuildStages<'a> {
    /// Records to changes.
    pub decoder: &'a Decoder,
    /// Changes to rows.
    pub transformer: &'a dyn Transformer,
    /// Rows to the database: a sink that rebuilds.
    pub sink: &'a SqlSink,
    /// The resource types of the tables that are rebuilt.
    pub types: BTreeSet<Arc<str>>,
    /// The right to write, by partition.
    pub owners: HashMap<TopicPartition, Owner>,
}

/// What became of the records of a rebuild, one outcome each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// All that were read.
    pub read: u64,
    /// Rows were written or removed.
    pub written: u64,
    /// Older than what is stored, or gone.
    pub stale: u64,
    /// Left out by a `where`: the resource has no rows at this version.
    pub left_out: u64,
    /// Of other types.
    pub other: u64,
    /// Refused before the rebuild was broken off and taken up again.
    pub refused_before: u64,
    /// Refused, by what was alike: how many, and the first of them.
    pub refused: BTreeMap<RefusedKind, (u64, TopicPartition, Offset)>,
}

/// What refusals have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedKind {
    /// Who refused.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
    /// The table that was being filled.
    pub table: Option<Arc<str>>,
    /// The column that was being filled.
    pub column: Option<Arc<str>>,
}

impl Rebuilt {
    /// Records refused in all.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refused_before + self.refused.values().map(|(count, ..)| count).sum::<u64>()
    }
}

/// Why a rebuild stopped. It can be taken up again.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The database does not take writes.
    #[error("the rows could not be written")]
    Sink(#[source] SinkError),
    /// Another rebuild of the same topology was started: that one goes on.
    #[error("another rebuild of this topology was started, or its tables were cleared")]
    Overtaken,
}

impl From<SinkError> for RebuildError {
    fn from(error: SinkError) -> Self {
        if matches!(error, SinkError::Fenced) { Self::Overtaken } else { Self::Sink(error) }
    }
}

/// Runs records through the stages, those of a partition in one transaction.
///
/// # Errors
/// [`RebuildError`]; what is counted then is what was written before.
pub async fn rebuild(
    stages: &RebuildStages<'_>,
    records: Vec<Record>,
    rebuilt: &mut Rebuilt,
) -> Result<(), RebuildError> {
    let mut by_partition: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_partition.entry(record.source.clone()).or_default().push(record);
    }
    let metrics = Metrics::new();
    for (partition, records) in by_partition {
        // a partition that came later holds nothing that live traffic has not the new rules for
        let Some(owner) = stages.owners.get(&partition) else { continue };
        let batch = tokio::task::block_in_place(|| {
            prepare(records, stages.decoder, stages.transformer, &metrics)
        });
        // rows, then what was refused, then how far it came: a rebuild that is taken up again knows
        // that it has not done all
        let sink = stages.sink;
        let results = patiently(|| write(sink, owner, &batch.changes, None)).await?;
        let before = rebuilt.refusals();
        count(&batch, results, &stages.types, rebuilt);
        let refusals = rebuilt.refusals();
        if refusals > before {
            patiently(|| sink.remember_refusals(refusals)).await?;
        }
        patiently(|| sink.apply(owner, &[], Some(batch.next))).await?;
    }
    Ok(())
}

type Results = Vec<Result<crate::sink::Outcome, Refusal>>;

fn count(batch: &Batch, results: Results, types: &BTreeSet<Arc<str>>, rebuilt: &mut Rebuilt) {
    let is_ours = |change: &RowChange| types.contains(&change.resource.resource_type);
    let mut ours = vec![false; batch.records.len()];
    for (&place, change) in batch.record_of.iter().zip(&batch.changes) {
        if let Some(ours) = ours.get_mut(place) {
            *ours |= is_ours(change);
        }
    }
    let settled = settle(batch, results, |_, _| false);
    for (outcome, ours) in settled.outcomes.iter().zip(ours) {
        rebuilt.read += 1;
        match outcome {
            RecordOutcome::Written => rebuilt.written += 1,
            RecordOutcome::Stale => rebuilt.stale += 1,
            RecordOutcome::Filtered if ours => rebuilt.left_out += 1,
            RecordOutcome::Filtered => rebuilt.other += 1,
            RecordOutcome::Retried | RecordOutcome::DeadLettered => {}
        }
    }
    let mut told = None;
    for (place, refusal) in settled.refused {
        let Some(record) = batch.records.get(place).filter(|_| told != Some(place)) else {
            continue;
        };
        told = Some(place);
        let kind = RefusedKind {
            stage: refusal.stage,
            cause: refusal.cause,
            table: refusal.place.table.clone(),
            column: refusal.place.column.clone(),
        };
        let first = || (0, record.source.clone(), record.offset);
        rebuilt.refused.entry(kind).or_insert_with(first).0 += 1;
    }
}
