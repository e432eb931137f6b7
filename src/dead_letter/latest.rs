//! The latest copy of each letter.
//!
//! In: the dead-letter topic, the status topic, and what is to be kept of a letter that stands so.
//! Out: that, of the latest copy of each letter. Of the other letters some bytes are kept, so that a
//! later copy is known as such; beyond a bound letters are counted only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::headers::{LetterSummary, read};
use super::ledger::LedgerTopics;
use super::status::{Position, Status, StatusRecord, read_status};
use crate::broker::{Broker, BrokerError};
use crate::model::{Offset, Record};

/// Letters and statuses that are told apart, of which each takes some hundred bytes.
const MOST_KNOWN: usize = 2_000_000;

/// Both topics, read to the ends they had.
pub(super) struct Read<T> {
    /// Letter, position of its latest copy, and what was kept of that.
    pub(super) latest: Vec<(u128, Position, T)>,
    /// The last status of each letter.
    pub(super) statuses: HashMap<u128, StatusRecord>,
    /// Records that are no letters.
    pub(super) foreign: u64,
    /// Letters of which something was to be kept, and there was no room.
    pub(super) beyond: u64,
    /// Next offset of each partition of the dead-letter topic.
    pub(super) ends: HashMap<i32, Offset>,
}

/// Reads both topics. `keep`: what to keep of a copy that stands so, if anything; `limit`: of so many
/// letters at most.
pub(super) async fn read_latest<T: Send>(
    broker: &dyn Broker,
    topics: &LedgerTopics,
    limit: usize,
    keep: impl FnMut(LetterSummary, Status) -> Option<T> + Send,
) -> Result<Read<T>, BrokerError> {
    // first: whatever is settled while the letters are read counts as open, which is harmless
    let statuses = read_statuses(broker, &topics.statuses).await?;
    let mut copies = Copies { known: HashMap::new(), held: 0, limit, keep, beyond: 0 };
    let (mut foreign, mut ends) = (0, HashMap::new());
    let mut reader = broker.reader(&topics.letters).await?;
    while let Some(records) = reader.next().await? {
        for record in &records {
            ends.insert(record.source.partition, record.offset.next());
            let letter = read(record).and_then(|summary| Some((key(&summary.id)?, summary)));
            let Some((key, summary)) = letter else {
                foreign += 1;
                continue;
            };
            let position = Position::of(record);
            let last = statuses.get(&key);
            let status = Status::of(&summary, position, last, topics.max_replays);
            copies.add(key, position, summary, status);
        }
    }
    let Copies { known, held, mut beyond, .. } = copies;
    let mut latest = Vec::with_capacity(held);
    for (key, copy) in known {
        match copy.held {
            Held::Yes(kept) => latest.push((key, copy.position, kept)),
            Held::NoRoom => beyond += 1,
            Held::No => {}
        }
    }
    Ok(Read { latest, statuses, foreign, beyond, ends })
}

/// The copies read so far, the latest of each letter.
struct Copies<T, K> {
    known: HashMap<u128, Latest<T>>,
    /// Letters of which something is kept.
    held: usize,
    limit: usize,
    keep: K,
    /// Letters not even known for want of room.
    beyond: u64,
}

impl<T, K: FnMut(LetterSummary, Status) -> Option<T>> Copies<T, K> {
    fn add(&mut self, key: u128, position: Position, summary: LetterSummary, status: Status) {
        let copy = Latest { position, failed_at: summary.last_failed_at, held: Held::No };
        let room = self.known.len() < MOST_KNOWN;
        let latest = match self.known.entry(key) {
            Entry::Occupied(entry) if copy.follows(entry.get()) => {
                let latest = entry.into_mut();
                self.held -= usize::from(matches!(latest.held, Held::Yes(_)));
                *latest = copy;
                latest
            }
            Entry::Occupied(_) => return,
            Entry::Vacant(entry) if room => entry.insert(copy),
            Entry::Vacant(_) => {
                self.beyond += u64::from((self.keep)(summary, status).is_some());
                return;
            }
        };
        latest.held = match (self.keep)(summary, status) {
            None => Held::No,
            Some(_) if self.held >= self.limit => Held::NoRoom,
            Some(kept) => {
                self.held += 1;
                Held::Yes(kept)
            }
        };
    }
}

/// What is kept of every letter.
struct Latest<T> {
    position: Position,
    failed_at: i64,
    held: Held<T>,
}

/// Whether more is kept of a letter.
enum Held<T> {
    /// It is not wanted.
    No,
    /// It is wanted, and there was no room.
    NoRoom,
    /// It is wanted.
    Yes(T),
}

impl<T> Latest<T> {
    fn follows(&self, other: &Self) -> bool {
        if self.position.partition == other.position.partition {
            self.position.offset > other.position.offset
        } else {
            (self.failed_at, self.position.partition) > (other.failed_at, other.position.partition)
        }
    }
}

/// The last status of each letter.
async fn read_statuses(
    broker: &dyn Broker,
    topic: &str,
) -> Result<HashMap<u128, StatusRecord>, BrokerError> {
    let mut statuses: HashMap<u128, (i32, StatusRecord)> = HashMap::new();
    let mut reader = broker.reader(topic).await?;
    while let Some(records) = reader.next().await? {
        for record in &records {
            add_status(&mut statuses, record);
        }
    }
    Ok(statuses.into_iter().map(|(key, (_, status))| (key, status)).collect())
}

/// The key decides the partition, so the later record is the last; where partitions were added
/// meanwhile, the later time.
fn add_status(statuses: &mut HashMap<u128, (i32, StatusRecord)>, record: &Record) {
    let partition = record.source.partition;
    let Some((id, status)) = read_status(record) else { return };
    let Some(key) = key(&id) else { return };
    let Some(status) = status else {
        statuses.remove(&key);
        return;
    };
    let room = statuses.len() < MOST_KNOWN;
    match statuses.entry(key) {
        Entry::Occupied(mut entry) => {
            let (before, last) = entry.get();
            if *before == partition || last.at <= status.at {
                entry.insert((partition, status));
            }
        }
        Entry::Vacant(entry) if room => {
            entry.insert((partition, status));
        }
        // beyond: a settled letter counts as open, which is harmless
        Entry::Vacant(_) => {}
    }
}

/// An id is 128 bits in hex.
fn key(id: &str) -> Option<u128> {
    u128::from_str_radix(id, 16).ok()
}
