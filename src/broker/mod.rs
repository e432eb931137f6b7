//! The log: topics, partitions, records, consumer groups.
//!
//! In: settings of one cluster. Out: a [`Consumer`] for the task loop, a [`Producer`] for dead
//! letters and feeding, a [`LogReader`] for browsing. Apache Kafka and the embedded broker stand
//! behind the same traits, so the whole topology runs on either. It never looks into a record.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::error::ErrorClass;
use crate::model::{Header, Offset, Record, TopicPartition};

pub mod embedded;
pub mod kafka;

/// What went wrong at the broker. Messages name addresses, topics and codes, never records.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// Not reachable, not ready, timed out: heals by itself.
    #[error("{attempted}: the broker is not available ({reason})")]
    Unavailable {
        /// What was being attempted.
        attempted: &'static str,
        /// The broker's own code or the operating system's message.
        reason: String,
    },
    /// Refused for good until someone mends the configuration: authentication, authorisation, an
    /// unknown property, an unknown topic that may not be created.
    #[error("{attempted}: {reason}")]
    Refused {
        /// What was being attempted.
        attempted: &'static str,
        /// The broker's own code or message.
        reason: String,
    },
    /// The record is larger than the topic takes.
    #[error("the record is larger than the topic accepts")]
    RecordTooLarge,
    /// The group is rebalancing and takes no commits of this generation. A partition that stays
    /// ours can be committed a moment later.
    #[error("the group is rebalancing")]
    Rebalancing,
    /// The partition no longer belongs to this consumer: somebody else settles what follows.
    #[error("the partition is no longer assigned to this consumer")]
    NotAssigned,
}

impl BrokerError {
    /// What the runtime does about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::Rebalancing | Self::NotAssigned => {
                ErrorClass::Retriable
            }
            Self::Refused { .. } => ErrorClass::Fatal,
            Self::RecordTooLarge => ErrorClass::Poison,
        }
    }
}

/// What a consumer tells the runtime, in order.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// These partitions are now ours; their records follow, from the committed offset on. None: this
    /// member has none.
    Assigned(Vec<TopicPartition>),
    /// Records, in offset order within each partition.
    Records(Vec<Record>),
    /// These partitions are about to be taken away. The group waits (up to
    /// [`ConsumerSettings::revocation_deadline`]) until `released` is sent or dropped, so what is
    /// in hand can be settled and committed.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// To be sent once they are settled.
        released: oneshot::Sender<()>,
    },
    /// These partitions are gone already: drop what is in hand, uncommitted.
    Lost(Vec<TopicPartition>),
    /// The broker is away or refuses; the consumer goes on trying by itself.
    Failing(BrokerError),
    /// The broker answers again after [`ConsumerEvent::Failing`].
    Recovered,
}

/// One member of a consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// The next event. Waits without limit; cancel-safe. `None` once closed.
    async fn next(&mut self) -> Option<ConsumerEvent>;
}

/// The commands that go with a [`Consumer`]; shared by the partition tasks.
#[async_trait]
pub trait Group: Send + Sync {
    /// Commits `next` (the offset after the last settled record) and waits for the broker.
    async fn commit(&self, partition: &TopicPartition, next: Offset) -> Result<(), BrokerError>;
    /// Stops delivery of a partition; polling (and membership) goes on. Records already handed
    /// over stay valid. Idempotent.
    fn pause(&self, partition: &TopicPartition);
    /// Takes delivery up again. Idempotent.
    fn resume(&self, partition: &TopicPartition);
    /// The group's committed offset of a partition, if any.
    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Offset>, BrokerError>;
    /// First offset still there, and the end of the log (the next offset to be written).
    async fn watermarks(&self, partition: &TopicPartition)
    -> Result<(Offset, Offset), BrokerError>;
    /// The same as they were some seconds ago: to be told, and cheap enough to be asked for often.
    /// Where the client does not know them from what it reads anyway it asks, now and then.
    async fn ends(&self, partition: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        self.watermarks(partition).await
    }
    /// Whether from the first of these offsets on and before the second there is no record for who reads
    /// as this group does: control records, what was aborted. In doubt there is one.
    async fn holds_none(
        &self,
        partition: &TopicPartition,
        from: Offset,
        end: Offset,
    ) -> Result<bool, BrokerError> {
        let _ = (partition, from, end);
        Ok(false)
    }
    /// All partitions of the topics that the group reads, whoever's they are. `None`: not known, as
    /// while a topic that is read by its name is not there.
    async fn partitions(&self) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        Ok(None)
    }
    /// Leaves the group and ends the consumer. Everything to be committed has been.
    async fn close(&self);
}

/// A member of a group: its events, and its commands.
pub type Joined = (Box<dyn Consumer>, Arc<dyn Group>);

/// A record to be appended. `Debug` shows lengths, never bytes.
#[derive(Clone)]
pub struct OutgoingRecord {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition; `None`: by the key, like Kafka's default partitioner (murmur2).
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<Header>,
}

impl fmt::Debug for OutgoingRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// Appends records.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Appends records and returns once all in-sync replicas have them (`acks=all`), in the order
    /// given per partition. The results are in the order of the records.
    async fn send(
        &self,
        records: Vec<OutgoingRecord>,
    ) -> Vec<Result<(TopicPartition, Offset), BrokerError>>;
}

/// Reads topics outside any consumer group.
#[async_trait]
pub trait LogReader: Send {
    /// Some more records of the topic as it was when the reader was opened, in offset order
    /// within each partition; `None` at its end.
    async fn next(&mut self) -> Result<Option<Vec<Record>>, BrokerError>;
}

/// How to consume.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Consumer group: the topology's name.
    pub group: String,
    /// Topics, or patterns beginning with `^`; at least one.
    pub topics: Vec<String>,
    /// How long a revoked partition may be held back to settle what is in hand.
    pub revocation_deadline: std::time::Duration,
    /// Where to begin in a partition without a committed offset.
    pub begin: Begin,
}

/// Where to begin in a partition without a committed offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Begin {
    /// As the client is configured; at the first record if it says nothing.
    #[default]
    AsConfigured,
    /// At the first record, whatever is configured.
    Earliest,
}

/// A topic to be there.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// Name.
    pub name: String,
    /// Partitions if it is created; `None`: the broker's default.
    pub partitions: Option<i32>,
    /// Topic properties if it is created, `cleanup.policy` and the like.
    pub properties: Vec<(String, String)>,
}

/// A cluster, real or embedded.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Kafka's cluster id; part of the identity under which offsets are remembered.
    async fn cluster_id(&self) -> Result<String, BrokerError>;
    /// Joins a group. Does not wait for the broker to be there.
    fn consumer(&self, settings: ConsumerSettings) -> Result<Joined, BrokerError>;
    /// A producer with `acks=all`.
    fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError>;
    /// Reads all partitions of a topic from their first record to their present end. A topic
    /// that does not exist is empty.
    async fn reader(&self, topic: &str) -> Result<Box<dyn LogReader>, BrokerError> {
        self.reader_from(topic, &HashMap::new()).await
    }
    /// The same from these offsets on, by partition; those not named from their first record.
    async fn reader_from(
        &self,
        topic: &str,
        from: &HashMap<i32, Offset>,
    ) -> Result<Box<dyn LogReader>, BrokerError>;
    /// The record at this place, if it is still there.
    async fn record(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Record>, BrokerError>;
    /// Sets a group's committed offsets of a topic to the first records that are left. Refused while
    /// the group has a member.
    async fn rewind(&self, group: &str, topic: &str) -> Result<(), BrokerError>;
    /// Number of partitions of a topic, `None` if it does not exist.
    async fn partitions(&self, topic: &str) -> Result<Option<i32>, BrokerError>;
    /// Creates a topic unless it exists. `Ok(true)` if it was created.
    async fn ensure_topic(&self, topic: &TopicSettings) -> Result<bool, BrokerError>;
    /// Whether this is the embedded broker: said loudly, since it is no production broker.
    fn is_embedded(&self) -> bool;
}
