//! Where the partitions of this process stand.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use super::Metrics;
use super::registering::Registering;
use crate::model::{Offset, TopicPartition};

/// Offsets, lag and the assignment.
#[derive(Debug)]
pub(super) struct ConsumerMetrics {
    expired: IntCounterVec,
    lag: IntGaugeVec,
    lag_seconds: GaugeVec,
    committed: IntGaugeVec,
    rebalances: IntCounterVec,
}

impl ConsumerMetrics {
    /// Registers them; what is told by partition has no series before it is known.
    pub(super) fn register(to: &mut Registering) -> Self {
        let metrics = Self {
            expired: to.counters(
                "offsets_expired_total",
                "Offsets between the committed one and the beginning of the log, found when a partition was taken over: deleted before they were read.",
                &["topic"],
            ),
            lag: to.gauges(
                "consumer_lag_records",
                "End of the log minus committed offset.",
                &["topic", "partition"],
            ),
            lag_seconds: to.register(
                "gauge",
                GaugeVec::new(
                    Opts::new(
                        "rowcast_consumer_lag_seconds",
                        "Age of the first record that was received and is not committed, by its broker timestamp; 0 if there is none. What lies in the log and was not received yet is in consumer_lag_records.",
                    ),
                    &["topic", "partition"],
                ),
            ),
            committed: to.gauges(
                "consumer_committed_offset",
                "Committed offset.",
                &["topic", "partition"],
            ),
            rebalances: to.counters(
                "consumer_rebalances_total",
                "Changes of the assignment.",
                &["kind"],
            ),
        };
        for kind in ["assigned", "revoked", "lost"] {
            metrics.rebalances.with_label_values(&[kind]);
        }
        metrics
    }
}

impl Metrics {
    /// Offsets were deleted from the log before they were read.
    pub fn expired(&self, topic: &str, offsets: i64) {
        self.consumer.expired.with_label_values(&[topic]).inc_by(offsets.unsigned_abs());
    }

    /// The assignment changed.
    pub fn rebalanced(&self, kind: &'static str, partitions: usize) {
        self.consumer.rebalances.with_label_values(&[kind]).inc_by(partitions as u64);
    }

    /// An offset was committed.
    pub fn committed(&self, partition: &TopicPartition, offset: Offset) {
        let number = partition.partition.to_string();
        self.consumer.committed.with_label_values(&[&*partition.topic, &number]).set(offset.0);
    }

    /// Records behind the end of the log.
    pub fn lag(&self, partition: &TopicPartition, records: i64) {
        let number = partition.partition.to_string();
        self.consumer.lag.with_label_values(&[&*partition.topic, &number]).set(records);
    }

    /// Age of the first record that is not committed.
    pub fn lag_seconds(&self, partition: &TopicPartition, seconds: f64) {
        let number = partition.partition.to_string();
        self.consumer.lag_seconds.with_label_values(&[&*partition.topic, &number]).set(seconds);
    }

    /// The partition is no longer ours: its series end.
    pub fn forget(&self, partition: &TopicPartition) {
        let number = partition.partition.to_string();
        let labels = [&*partition.topic, number.as_str()];
        // absent series are no error here: the partition may have been ours for a moment only
        let _ = self.consumer.lag_seconds.remove_label_values(&labels);
        let _ = self.consumer.lag.remove_label_values(&labels);
        let _ = self.consumer.committed.remove_label_values(&labels);
    }
}
