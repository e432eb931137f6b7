//! How a log reaches the tables: cut into batches, by two writers that take the partition from each
//! other, with crashes between transactions, what is refused mended at some moment and its letters
//! replayed.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use proptest::prelude::*;
use rowcast::error::{Cause, Place, Refusal, Stage};
use rowcast::model::{Offset, RowChange, TopicPartition};
use rowcast::sink::{
    Outcome, Owner, Ownership, Sink, SinkError, SqlSink, note_refused_deletes, refused_deletes,
    write,
};

use super::log::{Entry, Fate, Step};

/// One batch.
#[derive(Debug, Clone)]
pub(super) struct Read {
    /// Where to go on: a share of the log so far (a rebalance, a reset).
    back: Option<f64>,
    /// How many changes.
    count: usize,
    before: Before,
    /// After how many calls of the database the process dies.
    crash: Option<usize>,
}

/// What happens before a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    /// The other writer takes the partition over, while this one is still at work.
    TakeOver,
    Mend,
    Replay,
}

pub(super) fn reads() -> impl Strategy<Value = Vec<Read>> {
    let before = prop_oneof![
        6 => Just(Before::Nothing),
        2 => Just(Before::TakeOver),
        1 => Just(Before::Mend),
        1 => Just(Before::Replay),
    ];
    let back = prop::option::weighted(0.3, 0.0..1.0_f64);
    let crash = prop::option::weighted(0.15, 0_usize..5);
    let read = (back, 1_usize..5, before, crash).prop_map(|(back, count, before, crash)| Read {
        back,
        count,
        before,
        crash,
    });
    prop::collection::vec(read, 0..9)
}

/// Two processes of one topology over one database.
pub(super) struct Writers {
    pub(super) sinks: [SqlSink; 2],
}

/// The database as one case meets it: it refuses what the log says, and the process dies when told.
struct Unruly<'a> {
    sink: &'a SqlSink,
    case: &'a Case<'a>,
    calls_left: AtomicUsize,
}

/// What one case is made of, and what became of it so far.
struct Case<'a> {
    log: &'a [Entry],
    changes: &'a [RowChange],
    mended: bool,
    /// Offsets with a dead letter.
    letters: BTreeSet<i64>,
    /// Places whose deletes without version were done.
    done: Mutex<BTreeSet<usize>>,
}

impl Case<'_> {
    fn place(&self, change: &RowChange) -> usize {
        let same = |other: &RowChange| other.origin == change.origin;
        self.changes.iter().position(same).expect("it is one of the case's")
    }

    fn refuses(&self, change: &RowChange) -> bool {
        let entry = &self.log[self.place(change)];
        match entry.fate {
            Fate::Accepted => false,
            // upserts are refused by the database itself
            Fate::Refused => !matches!(entry.step, Step::Upsert(..)),
            Fate::RefusedUntilMended => !self.mended,
        }
    }

    /// The places that count: a delete without version that was refused only if it was done after all.
    fn counting(&self) -> BTreeSet<usize> {
        let done = self.done.lock().unwrap();
        let counts = |place: &usize| match self.log[*place] {
            Entry { fate: Fate::Accepted, .. } => true,
            Entry { fate: Fate::Refused, .. } => false,
            Entry { step: Step::DeleteWhatIsThere, .. } => done.contains(place),
            Entry { fate: Fate::RefusedUntilMended, .. } => true,
        };
        let counting: BTreeSet<usize> = (0..self.log.len()).filter(counts).collect();
        for (place, entry) in self.log.iter().enumerate() {
            if entry.step != Step::DeleteWhatIsThere || counting.contains(&place) {
                continue;
            }
            // of a refused delete there is a letter, unless a later one made it needless
            let later = |other: &usize| {
                let Entry { resource, step, .. } = self.log[*other];
                *other > place && resource == entry.resource && step == Step::DeleteWhatIsThere
            };
            let has_letter = self.letters.contains(&self.changes[place].origin.offset.0);
            assert!(has_letter || done.iter().any(later), "{place} is lost: {:?}", self.log);
        }
        counting
    }
}

impl Unruly<'_> {
    fn call(&self) -> Result<(), SinkError> {
        let left = self
            .calls_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let dead = |_| SinkError::Unavailable { attempted: "living", reason: "crash".into() };
        left.map(drop).map_err(dead)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("refused by the test")]
struct RefusedByTest;

#[async_trait]
impl Sink for Unruly<'_> {
    async fn take_over(&self, partition: &TopicPartition) -> Result<Ownership, SinkError> {
        self.sink.take_over(partition).await
    }

    async fn apply(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        self.call()?;
        if changes.iter().any(|change| self.case.refuses(change)) {
            return Err(SinkError::Refused(Box::new(Refusal::new(
                Stage::Sink,
                Cause::IntegrityViolation,
                &RefusedByTest,
                "Test",
                Place::default(),
            ))));
        }
        let outcomes = self.sink.apply(owner, changes, next).await?;
        let done = changes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_some());
        self.case.done.lock().unwrap().extend(done.map(|(change, _)| self.case.place(change)));
        Ok(outcomes)
    }

    async fn note_refused_delete(
        &self,
        owner: &Owner,
        change: &RowChange,
    ) -> Result<(), SinkError> {
        self.call()?;
        self.sink.note_refused_delete(owner, change).await
    }
}

impl Writers {
    /// Delivers the log as told, then to its end, then replays what was mended. Gives the places that
    /// count: all but what is refused for good.
    pub(super) async fn deliver(
        &self,
        partition: &TopicPartition,
        log: &[Entry],
        changes: &[RowChange],
        reads: &[Read],
    ) -> BTreeSet<usize> {
        let mut case =
            Case { log, changes, mended: false, letters: BTreeSet::new(), done: Mutex::default() };
        let mut turn = 0;
        let mut owner = self.take_over(turn, partition).await;
        let mut at = 0;
        for read in reads {
            match read.before {
                Before::Nothing => {}
                Before::TakeOver => {
                    let former = (&self.sinks[turn], owner);
                    turn = 1 - turn;
                    owner = self.take_over(turn, partition).await;
                    let prepared: Vec<_> = changes[at..].iter().take(read.count).collect();
                    let late = former.0.apply(&former.1, &prepared, None).await;
                    assert!(matches!(late, Err(SinkError::Fenced)), "{late:?}");
                }
                Before::Mend => case.mended = true,
                Before::Replay => self.replay(turn, &mut case).await,
            }
            if let Some(share) = read.back {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                #[allow(clippy::cast_precision_loss)]
                let to = (at as f64 * share) as usize;
                at = to;
            }
            let end = (at + read.count).min(changes.len());
            let calls = read.crash.unwrap_or(usize::MAX);
            match self.write(turn, &owner, &mut case, at..end, calls).await {
                Written::Yes => at = end,
                Written::Crashed => {
                    turn = 1 - turn;
                    owner = self.take_over(turn, partition).await;
                }
            }
        }
        self.write(turn, &owner, &mut case, at..changes.len(), usize::MAX).await;
        case.mended = true;
        self.replay(turn, &mut case).await;
        case.counting()
    }

    async fn take_over(&self, turn: usize, partition: &TopicPartition) -> Owner {
        let epoch = self.sinks[turn].take_over(partition).await.unwrap().epoch;
        Owner::Task { partition: partition.clone(), epoch }
    }

    async fn write(
        &self,
        turn: usize,
        owner: &Owner,
        case: &mut Case<'_>,
        places: std::ops::Range<usize>,
        calls: usize,
    ) -> Written {
        let changes = &case.changes[places];
        let unruly = Unruly { sink: &self.sinks[turn], case, calls_left: AtomicUsize::new(calls) };
        let next = changes.last().map(|change| change.origin.offset);
        // as the runtime does it: what is refused for good is noted, and then a letter
        let written = async {
            let results = write(&unruly, owner, changes, next).await?;
            let deletes = refused_deletes(changes, &results);
            note_refused_deletes(&unruly, owner, &deletes).await?;
            Ok(results)
        };
        match written.await {
            Ok(results) => {
                let refused = changes.iter().zip(results).filter(|(_, result)| result.is_err());
                case.letters.extend(refused.map(|(change, _)| change.origin.offset.0));
                Written::Yes
            }
            Err(SinkError::Unavailable { reason, .. }) if reason == "crash" => Written::Crashed,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every letter, its whole record, in the order of the log; those refused again stay.
    async fn replay(&self, turn: usize, case: &mut Case<'_>) {
        for offset in std::mem::take(&mut case.letters) {
            let places: Vec<_> = (0..case.changes.len())
                .filter(|place| case.changes[*place].origin.offset.0 == offset)
                .collect();
            let (Some(first), Some(last)) = (places.first(), places.last()) else { continue };
            let partition = case.changes[*first].origin.source.clone();
            let owner = Owner::Replay { partition, force: false };
            self.write(turn, &owner, case, *first..last + 1, usize::MAX).await;
        }
    }
}

/// How a batch ended.
enum Written {
    Yes,
    Crashed,
}

/// Two writers of an unkeyed topic at once, each with its partition; one that is told to wait tries
/// again.
pub(super) async fn deliver_at_once(
    writers: &Writers,
    owners: &[Owner; 2],
    changes: &[Vec<RowChange>; 2],
    sizes: &[usize],
) {
    let one = |number: usize| async move {
        let mut left = changes[number].as_slice();
        let mut sizes = sizes.iter().cycle();
        while !left.is_empty() {
            let size = sizes.next().copied().unwrap_or(1).min(left.len());
            let (batch, rest) = left.split_at(size);
            match write(&writers.sinks[number], &owners[number], batch, None).await {
                Ok(results) => assert!(results.iter().all(Result::is_ok), "{results:?}"),
                // a deadlock, a lock that was not given in time
                Err(SinkError::Unavailable { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            left = rest;
        }
    };
    tokio::join!(one(0), one(1));
}
