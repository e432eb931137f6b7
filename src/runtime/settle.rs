//! Prepared batches become settled records and committed offsets.
//!
//! In: the batches of one partition, in order. Out: rows, then what was refused (letters that wait
//! to be tried again, dead letters), then the committed offset. Whatever heals or is mended is waited
//! for here, while the runtime goes on polling; a revoked partition ends it at any await.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::circuit::{Circuit, Tried};
use super::gap::Gap;
use super::latency::Latency;
use super::prepare::Batch;
use super::publish::Publishing;
use super::settled::{Settled, letters, settle};
use super::task::Shared;
use super::{Stages, broker_cause, trail};
use crate::broker::BrokerError;
use crate::dead_letter::is_sent_again;
use crate::error::{ErrorClass, Stage};
use crate::model::{Offset, TopicPartition};
use crate::retry::Backoff;
use crate::sink::{
    Owner, Portion, SinkError, note_refused_deletes, refused_deletes, write_portions,
};
use crate::telemetry::health::Check;
use crate::telemetry::metrics::{Component, OpenCircuit, RecordOutcome};
use crate::telemetry::troubleshooting;

/// Between two commits that a rebalance refused: one takes from tens of milliseconds to seconds.
const REBALANCE_FIRST: Duration = Duration::from_millis(20);
/// See [`REBALANCE_FIRST`].
const REBALANCE_MOST: Duration = Duration::from_millis(500);

/// How often a record was tried that comes from the ingest topic.
const FIRST: u32 = 1;

/// The second half of a task: prepared batches to committed offsets.
pub(super) struct Settler {
    shared: Arc<Shared>,
    owner: Owner,
    circuit: Circuit,
    /// Open while so much is refused alike that somebody must look.
    rules_open: Option<OpenCircuit>,
    /// Open while the database refuses everything for good.
    database_open: Option<OpenCircuit>,
    latency: Latency,
}

impl Settler {
    /// The order here is the guarantee: rows first, letters next, offset last. Under a backlog the
    /// offset of a batch is committed while the next one's rows are being written: two waits, for
    /// two machines, that need not follow one another.
    pub(super) async fn run(shared: Arc<Shared>, mut batches: mpsc::Receiver<Batch>) {
        let max_ratio = shared.stages.max_ratio;
        let owner = take_over(&shared).await;
        let circuit = Circuit::new(max_ratio);
        let latency = Latency::new(shared.stages.transformer.catalog(), &shared.stages.metrics);
        let mut settler = Self {
            shared: Arc::clone(&shared),
            owner,
            circuit,
            rules_open: None,
            database_open: None,
            latency,
        };
        let mut gap = Gap::default();
        loop {
            let first = tokio::select! {
                biased;
                batch = batches.recv() => batch,
                end = gap.found(&shared) => match commit(&shared, Some(end)).await {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let Some(first) = first else { return };
            let mut started = Instant::now();
            let mut next = Some(first);
            let mut uncommitted = None;
            while let Some(batch) = next {
                started = Instant::now();
                let (written, committed) =
                    tokio::join!(settler.write_rows(&batch), commit(&shared, uncommitted));
                let (Some(mut settled), Ok(())) = (written, committed) else { return };
                settler.publish_refusals(&batch, &mut settled).await;
                settler.count(&batch, &settled.outcomes);
                shared.settled_in(started.elapsed());
                uncommitted = Some(batch.next);
                next = batches.try_recv().ok();
            }
            if commit(&shared, uncommitted).await.is_err() {
                return;
            }
            shared.settled_in(started.elapsed());
        }
    }

    /// Writes until it is written: retriable errors and an open circuit are waited out. `None` if
    /// the task is to stop while the circuit is open, or the partition is gone: the batch stays
    /// unsettled.
    async fn write_rows(&mut self, batch: &Batch) -> Option<Settled> {
        let mut backoff = Backoff::default();
        let mut portion = Portion::default();
        loop {
            let started = Instant::now();
            let Self { shared, owner, .. } = &*self;
            let sink = &*shared.stages.sink;
            let written =
                write_portions(sink, owner, &batch.changes, Some(batch.next), portion).await;
            let seconds = started.elapsed().as_secs_f64();
            let written = match written {
                Ok(results) => {
                    self.database_up();
                    trail::written(batch, &results);
                    self.latency.committed(batch, &results);
                    let refused = refused_deletes(&batch.changes, &results);
                    let mut settled = settle(batch, results, |_, cause| {
                        let retry = self.shared.stages.retry.as_ref();
                        retry.is_some_and(|retry| retry.takes(cause, FIRST))
                    });
                    if !self.let_through(std::mem::take(&mut settled.tried)) {
                        tokio::select! {
                            () = self.shared.stopping.cancelled() => return None,
                            () = tokio::time::sleep(backoff.next_delay()) => continue,
                        }
                    }
                    note_refused_deletes(&*self.shared.stages.sink, &self.owner, &refused)
                        .await
                        .map(|()| settled)
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(settled) => {
                    let Stages { metrics, .. } = &*self.shared.stages;
                    metrics.stage(Stage::Sink, batch.records.len(), seconds);
                    metrics.written(&self.shared.partition.topic, batch.records.len(), seconds);
                    return Some(settled);
                }
                Err(error) => {
                    self.shared.stages.metrics.write_failed(seconds);
                    troubleshooting::waits(&self.shared.partition, &error);
                    self.database_down(&error);
                    portion = portion.after(&error);
                    if matches!(error, SinkError::Fenced) {
                        self.confirm_assignment(batch).await.ok()?;
                        self.owner = take_over(&self.shared).await;
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Another instance took the partition over. It may have been wrong, or we are: a process that
    /// was paused does not know yet that the group let it go. The group tells by a commit of what is
    /// settled anyway, which it takes from members only; from one that it let go it takes none, until
    /// that one's consumer has noticed and this task is ended.
    async fn confirm_assignment(&self, batch: &Batch) -> Result<(), BrokerError> {
        match batch.records.first() {
            Some(first) => commit(&self.shared, Some(first.offset)).await,
            None => Ok(()),
        }
    }

    /// Whether the refusals of a batch may become dead letters.
    fn let_through(&mut self, results: Vec<Tried>) -> bool {
        let Stages { health, metrics, retry, .. } = &*self.shared.stages;
        let Some(tripped) = self.circuit.trips(&results) else {
            if let Some(retry) = retry {
                retry.went_well(results.iter().filter(|result| result.is_none()).count());
            }
            self.circuit.record(results);
            self.rules_open = None;
            if health.up(Check::Circuit, &self.shared.scope) {
                tracing::info!(
                    topic = &*self.shared.partition.topic,
                    partition = self.shared.partition.partition,
                    "the circuit is closed again"
                );
            }
            return true;
        };
        let table = tripped.table.as_deref().unwrap_or("-");
        let message = format!(
            "open: {} of the last {} changes were refused with cause {} (table {table}); nothing is dead-lettered or committed until the cause is mended, or dead_letter.max_ratio is raised",
            tripped.refused, tripped.tried, tripped.cause,
        );
        self.rules_open.get_or_insert_with(|| metrics.open_circuit(Component::Rules));
        if health.down(Check::Circuit, &self.shared.scope, &message) {
            tracing::error!(topic = &*self.shared.partition.topic, partition = self.shared.partition.partition, cause = %tripped.cause, table = tripped.table.as_deref(), "circuit {message}");
        }
        false
    }

    fn database_up(&mut self) {
        self.database_open = None;
        if self.shared.stages.health.up(Check::Database, &self.shared.scope) {
            tracing::info!(
                topic = &*self.shared.partition.topic,
                partition = self.shared.partition.partition,
                "the database takes writes again"
            );
        }
    }

    fn database_down(&mut self, error: &SinkError) {
        let Shared { stages, partition, scope, .. } = &*self.shared;
        database_down(stages, partition, scope, error);
        hold_open(&mut self.database_open, stages, error);
    }

    /// Publishes what was refused: letters that wait first, since one that is too large for the retry
    /// topic becomes a dead letter.
    async fn publish_refusals(&self, batch: &Batch, settled: &mut Settled) {
        let stages = &*self.shared.stages;
        let publishing =
            Publishing { stages, partition: &self.shared.partition, scope: &self.shared.scope };
        let first_time = |place: usize| Some((batch.records.get(place)?.clone(), FIRST));
        if let Some(retry) = &stages.retry {
            let letters = letters(&settled.waiting, first_time);
            settled.give_up(&publishing.retries(retry, letters).await);
        }
        let letters = letters(&settled.refused, first_time);
        let letters: Vec<_> = letters.into_iter().map(|(_, letter)| letter).collect();
        publishing.dead_letters(&letters).await;
    }

    /// Rows and letters are safe: the records are settled.
    fn count(&self, batch: &Batch, outcomes: &[RecordOutcome]) {
        let Stages { metrics, .. } = &*self.shared.stages;
        self.shared.in_flight.fetch_sub(outcomes.len(), Ordering::Relaxed);
        metrics.settled(outcomes);
        for (record, outcome) in batch.records.iter().zip(outcomes) {
            if is_sent_again(record) {
                metrics.replayed(*outcome);
            }
        }
    }
}

/// Commits until the broker has it; nothing settled, nothing to commit. During a rebalance the group
/// refuses commits, also of partitions that stay ours, so that is waited out; if the partition does
/// leave, this task is ended. An error means that it was to stop and the partition is gone.
async fn commit(shared: &Shared, settled: Option<Offset>) -> Result<(), BrokerError> {
    let Some(next) = settled else { return Ok(()) };
    let Stages { metrics, health, .. } = &*shared.stages;
    let mut backoff = Backoff::default();
    let mut rebalance = Backoff::new(REBALANCE_FIRST, REBALANCE_MOST);
    loop {
        let error = match shared.group.commit(&shared.partition, next).await {
            Ok(()) => {
                shared.committed(next);
                troubleshooting::committed(&shared.partition, next);
                health.up(Check::Broker, &shared.scope);
                return Ok(());
            }
            Err(error) => error,
        };
        metrics.retried(Component::Broker, broker_cause(&error));
        troubleshooting::waits(&shared.partition, &error);
        match error {
            BrokerError::NotAssigned if shared.stopping.is_cancelled() => {
                tracing::info!(
                    topic = &*shared.partition.topic,
                    partition = shared.partition.partition,
                    "the partition left before its commit; the next owner finds the rows written"
                );
                return Err(error);
            }
            BrokerError::NotAssigned | BrokerError::Rebalancing => {
                tokio::time::sleep(rebalance.next_delay()).await;
            }
            error => {
                if health.down(Check::Broker, &shared.scope, &error.to_string()) {
                    tracing::warn!(topic = &*shared.partition.topic, partition = shared.partition.partition, component = Component::Broker.as_str(), cause = broker_cause(&error), %error, "offsets cannot be committed; waiting");
                }
                tokio::time::sleep(backoff.next_delay()).await;
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
                        tracing::info!(
                            topic = &*shared.partition.topic,
                            partition = shared.partition.partition,
                            "the database takes writes"
                        );
                    }
                    return Owner::Task {
                        partition: shared.partition.clone(),
                        epoch: ownership.epoch,
                    };
                }
                Err(message) => {
                    if shared.stages.health.down(Check::Assignment, &shared.scope, &message) {
                        tracing::error!(
                            topic = &*shared.partition.topic,
                            partition = shared.partition.partition,
                            "{message}"
                        );
                    }
                }
            },
            Err(error) => {
                database_down(&shared.stages, &shared.partition, &shared.scope, &error);
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// An end of the log below what was settled before means that the topic was re-created: its
/// offsets say nothing about the remembered deletes any more.
async fn log_is_whole(shared: &Shared, settled: Option<Offset>) -> Result<(), String> {
    let committed =
        shared.group.committed(&shared.partition).await.map_err(|error| error.to_string())?;
    let (start, end) =
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
        let expired = start.0.saturating_sub(committed.0);
        if expired > 0 {
            shared.stages.metrics.expired(&shared.partition.topic, expired);
            tracing::error!(
                topic = &*shared.partition.topic,
                partition = shared.partition.partition,
                offset = committed.0,
                deleted = expired,
                "the log begins after the committed offset: these were deleted unread"
            );
        }
        shared.committed(committed);
    }
    shared.started.store(true, Ordering::Release);
    shared.stages.health.up(Check::Assignment, &shared.scope);
    Ok(())
}

/// While the database refuses everything for good somebody must look: its circuit is open.
pub(super) fn hold_open(open: &mut Option<OpenCircuit>, stages: &Stages, error: &SinkError) {
    if error.class() == ErrorClass::Fatal {
        open.get_or_insert_with(|| stages.metrics.open_circuit(Component::Database));
    } else {
        *open = None;
    }
}

/// The database does not take the writes of this partition. `scope`: its name, as health knows it.
pub(super) fn database_down(
    stages: &Stages,
    partition: &TopicPartition,
    scope: &str,
    error: &SinkError,
) {
    let Stages { health, metrics, .. } = stages;
    let cause = match error.class() {
        ErrorClass::Fatal => "refused",
        ErrorClass::Retriable if matches!(error, SinkError::Fenced) => "fenced",
        ErrorClass::Retriable | ErrorClass::Poison => "unavailable",
    };
    metrics.retried(Component::Database, cause);
    if health.down(Check::Database, scope, &error.to_string()) {
        tracing::error!(topic = &*partition.topic, partition = partition.partition, component = Component::Database.as_str(), cause, %error, "the database does not take writes; waiting");
    }
}
