//! Dead letters: records that were refused, with everything needed to understand, mend and replay
//! them.
//!
//! In: a record and its refusal. Out: the same key and value bytes and headers on the dead-letter
//! topic, plus headers that tell who refused, why and where ([`headers`]). It never puts a payload
//! value, record key or resource id into a header, and never drops a letter silently.

use std::sync::Arc;

use crate::broker::{BrokerError, OutgoingRecord, Producer};
use crate::error::Refusal;
use crate::model::{Offset, Record, TopicPartition};

mod edit;
pub mod headers;
mod latest;
mod ledger;
mod original;
mod retry;
mod status;

pub use edit::{EditedLetter, edit};
pub use headers::{Edit, LetterSummary, Pointer, read};
pub use ledger::{Found, Ledger, LedgerTopics, Letter, Letters, Tally};
pub use original::{OpenedLetter, is_sent_again, original, own_headers};
pub use retry::{DUE, Retry, RetryPolicy, RetryQueue, due};
pub use status::{How, Position, Recorded, Status, StatusRecord, StatusWriter, read_status};

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record, as it was read. If it is a letter itself (a replay that failed again), its
    /// origin and first failure are kept.
    pub record: Record,
    /// Why: the first refusal among its changes.
    pub refusal: Refusal,
    /// How many of its changes were refused.
    pub changes_refused: usize,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was refused, milliseconds since the epoch.
    pub failed_at: i64,
}

/// What all letters of a topology have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letterhead {
    /// The dead-letter topic.
    pub topic: Arc<str>,
    /// Name of the topology, part of a letter's identity.
    pub topology: Arc<str>,
    /// Hash of the configuration in force.
    pub config_hash: Arc<str>,
}

/// The record to be appended for a dead letter: key, value and headers as they were, plus ours.
#[must_use]
pub fn letter(head: &Letterhead, dead: &DeadLetter) -> OutgoingRecord {
    // a pointer that is replayed and fails again has no value, and must go on saying so
    let pointer =
        if dead.record.value.is_none() { headers::pointer_to(&dead.record) } else { None };
    outgoing(head, dead, dead.record.value.clone(), pointer.as_ref())
}

/// The letter for a record too large for the dead-letter topic: the value stays at the origin, and
/// its hash and length are given instead.
#[must_use]
pub fn pointer_letter(head: &Letterhead, dead: &DeadLetter) -> OutgoingRecord {
    outgoing(head, dead, None, headers::pointer_to(&dead.record).as_ref())
}

fn outgoing(
    head: &Letterhead,
    dead: &DeadLetter,
    value: Option<bytes::Bytes>,
    pointer: Option<&Pointer>,
) -> OutgoingRecord {
    OutgoingRecord {
        topic: Arc::clone(&head.topic),
        partition: None,
        key: dead.record.key.clone(),
        value,
        headers: headers::write(&head.topology, &head.config_hash, dead, pointer),
    }
}

/// Publishes dead letters.
#[derive(Clone)]
pub struct DeadLetterQueue {
    head: Letterhead,
    producer: Arc<dyn Producer>,
}

impl std::fmt::Debug for DeadLetterQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterQueue").field("head", &self.head).finish_non_exhaustive()
    }
}

impl DeadLetterQueue {
    /// Letters with this head go through this producer.
    #[must_use]
    pub fn new(head: Letterhead, producer: Arc<dyn Producer>) -> Self {
        Self { head, producer }
    }

    /// What its letters have in common.
    #[must_use]
    pub const fn head(&self) -> &Letterhead {
        &self.head
    }

    /// Publishes letters and returns once all replicas have all of them. A letter too large for
    /// the topic is published as a pointer. On an error some letters may be there already;
    /// publishing all of them again is right, since a letter published twice counts once.
    ///
    /// [`BrokerError::RecordTooLarge`] comes back only for a letter whose key and headers alone are
    /// too large.
    ///
    /// The places in the dead-letter topic are in the order of the letters.
    pub async fn publish(
        &self,
        letters: &[DeadLetter],
    ) -> Result<Vec<(TopicPartition, Offset)>, BrokerError> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let outgoing = letters.iter().map(|dead| letter(&self.head, dead)).collect();
        let results = self.producer.send(outgoing).await;
        let mut places = Vec::with_capacity(letters.len());
        let mut pointers = Vec::new();
        for (dead, result) in letters.iter().zip(results) {
            match result {
                Ok(place) => places.push(Some(place)),
                Err(BrokerError::RecordTooLarge) => {
                    places.push(None);
                    pointers.push(pointer_letter(&self.head, dead));
                }
                Err(error) => return Err(error),
            }
        }
        let sent =
            if pointers.is_empty() { Vec::new() } else { self.producer.send(pointers).await };
        let mut pointers = sent.into_iter();
        let mut pointer = || pointers.next().unwrap_or(Err(BrokerError::RecordTooLarge));
        places.into_iter().map(|place| place.map_or_else(&mut pointer, Ok)).collect()
    }
}

#[cfg(test)]
mod tests;
