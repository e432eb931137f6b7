//! Schemas are there before a batch is decoded.
//!
//! In: the records of a batch. Out: their schemas known, however long that takes; a registry that is
//! away holds the partition, it refuses no record.

use tokio_util::sync::CancellationToken;

use super::Stages;
use crate::error::messages;
use crate::model::{Record, TopicPartition};
use crate::retry::Backoff;
use crate::telemetry::health::Check;
use crate::telemetry::metrics::Component;

/// Waits for the schemas that the records name; `false` if their task is to stop meanwhile.
/// `partition`: the task's.
pub(super) async fn bring(
    stages: &Stages,
    partition: &TopicPartition,
    stopping: &CancellationToken,
    records: &[Record],
) -> bool {
    let Some(registry) = &stages.registry else { return true };
    let mut backoff = Backoff::default();
    loop {
        let brought = tokio::select! {
            () = stopping.cancelled() => return false,
            brought = registry.bring(records) => brought,
        };
        let Err(error) = brought else { break };
        stages.metrics.retried(Component::SchemaRegistry, error.class().retry_cause());
        let message = messages(&error).join(": ");
        if stages.health.down(Check::SchemaRegistry, &partition.to_string(), &message) {
            tracing::error!(
                topic = &*partition.topic,
                partition = partition.partition,
                component = Component::SchemaRegistry.as_str(),
                error = message,
                "schemas cannot be had; the partition waits"
            );
        }
        tokio::select! {
            () = stopping.cancelled() => return false,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
    if backoff.attempts() > 0 && stages.health.up(Check::SchemaRegistry, &partition.to_string()) {
        tracing::info!(
            topic = &*partition.topic,
            partition = partition.partition,
            "the schema registry answers again"
        );
    }
    true
}
