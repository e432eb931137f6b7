//! One battery over both brokers, and what only one of them can show.
//!
//! Apache Kafka is tried where `ROWCAST_TEST_KAFKA` names bootstrap servers.

mod battery;
mod embedded;
mod kafka;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rowcast::broker::{
    Begin, Broker, Consumer, ConsumerEvent, ConsumerSettings, Group, OutgoingRecord,
};
use rowcast::model::{Header, Offset, Record, TopicPartition};

/// Longer than anything here takes; only a failing test waits it out.
const LONG: Duration = Duration::from_mins(1);
/// Long enough to see that nothing comes.
const SHORT: Duration = Duration::from_millis(1500);

/// A name that no other test or run uses.
fn fresh(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

fn settings(group: &str, topic: &str) -> ConsumerSettings {
    ConsumerSettings {
        group: group.to_owned(),
        topics: vec![topic.to_owned()],
        revocation_deadline: Duration::from_secs(10),
        begin: Begin::AsConfigured,
    }
}

fn outgoing(topic: &str, key: &str, value: &str) -> OutgoingRecord {
    OutgoingRecord {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![Header::text("kind", "test")],
    }
}

/// Appends `count` numbered records with `keys` different keys.
async fn append(broker: &dyn Broker, topic: &str, from: usize, count: usize, keys: usize) {
    let producer = broker.producer().unwrap();
    let records = (from..from + count)
        .map(|n| outgoing(topic, &format!("key-{}", n % keys), &n.to_string()))
        .collect();
    for result in producer.send(records).await {
        result.unwrap();
    }
}

/// A consumer that keeps what it was told.
struct Member {
    consumer: Box<dyn Consumer>,
    group: Arc<dyn Group>,
    assigned: Vec<TopicPartition>,
    records: Vec<Record>,
}

impl Member {
    fn join(broker: &dyn Broker, group: &str, topic: &str) -> Self {
        Self::join_with(broker, settings(group, topic))
    }

    fn join_with(broker: &dyn Broker, settings: ConsumerSettings) -> Self {
        let (consumer, group) = broker.consumer(settings).unwrap();
        Self { consumer, group, assigned: Vec::new(), records: Vec::new() }
    }

    /// The next event, with records and assignments noted. `None` if none comes in time.
    async fn step(&mut self, within: Duration) -> Option<ConsumerEvent> {
        let event = tokio::time::timeout(within, self.consumer.next()).await.ok()??;
        match &event {
            ConsumerEvent::Assigned(partitions) => self.assigned.extend(partitions.iter().cloned()),
            ConsumerEvent::Records(records) => {
                for record in records {
                    assert!(self.assigned.contains(&record.source), "records before assignment");
                }
                self.records.extend(records.iter().cloned());
            }
            ConsumerEvent::Revoked { partitions, .. } | ConsumerEvent::Lost(partitions) => {
                self.assigned.retain(|assigned| !partitions.contains(assigned));
            }
            ConsumerEvent::Failing(_) | ConsumerEvent::Recovered => {}
        }
        Some(event)
    }

    /// Reads until this many records are there.
    async fn until(&mut self, count: usize) {
        while self.records.len() < count {
            assert!(self.step(LONG).await.is_some(), "{} of {count} came", self.records.len());
        }
    }

    /// Commits everything received.
    async fn commit_all(&self) {
        let mut next: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for record in &self.records {
            next.insert(&record.source, record.offset.next());
        }
        for (partition, offset) in next {
            self.group.commit(partition, offset).await.unwrap();
        }
    }

    fn values(&self) -> Vec<usize> {
        let mut values: Vec<usize> = self.records.iter().map(number).collect();
        values.sort_unstable();
        values
    }
}

fn number(record: &Record) -> usize {
    std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap()
}

/// Offsets rise without gap or repetition within each partition.
fn assert_in_order(records: &[Record]) {
    let mut last: BTreeMap<&TopicPartition, i64> = BTreeMap::new();
    for record in records {
        if let Some(before) = last.insert(&record.source, record.offset.0) {
            assert_eq!(record.offset.0, before + 1, "in {}", record.source);
        }
    }
}
