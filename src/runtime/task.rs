//! The serial worker of one partition.
//!
//! Two halves joined by a channel of one batch: while a batch is being written, the next is being
//! decoded and transformed. Memory is bounded by these two and the intake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::circuit::{Circuit, Tried, tried};
use super::intake::{Flow, Intake};
use super::prepare::{Batch, prepare};
use super::{Stages, broker_cause};
use crate::broker::{BrokerError, Group};
use crate::dead_letter::DeadLetter;
use crate::error::{ErrorClass, Refusal, Stage};
use crate::model::{Offset, Record, TopicPartition, resource_type_label};
use crate::retry::Backoff;
use crate::sink::{Outcome, Owner, SinkError, write};
use crate::telemetry::health::Check;
use crate::telemetry::metrics::{Component, OpenCircuit, RecordOutcome};

/// No offset is committed yet.
const NOTHING_COMMITTED: i64 = -1;

/// A running partition task, seen from the runtime.
pub(super) struct Task {
    shared: Arc<Shared>,
    preparing: JoinHandle<()>,
    settling: JoinHandle<()>,
}

struct Shared {
    partition: TopicPartition,
    /// The partition's name, as health knows it.
    scope: String,
    stages: Arc<Stages>,
    group: Arc<dyn Group>,
    intake: Intake,
    /// Records received and neither settled nor released.
    in_flight: AtomicUsize,
    committed: AtomicI64,
    started: AtomicBool,
}

impl Task {
    pub(super) fn start(
        stages: Arc<Stages>,
        group: Arc<dyn Group>,
        partition: TopicPartition,
    ) -> Self {
        let shared = Arc::new(Shared {
            intake: Intake::new(stages.batch),
            scope: partition.to_string(),
            partition,
            stages,
            group,
            in_flight: AtomicUsize::new(0),
            committed: AtomicI64::new(NOTHING_COMMITTED),
            started: AtomicBool::new(false),
        });
        let (to_settle, prepared) = mpsc::channel(1);
        let preparing = tokio::spawn(prepare_batches(Arc::clone(&shared), to_settle));
        let settling = tokio::spawn(Settler::run(Arc::clone(&shared), prepared));
        Self { shared, preparing, settling }
    }

    /// Takes records in. Never waits.
    pub(super) fn receive(&self, records: Vec<Record>) {
        let count = records.len();
        self.shared.in_flight.fetch_add(count, Ordering::Relaxed);
        self.shared.stages.metrics.received(&self.shared.partition.topic, count);
        let (refused, flow) = self.shared.intake.push(records);
        self.shared.release(refused);
        if flow == Flow::Pause {
            self.shared.group.pause(&self.shared.partition);
        }
    }

    /// No new batch is begun; what waits unbegun is released.
    pub(super) fn stop_reading(&self) {
        let waiting = self.shared.intake.close();
        self.shared.release(waiting);
    }

    /// Waits for the batches in hand; after the deadline drops them uncommitted. Returns whether
    /// all were settled.
    pub(super) async fn finish(mut self, deadline: Instant) -> bool {
        let settled = tokio::time::timeout_at(deadline, &mut self.settling).await.is_ok();
        self.abandon().await;
        settled
    }

    /// Drops what is in hand, uncommitted: safe, because the next owner receives it again and
    /// writes are guarded.
    pub(super) async fn abandon(mut self) {
        self.stop_reading();
        self.preparing.abort();
        self.settling.abort();
        // counting what is left before the task is really gone would count it twice
        if !self.settling.is_finished() {
            let _ = (&mut self.settling).await;
        }
        let Stages { metrics, health, .. } = &*self.shared.stages;
        metrics.released(self.shared.in_flight.swap(0, Ordering::Relaxed));
        metrics.forget(&self.shared.partition);
        health.forget(&self.shared.scope);
    }

    /// Lag of this partition, to be measured beside the main loop.
    pub(super) fn lag(&self) -> Lag {
        Lag(Arc::clone(&self.shared))
    }
}

/// Measures the lag of a partition.
pub(super) struct Lag(Arc<Shared>);

impl Lag {
    /// Measures. Returns whether all is committed up to the end of the log.
    pub(super) async fn measure(self) -> bool {
        let shared = self.0;
        if !shared.started.load(Ordering::Acquire) {
            return false;
        }
        let Ok((start, end)) = shared.group.watermarks(&shared.partition).await else {
            return false;
        };
        let committed = shared.committed.load(Ordering::Acquire).max(start.0);
        shared.stages.metrics.lag(&shared.partition, (end.0 - committed).max(0));
        committed >= end.0 && shared.in_flight.load(Ordering::Relaxed) == 0
    }
}

impl Shared {
    /// Records are given back unsettled.
    fn release(&self, records: usize) {
        if records > 0 {
            self.in_flight.fetch_sub(records, Ordering::Relaxed);
            self.stages.metrics.released(records);
        }
    }
}

/// The first half: intake to prepared batches.
async fn prepare_batches(shared: Arc<Shared>, to_settle: mpsc::Sender<Batch>) {
    // a permit first: no batch is begun before there is room for it
    while let Ok(permit) = to_settle.reserve().await {
        let Some((records, flow)) = shared.intake.next_batch().await else { return };
        if flow == Flow::Resume {
            shared.group.resume(&shared.partition);
        }
        let Stages { decoder, transformer, metrics, .. } = &*shared.stages;
        let batch =
            tokio::task::block_in_place(|| prepare(records, decoder, &**transformer, metrics));
        permit.send(batch);
    }
}

/// The second half: prepared batches to committed offsets.
struct Settler {
    shared: Arc<Shared>,
    owner: Owner,
    circuit: Circuit,
    open: Option<OpenCircuit>,
}

impl Settler {
    /// The order here is the guarantee: rows first, dead letters next, offset last.
    async fn run(shared: Arc<Shared>, mut batches: mpsc::Receiver<Batch>) {
        let max_ratio = shared.stages.max_ratio;
        let owner = take_over(&shared).await;
        let mut settler = Self { shared, owner, circuit: Circuit::new(max_ratio), open: None };
        while let Some(batch) = batches.recv().await {
            let (outcomes, refused) = settler.write_rows(&batch).await;
            settler.publish_dead_letters(&batch, &refused).await;
            settler.count(&batch, &outcomes);
            if settler.commit(batch.next).await.is_err() {
                return;
            }
        }
    }

    /// Writes until it is written: retriable errors and an open circuit are waited out.
    async fn write_rows(&mut self, batch: &Batch) -> (Vec<RecordOutcome>, Vec<(usize, Refusal)>) {
        let mut backoff = Backoff::default();
        loop {
            let started = StdInstant::now();
            let written =
                write(&*self.shared.stages.sink, &self.owner, &batch.changes, Some(batch.next))
                    .await;
            let seconds = started.elapsed().as_secs_f64();
            match written {
                Ok(results) => {
                    let (outcomes, refused, results) = settle(batch, results);
                    if self.let_through(results) {
                        self.database_up();
                        let Stages { metrics, .. } = &*self.shared.stages;
                        metrics.stage(Stage::Sink, batch.records.len(), seconds);
                        metrics.written(&self.shared.partition.topic, batch.records.len(), seconds);
                        return (outcomes, refused);
                    }
                }
                Err(error) => {
                    self.shared.stages.metrics.write_failed(seconds);
                    self.database_down(&error);
                    if matches!(error, SinkError::Fenced) {
                        // the group still assigns the partition to us, or this task would be gone
                        self.owner = take_over(&self.shared).await;
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Whether the refusals of a batch may become dead letters.
    fn let_through(&mut self, results: Vec<Tried>) -> bool {
        let Stages { health, metrics, .. } = &*self.shared.stages;
        let Some(tripped) = self.circuit.trips(&results) else {
            self.circuit.record(results);
            if health.up(Check::Circuit, &self.shared.scope) {
                self.open = None;
                tracing::info!(partition = %self.shared.partition, "the circuit is closed again");
            }
            return true;
        };
        let table = tripped.table.as_deref().unwrap_or("-");
        let message = format!(
            "open: {} of the last {} changes were refused with cause {} (table {table}); nothing is dead-lettered or committed until the cause is mended, or dead_letter.max_ratio is raised",
            tripped.refused, tripped.tried, tripped.cause,
        );
        if self.open.is_none() {
            self.open = Some(metrics.open_circuit(Component::DeadLetterTopic));
        }
        if health.down(Check::Circuit, &self.shared.scope, &message) {
            tracing::error!(partition = %self.shared.partition, "circuit {message}");
        }
        false
    }

    fn database_up(&mut self) {
        self.open = None;
        if self.shared.stages.health.up(Check::Database, &self.shared.scope) {
            tracing::info!(partition = %self.shared.partition, "the database takes writes again");
        }
    }

    fn database_down(&mut self, error: &SinkError) {
        database_down(&self.shared, error);
        self.open = (error.class() == ErrorClass::Fatal)
            .then(|| self.shared.stages.metrics.open_circuit(Component::Database));
    }

    /// Publishes until all replicas have the letters.
    async fn publish_dead_letters(&self, batch: &Batch, refused: &[(usize, Refusal)]) {
        if refused.is_empty() {
            return;
        }
        let Stages { dead_letters, metrics, health, .. } = &*self.shared.stages;
        let letters = letters(&batch.records, refused);
        let mut backoff = Backoff::default();
        while let Err(error) = dead_letters.publish(&letters).await {
            metrics.dead_letter_write_failed();
            metrics.retried(Component::DeadLetterTopic, broker_cause(&error));
            if health.down(Check::DeadLetterTopic, &self.shared.scope, &error.to_string()) {
                tracing::error!(partition = %self.shared.partition, %error, "dead letters cannot be written; the partition waits");
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        health.up(Check::DeadLetterTopic, &self.shared.scope);
        for letter in letters {
            let Refusal { stage, cause, place, .. } = &letter.refusal;
            let resource_type = place.resource_type.as_deref().map_or("other", resource_type_label);
            metrics.dead_letter(*stage, *cause, resource_type);
            tracing::warn!(
                partition = %self.shared.partition, offset = letter.record.offset.0, %stage, %cause,
                table = place.table.as_deref(), column = place.column.as_deref(), "dead letter"
            );
        }
    }

    /// Rows and letters are safe: the records are settled.
    fn count(&self, batch: &Batch, outcomes: &[RecordOutcome]) {
        let Stages { metrics, .. } = &*self.shared.stages;
        self.shared.in_flight.fetch_sub(outcomes.len(), Ordering::Relaxed);
        metrics.settled(outcomes);
        let now = now_millis();
        for record in &batch.records {
            if let Some(timestamp) = record.timestamp {
                metrics.latency(&self.shared.partition.topic, millis_to_seconds(now - timestamp));
            }
        }
    }

    /// Commits until the broker has it; an error means that the partition is no longer ours.
    async fn commit(&self, next: Offset) -> Result<(), BrokerError> {
        let shared = &self.shared;
        let mut backoff = Backoff::default();
        loop {
            match shared.group.commit(&shared.partition, next).await {
                Ok(()) => {
                    shared.committed.store(next.0, Ordering::Release);
                    shared.stages.metrics.committed(&shared.partition, next);
                    shared.stages.health.up(Check::Broker, &shared.scope);
                    return Ok(());
                }
                Err(error @ BrokerError::NotAssigned) => {
                    tracing::info!(partition = %shared.partition, "the partition left before its commit; the next owner finds the rows written");
                    return Err(error);
                }
                Err(error) => {
                    shared.stages.metrics.retried(Component::Broker, broker_cause(&error));
                    if shared.stages.health.down(Check::Broker, &shared.scope, &error.to_string()) {
                        tracing::warn!(partition = %shared.partition, %error, "offsets cannot be committed; waiting");
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }
}

/// Raises the partition's epoch in the database, however long that takes, and looks whether the
/// topic is still the one that was read before.
async fn take_over(shared: &Shared) -> Owner {
    let mut backoff = Backoff::default();
    loop {
        match shared.stages.sink.take_over(&shared.partition).await {
            Ok(ownership) => match log_is_whole(shared, ownership.next_offset).await {
                Ok(()) => {
                    if shared.stages.health.up(Check::Database, &shared.scope) {
                        tracing::info!(partition = %shared.partition, "the database takes writes");
                    }
                    return Owner::Task {
                        partition: shared.partition.clone(),
                        epoch: ownership.epoch,
                    };
                }
                Err(message) => {
                    if shared.stages.health.down(Check::Assignment, &shared.scope, &message) {
                        tracing::error!(partition = %shared.partition, "{message}");
                    }
                }
            },
            Err(error) => database_down(shared, &error),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// An end of the log below what was settled before means that the topic was re-created: its
/// offsets say nothing about the remembered deletes any more.
async fn log_is_whole(shared: &Shared, settled: Option<Offset>) -> Result<(), String> {
    let committed =
        shared.group.committed(&shared.partition).await.map_err(|error| error.to_string())?;
    let (_, end) =
        shared.group.watermarks(&shared.partition).await.map_err(|error| error.to_string())?;
    if let Some(settled) = settled
        && end < settled
    {
        return Err(format!(
            "{} ends at offset {end}, but {settled} was settled before: the topic was re-created; run `rowcast offsets forget` once you are sure",
            shared.partition
        ));
    }
    if let Some(committed) = committed {
        shared.committed.store(committed.0, Ordering::Release);
        shared.stages.metrics.committed(&shared.partition, committed);
    }
    shared.started.store(true, Ordering::Release);
    shared.stages.health.up(Check::Assignment, &shared.scope);
    Ok(())
}

fn database_down(shared: &Shared, error: &SinkError) {
    let Stages { health, metrics, .. } = &*shared.stages;
    let cause = match error.class() {
        ErrorClass::Fatal => "refused",
        ErrorClass::Retriable if matches!(error, SinkError::Fenced) => "fenced",
        ErrorClass::Retriable | ErrorClass::Poison => "unavailable",
    };
    metrics.retried(Component::Database, cause);
    if health.down(Check::Database, &shared.scope, &error.to_string()) {
        tracing::error!(partition = %shared.partition, %error, "the database does not take writes; waiting");
    }
}

/// One letter per refused record: the whole record with the first cause and the count.
fn letters(records: &[Record], refused: &[(usize, Refusal)]) -> Vec<DeadLetter> {
    let failed_at = now_millis();
    let of_one_record = refused.chunk_by(|(left, _), (right, _)| left == right);
    of_one_record
        .filter_map(|refusals| {
            let (place, first) = refusals.first()?;
            Some(DeadLetter {
                record: records.get(*place)?.clone(),
                refusal: first.clone(),
                changes_refused: refusals.len(),
                attempts: 1,
                failed_at,
            })
        })
        .collect()
}

/// Joins the results of all stages into one outcome per record.
fn settle(
    batch: &Batch,
    results: Vec<Result<Outcome, Refusal>>,
) -> (Vec<RecordOutcome>, Vec<(usize, Refusal)>, Vec<Tried>) {
    // a record without any change (an empty bundle) has nothing to write
    let mut outcomes = vec![RecordOutcome::Filtered; batch.records.len()];
    let mut refused = batch.refused.clone();
    let mut attempts: Vec<Tried> =
        refused.iter().map(|(_, refusal)| tried(Some(refusal))).collect();
    for (&place, result) in batch.record_of.iter().zip(results) {
        attempts.push(tried(result.as_ref().err()));
        match result {
            Ok(outcome) => {
                if let Some(record) = outcomes.get_mut(place) {
                    *record = (*record).max(match outcome {
                        Outcome::Filtered => RecordOutcome::Filtered,
                        Outcome::Stale => RecordOutcome::Stale,
                        Outcome::Written => RecordOutcome::Written,
                    });
                }
            }
            Err(refusal) => refused.push((place, refusal)),
        }
    }
    refused.sort_by_key(|(place, _)| *place);
    for (place, _) in &refused {
        if let Some(record) = outcomes.get_mut(*place) {
            *record = RecordOutcome::DeadLettered;
        }
    }
    (outcomes, refused, attempts)
}

/// Milliseconds since the epoch.
pub(super) fn now_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss)] // latencies are far below 2^52 ms
fn millis_to_seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}
