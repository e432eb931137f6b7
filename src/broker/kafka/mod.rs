//! Apache Kafka through librdkafka.
//!
//! In: librdkafka properties, passed through save for a few that delivery rests on. Out: the
//! traits of [`crate::broker`]. It never logs a property's value or anything of a record.
//!
//! Not built in: GSSAPI (Kerberos) and OAUTHBEARER with OIDC; TLS, SASL PLAIN and SCRAM are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use self::classify::{classify, classify_code};
use self::context::LogContext;
use self::properties::Properties;
use super::{Broker, BrokerError, ConsumerSettings, Joined, LogReader, Producer, TopicSettings};
use crate::model::{Offset, Record, TopicPartition};

mod classify;
mod consumer;
mod context;
mod convert;
mod group;
mod lanes;
mod producer;
mod properties;
mod reader;
mod rewind;
mod statistics;

/// How long a question to the cluster may take.
const ANSWER: Duration = Duration::from_secs(10);

/// An Apache Kafka cluster. `Debug` shows the names of the properties, never a value.
#[derive(Debug, Clone)]
pub struct KafkaBroker {
    properties: Properties,
}

impl KafkaBroker {
    /// A cluster reached with these librdkafka properties; `bootstrap.servers` is required. Does
    /// not connect. Every property that is unknown, malformed or not the user's to set is
    /// reported in one [`BrokerError::Refused`], by name and without values.
    ///
    /// Preset, yours to override: `client.id=rowcast`, `auto.offset.reset=earliest`,
    /// `partition.assignment.strategy=cooperative-sticky`, `queued.max.messages.kbytes=4096`
    /// (of each partition), `fetch.queue.backoff.ms=5`, `statistics.interval.ms=5000`,
    /// `topic.metadata.refresh.interval.ms=30000`, `partitioner=murmur2_random`, `linger.ms=5`,
    /// `delivery.timeout.ms=30000`, `queue.buffering.max.kbytes=65536`, `message.max.bytes=16777216` (producing only).
    pub fn new(properties: BTreeMap<String, String>) -> Result<Self, BrokerError> {
        Ok(Self { properties: Properties::new(properties)? })
    }

    /// Asks the cluster something with a client of its own, on a blocking thread. A client that
    /// lives on would have to be polled, or what it has to say piles up in memory.
    async fn ask<T: Send + 'static>(
        &self,
        attempted: &'static str,
        question: impl FnOnce(&BaseConsumer<LogContext>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let properties = self.properties.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let failed = |error: KafkaError| classify(attempted, &error, &properties);
            let client = properties
                .inquirer()
                .create_with_context(LogContext::new(properties.clone()))
                .map_err(failed)?;
            let answer = question(&client);
            // its log lines wait in its queue
            while client.poll(Duration::ZERO).is_some() {}
            answer.map_err(failed)
        });
        answer.await.unwrap_or_else(|_| {
            Err(BrokerError::Unavailable { attempted, reason: "shutting down".to_owned() })
        })
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn cluster_id(&self) -> Result<String, BrokerError> {
        let attempted = "asking for the cluster id";
        let id = self.ask(attempted, |client| Ok(client.client().fetch_cluster_id(ANSWER))).await?;
        id.ok_or_else(|| classify_code(attempted, Code::OperationTimedOut))
    }

    fn consumer(&self, settings: ConsumerSettings) -> Result<Joined, BrokerError> {
        let (consumer, group) = consumer::join(&settings, &self.properties)?;
        Ok((Box::new(consumer), Arc::new(group)))
    }

    fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(producer::KafkaProducer::new(self.properties.clone())?))
    }

    async fn reader_from(
        &self,
        topic: &str,
        from: &HashMap<i32, Offset>,
    ) -> Result<Box<dyn LogReader>, BrokerError> {
        let partitions = self.partitions(topic).await?.unwrap_or(0);
        let properties = self.properties.clone();
        let (topic, from) = (topic.to_owned(), from.clone());
        let opened = tokio::task::spawn_blocking(move || {
            reader::open(&topic, partitions, &from, &properties)
        });
        match opened.await {
            Ok(reader) => Ok(Box::new(reader?)),
            Err(_) => Err(BrokerError::Unavailable {
                attempted: "reading a topic",
                reason: "shutting down".to_owned(),
            }),
        }
    }

    async fn record(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Record>, BrokerError> {
        let partitions = self.partitions(&partition.topic).await?.unwrap_or(0);
        if !(0..partitions).contains(&partition.partition) {
            return Ok(None);
        }
        reader::record(partition.clone(), offset, self.properties.clone()).await
    }

    async fn rewind(&self, group: &str, topic: &str) -> Result<(), BrokerError> {
        let partitions = self.partitions(topic).await?.unwrap_or(0);
        let properties = self.properties.clone();
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let rewound = tokio::task::spawn_blocking(move || {
            rewind::rewind(&group, &topic, partitions, &properties)
        });
        rewound.await.unwrap_or_else(|_| {
            let attempted = rewind::ATTEMPTED;
            Err(BrokerError::Unavailable { attempted, reason: "shutting down".to_owned() })
        })
    }

    async fn partitions(&self, topic: &str) -> Result<Option<i32>, BrokerError> {
        let name = topic.to_owned();
        self.ask("asking for a topic's partitions", move |client| {
            let metadata = client.fetch_metadata(Some(&name), ANSWER)?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
                return Ok(None);
            };
            match topic.error().map(Code::from) {
                None => Ok(i32::try_from(topic.partitions().len()).ok()),
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
                Some(code) => Err(KafkaError::MetadataFetch(code)),
            }
        })
        .await
    }

    async fn ensure_topic(&self, topic: &TopicSettings) -> Result<bool, BrokerError> {
        // creating needs a right that looking does not
        if self.partitions(&topic.name).await?.is_some() {
            return Ok(false);
        }
        let attempted = "creating a topic";
        let failed = |error: &KafkaError| classify(attempted, error, &self.properties);
        let client: AdminClient<LogContext> = self
            .properties
            .administrator()
            .create_with_context(LogContext::new(self.properties.clone()))
            .map_err(|error| failed(&error))?;
        // -1: the broker's default
        let partitions = topic.partitions.unwrap_or(-1);
        let mut new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(-1));
        for (name, value) in &topic.properties {
            new = new.set(name, value);
        }
        let options =
            AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER));
        let created = client.create_topics([&new], &options).await.map_err(|error| failed(&error));
        // its threads are joined on drop
        drop(tokio::task::spawn_blocking(move || drop(client)));
        match created?.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(classify_code(attempted, code)),
            None => Err(classify_code(attempted, Code::OperationTimedOut)),
        }
    }

    fn is_embedded(&self) -> bool {
        false
    }
}
