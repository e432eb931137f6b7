//! Topics of a test's own on a shared Kafka.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(20);

/// A Kafka that other tests use too.
pub(crate) struct Kafka {
    servers: String,
}

/// A topic, deleted when dropped.
pub(crate) struct Topic {
    servers: String,
    name: String,
}

impl Kafka {
    /// At these bootstrap servers.
    pub(crate) fn at(servers: &str) -> Self {
        Self { servers: servers.to_owned() }
    }

    /// The bootstrap servers.
    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// A new, empty topic with a name of its own.
    pub(crate) fn topic(&self, what: &str, partitions: i32) -> Topic {
        self.topic_named(&super::unique(what), partitions)
    }

    /// A new, empty topic of this name.
    pub(crate) fn topic_named(&self, name: &str, partitions: i32) -> Topic {
        assert!(self.create(name, partitions), "{name} is not made");
        Topic { servers: self.servers.clone(), name: name.to_owned() }
    }

    /// Deletes a topic and makes an empty one of the same name.
    pub(crate) fn re_create(&self, topic: &str, partitions: i32) {
        self.delete(topic);
        // the name is free a little later
        self.create_again(topic, partitions);
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        let deleted = admin(&self.servers).delete_topics(&[topic], &AdminOptions::new());
        let deleted = super::block_on(deleted).expect("an answer");
        assert!(deleted.iter().all(Result::is_ok), "{topic} is not deleted");
    }

    /// Appends records, all with this header, byte for byte. Gives their partitions and offsets.
    pub(crate) fn send(
        &self,
        topic: &str,
        records: &[(String, Vec<u8>)],
        (name, value): (&str, &str),
    ) -> Vec<(i32, i64)> {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .expect("a producer");
        super::block_on(async {
            let header = OwnedHeaders::new().insert(Header { key: name, value: Some(value) });
            let mut sent = Vec::with_capacity(records.len());
            for (key, value) in records {
                let record = FutureRecord::to(topic).key(key).payload(value);
                let record = record.headers(header.clone());
                sent.push(producer.send_result(record).map_err(|(error, _)| error).expect("room"));
            }
            let mut places = Vec::with_capacity(sent.len());
            for delivery in sent {
                let delivered = delivery.await.expect("an answer");
                let delivered = delivered.map_err(|(error, _)| error).expect("it is appended");
                places.push((delivered.partition, delivered.offset));
            }
            places
        })
    }

    /// Makes an empty topic of this name.
    pub(crate) fn create_again(&self, topic: &str, partitions: i32) {
        super::wait_for("the new topic", PATIENCE, || self.create(topic, partitions).then_some(()));
    }

    /// Makes a topic of one partition that takes records only while two brokers have it.
    pub(crate) fn create_for_two_brokers(&self, topic: &str) {
        let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(2));
        let topic = topic.set("min.insync.replicas", "2");
        super::wait_for("a topic on two brokers", PATIENCE, || self.make(&topic).then_some(()));
    }

    fn create(&self, name: &str, partitions: i32) -> bool {
        self.make(&NewTopic::new(name, partitions, TopicReplication::Fixed(1)))
    }

    fn make(&self, topic: &NewTopic<'_>) -> bool {
        let admin = admin(&self.servers);
        let made = super::block_on(admin.create_topics([topic], &AdminOptions::new()));
        made.expect("an answer").iter().all(Result::is_ok)
    }

    /// Deletes the records of a partition before an offset, as retention would.
    pub(crate) fn delete_records_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut until = TopicPartitionList::new();
        until.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let deleted = admin(&self.servers).delete_records(&until, &AdminOptions::new());
        super::block_on(deleted).expect("records are deleted");
    }

    /// A property of a topic.
    pub(crate) fn property(&self, topic: &str, name: &str) -> Option<String> {
        let topic = [ResourceSpecifier::Topic(topic)];
        let admin = admin(&self.servers);
        let described = super::block_on(admin.describe_configs(&topic, &AdminOptions::new()));
        let resource = described.expect("an answer").pop()?.expect("the topic is there");
        resource.get(name)?.value.clone()
    }

    /// Sets properties of a topic; all others are the defaults again.
    pub(crate) fn set_properties(&self, topic: &str, properties: &[(&str, &str)]) {
        let mut config = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in properties {
            config = config.set(name, value);
        }
        let admin = admin(&self.servers);
        let altered = super::block_on(admin.alter_configs([&config], &AdminOptions::new()));
        assert!(altered.expect("an answer").iter().all(Result::is_ok), "{topic} is not altered");
    }

    /// The consumer group's committed offset of each partition of a topic; -1 where it has none.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.servers)
            .set("group.id", group)
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the topic is known");
        let mut wanted = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            wanted.add_partition(topic, partition.id());
        }
        // A young or newly started Kafka has no coordinator for the group at first.
        let committed = super::wait_for("committed offsets", PATIENCE, || {
            consumer.committed_offsets(wanted.clone(), PATIENCE).ok()
        });
        let elements = committed.elements();
        elements
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => offset,
                _ => -1,
            })
            .collect()
    }
}

impl Topic {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        let admin = admin(&self.servers);
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
        let _ = super::block_on(admin.delete_topics(&[&self.name], &options));
    }
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers).create().expect("an admin client")
}
