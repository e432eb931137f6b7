//! What became of letters: the records of the status topic.
//!
//! In: how a replay or a discard ended. Out: a record keyed by the letter's id, of which the
//! compacted topic keeps the last; and back. It holds positions, counts and the operator's own
//! words, nothing of the letter.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::headers::{LetterSummary, is_id};
use crate::broker::{BrokerError, OutgoingRecord, Producer};
use crate::model::Record;
use crate::retry::Backoff;

/// Attempts to append while the broker is away: about half a minute.
const ATTEMPTS: u32 = 8;

/// How a letter stands: what the commands show and select by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Nobody dealt with its latest copy.
    Open,
    /// Open; a replay was refused.
    FailedAgain,
    /// Open; refused by so many replays that they leave it out unless it is named.
    Quarantined,
    /// Settled: its changes were written, or given back to the ingest topic.
    Replayed,
    /// Settled: newer changes were there already.
    Stale,
    /// Settled: no rule is for it any more.
    Filtered,
    /// Settled: an operator gave it up, and said why.
    Discarded,
}

impl Status {
    /// All of them, open ones first.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::FailedAgain,
        Self::Quarantined,
        Self::Replayed,
        Self::Stale,
        Self::Filtered,
        Self::Discarded,
    ];

    /// The name used in commands and their output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FailedAgain => "failed_again",
            Self::Quarantined => "quarantined",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Filtered => "filtered",
            Self::Discarded => "discarded",
        }
    }

    /// The status with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing is left to be done.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Open | Self::FailedAgain | Self::Quarantined => false,
            Self::Replayed | Self::Stale | Self::Filtered | Self::Discarded => true,
        }
    }

    /// What it means, for the guide.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Open => "nobody dealt with it yet",
            Self::FailedAgain => "open: a replay was refused",
            Self::Quarantined => {
                "open: refused by `dead_letter.max_replays` replays, which leave it out unless it is named"
            }
            Self::Replayed => "settled: written, or given back to the ingest topic",
            Self::Stale => "settled: newer changes were there already",
            Self::Filtered => "settled: no rule is for it any more",
            Self::Discarded => "settled: given up, with a reason",
        }
    }

    /// How the copy of a letter at this position stands, given the letter's last status record.
    #[must_use]
    pub fn of(
        summary: &LetterSummary,
        position: Position,
        last: Option<&StatusRecord>,
        max_replays: u32,
    ) -> Self {
        // a status of an earlier copy says nothing about this one
        let about = last.filter(|last| {
            last.position.partition == position.partition && last.position.offset >= position.offset
        });
        let (recorded, replays) = match about {
            Some(about) => (Some(about.status), summary.replays.max(about.replays)),
            None => (None, summary.replays),
        };
        match recorded {
            Some(Recorded::Replayed) => Self::Replayed,
            Some(Recorded::Stale) => Self::Stale,
            Some(Recorded::Filtered) => Self::Filtered,
            Some(Recorded::Discarded) => Self::Discarded,
            Some(Recorded::FailedAgain) | None if replays >= max_replays => Self::Quarantined,
            Some(Recorded::FailedAgain) => Self::FailedAgain,
            // its status record may be lost: the copy itself says that a replay was refused
            None if replays > 0 => Self::FailedAgain,
            None => Self::Open,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a status record says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// A replay wrote it, or gave it back to the ingest topic.
    Replayed,
    /// A replay found newer changes.
    Stale,
    /// A replay found no rule for it.
    Filtered,
    /// A replay was refused.
    FailedAgain,
    /// An operator gave it up.
    Discarded,
}

/// How it was replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Through the same stages, straight to the database.
    Direct,
    /// Back into the ingest topic.
    ToTopic,
}

/// Where a copy of a letter stands in the dead-letter topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

impl Position {
    /// Of a record as it was read.
    #[must_use]
    pub const fn of(record: &Record) -> Self {
        Self { partition: record.source.partition, offset: record.offset.0 }
    }
}

/// What became of a letter, as the status topic has it: the key is the id, the rest JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// Id of the letter.
    #[serde(skip)]
    pub id: String,
    /// What happened.
    pub status: Recorded,
    /// When.
    pub at: DateTime<Utc>,
    /// The copy it happened to: the latest, then.
    #[serde(flatten)]
    pub position: Position,
    /// Replays that were refused so far, this one included.
    pub replays: u32,
    /// How it was replayed; absent where it was discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<How>,
    /// Why it was discarded: the operator's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl StatusRecord {
    fn outgoing(&self, topic: &Arc<str>) -> OutgoingRecord {
        let json = serde_json::to_vec(self).expect("plain data");
        OutgoingRecord {
            topic: Arc::clone(topic),
            partition: None,
            key: Some(Bytes::from(self.id.clone())),
            value: Some(Bytes::from(json)),
            headers: Vec::new(),
        }
    }
}

/// A record of the status topic: the letter's id, and `None` where its status was taken back by a
/// null value. `None` altogether for anything else, a status of a later release included: its
/// letter counts as open.
#[must_use]
pub fn read_status(record: &Record) -> Option<(String, Option<StatusRecord>)> {
    let id = std::str::from_utf8(record.key.as_deref()?).ok().filter(|id| is_id(id))?;
    let status = match &record.value {
        None => None,
        Some(json) => {
            let status: StatusRecord = serde_json::from_slice(json).ok()?;
            Some(StatusRecord { id: id.to_owned(), ..status })
        }
    };
    Some((id.to_owned(), status))
}

/// Appends to the status topic, which must be there.
#[derive(Clone)]
pub struct StatusWriter {
    topic: Arc<str>,
    producer: Arc<dyn Producer>,
}

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// Status records go to this topic through this producer.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, producer: Arc<dyn Producer>) -> Self {
        Self { topic: topic.into(), producer }
    }

    /// Appends status records and returns once all replicas have them. A broker that is away is
    /// waited for, half a minute; a record that is there twice by that says the same.
    ///
    /// # Errors
    /// [`BrokerError`] of the first record that the broker refused; others may be there.
    pub async fn append(&self, statuses: &[StatusRecord]) -> Result<(), BrokerError> {
        let mut backoff = Backoff::default();
        let outgoing = statuses.iter().map(|status| status.outgoing(&self.topic));
        let mut waiting: Vec<OutgoingRecord> = outgoing.collect();
        while !waiting.is_empty() {
            let results = self.producer.send(waiting.clone()).await;
            let mut again = Vec::new();
            for (record, result) in waiting.into_iter().zip(results) {
                match result {
                    Ok(_) => {}
                    Err(BrokerError::Unavailable { .. }) if backoff.attempts() < ATTEMPTS => {
                        again.push(record);
                    }
                    Err(error) => return Err(error),
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
        Ok(())
    }
}
