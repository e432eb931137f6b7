//! The one member that a group of the embedded broker has: a task that reads all partitions.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::store::{LogPartition, Store};
use super::writer::Writer;
use crate::broker::{BrokerError, Consumer, ConsumerEvent, ConsumerSettings, Group};
use crate::model::{Offset, TopicPartition, TopicSelector};
use crate::retry::Backoff;

/// Events under way to the runtime; each holds 4 MiB of records at most.
const EVENTS: usize = 4;
/// How soon records written by another process are noticed. Those of this process: at once.
const LOOK: Duration = Duration::from_millis(30);

/// Takes the group's lock and starts the task. Within a Tokio runtime.
pub(super) fn join(
    file: &Path,
    settings: ConsumerSettings,
    store: Store,
    writer: Writer,
    written: Arc<Notify>,
) -> Result<(EmbeddedConsumer, EmbeddedGroup), BrokerError> {
    let topics = selectors(&settings.topics)?;
    let lock = lock(file, &settings.group)?;
    let (events, receiver) = mpsc::channel(EVENTS);
    let shared = Arc::new(Shared {
        group: settings.group,
        topics,
        store,
        writer,
        written,
        paused: Mutex::default(),
        closing: CancellationToken::new(),
    });
    let reading = Arc::clone(&shared);
    let task = tokio::spawn(async move {
        Reading { shared: reading, events, positions: HashMap::new() }.run().await;
        drop(lock);
    });
    let group = EmbeddedGroup { shared, task: tokio::sync::Mutex::new(Some(task)) };
    Ok((EmbeddedConsumer { events: receiver }, group))
}

/// See [`Consumer`].
#[derive(Debug)]
pub(super) struct EmbeddedConsumer {
    events: mpsc::Receiver<ConsumerEvent>,
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Option<ConsumerEvent> {
        self.events.recv().await
    }
}

/// What the task and the group's commands share.
#[derive(Debug)]
struct Shared {
    group: String,
    topics: Vec<TopicSelector>,
    store: Store,
    writer: Writer,
    /// Notified after each write of this process, and on resuming.
    written: Arc<Notify>,
    paused: Mutex<HashSet<TopicPartition>>,
    closing: CancellationToken,
}

impl Shared {
    /// Those of the topics to be read.
    async fn partitions(&self) -> Result<Vec<LogPartition>, BrokerError> {
        let mut partitions = self.store.partitions().await?;
        partitions.retain(|partition| {
            self.topics.iter().any(|topic| topic.selects(&partition.source.topic))
        });
        Ok(partitions)
    }

    fn paused(&self) -> MutexGuard<'_, HashSet<TopicPartition>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The topics to be read.
fn selectors(topics: &[String]) -> Result<Vec<TopicSelector>, BrokerError> {
    let parse = |topic: &String| {
        TopicSelector::parse(topic).ok_or_else(|| BrokerError::Refused {
            attempted: "reading the topic's pattern",
            reason: format!("`{topic}` is no regular expression"),
        })
    };
    topics.iter().map(parse).collect()
}

struct Reading {
    shared: Arc<Shared>,
    events: mpsc::Sender<ConsumerEvent>,
    /// The next offset to be handed over, per partition.
    positions: HashMap<TopicPartition, i64>,
}

impl Reading {
    async fn run(mut self) {
        let closing = self.shared.closing.clone();
        let gone = self.events.clone();
        tokio::select! {
            () = self.read() => {}
            () = closing.cancelled() => {}
            () = gone.closed() => {}
        }
    }

    async fn read(&mut self) {
        let mut backoff = Backoff::default();
        let mut failing = false;
        loop {
            let shared = Arc::clone(&self.shared);
            let written = shared.written.notified();
            match self.round().await {
                Ok(handed_over) => {
                    if std::mem::take(&mut failing) {
                        self.send(ConsumerEvent::Recovered).await;
                    }
                    backoff.reset();
                    if !handed_over {
                        // running out of time is as good as being notified
                        let _ = tokio::time::timeout(LOOK, written).await;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        self.send(ConsumerEvent::Failing(error)).await;
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Hands over some records of each partition in turn. Whether there were any.
    async fn round(&mut self) -> Result<bool, BrokerError> {
        let shared = Arc::clone(&self.shared);
        let mut partitions = shared.partitions().await?;
        let is_there = |name: &str| partitions.iter().any(|found| *found.source.topic == *name);
        let named = shared.topics.iter().filter_map(TopicSelector::name);
        let missing: Vec<&str> = named.filter(|name| !is_there(name)).collect();
        if !missing.is_empty() {
            for name in missing {
                shared.writer.create(name, None).await?;
            }
            partitions = shared.partitions().await?;
        }
        self.assign(&partitions).await?;
        let mut handed_over = false;
        for partition in &partitions {
            let Some(position) = self.positions.get(&partition.source).copied() else { continue };
            if position >= partition.end || self.shared.paused().contains(&partition.source) {
                continue;
            }
            let records = self.shared.store.read(partition, position, partition.end).await?;
            // of an empty range the records were erased
            let next = records.last().map_or(partition.end, |last| last.offset.next().0);
            if !records.is_empty() {
                self.send(ConsumerEvent::Records(records)).await;
                handed_over = true;
            }
            self.positions.insert(partition.source.clone(), next);
        }
        Ok(handed_over)
    }

    async fn assign(&mut self, partitions: &[LogPartition]) -> Result<(), BrokerError> {
        let mut assigned = Vec::new();
        for partition in partitions {
            if !self.positions.contains_key(&partition.source) {
                let (group, source) = (&self.shared.group, &partition.source);
                let committed = self.shared.store.committed(group, source).await?;
                assigned.push((source.clone(), committed.unwrap_or(0)));
            }
        }
        if !assigned.is_empty() {
            self.positions.extend(assigned.iter().cloned());
            let sources = assigned.into_iter().map(|(source, _)| source).collect();
            self.send(ConsumerEvent::Assigned(sources)).await;
        }
        Ok(())
    }

    async fn send(&self, event: ConsumerEvent) {
        // a closed channel ends the task in `run`
        let _ = self.events.send(event).await;
    }
}

/// See [`Group`].
#[derive(Debug)]
pub(super) struct EmbeddedGroup {
    shared: Arc<Shared>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[async_trait]
impl Group for EmbeddedGroup {
    async fn commit(&self, partition: &TopicPartition, next: Offset) -> Result<(), BrokerError> {
        if self.shared.closing.is_cancelled() {
            return Err(BrokerError::NotAssigned);
        }
        self.shared.writer.commit(&self.shared.group, partition, next).await
    }

    fn pause(&self, partition: &TopicPartition) {
        self.shared.paused().insert(partition.clone());
    }

    fn resume(&self, partition: &TopicPartition) {
        self.shared.paused().remove(partition);
        self.shared.written.notify_waiters();
    }

    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        Ok(self.shared.store.committed(&self.shared.group, partition).await?.map(Offset))
    }

    async fn watermarks(
        &self,
        partition: &TopicPartition,
    ) -> Result<(Offset, Offset), BrokerError> {
        let partitions = self.shared.store.partitions().await?;
        let Some(found) = partitions.iter().find(|found| found.source == *partition) else {
            return Ok((Offset(0), Offset(0)));
        };
        Ok((Offset(self.shared.store.first(found).await?), Offset(found.end)))
    }

    async fn partitions(&self) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        let partitions = self.shared.partitions().await?;
        let is_there = |name: &str| partitions.iter().any(|found| *found.source.topic == *name);
        let all_there = self.shared.topics.iter().filter_map(TopicSelector::name).all(is_there);
        Ok(all_there.then(|| partitions.into_iter().map(|found| found.source).collect()))
    }

    async fn close(&self) {
        self.shared.closing.cancel();
        if let Some(task) = self.task.lock().await.take() {
            // it ends by itself now; a panic in it is already on record
            let _ = task.await;
        }
    }
}

/// The lock that makes a group's member the only one, on this machine.
pub(super) fn lock(file: &Path, group: &str) -> Result<File, BrokerError> {
    let attempted = "joining the consumer group";
    let path = lock_path(file, group);
    let mut options = File::options();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options
        .open(&path)
        .map_err(|error| BrokerError::Refused { attempted, reason: error.to_string() })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(BrokerError::Refused {
            attempted,
            reason: format!(
                "another process already runs `{group}` on this file; the embedded broker is \
                 single-process: stop the other one, or use Apache Kafka"
            ),
        }),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(BrokerError::Refused { attempted, reason: error.to_string() })
        }
    }
}

/// `<file>.<group>.lock`, with anything unusual in the group's name as `%XX`.
fn lock_path(file: &Path, group: &str) -> PathBuf {
    use std::fmt::Write as _;

    let mut name = file.as_os_str().to_owned();
    let mut suffix = String::from(".");
    for byte in group.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            suffix.push(char::from(byte));
        } else {
            // writing to a String does not fail
            let _ = write!(suffix, "%{byte:02X}");
        }
    }
    suffix.push_str(".lock");
    name.push(suffix);
    name.into()
}
