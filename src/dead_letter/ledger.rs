//! The letters of a topology, each once, and how each stands.
//!
//! In: the dead-letter topic and its status topic. Out: the latest copy of each letter that is
//! wanted, its [`Status`] and position; on a second walk, their records. Of letters that are not
//! wanted some bytes are kept, of records nothing. It writes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::headers::LetterSummary;
use super::latest::{Read, read_latest};
use super::status::{Position, Status, StatusRecord};
use crate::broker::{Broker, BrokerError, LogReader};
use crate::model::{Offset, Record};

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

/// See [`Ledger::tally`].
#[derive(Debug, Clone)]
pub struct Tally<T> {
    /// What was taken down, in no order.
    pub notes: Vec<T>,
    /// Records of the dead-letter topic that are no letters.
    pub foreign: u64,
    /// Letters that found no room.
    pub beyond: u64,
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
        let mut names = Names::default();
        let keep = move |summary: LetterSummary, status| {
            wanted(&summary, status).then(|| Box::new((names.shared(summary), status)))
        };
        let Read { latest, mut statuses, foreign, beyond, ends } =
            read_latest(broker, topics, limit, keep).await?;
        let topic = topics.letters.clone();
        let letters = Vec::with_capacity(latest.len());
        let mut ledger = Self { topic, letters, foreign, beyond, ends };
        for (key, position, held) in latest {
            let (summary, status) = *held;
            let last_status = statuses.remove(&key);
            ledger.letters.push(Letter { summary, status, position, last_status });
        }
        ledger.letters.sort_by(|a, b| a.summary.order().cmp(&b.summary.order()));
        Ok(ledger)
    }

    /// Of all letters, however many, what `note` takes down of them: for counting, where a letter
    /// must take no more than some bytes. The counts of [`Ledger::foreign`] and [`Ledger::beyond`]
    /// come with it.
    pub async fn tally<T: Send>(
        broker: &dyn Broker,
        topics: &LedgerTopics,
        mut note: impl FnMut(&LetterSummary, Status) -> Option<T> + Send,
    ) -> Result<Tally<T>, BrokerError> {
        let keep = |summary: LetterSummary, status| note(&summary, status);
        let read = read_latest(broker, topics, usize::MAX, keep).await?;
        let notes = read.latest.into_iter().map(|(_, _, note)| note).collect();
        Ok(Tally { notes, foreign: read.foreign, beyond: read.beyond })
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

/// Names that many letters have in common, each held once.
#[derive(Default)]
struct Names(HashSet<Arc<str>>);

impl Names {
    fn shared(&mut self, mut summary: LetterSummary) -> LetterSummary {
        let place = &mut summary.place;
        let names = [
            Some(&mut summary.origin.topic),
            place.resource_type.as_mut(),
            place.table.as_mut(),
            place.column.as_mut(),
            place.rule.as_mut(),
            place.path.as_mut(),
            place.sqlstate.as_mut(),
        ];
        for name in names.into_iter().flatten() {
            match self.0.get(name) {
                Some(known) => *name = Arc::clone(known),
                None => {
                    self.0.insert(Arc::clone(name));
                }
            }
        }
        summary
    }
}
