//! A reader of dead letters that knows the header names of KIP-1034 and nothing of rowcast: what a
//! tool made for Kafka Streams would see.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(20);

/// A failed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// `__streams.errors.exception`.
    pub(crate) exception: String,
    /// `__streams.errors.message`.
    pub(crate) message: String,
    /// `__streams.errors.stacktrace`.
    pub(crate) stacktrace: String,
    /// `__streams.errors.topic`, `.partition` and `.offset`.
    pub(crate) origin: (String, i32, i64),
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    /// All headers, in order; a null value as an empty text.
    pub(crate) headers: Vec<(String, String)>,
}

/// All records of a dead-letter topic, up to its end as it is now.
pub(crate) fn failed(servers: &str, topic: &str) -> Vec<Failed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "a-tool-for-kafka-streams")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the topic is known");
    let mut from = TopicPartitionList::new();
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let id = partition.id();
        let (low, high) = consumer.fetch_watermarks(topic, id, PATIENCE).expect("watermarks");
        if high > low {
            from.add_partition_offset(topic, id, Offset::Offset(low)).expect("an offset");
            left.insert(id, high);
        }
    }
    consumer.assign(&from).expect("assigned");
    let mut found = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "{topic} is not read to its end");
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message.expect("a record");
        found.push(read(&message));
        if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            left.remove(&message.partition());
        }
    }
    found
}

fn read(message: &BorrowedMessage<'_>) -> Failed {
    let headers: Vec<(String, String)> = message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| {
            let value = header.value.unwrap_or_default();
            (header.key.to_owned(), String::from_utf8_lossy(value).into_owned())
        })
        .collect();
    let text = |name: &str| {
        let mut named = headers.iter().filter(|(known, _)| known == name);
        let (_, value) = named.next().unwrap_or_else(|| panic!("no header {name}"));
        assert!(named.next().is_none(), "{name} twice");
        value.clone()
    };
    let number = |name: &str| text(name).parse::<i64>().expect("decimal text");
    Failed {
        exception: text("__streams.errors.exception"),
        message: text("__streams.errors.message"),
        stacktrace: text("__streams.errors.stacktrace"),
        origin: (
            text("__streams.errors.topic"),
            i32::try_from(number("__streams.errors.partition")).expect("a partition"),
            number("__streams.errors.offset"),
        ),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
