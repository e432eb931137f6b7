//! Decode and transform of one batch: the processor's share of the work.

use std::time::{Duration, Instant};

use crate::error::{Refusal, Stage};
use crate::model::{Change, Offset, Operation, Record, RowChange, RowOperation};
use crate::source::Decoder;
use crate::telemetry::metrics::Metrics;
use crate::transform::Transformer;

/// A batch of records ready to be written.
#[derive(Debug)]
pub(super) struct Batch {
    /// The records, in offset order.
    pub records: Vec<Record>,
    /// Their changes as rows, in record order.
    pub changes: Vec<RowChange>,
    /// For each change, the place of its record.
    pub record_of: Vec<usize>,
    /// Refusals by decode and transform, each with the place of its record.
    pub refused: Vec<(usize, Refusal)>,
    /// The offset that is settled once this batch is.
    pub next: Offset,
}

/// Records that are decoded before they are transformed: few, so that their parsed documents are
/// still in the processor's cache when they are read, and their memory is used again for the next.
const DOCUMENTS: usize = 16;

/// Decodes and transforms records. Pure but for the stage metrics.
pub(super) fn prepare(
    records: Vec<Record>,
    decoder: &Decoder,
    transformer: &dyn Transformer,
    metrics: &Metrics,
) -> Batch {
    let next = records.last().map_or(Offset(0), |record| record.offset.next());
    let mut refused = Vec::new();
    let mut changes = Vec::with_capacity(records.len());
    let mut record_of = Vec::with_capacity(records.len());
    let mut entering: Vec<(usize, Change)> = Vec::with_capacity(DOCUMENTS);
    let (mut decoding, mut transforming) = (Duration::ZERO, Duration::ZERO);
    let mut entered = 0;
    let mut places = 0..;
    for some in records.chunks(DOCUMENTS) {
        let started = Instant::now();
        for (record, place) in some.iter().zip(&mut places) {
            decoder.decode_each(record, |change| match change {
                Ok(change) => entering.push((place, change)),
                Err(error) => refused.push((place, error.into())),
            });
        }
        let between = Instant::now();
        entered += entering.len();
        for (place, change) in entering.drain(..) {
            match to_rows(change, transformer) {
                Ok(change) => {
                    changes.push(change);
                    record_of.push(place);
                }
                Err(refusal) => refused.push((place, *refusal)),
            }
        }
        decoding += between - started;
        transforming += between.elapsed();
    }
    metrics.stage(Stage::Decode, records.len(), decoding.as_secs_f64());
    metrics.stage(Stage::Transform, entered, transforming.as_secs_f64());
    Batch { records, changes, record_of, refused, next }
}

/// The changes of one record as rows, and what was refused of it.
pub(super) fn prepare_record(
    record: &Record,
    decoder: &Decoder,
    transformer: &dyn Transformer,
) -> (Vec<RowChange>, Vec<Refusal>) {
    let mut rows = Vec::new();
    let mut refused = Vec::new();
    decoder.decode_each(record, |change| match change.map(|change| to_rows(change, transformer)) {
        Ok(Ok(change)) => rows.push(change),
        Ok(Err(refusal)) => refused.push(*refusal),
        Err(error) => refused.push(error.into()),
    });
    (rows, refused)
}

/// The rows of a change.
fn to_rows(change: Change, transformer: &dyn Transformer) -> Result<RowChange, Box<Refusal>> {
    let rows = match change.operation {
        Operation::Upsert { .. } => transformer.transform(&change)?,
        Operation::Delete { .. } => Vec::new(),
    };
    let operation = match change.operation {
        Operation::Upsert { version, .. } => RowOperation::Upsert { version, rows },
        Operation::Delete { version } => RowOperation::Delete { version },
    };
    Ok(RowChange { resource: change.resource, operation, origin: change.origin })
}
