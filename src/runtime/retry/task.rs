//! The worker of one partition of the retry topic.
//!
//! In: letters that wait. Out, for those that are due: rows first; then, if they are refused again,
//! the letter goes to wait on or becomes a dead letter; then the offset below which everything is
//! settled. It takes no partition over and fences nobody: a letter is written like a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::RetryStage;
use super::window::{Waiting, Window, WindowLimits};
use crate::broker::{BrokerError, Group};
use crate::dead_letter::{LETTER_ID, due, original};
use crate::error::{Refusal, Stage};
use crate::model::{Offset, Record, TopicPartition};
use crate::retry::Backoff;
use crate::runtime::circuit::Tripped;
use crate::runtime::latency::Latency;
use crate::runtime::prepare::{Batch, prepare};
use crate::runtime::publish::Publishing;
use crate::runtime::settle::{database_down, hold_open};
use crate::runtime::settled::{Settled, letters, now_millis, settle};
use crate::runtime::task::watched;
use crate::runtime::{Stages, broker_cause, schemas, trail};
use crate::sink::{Owner, Portion, write_portions};
use crate::telemetry::health::Check;
use crate::telemetry::metrics::{Component, OpenCircuit, RecordOutcome};

/// What a partition holds in memory at most, but for what is under way when it is full.
const WINDOW: WindowLimits = WindowLimits { records: 10_000, bytes: 8 << 20 };

/// Between two commits, if the group took none.
const COMMIT_AGAIN: Duration = Duration::from_millis(500);

/// The worker, seen from the tier.
pub(super) struct RetryTask {
    shared: Arc<Shared>,
    working: JoinHandle<()>,
}

/// What the worker and the tier see of it.
pub(super) struct Shared {
    pub(super) partition: TopicPartition,
    /// The partition's name, as health knows it.
    scope: String,
    stages: Arc<Stages>,
    stage: Arc<RetryStage>,
    group: Arc<dyn Group>,
    window: Mutex<Window>,
    /// Whether delivery is paused. Changed with the window locked, as in the live intake.
    paused: AtomicBool,
    changed: Notify,
    stopping: CancellationToken,
}

impl RetryTask {
    pub(super) fn start(
        stages: Arc<Stages>,
        stage: Arc<RetryStage>,
        group: Arc<dyn Group>,
        partition: TopicPartition,
        panicked: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            scope: partition.to_string(),
            partition,
            stages,
            stage,
            group,
            window: Mutex::new(Window::new(WINDOW)),
            paused: AtomicBool::new(false),
            changed: Notify::new(),
            stopping: CancellationToken::new(),
        });
        let Stages { transformer, metrics, .. } = &*shared.stages;
        let worker = Worker {
            latency: Latency::new(transformer.catalog(), metrics),
            shared: Arc::clone(&shared),
            committed: None,
            backoff: Backoff::default(),
            held: BTreeSet::new(),
            open: None,
        };
        let working = tokio::spawn(watched(worker.run(), panicked.clone()));
        Self { shared, working }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes records in. Never waits.
    pub(super) fn receive(&self, records: &[Record]) {
        let mut window = self.shared.window();
        let now = now_millis();
        for record in records {
            let opened = original(record);
            let Some((summary, first)) =
                opened.and_then(|opened| Some((opened.summary, opened.record?)))
            else {
                if self.shared.stage.queue().wrote_unread(record) {
                    window.push(Waiting {
                        letter: record.clone(),
                        original: None,
                        id: record.header(LETTER_ID).unwrap_or_default().to_owned(),
                        attempts: 0,
                        due: now,
                    });
                    continue;
                }
                tracing::warn!(
                    topic = &*record.source.topic,
                    partition = record.source.partition,
                    offset = record.offset.0,
                    "a record of the retry topic is no letter that can be tried; it is passed over"
                );
                window.pass(record.offset);
                continue;
            };
            if !self.shared.stage.queue().wrote(&summary) {
                // another topology waits in the same topic
                window.pass(record.offset);
                continue;
            }
            window.push(Waiting {
                letter: record.clone(),
                original: Some(first),
                id: summary.id,
                attempts: summary.attempts,
                due: self.shared.stage.due(due(record), now),
            });
        }
        if window.is_full() && !self.shared.paused.swap(true, Ordering::Relaxed) {
            self.shared.group.pause(&self.shared.partition);
        }
        drop(window);
        self.shared.changed.notify_one();
    }

    /// Nothing new is begun.
    pub(super) fn stop(&self) {
        self.shared.stopping.cancel();
    }

    /// Waits for what is in hand; after the deadline drops it uncommitted.
    pub(super) async fn finish(mut self, deadline: tokio::time::Instant) {
        // running out of time is as good as being done: it is dropped either way
        let _ = tokio::time::timeout_at(deadline, &mut self.working).await;
        self.abandon().await;
    }

    /// Drops what waits, uncommitted: the next owner receives it again, and writes are guarded.
    pub(super) async fn abandon(mut self) {
        self.stop();
        self.working.abort();
        if !self.working.is_finished() {
            let _ = (&mut self.working).await;
        }
        self.shared.stages.health.forget(&self.shared.scope);
    }
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that wait: in the window, and beyond it to the end of the log.
    pub(super) fn waiting(&self, start: Offset, end: Offset) -> i64 {
        let window = self.window();
        let read = window.read().unwrap_or(start);
        (end.0 - read.0).max(0) + i64::try_from(window.len()).unwrap_or(i64::MAX)
    }

    fn publishing(&self) -> Publishing<'_> {
        Publishing { stages: &self.stages, partition: &self.partition, scope: &self.scope }
    }
}

struct Worker {
    shared: Arc<Shared>,
    latency: Latency,
    /// What the group took last.
    committed: Option<Offset>,
    /// Between two attempts while the circuit is open.
    backoff: Backoff,
    /// Letters that an open circuit keeps from becoming dead letters.
    held: BTreeSet<Offset>,
    /// Open while any is held.
    open: Option<OpenCircuit>,
}

impl Worker {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        self.begin().await;
        while !shared.stopping.is_cancelled() {
            let committed = self.commit().await;
            self.look_at_circuit();
            let due = {
                let Stages { batch, .. } = &*shared.stages;
                let limits = WindowLimits { records: batch.rows, bytes: batch.bytes };
                shared.window().take_due(now_millis(), limits)
            };
            if !due.is_empty() {
                self.work_off(due).await;
                self.resume();
                continue;
            }
            let next_due = shared.window().next_due();
            let until_due = async {
                match next_due {
                    Some(due) => {
                        let wait = u64::try_from(due - now_millis()).unwrap_or(0);
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.stopping.cancelled() => {}
                () = shared.changed.notified() => {}
                () = until_due => {}
                () = tokio::time::sleep(COMMIT_AGAIN), if committed.is_err() => {}
            }
        }
        while let Err(error) = self.commit().await {
            if matches!(error, BrokerError::NotAssigned) {
                return;
            }
            tokio::time::sleep(COMMIT_AGAIN).await;
        }
    }

    /// Looks whether anything was deleted before it was tried: retention is too short then. Where
    /// nothing was committed yet, the beginning is, so that this is seen from the first letter on.
    async fn begin(&mut self) {
        let stopping = self.shared.stopping.clone();
        let mut backoff = Backoff::default();
        while self.look_for_expired().await.is_err() {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn look_for_expired(&mut self) -> Result<(), BrokerError> {
        let Shared { group, partition, stages, .. } = &*self.shared;
        let committed = group.committed(partition).await?;
        let (start, _) = group.watermarks(partition).await?;
        let Some(committed) = committed else {
            group.commit(partition, start).await?;
            self.committed = Some(start);
            return Ok(());
        };
        self.committed = Some(committed);
        let expired = start.0 - committed.0;
        if expired > 0 {
            stages.metrics.expired(&partition.topic, expired);
            tracing::error!(
                topic = &*partition.topic,
                partition = partition.partition,
                offset = committed.0,
                deleted = expired,
                "the retry topic begins after the committed offset: letters may have been deleted untried"
            );
        }
        Ok(())
    }

    /// Tries letters that are due, those of one origin partition at a time.
    async fn work_off(&mut self, due: Vec<Arc<Waiting>>) {
        let mut by_origin: BTreeMap<TopicPartition, Vec<(Record, Arc<Waiting>)>> = BTreeMap::new();
        let mut unread = Vec::new();
        for letter in due {
            match &letter.original {
                Some(record) => {
                    let (origin, record) = (record.source.clone(), record.clone());
                    by_origin.entry(origin).or_default().push((record, letter));
                }
                None => unread.push(letter),
            }
        }
        self.hand_on(&unread).await;
        for (origin, mut tried) in by_origin {
            tried.sort_by_key(|(record, _)| record.offset);
            let (records, letters): (Vec<_>, Vec<_>) = tried.into_iter().unzip();
            let Shared { stages, partition, stopping, .. } = &*self.shared;
            if !schemas::bring(stages, partition, stopping, &records).await {
                return;
            }
            let Stages { decoder, transformer, metrics, .. } = &*self.shared.stages;
            let batch =
                tokio::task::block_in_place(|| prepare(records, decoder, &**transformer, metrics));
            trail::prepared(&batch, &self.shared.stages);
            let owner = Owner::Replay { partition: origin, force: false };
            let Some(settled) = self.write_rows(&owner, &batch, &letters).await else { return };
            self.settle(&letters, settled).await;
        }
    }

    /// Letters that this release cannot read are not lost: they become dead letters as they are.
    async fn hand_on(&self, unread: &[Arc<Waiting>]) {
        if unread.is_empty() {
            return;
        }
        let letters: Vec<_> = unread.iter().map(|waiting| waiting.letter.clone()).collect();
        self.shared.publishing().hand_on(&letters).await;
        let mut window = self.shared.window();
        for letter in &letters {
            window.settle(letter.offset);
        }
        drop(window);
        let outcomes = vec![RecordOutcome::DeadLettered; letters.len()];
        self.shared.stages.metrics.retry_attempts(&outcomes);
    }

    /// Writes until it is written; `None` if it is to stop first.
    async fn write_rows(
        &self,
        owner: &Owner,
        batch: &Batch,
        letters: &[Arc<Waiting>],
    ) -> Option<Settled> {
        let Shared { stages, stage, partition, scope, stopping, .. } = &*self.shared;
        let mut backoff = Backoff::default();
        let mut portion = Portion::default();
        let mut open: Option<OpenCircuit> = None;
        loop {
            let started = Instant::now();
            let results = write_portions(&*stages.sink, owner, &batch.changes, None, portion).await;
            let seconds = started.elapsed().as_secs_f64();
            match results {
                Ok(results) => {
                    trail::written(batch, &results);
                    self.latency.committed(batch, &results);
                    stages.metrics.stage(Stage::Sink, batch.records.len(), seconds);
                    stages.metrics.written(
                        &self.shared.partition.topic,
                        batch.records.len(),
                        seconds,
                    );
                    stages.health.up(Check::Database, scope);
                    return Some(settle(batch, results, |place, cause| {
                        let letter = letters.get(place);
                        letter.is_some_and(|letter| stage.takes(cause, letter.attempts + 1))
                    }));
                }
                Err(error) => {
                    stages.metrics.write_failed(seconds);
                    database_down(stages, partition, scope, &error);
                    portion = portion.after(&error);
                    hold_open(&mut open, stages, &error);
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return None,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Publishes what was refused again; then the letters are settled.
    async fn settle(&mut self, letters: &[Arc<Waiting>], mut settled: Settled) {
        let shared = Arc::clone(&self.shared);
        let held = self.hold_back(letters, &mut settled);
        let publishing = shared.publishing();
        let again = |place: usize| {
            let waiting = letters.get(place)?;
            Some((waiting.letter.clone(), waiting.attempts.saturating_add(1)))
        };
        let waiting = self::letters(&settled.waiting, again);
        settled.give_up(&publishing.retries(&shared.stage, waiting).await);
        let dead = self::letters(&settled.refused, again);
        let dead: Vec<_> = dead.into_iter().map(|(_, letter)| letter).collect();
        publishing.dead_letters(&dead).await;
        let mut outcomes: Vec<RecordOutcome> = Vec::with_capacity(letters.len());
        let mut window = shared.window();
        for (place, (letter, outcome)) in letters.iter().zip(settled.outcomes).enumerate() {
            if held.binary_search(&place).is_err() {
                window.settle(letter.letter.offset);
                outcomes.push(outcome);
            }
        }
        drop(window);
        shared.stages.metrics.retry_attempts(&outcomes);
    }

    /// Lets the circuit judge what would become dead letters. If it is open they wait on as they
    /// are, without using up an attempt, and nothing else waits for them. Returns their places.
    fn hold_back(&mut self, letters: &[Arc<Waiting>], settled: &mut Settled) -> Vec<usize> {
        let Shared { stages, stage, partition, scope, .. } = &*self.shared;
        let Err(tripped) = stage.ended(std::mem::take(&mut settled.tried)) else {
            self.backoff.reset();
            return Vec::new();
        };
        self.open.get_or_insert_with(|| stages.metrics.open_circuit(Component::Rules));
        let message = told(&tripped);
        if stages.health.down(Check::Circuit, scope, &message) {
            tracing::error!(topic = &*partition.topic, partition = partition.partition, cause = %tripped.cause, table = tripped.table.as_deref(), "circuit {message}");
        }
        let refused: Vec<(usize, Refusal)> = std::mem::take(&mut settled.refused);
        let mut places: Vec<usize> = refused.into_iter().map(|(place, _)| place).collect();
        places.dedup();
        let wait = i64::try_from(self.backoff.next_delay().as_millis()).unwrap_or(i64::MAX);
        let due = now_millis().saturating_add(wait);
        let mut window = self.shared.window();
        for letter in places.iter().filter_map(|place| letters.get(*place)) {
            window.put_back(letter.letter.offset, due);
            self.held.insert(letter.letter.offset);
        }
        places
    }

    /// Closes the circuit once nothing is held back any more.
    fn look_at_circuit(&mut self) {
        if self.open.is_none() {
            return;
        }
        let Shared { stages, partition, scope, .. } = &*self.shared;
        let window = self.shared.window();
        self.held.retain(|offset| window.holds(*offset));
        drop(window);
        if self.held.is_empty() {
            self.open = None;
            stages.health.up(Check::Circuit, scope);
            tracing::info!(
                topic = &*partition.topic,
                partition = partition.partition,
                "the circuit is closed again"
            );
        }
    }

    /// Takes delivery up again once there is room.
    fn resume(&self) {
        let window = self.shared.window();
        if !window.is_full() && self.shared.paused.swap(false, Ordering::Relaxed) {
            self.shared.group.resume(&self.shared.partition);
        }
    }

    /// Commits what is settled, if that is news. What the group does not take now is committed with
    /// what is settled later.
    async fn commit(&mut self) -> Result<(), BrokerError> {
        let Shared { group, partition, scope, stages, .. } = &*self.shared;
        let settled = self.shared.window().settled();
        let Some(settled) = settled.filter(|settled| Some(*settled) > self.committed) else {
            return Ok(());
        };
        match group.commit(partition, settled).await {
            Ok(()) => {
                self.committed = Some(settled);
                stages.health.up(Check::RetryTopic, scope);
                Ok(())
            }
            Err(error) => {
                stages.metrics.retried(Component::RetryTopic, broker_cause(&error));
                let passing = matches!(error, BrokerError::NotAssigned | BrokerError::Rebalancing);
                if !passing && stages.health.down(Check::RetryTopic, scope, &error.to_string()) {
                    tracing::warn!(topic = &*partition.topic, partition = partition.partition, component = Component::RetryTopic.as_str(), cause = broker_cause(&error), %error, "offsets of the retry topic cannot be committed; waiting");
                }
                Err(error)
            }
        }
    }
}

fn told(tripped: &Tripped) -> String {
    format!(
        "open: {} of the last {} changes were given up with cause {} (table {}); they are tried on and not dead-lettered until the cause is mended, or dead_letter.max_ratio is raised",
        tripped.refused,
        tripped.tried,
        tripped.cause,
        tripped.table.as_deref().unwrap_or("-"),
    )
}
