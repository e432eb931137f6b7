//! The records of one partition that were read and not yet taken into a batch.
//!
//! In: records from the consumer, never refused. Out: batches of rows, bytes or linger, whichever
//! is reached first. When it is full it pauses the partition's delivery, and resumes it when there
//! is room again; it never blocks the consumer. It remembers when the first record was written that is
//! not committed, in a batch or not.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{Offset, Record};

/// When a batch is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub rows: usize,
    /// Bytes of keys, values and headers.
    pub bytes: usize,
    /// Longest wait of the first record for company; it is shorter while batches settle fast.
    pub linger: Duration,
}

/// What is to happen to the partition's delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Full: pause it.
    Pause,
    /// Room again: resume it.
    Resume,
}

/// Queue of one partition.
pub(super) struct Intake {
    limits: BatchLimits,
    queue: Mutex<Queue>,
    changed: Notify,
    /// Pauses and resumes delivery. Called with the queue locked: records are added by one thread
    /// and taken by another, and a pause that came after the resume it was meant to precede would
    /// stop the partition for good.
    control: Box<dyn Fn(Flow) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Record>,
    bytes: usize,
    first_at: Option<Instant>,
    /// The first record of each batch that was taken and is not committed, with its broker timestamp:
    /// as many as there are batches in hand.
    in_hand: VecDeque<(Offset, Option<i64>)>,
    /// The offset after the last record that was added.
    received: Option<Offset>,
    paused: bool,
    closed: bool,
}

impl Intake {
    /// An empty intake. `control` pauses and resumes the partition's delivery; it must not wait.
    pub(super) fn new(limits: BatchLimits, control: impl Fn(Flow) + Send + Sync + 'static) -> Self {
        Self {
            limits,
            queue: Mutex::new(Queue::default()),
            changed: Notify::new(),
            control: Box::new(control),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a whole batch waits.
    fn is_full(&self, queue: &Queue) -> bool {
        queue.records.len() >= self.limits.rows || queue.bytes >= self.limits.bytes
    }

    /// Adds records. Returns how many were not taken because the intake is closed.
    pub(super) fn push(&self, records: Vec<Record>) -> usize {
        let mut queue = self.locked();
        if queue.closed {
            return records.len();
        }
        if queue.records.is_empty() {
            queue.first_at = Some(Instant::now());
        }
        queue.bytes += records.iter().map(Record::size).sum::<usize>();
        queue.received = records.last().map(|last| last.offset.next()).or(queue.received);
        queue.records.extend(records);
        // more is fetched ahead by the client, and here as soon as this batch is taken
        if self.is_full(&queue) && !queue.paused {
            queue.paused = true;
            (self.control)(Flow::Pause);
        }
        drop(queue);
        self.changed.notify_one();
        0
    }

    /// The next batch, at the latest `linger` after its first record; `None` once closed.
    /// Cancel-safe. One record larger than the bound makes a batch of its own.
    pub(super) async fn next_batch(&self, linger: Duration) -> Option<Vec<Record>> {
        loop {
            let wake = self.changed.notified();
            let deadline = {
                let mut queue = self.locked();
                if queue.closed {
                    return None;
                }
                let complete = self.is_full(&queue);
                match queue.first_at.map(|first| first + linger) {
                    Some(deadline) if complete || Instant::now() >= deadline => {
                        return Some(self.take(&mut queue));
                    }
                    deadline => deadline,
                }
            };
            match deadline {
                Some(deadline) => {
                    tokio::select! {
                        () = wake => {}
                        () = tokio::time::sleep_until(deadline) => {}
                    }
                }
                None => wake.await,
            }
        }
    }

    fn take(&self, queue: &mut Queue) -> Vec<Record> {
        let mut batch = Vec::with_capacity(queue.records.len().min(self.limits.rows));
        let mut bytes = 0;
        while batch.len() < self.limits.rows {
            let Some(record) = queue.records.front() else { break };
            let size = record.size();
            if !batch.is_empty() && bytes + size > self.limits.bytes {
                break;
            }
            bytes += size;
            batch.extend(queue.records.pop_front());
        }
        queue.bytes -= bytes;
        queue.in_hand.extend(batch.first().map(|first| (first.offset, first.timestamp)));
        // what is left has waited since before now; its linger starts over, which only delays a
        // batch that was not full by one linger
        queue.first_at = (!queue.records.is_empty()).then(Instant::now);
        if queue.paused && !self.is_full(queue) {
            queue.paused = false;
            (self.control)(Flow::Resume);
        }
        batch
    }

    /// What comes before this offset is committed.
    pub(super) fn committed(&self, next: Offset) {
        let mut queue = self.locked();
        // a batch is committed as a whole
        while queue.in_hand.front().is_some_and(|(first, _)| *first < next) {
            queue.in_hand.pop_front();
        }
    }

    /// The offset after the last record that was added.
    pub(super) fn received(&self) -> Option<Offset> {
        self.locked().received
    }

    /// The broker timestamp of the first record that is not committed, milliseconds since the epoch;
    /// `None` if there is none, or if it has none.
    pub(super) fn oldest(&self) -> Option<i64> {
        let queue = self.locked();
        match queue.in_hand.front() {
            Some((_, timestamp)) => *timestamp,
            None => queue.records.front().and_then(|first| first.timestamp),
        }
    }

    /// Closes the intake: no more batches. Returns how many records were in it.
    pub(super) fn close(&self) -> usize {
        let mut queue = self.locked();
        queue.closed = true;
        queue.bytes = 0;
        let dropped = queue.records.len();
        queue.records.clear();
        drop(queue);
        self.changed.notify_one();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Offset, TopicPartition};
    use bytes::Bytes;
    use std::sync::Arc;

    const LINGER: Duration = Duration::from_millis(50);

    fn record(offset: i64, size: usize) -> Record {
        Record {
            source: TopicPartition::new("t", 0),
            offset: Offset(offset),
            timestamp: None,
            key: None,
            value: Some(Bytes::from(vec![b'x'; size])),
            headers: Vec::new(),
        }
    }

    fn limits(rows: usize, bytes: usize) -> BatchLimits {
        BatchLimits { rows, bytes, linger: LINGER }
    }

    /// An intake that writes down what it asks for.
    fn intake(rows: usize, bytes: usize) -> (Intake, Arc<Mutex<Vec<Flow>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asking = Arc::clone(&asked);
        let intake =
            Intake::new(limits(rows, bytes), move |flow| asking.lock().unwrap().push(flow));
        (intake, asked)
    }

    async fn batch_of(intake: &Intake) -> Vec<i64> {
        let records = intake.next_batch(LINGER).await.expect("open");
        records.iter().map(|record| record.offset.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait_for_linger() {
        let (intake, _) = intake(2, 1000);
        intake.push(vec![record(0, 1), record(1, 1), record(2, 1)]);
        let begun = Instant::now();
        assert_eq!(batch_of(&intake).await, [0, 1]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_batch_pauses_delivery_and_taking_it_resumes_it() {
        let (intake, asked) = intake(2, 1000);
        intake.push(vec![record(0, 1)]);
        assert_eq!(*asked.lock().unwrap(), []);
        intake.push((1..5).map(|n| record(n, 1)).collect());
        assert_eq!(*asked.lock().unwrap(), [Flow::Pause]);
        assert_eq!(batch_of(&intake).await, [0, 1]);
        assert_eq!(*asked.lock().unwrap(), [Flow::Pause]);
        assert_eq!(batch_of(&intake).await, [2, 3]);
        assert_eq!(*asked.lock().unwrap(), [Flow::Pause, Flow::Resume]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn however_adding_and_taking_interleave_delivery_ends_resumed() {
        for _ in 0..200 {
            let (intake, asked) = intake(1, 1000);
            let intake = Arc::new(intake);
            let adding = Arc::clone(&intake);
            let added = tokio::spawn(async move {
                for offset in 0..50 {
                    adding.push(vec![record(offset, 1)]);
                }
            });
            for offset in 0..50 {
                assert_eq!(batch_of(&intake).await, [offset]);
            }
            added.await.unwrap();
            let asked = asked.lock().unwrap();
            assert_ne!(asked.last(), Some(&Flow::Pause));
            assert!(asked.chunks(2).all(|pair| pair == [Flow::Pause, Flow::Resume]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_record_waits_for_linger_and_no_longer() {
        let (intake, _) = intake(100, 1000);
        intake.push(vec![record(0, 1)]);
        let begun = Instant::now();
        assert_eq!(batch_of(&intake).await, [0]);
        assert_eq!(begun.elapsed(), LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_bound_a_batch_and_a_giant_travels_alone() {
        let (intake, _) = intake(100, 10);
        intake.push(vec![record(0, 4), record(1, 4), record(2, 50), record(3, 1)]);
        assert_eq!(batch_of(&intake).await, [0, 1]);
        assert_eq!(batch_of(&intake).await, [2]);
        assert_eq!(batch_of(&intake).await, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_record_is_the_first_that_is_not_committed_wherever_it_is() {
        let (intake, _) = intake(2, 1000);
        assert_eq!(intake.oldest(), None);
        let written_at =
            |offset: i64| Record { timestamp: Some(100 + offset), ..record(offset, 1) };
        intake.push((0..5).map(written_at).collect());
        assert_eq!(intake.oldest(), Some(100), "it waits");
        assert_eq!(batch_of(&intake).await, [0, 1]);
        assert_eq!(batch_of(&intake).await, [2, 3]);
        assert_eq!(intake.oldest(), Some(100), "it is in hand");
        intake.committed(Offset(0));
        assert_eq!(intake.oldest(), Some(100), "what is committed comes before it");
        intake.committed(Offset(2));
        assert_eq!(intake.oldest(), Some(102));
        intake.committed(Offset(4));
        assert_eq!(intake.oldest(), Some(104), "it waits again");
        assert_eq!(batch_of(&intake).await, [4]);
        intake.committed(Offset(5));
        assert_eq!(intake.oldest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_intake_tells_what_it_held_and_takes_nothing_more() {
        let (intake, _) = intake(100, 1000);
        intake.push(vec![record(0, 1), record(1, 1)]);
        assert_eq!(intake.close(), 2);
        assert_eq!(intake.push(vec![record(2, 1)]), 1);
        assert!(intake.next_batch(LINGER).await.is_none());
    }
}
