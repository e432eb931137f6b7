//! Letters that wait to be tried again, in a topic of their own.
//!
//! In: a record whose refusal may heal by itself. Out: a letter on the retry topic, with one header
//! more that says when it is due. It is no dead letter yet: whoever reads the retry topic tries it
//! again, and makes it one at last.

use std::sync::Arc;

use super::headers::{LetterSummary, claims_to_be_of, id, instant, rfc3339};
use super::{DeadLetter, Letterhead, letter};
use crate::broker::{BrokerError, Producer};
use crate::error::Cause;
use crate::model::{Header, Record};
use crate::retry::Schedule;

/// When a letter on the retry topic is to be tried again; RFC 3339, UTC, milliseconds.
pub const DUE: &str = "rowcast.retry.due";

/// Which refusals are tried again, when and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a record is tried again at most; the first attempt is not one of them.
    pub maximum_attempts: u32,
    /// How long it waits before each.
    pub schedule: Schedule,
    /// Causes that may heal by themselves.
    pub causes: Vec<Cause>,
}

impl RetryPolicy {
    /// Whether a record that was refused for this cause is tried again after so many attempts, the
    /// first included.
    #[must_use]
    pub fn takes(&self, cause: Cause, attempts: u32) -> bool {
        attempts <= self.maximum_attempts && self.causes.contains(&cause)
    }

    /// When a record is due that was refused at this time, after so many attempts; milliseconds
    /// since the epoch.
    #[must_use]
    pub fn due(&self, failed_at: i64, attempts: u32) -> i64 {
        let delay = self.schedule.delay_after(attempts).as_millis();
        failed_at.saturating_add(i64::try_from(delay).unwrap_or(i64::MAX))
    }
}

/// A letter that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The letter as it is so far.
    pub letter: DeadLetter,
    /// When it is to be tried again, milliseconds since the epoch.
    pub due: i64,
}

/// When a letter is to be tried again, milliseconds since the epoch; `None` if it says nothing.
#[must_use]
pub fn due(record: &Record) -> Option<i64> {
    instant(record, DUE)
}

/// Publishes letters that wait.
#[derive(Clone)]
pub struct RetryQueue {
    head: Letterhead,
    producer: Arc<dyn Producer>,
}

impl std::fmt::Debug for RetryQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryQueue").field("head", &self.head).finish_non_exhaustive()
    }
}

impl RetryQueue {
    /// Letters with this head, whose topic is the retry topic, go through this producer.
    #[must_use]
    pub fn new(head: Letterhead, producer: Arc<dyn Producer>) -> Self {
        Self { head, producer }
    }

    /// The retry topic.
    #[must_use]
    pub const fn topic(&self) -> &Arc<str> {
        &self.head.topic
    }

    /// Whether a letter of the topic is this topology's own: another one with the same source has
    /// the same retry topic, unless it names one.
    #[must_use]
    pub fn wrote(&self, letter: &LetterSummary) -> bool {
        letter.id == id(&self.head.topology, &letter.origin, letter.offset)
    }

    /// Whether a record that cannot be read as a letter is one of this topology's all the same, from a
    /// release that knows more.
    #[must_use]
    pub fn wrote_unread(&self, record: &Record) -> bool {
        claims_to_be_of(&self.head.topology, record)
    }

    /// Publishes letters and returns once all replicas have all of them, with the places of those
    /// that are too large for the topic: they are not in it, since without its value a letter cannot
    /// be tried again. On an error some may be there already; publishing all of them again is
    /// right, since copies of a letter are tried as one.
    pub async fn publish(&self, retries: &[Retry]) -> Result<Vec<usize>, BrokerError> {
        if retries.is_empty() {
            return Ok(Vec::new());
        }
        let outgoing = retries.iter().map(|retry| {
            let mut outgoing = letter(&self.head, &retry.letter);
            outgoing.headers.push(Header::text(DUE, rfc3339(retry.due)));
            outgoing
        });
        let results = self.producer.send(outgoing.collect()).await;
        let mut too_large = Vec::new();
        for (place, result) in results.into_iter().enumerate() {
            match result {
                Ok(_) => {}
                Err(BrokerError::RecordTooLarge) => too_large.push(place),
                Err(error) => return Err(error),
            }
        }
        Ok(too_large)
    }
}
