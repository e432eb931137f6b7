//! Runs a topology: one serial task per assigned partition.
//!
//! In: a consumer's events. Out: settled records and committed offsets. The order *rows, then
//! dead letters, then offset* is kept in `settle.rs` and nowhere else. The loop here only routes:
//! it never waits for a database, so that polling, and with it the group membership, goes on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{BrokerError, ConsumerEvent, Group, Joined};
use crate::dead_letter::DeadLetterQueue;
use crate::model::{Record, Reveal, TopicPartition};
use crate::registry::Registry;
use crate::sink::{ConnectionCount, Sink};
use crate::source::Decoder;
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::{Component, Metrics};
use crate::transform::Transformer;

mod circuit;
mod gap;
mod idle;
mod intake;
mod latency;
mod patience;
mod prepare;
mod publish;
mod rebuild;
mod replay;
mod resend;
mod retry;
mod schemas;
mod settle;
mod settled;
mod task;
mod trail;

use idle::Others;
pub use intake::BatchLimits;
pub use rebuild::{RebuildError, RebuildStages, Rebuilt, RefusedKind, rebuild};
pub use replay::{Performance, RefusedDeletes, ReplayError, ReplayStages, Replayed, replay};
pub use resend::resend;
pub use retry::RetryStage;
use retry::{Backlog, RetryTier};
use task::{Lag, Measured, Task};

/// How long stopping may take before what is in hand is dropped uncommitted: below the 25 s in
/// which a stopped process must be gone, which is below the 30 s that orchestrators grant.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How often lag is measured and idleness looked at.
const TICK: Duration = Duration::from_millis(500);

/// Scope in which the consumer tells its health.
const CONSUMER: &str = "consumer";

/// What a running topology is made of.
pub struct Stages {
    /// Records to changes.
    pub decoder: Decoder,
    /// Who brings the schemas that records name, if the topology names one.
    pub registry: Option<Arc<Registry>>,
    /// Changes to rows.
    pub transformer: Arc<dyn Transformer>,
    /// Rows to the database.
    pub sink: Arc<dyn Sink>,
    /// Where refusals go.
    pub dead_letters: Arc<DeadLetterQueue>,
    /// Where refusals wait that may heal by themselves; `None`: they are dead letters at once.
    pub retry: Option<Arc<RetryStage>>,
    /// When a batch is complete.
    pub batch: BatchLimits,
    /// Share of alike refusals that opens the circuit, 0 to 1.
    pub max_ratio: f64,
    /// What the troubleshooting log may show.
    pub reveal: Reveal,
    /// Counted here.
    pub metrics: Arc<Metrics>,
    /// Told here.
    pub health: Arc<Health>,
}

/// Why a run ended other than by being stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// The consumer ended by itself.
    #[error("the consumer ended")]
    ConsumerEnded,
    /// A task panicked: a fault in rowcast, or in a transformer that a program brought. What was in
    /// hand is delivered again.
    #[error("a task panicked; nothing of its batch was committed")]
    Panicked,
}

/// Runs until `stop`, or, with `until_idle`, until the committed offsets have reached every log
/// end and nothing arrived for that long. `member` is the ingest topic's, `retry_member` the retry
/// topic's, which takes part if the stages say that records are tried again: then nothing is idle
/// while a record waits there.
///
/// # Errors
/// [`RunError`]. Retriable and fatal errors of broker and database do not end a run: they are
/// waited out.
pub async fn run(
    stages: Arc<Stages>,
    member: Joined,
    retry_member: Option<Joined>,
    until_idle: Option<Duration>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let (mut consumer, group) = member;
    let mut measuring: Option<JoinHandle<bool>> = None;
    let mut tasks = Tasks {
        stages: Arc::clone(&stages),
        group: Arc::clone(&group),
        running: HashMap::new(),
        others: until_idle.map(|_| Others::of(&group)),
        panicked: CancellationToken::new(),
    };
    let panicked = tasks.panicked.clone();
    let retry = stages.retry.as_ref().zip(retry_member);
    let retry = retry.map(|(stage, member)| RetryTier::start(&stages, stage, member, &panicked));
    let retry_ended = retry.as_ref().map(|tier| tier.ended.clone()).unwrap_or_default();
    let measured = if until_idle.is_some() { Measured::Exactly } else { Measured::Roughly };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut quiet_since = Instant::now();
    let outcome = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            () = panicked.cancelled() => break Err(RunError::Panicked),
            () = retry_ended.cancelled() => break Err(RunError::ConsumerEnded),
            event = consumer.next() => match event {
                None => break Err(RunError::ConsumerEnded),
                Some(event) => {
                    let gained = matches!(&event, ConsumerEvent::Assigned(gained) if !gained.is_empty());
                    if gained || matches!(event, ConsumerEvent::Records(_)) {
                        quiet_since = Instant::now();
                    }
                    tasks.on(event);
                }
            },
            _ = ticks.tick() => {
                stages.health.tick();
                let ConnectionCount { busy, idle, most, waiting } = stages.sink.connections();
                stages.metrics.connections(busy, idle, most, waiting);
                tasks.running.values().for_each(Task::tell_age);
                let settled = match &mut measuring {
                    Some(measured) if measured.is_finished() => {
                        let settled = measured.await.unwrap_or(false);
                        measuring = None;
                        if !settled && tasks.running.is_empty() {
                            // what arrives for others is not seen otherwise
                            quiet_since = Instant::now();
                        }
                        settled
                    }
                    Some(_) => false,
                    None => {
                        let backlog = retry.as_ref().map(RetryTier::backlog);
                        measuring = Some(tasks.measure(backlog, measured));
                        false
                    }
                };
                if let Some(idle) = until_idle
                    && settled && quiet_since.elapsed() >= idle
                {
                    tracing::info!("every log end is committed and nothing arrived for {}", humantime::format_duration(idle));
                    break Ok(());
                }
            }
        }
    };
    let retry_finished = async {
        if let Some(tier) = retry {
            tier.finish().await;
        }
    };
    let (unsettled, ()) = tokio::join!(tasks.finish(), retry_finished);
    // a rebalance that began meanwhile waits for us no longer
    drop(consumer);
    group.close().await;
    if unsettled > 0 {
        tracing::warn!(
            partitions = unsettled,
            "not settled in time for the stop; what was in hand is delivered again"
        );
    }
    outcome
}

/// The tasks of the assigned partitions.
struct Tasks {
    stages: Arc<Stages>,
    group: Arc<dyn Group>,
    running: HashMap<TopicPartition, Task>,
    /// Asked while there is none, by a run that ends once all is settled.
    others: Option<Others>,
    /// Cancelled once a task panics.
    panicked: CancellationToken,
}

impl Tasks {
    fn on(&mut self, event: ConsumerEvent) {
        let Stages { metrics, health, .. } = &*self.stages;
        match event {
            ConsumerEvent::Assigned(partitions) => {
                health.up(Check::Broker, CONSUMER);
                health.up(Check::Assignment, CONSUMER);
                metrics.rebalanced("assigned", partitions.len());
                for partition in partitions {
                    tracing::info!(
                        topic = &*partition.topic,
                        partition = partition.partition,
                        "partition assigned"
                    );
                    let task = Task::start(
                        Arc::clone(&self.stages),
                        Arc::clone(&self.group),
                        partition.clone(),
                        &self.panicked,
                    );
                    self.running.insert(partition, task);
                }
            }
            ConsumerEvent::Records(records) => self.route(records),
            ConsumerEvent::Revoked { partitions, released } => {
                metrics.rebalanced("revoked", partitions.len());
                let ending: Vec<Task> = self.take(&partitions);
                tokio::spawn(async move {
                    finish(ending).await;
                    // the consumer may have given up waiting; then nobody listens
                    let _ = released.send(());
                });
            }
            ConsumerEvent::Lost(partitions) => {
                metrics.rebalanced("lost", partitions.len());
                for task in self.take(&partitions) {
                    tokio::spawn(task.abandon());
                }
            }
            ConsumerEvent::Failing(error) => {
                metrics.retried(Component::Broker, broker_cause(&error));
                if health.down(Check::Broker, CONSUMER, &error.to_string()) {
                    tracing::warn!(component = Component::Broker.as_str(), cause = broker_cause(&error), %error, "the broker does not answer; waiting");
                }
            }
            ConsumerEvent::Recovered => {
                if health.up(Check::Broker, CONSUMER) {
                    tracing::info!(
                        component = Component::Broker.as_str(),
                        "the broker answers again"
                    );
                }
            }
        }
    }

    fn take(&mut self, partitions: &[TopicPartition]) -> Vec<Task> {
        partitions
            .iter()
            .filter_map(|partition| {
                tracing::info!(
                    topic = &*partition.topic,
                    partition = partition.partition,
                    "partition leaves"
                );
                self.running.remove(partition)
            })
            .collect()
    }

    /// Hands records to their tasks, partition by partition.
    fn route(&self, records: Vec<Record>) {
        let mut by_partition: HashMap<TopicPartition, Vec<Record>> = HashMap::new();
        for record in records {
            by_partition.entry(record.source.clone()).or_default().push(record);
        }
        for (partition, records) in by_partition {
            // records of a partition that has just left are delivered again to its next owner
            if let Some(task) = self.running.get(&partition) {
                task.receive(records);
            }
        }
    }

    /// Measures lag beside the main loop, since the broker may be slow to answer. The result, if it
    /// is measured exactly: whether every partition is settled up to its log end, and nothing waits to
    /// be tried again.
    fn measure(&self, retry: Option<Backlog>, measured: Measured) -> JoinHandle<bool> {
        let lags: Vec<Lag> = self.running.values().map(Task::lag).collect();
        let others = self.others.clone().filter(|_| lags.is_empty());
        tokio::spawn(async move {
            let mut settled = match others {
                Some(others) => others.are_settled().await,
                None => true,
            };
            for lag in lags {
                settled &= lag.measure(measured).await;
            }
            // afterwards: what was settled until now may have been sent there
            if let Some(retry) = retry {
                settled &= retry.measure(measured).await;
            }
            settled
        })
    }

    /// Settles what is in hand; returns how many partitions could not be in time.
    async fn finish(&mut self) -> usize {
        finish(self.running.drain().map(|(_, task)| task).collect()).await
    }
}

/// Lets tasks settle what is in hand, all at once, within the time for stopping.
async fn finish(tasks: Vec<Task>) -> usize {
    let deadline = Instant::now() + STOP_WITHIN;
    for task in &tasks {
        task.stop_reading();
    }
    let mut unsettled = 0;
    for task in tasks {
        if !task.finish(deadline).await {
            unsettled += 1;
        }
    }
    unsettled
}

/// Label of a broker error.
const fn broker_cause(error: &BrokerError) -> &'static str {
    match error {
        BrokerError::Unavailable { .. } => "unavailable",
        BrokerError::Refused { .. } | BrokerError::RecordTooLarge => "refused",
        BrokerError::Rebalancing => "rebalancing",
        BrokerError::NotAssigned => "fenced",
    }
}
