//! One queue for each partition of ours, so that a partition whose task has enough is just not
//! asked, and what was fetched ahead for it stays.
//!
//! In: the partitions that are ours and those that are held. Out: messages of the others. It never
//! uses librdkafka's own pause, which throws away what was fetched ahead, and after whose end the
//! next fetch waits until the broker's thread looks again: up to a second.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::Thread;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;

use super::consumer::{Member, MemberContext};
use crate::model::TopicPartition;

/// The queues of the partitions.
pub(super) struct Lanes {
    queues: HashMap<TopicPartition, PartitionQueue<MemberContext>>,
    /// Woken when a queue gets its first message.
    poller: Thread,
}

impl Lanes {
    /// No queue yet; `poller` is who polls.
    pub(super) fn new(poller: Thread) -> Self {
        Self { queues: HashMap::new(), poller }
    }

    /// Opens a queue for each partition that has none, closes those of partitions that left.
    pub(super) fn follow(&mut self, member: &Arc<Member>, owned: &HashSet<TopicPartition>) {
        self.queues.retain(|partition, _| owned.contains(partition));
        for partition in owned {
            if self.queues.contains_key(partition) {
                continue;
            }
            let queue = member.split_partition_queue(&partition.topic, partition.partition);
            if let Some(mut queue) = queue {
                let poller = self.poller.clone();
                queue.set_nonempty_callback(move || poller.unpark());
                self.queues.insert(partition.clone(), queue);
            }
        }
    }

    /// Hands messages of the partitions that are not held to `take`, until it has enough (`false`)
    /// or there are none.
    pub(super) fn drain(
        &self,
        held: &HashSet<TopicPartition>,
        mut take: impl FnMut(Result<BorrowedMessage<'_>, KafkaError>) -> bool,
    ) {
        for (partition, queue) in &self.queues {
            if held.contains(partition) {
                continue;
            }
            while let Some(polled) = queue.poll(Duration::ZERO) {
                if !take(polled) {
                    return;
                }
            }
        }
    }
}
