//! The letters of a topology, each once, and how each stands.
//!
//! In: the dead-letter topic and its status topic. Out: the latest copy of each letter that is
//! wanted, its [`Status`] and position; on a second walk, their records. Of letters that are not
//! wanted some bytes are kept, of records nothing. It writes nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::headers::{LetterSummary, read};
use super::status::{Position, Status, StatusRecord, read_status};
use crate::broker::{Broker, BrokerError, LogReader};
use crate::model::{Offset, Record};

/// Letters and statuses that are told apart, of which each takes some hundred bytes.
const MOST_KNOWN: usize = 2_000_000;

/// Where the letters are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerTopics {
    /// The dead-letter topic.
    pub letters: String,
    /// The status topic.
    pub statuses: String,
    /// Refused replays after which a letter is quarantined.
    pub max_replays: u32,
}

/// A letter: its latest copy, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// What its headers say.
    pub summary: LetterSummary,
    /// How it stands.
    pub status: Status,
    /// Where the copy is in the dead-letter topic.
    pub position: Position,
    /// The letter's last status record, which may be about an earlier copy.
    pub last_status: Option<StatusRecord>,
}

/// The letters that were wanted, as the topics were when it was opened.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    topic: String,
    letters: Vec<Letter>,
    foreign: u64,
    beyond: u64,
    ends: HashMap<i32, Offset>,
}

/// What an id, or the beginning of one, names.
#[derive(Debug)]
pub enum Found {
    /// No letter.
    None,
    /// Several letters; so many.
    Several(u64),
    /// A letter, and its latest copy as it was read.
    One(Box<Letter>, Record),
}

impl Ledger {
    /// Reads both topics to their present ends and keeps the letters that `wanted` accepts, at most
    /// `limit`; the others are counted as [`Ledger::beyond`]. A topic that is not there is empty.
    ///
    /// Of two copies of a letter in one partition the one with the greater offset is the latest; in
    /// two partitions, where records without key may end, the one that failed last.
    pub async fn open(
        broker: &dyn Broker,
        topics: &LedgerTopics,
        limit: usize,
        wanted: impl Fn(&LetterSummary, Status) -> bool + Send,
    ) -> Result<Self, BrokerError> {
        // first: whatever is settled while the letters are read counts as open, which is harmless
        let mut statuses = read_statuses(broker, &topics.statuses).await?;
        let mut ledger = Self { topic: topics.letters.clone(), ..Self::default() };
        let mut known: HashMap<u128, Latest> = HashMap::new();
        let mut held = 0;
        let mut reader = broker.reader(&topics.letters).await?;
        while let Some(records) = reader.next().await? {
            for record in &records {
                ledger.ends.insert(record.source.partition, record.offset.next());
                let Some((key, summary)) = read(record).and_then(keyed) else {
                    ledger.foreign += 1;
                    continue;
                };
                let position = Position::of(record);
                let last = statuses.get(&key).map(|last| &last.record);
                let status = Status::of(&summary, position, last, topics.max_replays);
                let copy = Latest { position, failed_at: summary.last_failed_at, held: Held::No };
                let room = known.len() < MOST_KNOWN;
                let latest = match known.entry(key) {
                    Entry::Occupied(entry) if copy.follows(entry.get()) => {
                        let latest = entry.into_mut();
                        held -= usize::from(matches!(latest.held, Held::Yes(_)));
                        *latest = copy;
                        latest
                    }
                    Entry::Occupied(_) => continue,
                    Entry::Vacant(entry) if room => entry.insert(copy),
                    Entry::Vacant(_) => {
                        ledger.beyond += u64::from(wanted(&summary, status));
                        continue;
                    }
                };
                if !wanted(&summary, status) {
                    continue;
                }
                if held < limit {
                    held += 1;
                    latest.held = Held::Yes(Box::new((summary, status)));
                } else {
                    latest.held = Held::NoRoom;
                }
            }
        }
        for (key, latest) in known {
            let (summary, status) = match latest.held {
                Held::Yes(held) => *held,
                Held::NoRoom => {
                    ledger.beyond += 1;
                    continue;
                }
                Held::No => continue,
            };
            let last_status = statuses.remove(&key).map(|last| last.record);
            let position = latest.position;
            ledger.letters.push(Letter { summary, status, position, last_status });
        }
        ledger.letters.sort_by(|a, b| a.summary.order().cmp(&b.summary.order()));
        Ok(ledger)
    }

    /// The letter whose id begins so, with its record.
    pub async fn find(
        broker: &dyn Broker,
        topics: &LedgerTopics,
        id: &str,
    ) -> Result<Found, BrokerError> {
        let mut ledger =
            Self::open(broker, topics, 1, |letter, _| letter.id.starts_with(id)).await?;
        if ledger.beyond > 0 {
            return Ok(Found::Several(ledger.beyond + 1));
        }
        let Some((_, record)) = ledger.records(broker).await?.next().await? else {
            return Ok(Found::None);
        };
        Ok(match ledger.letters.pop() {
            Some(letter) => Found::One(Box::new(letter), record),
            None => Found::None,
        })
    }

    /// The letters, oldest failure first.
    #[must_use]
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }

    /// Records of the dead-letter topic that are no letters.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Wanted letters that found no room.
    #[must_use]
    pub const fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Walks the dead-letter topic once more for the records of the letters, without holding more
    /// than the reader does.
    pub async fn records(&self, broker: &dyn Broker) -> Result<Letters<'_>, BrokerError> {
        let mut from = self.ends.clone();
        let mut wanted = HashMap::with_capacity(self.letters.len());
        for letter in &self.letters {
            let Position { partition, offset } = letter.position;
            wanted.insert(letter.position, letter);
            from.entry(partition)
                .and_modify(|first| *first = (*first).min(Offset(offset)))
                .or_insert(Offset(offset));
        }
        let reader = broker.reader_from(&self.topic, &from).await?;
        Ok(Letters { reader, batch: Vec::new().into_iter(), wanted })
    }
}

/// The records of letters, in the order of the dead-letter topic.
pub struct Letters<'a> {
    reader: Box<dyn LogReader>,
    batch: std::vec::IntoIter<Record>,
    wanted: HashMap<Position, &'a Letter>,
}

impl<'a> Letters<'a> {
    /// The next letter with its record; `None` at the end. A letter whose record is gone meanwhile
    /// is left out.
    pub async fn next(&mut self) -> Result<Option<(&'a Letter, Record)>, BrokerError> {
        while !self.wanted.is_empty() {
            for record in self.batch.by_ref() {
                if let Some(letter) = self.wanted.remove(&Position::of(&record)) {
                    return Ok(Some((letter, record)));
                }
            }
            let Some(records) = self.reader.next().await? else { return Ok(None) };
            self.batch = records.into_iter();
        }
        Ok(None)
    }
}

/// What is kept of every letter.
struct Latest {
    position: Position,
    failed_at: i64,
    held: Held,
}

/// Whether a letter is kept whole.
enum Held {
    /// It is not wanted.
    No,
    /// It is wanted, and there was no room.
    NoRoom,
    /// It is wanted.
    Yes(Box<(LetterSummary, Status)>),
}

impl Latest {
    const fn follows(&self, other: &Self) -> bool {
        if self.position.partition == other.position.partition {
            self.position.offset > other.position.offset
        } else {
            self.failed_at >= other.failed_at
        }
    }
}

/// A status record, and the partition of the status topic it was in.
struct Last {
    record: StatusRecord,
    partition: i32,
}

/// The last status of each letter. The key decides the partition, so the later record is the last;
/// where partitions were added meanwhile, the later time.
async fn read_statuses(
    broker: &dyn Broker,
    topic: &str,
) -> Result<HashMap<u128, Last>, BrokerError> {
    let mut statuses: HashMap<u128, Last> = HashMap::new();
    let mut reader = broker.reader(topic).await?;
    while let Some(records) = reader.next().await? {
        for record in &records {
            let partition = record.source.partition;
            let Some((id, status)) = read_status(record) else { continue };
            let Some(key) = key(&id) else { continue };
            let Some(status) = status else {
                statuses.remove(&key);
                continue;
            };
            let room = statuses.len() < MOST_KNOWN;
            match statuses.entry(key) {
                Entry::Occupied(mut entry) => {
                    let last = entry.get();
                    if last.partition == partition || last.record.at <= status.at {
                        entry.insert(Last { record: status, partition });
                    }
                }
                Entry::Vacant(entry) if room => {
                    entry.insert(Last { record: status, partition });
                }
                // beyond: a settled letter counts as open, which is harmless
                Entry::Vacant(_) => {}
            }
        }
    }
    Ok(statuses)
}

fn keyed(summary: LetterSummary) -> Option<(u128, LetterSummary)> {
    Some((key(&summary.id)?, summary))
}

/// An id is 128 bits in hex.
fn key(id: &str) -> Option<u128> {
    u128::from_str_radix(id, 16).ok()
}
