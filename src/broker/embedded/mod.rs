//! The embedded broker: a durable log in one SQLite file, for trying out and for tests.
//!
//! In: a path. Out: the traits of [`crate::broker`] over topics, partitions, records with headers
//! and committed offsets. Several processes may write to and read from one file (so `produce`
//! works while `run` runs), but a consumer group has one member. What is acknowledged survives a
//! crash of the process and of the machine (WAL, `synchronous=FULL`). It never deletes a record.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use self::store::{LogPartition, Store};
use self::writer::Writer;
use super::{
    Broker, BrokerError, ConsumerSettings, Joined, LogReader, OutgoingRecord, Producer,
    TopicSettings,
};
use crate::model::{Offset, Record, TopicPartition};

mod consumer;
mod encoding;
mod partitioner;
mod store;
mod writer;

/// A broker in a file.
#[derive(Debug, Clone)]
pub struct EmbeddedBroker {
    path: PathBuf,
    store: Store,
    writer: Writer,
    /// Notified after each write of this process.
    written: Arc<Notify>,
}

impl EmbeddedBroker {
    /// Opens the log in this file, creating it (mode 0600) if need be; its folder must exist.
    /// A file of something else, or of another layout, is refused.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, BrokerError> {
        let path = path.into();
        let written = Arc::new(Notify::new());
        let (store, connection) = Store::open(&path).await?;
        let writer = Writer::start(connection, Arc::clone(&written));
        Ok(Self { path, store, writer, written })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn cluster_id(&self) -> Result<String, BrokerError> {
        self.store.cluster_id().await
    }

    fn consumer(&self, settings: ConsumerSettings) -> Result<Joined, BrokerError> {
        let (consumer, group) = consumer::join(
            &self.path,
            settings,
            self.store.clone(),
            self.writer.clone(),
            Arc::clone(&self.written),
        )?;
        Ok((Box::new(consumer), Arc::new(group)))
    }

    fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        Ok(Arc::new(EmbeddedProducer { writer: self.writer.clone() }))
    }

    async fn reader_from(
        &self,
        topic: &str,
        from: &HashMap<i32, Offset>,
    ) -> Result<Box<dyn LogReader>, BrokerError> {
        let mut partitions = self.store.partitions().await?;
        partitions.retain(|partition| *partition.source.topic == *topic);
        let unread = partitions.into_iter().map(|partition| {
            let first = from.get(&partition.source.partition).map_or(0, |offset| offset.0);
            (partition, first)
        });
        Ok(Box::new(EmbeddedReader { store: self.store.clone(), unread: unread.collect() }))
    }

    async fn record(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Record>, BrokerError> {
        let partitions = self.store.partitions().await?;
        match partitions.iter().find(|found| found.source == *partition) {
            // an id before the first would be another partition's
            Some(found) if offset.0 >= 0 => {
                Ok(self.store.read(found, offset.0, offset.next().0).await?.pop())
            }
            Some(_) | None => Ok(None),
        }
    }

    async fn rewind(&self, group: &str, topic: &str) -> Result<(), BrokerError> {
        let _alone = consumer::lock(&self.path, group)?;
        for partition in self.store.partitions().await? {
            if *partition.source.topic == *topic {
                let first = Offset(self.store.first(&partition).await?);
                self.writer.commit(group, &partition.source, first).await?;
            }
        }
        Ok(())
    }

    async fn partitions(&self, topic: &str) -> Result<Option<i32>, BrokerError> {
        let partitions = self.store.partitions().await?;
        let count = partitions.iter().filter(|found| *found.source.topic == *topic).count();
        Ok(i32::try_from(count).ok().filter(|count| *count > 0))
    }

    async fn ensure_topic(&self, topic: &TopicSettings) -> Result<bool, BrokerError> {
        // topic properties are Kafka's: nothing is compacted or expires here
        self.writer.create(&topic.name, topic.partitions).await
    }

    fn is_embedded(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct EmbeddedProducer {
    writer: Writer,
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn send(
        &self,
        records: Vec<OutgoingRecord>,
    ) -> Vec<Result<(TopicPartition, Offset), BrokerError>> {
        if records.is_empty() {
            return Vec::new();
        }
        self.writer.append(records).await
    }
}

/// Reads up to the ends as they were on opening.
#[derive(Debug)]
struct EmbeddedReader {
    store: Store,
    /// Partitions not yet read to their end, with the next offset.
    unread: Vec<(LogPartition, i64)>,
}

#[async_trait]
impl LogReader for EmbeddedReader {
    async fn next(&mut self) -> Result<Option<Vec<Record>>, BrokerError> {
        while let Some((partition, position)) = self.unread.last_mut() {
            let records = self.store.read(partition, *position, partition.end).await?;
            match records.last() {
                Some(last) => {
                    *position = last.offset.next().0;
                    return Ok(Some(records));
                }
                None => {
                    self.unread.pop();
                }
            }
        }
        Ok(None)
    }
}
