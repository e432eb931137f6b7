//! The commands of a group member: commit, pause, resume, questions about offsets.
//!
//! librdkafka's calls block, so each runs on a blocking thread; the polling thread goes on
//! meanwhile, or sits in a rebalance callback that waits for exactly this commit.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::classify::{classify, classify_code};
use super::consumer::Member;
use super::properties::Properties;
use super::reader;
use crate::broker::{BrokerError, Group};
use crate::model::{Offset, TopicPartition, TopicSelector};

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Between two questions about the ends of a log, where they are only to be told.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Readers at a time that look for records at the end of a partition.
const READERS: usize = 2;

/// When the ends of a log were asked for, and the answer if there was one.
type Asked = (Instant, Option<(Offset, Offset)>);

/// See [`Group`].
pub(super) struct KafkaGroup {
    member: Arc<Member>,
    properties: Properties,
    closing: CancellationToken,
    /// Cancelled once the polling thread has left the group.
    ended: CancellationToken,
    /// By partition; of ours only.
    asked: Mutex<HashMap<TopicPartition, Asked>>,
    /// Readers that look for records at the end of a partition, each a client of its own.
    asking: Semaphore,
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGroup").field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl KafkaGroup {
    pub(super) fn new(
        member: Arc<Member>,
        properties: Properties,
        closing: CancellationToken,
        ended: CancellationToken,
    ) -> Self {
        Self {
            member,
            properties,
            closing,
            ended,
            asked: Mutex::default(),
            asking: Semaphore::new(READERS),
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<TopicPartition, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        attempted: &'static str,
        call: impl FnOnce(&Member) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let member = Arc::clone(&self.member);
        match tokio::task::spawn_blocking(move || call(&member)).await {
            Ok(result) => result.map_err(|error| classify(attempted, &error, &self.properties)),
            Err(_) => Err(BrokerError::Unavailable { attempted, reason: "shutting down".into() }),
        }
    }
}

#[async_trait]
impl Group for KafkaGroup {
    async fn commit(&self, partition: &TopicPartition, next: Offset) -> Result<(), BrokerError> {
        // brokers check the member, not the partition: a late commit would set back its new owner
        if !self.member.context().owned().contains(partition) {
            return Err(BrokerError::NotAssigned);
        }
        let partition = partition.clone();
        self.blocking("committing an offset", move |member| {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition_offset(
                &partition.topic,
                partition.partition,
                KafkaOffset::Offset(next.0),
            )?;
            member.commit(&list, CommitMode::Sync)
        })
        .await
    }

    fn pause(&self, partition: &TopicPartition) {
        self.member.context().hold(partition);
    }

    fn resume(&self, partition: &TopicPartition) {
        self.member.context().let_go(partition);
    }

    async fn committed(&self, partition: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        let attempted = "reading a committed offset";
        let list = list_of(partition);
        let answer =
            self.blocking(attempted, move |member| member.committed_offsets(list, ANSWER)).await?;
        let elements = answer.elements();
        let Some(element) = elements.first() else { return Ok(None) };
        element.error().map_err(|error| classify(attempted, &error, &self.properties))?;
        match element.offset() {
            KafkaOffset::Offset(offset) => Ok(Some(Offset(offset))),
            _ => Ok(None),
        }
    }

    async fn watermarks(
        &self,
        partition: &TopicPartition,
    ) -> Result<(Offset, Offset), BrokerError> {
        let attempted = "reading the ends of a partition";
        let partition = partition.clone();
        let (low, high) = self
            .blocking(attempted, move |member| {
                member.fetch_watermarks(&partition.topic, partition.partition, ANSWER)
            })
            .await?;
        if low < 0 || high < 0 {
            return Err(classify_code(attempted, Code::LeaderNotAvailable));
        }
        Ok((Offset(low), Offset(high)))
    }

    async fn ends(&self, partition: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        if let Some(ends) = self.member.context().ends(partition) {
            return Ok(ends);
        }
        let lately = self.asked().get(partition).copied();
        if let Some((at, answer)) = lately
            && at.elapsed() < ASK_AGAIN
        {
            return answer.ok_or_else(|| BrokerError::Unavailable {
                attempted: "reading the ends of a partition",
                reason: "asked a moment ago, and not answered".to_owned(),
            });
        }
        let answer = self.watermarks(partition).await;
        let owned = self.member.context().owned().clone();
        let mut asked = self.asked();
        asked.retain(|partition, _| owned.contains(partition));
        asked.insert(partition.clone(), (Instant::now(), answer.as_ref().ok().copied()));
        answer
    }

    async fn holds_none(
        &self,
        partition: &TopicPartition,
        from: Offset,
        end: Offset,
    ) -> Result<bool, BrokerError> {
        // never closed
        let _permit = self.asking.acquire().await;
        reader::holds_none(partition.clone(), from, end, self.properties.clone()).await
    }

    async fn partitions(&self) -> Result<Option<Vec<TopicPartition>>, BrokerError> {
        let attempted = "asking for the partitions of the group's topics";
        self.blocking(attempted, |member| {
            let subscribed = member.subscription()?;
            let selectors: Vec<_> = subscribed
                .elements()
                .iter()
                .map(|topic| TopicSelector::parse(topic.topic()))
                .collect();
            let Some(selectors) = selectors.into_iter().collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            let metadata = member.fetch_metadata(None, ANSWER)?;
            let topics = metadata.topics();
            let is_there = |name: &str| topics.iter().any(|topic| topic.name() == name);
            if !selectors.iter().filter_map(TopicSelector::name).all(is_there) {
                return Ok(None);
            }
            let mut partitions = Vec::new();
            for topic in topics {
                if selectors.iter().any(|selector| selector.selects(topic.name())) {
                    let name: Arc<str> = topic.name().into();
                    let ids = topic.partitions().iter().map(MetadataPartition::id);
                    partitions.extend(ids.map(|id| TopicPartition::new(Arc::clone(&name), id)));
                }
            }
            Ok(Some(partitions))
        })
        .await
    }

    async fn close(&self) {
        self.closing.cancel();
        self.ended.cancelled().await;
    }
}

fn list_of(partition: &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&partition.topic, partition.partition);
    list
}
