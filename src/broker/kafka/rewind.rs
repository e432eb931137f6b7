//! Sets a group's offsets back, as Kafka's own tools do: from outside, while it has no member.
//!
//! Blocks; for a blocking thread.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::classify::classify;
use super::context::LogContext;
use super::properties::Properties;
use crate::broker::BrokerError;
use crate::error::counted;

/// What is being attempted, for errors.
pub(super) const ATTEMPTED: &str = "resetting the group's offsets";
/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Commits the first offsets that are left of all partitions.
pub(super) fn rewind(
    group: &str,
    topic: &str,
    partitions: i32,
    properties: &Properties,
) -> Result<(), BrokerError> {
    let failed = |error: &KafkaError| classify(ATTEMPTED, error, properties);
    let client: BaseConsumer<LogContext> = properties
        .reader()
        .set("group.id", group)
        .create_with_context(LogContext::new(properties.clone()))
        .map_err(|error| failed(&error))?;
    let groups = client.fetch_group_list(Some(group), ANSWER).map_err(|error| failed(&error))?;
    let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
    if members > 0 {
        return Err(has_members(group, members));
    }
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let (low, _) =
            client.fetch_watermarks(topic, partition, ANSWER).map_err(|error| failed(&error))?;
        list.add_partition_offset(topic, partition, KafkaOffset::Offset(low))
            .map_err(|error| failed(&error))?;
    }
    if partitions == 0 {
        return Ok(());
    }
    match client.commit(&list, CommitMode::Sync).map_err(|error| failed(&error)) {
        // somebody joined meanwhile: the broker takes commits of members only
        Err(BrokerError::NotAssigned | BrokerError::Rebalancing) => Err(has_members(group, 1)),
        result => result,
    }
}

fn has_members(group: &str, members: usize) -> BrokerError {
    let reason = format!(
        "the consumer group `{group}` has {}: stop every `rowcast run` of this \
         topology first (one with a group.instance.id counts until its session.timeout.ms is over)",
        counted(members, "member")
    );
    BrokerError::Refused { attempted: ATTEMPTED, reason }
}
