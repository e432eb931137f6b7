//! Dead letters through the same stages again, straight to the sink.
//!
//! In: records as they were in the ingest topic, at their origin positions. Out: how each ended this
//! time, or would end. The ingest topic is untouched; the version guard makes a late letter stale,
//! never wrong.

use std::collections::BTreeMap;

use thiserror::Error;

use super::patience::patiently;
use super::prepare::prepare_record;
use crate::error::Refusal;
use crate::model::{Record, RowChange, TopicPartition};
use crate::sink::{Outcome, Owner, Sink, SinkError, rehearse, write};
use crate::source::Decoder;
use crate::transform::Transformer;

/// Whether it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Performance {
    /// Rows are written.
    Real,
    /// The same transactions, rolled back: nothing stays, and a batch does not see what another
    /// one would have left.
    Rehearsal,
}

/// Whether deletes without version that were refused before are applied now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedDeletes {
    /// They stay refused.
    Stay,
    /// They are applied, over anything newer.
    Forced,
}

/// How a letter ended.
#[derive(Debug)]
pub enum Replayed {
    /// Its changes are in the tables, or were overtaken, or are filtered now.
    Settled(Outcome),
    /// Refused again.
    Refused {
        /// The first cause.
        refusal: Box<Refusal>,
        /// How many of its changes were refused, at least 1.
        changes_refused: usize,
    },
}

/// Why a replay stopped. The letters not yet replayed stay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The database does not take writes.
    #[error("the letters could not be written")]
    Sink(#[source] SinkError),
}

/// The stages a letter goes through.
pub struct ReplayStages<'a> {
    /// Records to changes.
    pub decoder: &'a Decoder,
    /// Changes to rows.
    pub transformer: &'a dyn Transformer,
    /// Rows to the database.
    pub sink: &'a dyn Sink,
}

/// Replays the records of letters, which must stand at their origin positions: those of one origin
/// partition in one transaction, in the order of their offsets. The results are in the order of the
/// records.
///
/// # Errors
/// [`ReplayError`] if the database is away for long or refuses everything. Some of the records may
/// have been written; replaying them again makes them stale.
pub async fn replay(
    stages: &ReplayStages<'_>,
    records: &[Record],
    performance: Performance,
    refused_deletes: RefusedDeletes,
) -> Result<Vec<Replayed>, ReplayError> {
    let mut by_partition: BTreeMap<&TopicPartition, Vec<usize>> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        by_partition.entry(&record.source).or_default().push(place);
    }
    let mut ends: Vec<Ending> = records.iter().map(|_| Ending::default()).collect();
    for (partition, mut places) in by_partition {
        places.sort_by_key(|place| records.get(*place).map(|record| record.offset));
        let mut changes = Vec::with_capacity(places.len());
        let mut record_of = Vec::with_capacity(places.len());
        for place in places {
            let (Some(record), Some(ending)) = (records.get(place), ends.get_mut(place)) else {
                continue;
            };
            let (prepared, refused) = prepare_record(record, stages.decoder, stages.transformer);
            record_of.extend(prepared.iter().map(|_| place));
            changes.extend(prepared);
            for refusal in refused {
                ending.refused(refusal);
            }
        }
        if changes.is_empty() {
            continue;
        }
        let force = refused_deletes == RefusedDeletes::Forced;
        let owner = Owner::Replay { partition: partition.clone(), force };
        let results = perform(stages.sink, &owner, &changes, performance).await?;
        for (place, result) in record_of.into_iter().zip(results) {
            let Some(ending) = ends.get_mut(place) else { continue };
            match result {
                Ok(outcome) => ending.outcome = ending.outcome.max(Some(outcome)),
                Err(refusal) => ending.refused(refusal),
            }
        }
    }
    Ok(ends.into_iter().map(Ending::told).collect())
}

/// Waits for a database that is away, within limits.
async fn perform(
    sink: &dyn Sink,
    owner: &Owner,
    changes: &[RowChange],
    performance: Performance,
) -> Result<Vec<Result<Outcome, Refusal>>, ReplayError> {
    let performed = patiently(|| async {
        match performance {
            Performance::Real => write(sink, owner, changes, None).await,
            Performance::Rehearsal => rehearse(sink, owner, changes).await,
        }
    });
    performed.await.map_err(ReplayError::Sink)
}

/// What is known of a record so far.
#[derive(Default)]
struct Ending {
    outcome: Option<Outcome>,
    first: Option<Refusal>,
    refused: usize,
}

impl Ending {
    fn refused(&mut self, refusal: Refusal) {
        self.first.get_or_insert(refusal);
        self.refused += 1;
    }

    /// A record without any change has nothing to write.
    fn told(self) -> Replayed {
        match self.first {
            Some(refusal) => {
                Replayed::Refused { refusal: Box::new(refusal), changes_refused: self.refused }
            }
            None => Replayed::Settled(self.outcome.unwrap_or(Outcome::Filtered)),
        }
    }
}
