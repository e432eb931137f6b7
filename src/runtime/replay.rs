//! Dead letters through the same stages again, straight to the sink.
//!
//! In: the record as it was in the ingest topic, at its origin position. Out: how it ended this
//! time. The ingest topic is untouched; the version guard makes a late letter stale, never wrong.

use thiserror::Error;

use super::prepare::prepare_record;
use crate::error::{ErrorClass, Refusal};
use crate::model::Record;
use crate::retry::Backoff;
use crate::sink::{Outcome, Owner, Sink, SinkError, write};
use crate::source::Decoder;
use crate::transform::Transformer;

/// Attempts while the database is away, before a replay gives up: about half a minute. Replay is
/// a command that somebody waits for; the letters stay.
const ATTEMPTS: u32 = 8;

/// How a letter ended.
#[derive(Debug)]
pub enum Replayed {
    /// Its changes are in the tables, or were overtaken, or are filtered now.
    Settled(Outcome),
    /// Refused again, with the first cause.
    Refused(Box<Refusal>),
}

/// Why a replay stopped. The letters not yet replayed stay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The database does not take writes.
    #[error("the letter could not be written")]
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

/// Replays one letter's record, which must stand at its origin position. `force` lifts the memory
/// that a delete without version was refused before.
///
/// # Errors
/// [`ReplayError`] if the database is away for long or refuses everything.
pub async fn replay(
    stages: &ReplayStages<'_>,
    record: &Record,
    force: bool,
) -> Result<Replayed, ReplayError> {
    let (changes, refusals) = prepare_record(record, stages.decoder, stages.transformer);
    let owner = Owner::Replay { partition: record.source.clone(), force };
    let mut first_refusal = refusals.into_iter().next();
    let mut outcome = Outcome::Filtered;
    let mut backoff = Backoff::default();
    let results = loop {
        match write(stages.sink, &owner, &changes, None).await {
            Ok(results) => break results,
            Err(error)
                if error.class() == ErrorClass::Retriable && backoff.attempts() < ATTEMPTS =>
            {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(ReplayError::Sink(error)),
        }
    };
    for result in results {
        match result {
            Ok(settled) => outcome = outcome.max(settled),
            Err(refusal) => {
                first_refusal.get_or_insert(refusal);
            }
        }
    }
    Ok(match first_refusal {
        Some(refusal) => Replayed::Refused(Box::new(refusal)),
        None => Replayed::Settled(outcome),
    })
}
