//! The retry tier: one consumer of the retry topic beside the main loop.
//!
//! In: letters that wait, from the live tasks of all instances and from here. Out: rows, letters that
//! wait on, dead letters. Their order needs no partition: the version guard makes what is overtaken
//! stale. The loop here only routes; what is due is worked off in `retry/task.rs`, from the bounded
//! window in `retry/window.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::circuit::{Circuit, Tried, Tripped};
use super::task::Measured;
use super::{STOP_WITHIN, Stages, broker_cause};
use crate::broker::{Consumer, ConsumerEvent, Group, Joined};
use crate::dead_letter::{DeadLetter, Retry, RetryPolicy, RetryQueue};
use crate::error::Cause;
use crate::model::{Record, TopicPartition};
use crate::telemetry::health::Check;
use crate::telemetry::metrics::{Component, Metrics};

mod task;
mod window;

use task::{RetryTask, Shared};

/// Scope in which the tier's consumer tells its health.
const CONSUMER: &str = "retry consumer";

/// Changes that the tier's circuit remembers: more than a task's, since among them are those of all
/// partitions, and what is refused at last comes in bursts.
const CIRCUIT: usize = 10_000;

/// What the runtime needs to let refused records wait.
#[derive(Debug)]
pub struct RetryStage {
    queue: RetryQueue,
    policy: RetryPolicy,
    /// Partitions of the retry topic.
    partitions: i32,
    /// What was given up at last, among what went well there and in live traffic: of itself the tier
    /// sees failures only, and a few true orphans must not look like a systemic fault.
    circuit: Mutex<Circuit>,
}

impl RetryStage {
    /// Letters wait in this queue, whose topic has this many partitions, by this policy. More than
    /// `max_ratio` (0 to 1) given up alike keeps them from becoming dead letters.
    #[must_use]
    pub fn new(queue: RetryQueue, policy: RetryPolicy, partitions: i32, max_ratio: f64) -> Self {
        let circuit = Mutex::new(Circuit::of_last(CIRCUIT, max_ratio));
        Self { queue, policy, partitions, circuit }
    }

    /// Where letters wait.
    pub(super) const fn queue(&self) -> &RetryQueue {
        &self.queue
    }

    /// Whether a record that was refused for this cause is tried again after so many attempts.
    pub(super) fn takes(&self, cause: Cause, attempts: u32) -> bool {
        self.policy.takes(cause, attempts)
    }

    /// A letter with the time when it is due next.
    pub(super) fn next(&self, letter: DeadLetter) -> Retry {
        let due = self.policy.due(letter.failed_at, letter.attempts);
        Retry { letter, due }
    }

    /// When a letter is due that says so: not later than the settings in force would have it wait.
    fn due(&self, said: Option<i64>, now: i64) -> i64 {
        let longest = self.policy.schedule.maximum_delay.as_millis();
        let latest = now.saturating_add(i64::try_from(longest).unwrap_or(i64::MAX));
        said.unwrap_or(now).min(latest)
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Live changes went well.
    pub(super) fn went_well(&self, changes: usize) {
        self.circuit().record(std::iter::repeat_n(None, changes.min(CIRCUIT)));
    }

    /// Remembers how changes ended; of those that trip the circuit only what went well.
    fn ended(&self, results: Vec<Tried>) -> Result<(), Tripped> {
        let mut circuit = self.circuit();
        if let Some(tripped) = circuit.trips(&results) {
            circuit.record(results.into_iter().filter(Option::is_none));
            return Err(tripped);
        }
        circuit.record(results);
        Ok(())
    }
}

type Running = Arc<Mutex<HashMap<TopicPartition, Arc<Shared>>>>;

/// The running tier, seen from the runtime.
pub(super) struct RetryTier {
    routing: JoinHandle<()>,
    stop: CancellationToken,
    /// Cancelled if the consumer ends by itself.
    pub(super) ended: CancellationToken,
    backlog: Backlog,
}

impl RetryTier {
    pub(super) fn start(
        stages: &Arc<Stages>,
        stage: &Arc<RetryStage>,
        (consumer, group): Joined,
        panicked: &CancellationToken,
    ) -> Self {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let running = Running::default();
        let backlog = Backlog {
            group: Arc::clone(&group),
            topic: Arc::clone(stage.queue.topic()),
            partitions: stage.partitions,
            running: Arc::clone(&running),
            metrics: Arc::clone(&stages.metrics),
        };
        let routing = Routing {
            stages: Arc::clone(stages),
            stage: Arc::clone(stage),
            group,
            tasks: HashMap::new(),
            running,
            panicked: panicked.clone(),
        };
        let routing = tokio::spawn(routing.run(consumer, stop.clone(), ended.clone()));
        Self { routing, stop, ended, backlog }
    }

    /// What waits, to be measured beside the main loop.
    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// Settles what is in hand and leaves the group. What waits stays in the topic.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        // a panic in it is on record
        let _ = self.routing.await;
    }
}

/// Measures what waits.
#[derive(Clone)]
pub(super) struct Backlog {
    group: Arc<dyn Group>,
    topic: Arc<str>,
    partitions: i32,
    running: Running,
    metrics: Arc<Metrics>,
}

impl Backlog {
    /// Measures. Returns whether no record of the topic waits, if that is to be known for certain:
    /// whoever's the partitions are, and whether or not this member has got any yet.
    pub(super) async fn measure(self, measured: Measured) -> bool {
        let ours: Vec<_> = self.running().values().cloned().collect();
        let mut waiting = 0;
        for shared in &ours {
            let Ok((start, end)) = self.group.ends(&shared.partition).await else { continue };
            waiting += shared.waiting(start, end);
        }
        self.metrics.retry_waiting(waiting);
        if measured == Measured::Roughly {
            return true;
        }
        for partition in 0..self.partitions {
            let partition = TopicPartition::new(Arc::clone(&self.topic), partition);
            let Ok((start, end)) = self.group.watermarks(&partition).await else { return false };
            let Ok(committed) = self.group.committed(&partition).await else { return false };
            if committed.map_or(start, |committed| committed.max(start)) < end {
                return false;
            }
        }
        true
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TopicPartition, Arc<Shared>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop that routes.
struct Routing {
    stages: Arc<Stages>,
    stage: Arc<RetryStage>,
    group: Arc<dyn Group>,
    tasks: HashMap<TopicPartition, RetryTask>,
    running: Running,
    panicked: CancellationToken,
}

impl Routing {
    async fn run(
        mut self,
        mut consumer: Box<dyn Consumer>,
        stop: CancellationToken,
        ended: CancellationToken,
    ) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = consumer.next() => {
                    let Some(event) = event else {
                        ended.cancel();
                        break;
                    };
                    self.on(event);
                }
            }
        }
        finish(self.tasks.drain().map(|(_, task)| task).collect()).await;
        // a rebalance that began meanwhile waits for us no longer
        drop(consumer);
        self.group.close().await;
        self.stages.health.forget(CONSUMER);
    }

    fn on(&mut self, event: ConsumerEvent) {
        let health = &self.stages.health;
        match event {
            ConsumerEvent::Assigned(partitions) => {
                health.up(Check::RetryTopic, CONSUMER);
                for partition in partitions {
                    tracing::info!(
                        topic = &*partition.topic,
                        partition = partition.partition,
                        "retry partition assigned"
                    );
                    let task = RetryTask::start(
                        Arc::clone(&self.stages),
                        Arc::clone(&self.stage),
                        Arc::clone(&self.group),
                        partition.clone(),
                        &self.panicked,
                    );
                    self.running().insert(partition.clone(), Arc::clone(task.shared()));
                    self.tasks.insert(partition, task);
                }
            }
            ConsumerEvent::Records(records) => self.route(&records),
            ConsumerEvent::Revoked { partitions, released } => {
                let ending = self.take(&partitions);
                tokio::spawn(async move {
                    finish(ending).await;
                    // the consumer may have given up waiting; then nobody listens
                    let _ = released.send(());
                });
            }
            ConsumerEvent::Lost(partitions) => {
                for task in self.take(&partitions) {
                    tokio::spawn(task.abandon());
                }
            }
            ConsumerEvent::Failing(error) => {
                self.stages.metrics.retried(Component::RetryTopic, broker_cause(&error));
                if health.down(Check::RetryTopic, CONSUMER, &error.to_string()) {
                    tracing::warn!(component = Component::RetryTopic.as_str(), cause = broker_cause(&error), %error, "the retry topic cannot be read; waiting");
                }
            }
            ConsumerEvent::Recovered => {
                if health.up(Check::RetryTopic, CONSUMER) {
                    tracing::info!(
                        component = Component::RetryTopic.as_str(),
                        "the retry topic is read again"
                    );
                }
            }
        }
    }

    fn route(&self, records: &[Record]) {
        for of_one in records.chunk_by(|left, right| left.source == right.source) {
            let Some(first) = of_one.first() else { continue };
            // records of a partition that has just left are delivered again to its next owner
            if let Some(task) = self.tasks.get(&first.source) {
                task.receive(of_one);
            }
        }
    }

    fn take(&mut self, partitions: &[TopicPartition]) -> Vec<RetryTask> {
        let taken = partitions.iter().filter_map(|partition| {
            tracing::info!(
                topic = &*partition.topic,
                partition = partition.partition,
                "retry partition leaves"
            );
            self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
            self.tasks.remove(partition)
        });
        taken.collect()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TopicPartition, Arc<Shared>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets tasks settle what is in hand, all at once, within the time for stopping.
async fn finish(tasks: Vec<RetryTask>) {
    let deadline = Instant::now() + STOP_WITHIN;
    for task in &tasks {
        task.stop();
    }
    for task in tasks {
        task.finish(deadline).await;
    }
}
