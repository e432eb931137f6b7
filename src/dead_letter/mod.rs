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
pub use headers::{Edit, ID as LETTER_ID, LetterSummary, Pointer, read};
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

/// The letter for a record whose key or headers alone are too large for the dead-letter topic: they
/// stay at the origin with the value, and the letter is a pointer to all of it.
#[must_use]
pub fn bare_letter(head: &Letterhead, dead: &DeadLetter) -> OutgoingRecord {
    let pointer = headers::pointer_to(&dead.record)
        .unwrap_or_else(|| Pointer::to(dead.record.value.as_deref()));
    let mut bare = outgoing(head, dead, None, Some(&pointer));
    bare.key = None;
    bare.headers.retain(|header| headers::is_ours(&header.name));
    bare
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

/// Where letters are in the dead-letter topic; `None`: not there yet, as far as is known.
pub type Places = Vec<Option<(TopicPartition, Offset)>>;

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

    /// Appends letters as they are, and returns once all replicas have all of them: those of another
    /// release, which this one cannot read. On an error some of them may be there already; handing
    /// all of them on again is right, since copies of a letter count once.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn hand_on(&self, letters: &[Record]) -> Result<(), BrokerError> {
        let outgoing = letters.iter().map(|letter| OutgoingRecord {
            topic: Arc::clone(&self.head.topic),
            partition: None,
            key: letter.key.clone(),
            value: letter.value.clone(),
            headers: letter.headers.iter().filter(|header| header.name != DUE).cloned().collect(),
        });
        let results = self.producer.send(outgoing.collect()).await;
        results.into_iter().try_for_each(|result| result.map(drop))
    }

    /// Publishes the letters that have no place yet, and returns once all replicas have all of them.
    /// A letter too large for the topic is published as a pointer, and one whose key or headers
    /// alone are too large without those. On an error some of them may have their place: give
    /// `places` back, and only the others are sent again.
    ///
    /// `places` are those in the dead-letter topic, in the order of the letters; give it empty first.
    ///
    /// # Errors
    /// [`BrokerError`]; [`BrokerError::RecordTooLarge`] only if the topic takes none of our headers.
    pub async fn publish(
        &self,
        letters: &[DeadLetter],
        places: &mut Places,
    ) -> Result<(), BrokerError> {
        places.resize(letters.len(), None);
        for form in [letter, pointer_letter, bare_letter] {
            let mut missing: Vec<(&mut Option<_>, &DeadLetter)> =
                places.iter_mut().zip(letters).filter(|(place, _)| place.is_none()).collect();
            if missing.is_empty() {
                return Ok(());
            }
            let outgoing = missing.iter().map(|(_, dead)| form(&self.head, dead)).collect();
            let results = self.producer.send(outgoing).await;
            let mut failed = None;
            for ((place, _), result) in missing.iter_mut().zip(results) {
                match result {
                    Ok(found) => **place = Some(found),
                    Err(BrokerError::RecordTooLarge) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        if places.iter().all(Option::is_some) { Ok(()) } else { Err(BrokerError::RecordTooLarge) }
    }
}

#[cfg(test)]
mod tests;
