//! Schemas are there before a batch is decoded.
//!
//! In: the records of a batch. Out: their schemas known, however long that takes; a registry that is
//! away holds the partition, it refuses no record.

use super::task::Shared;
use crate::error::{ErrorClass, messages};
use crate::model::Record;
use crate::retry::Backoff;
use crate::telemetry::health::Check;
use crate::telemetry::metrics::Component;

/// Waits for the schemas that the records name; `false` if the task is to stop meanwhile.
pub(super) async fn bring(shared: &Shared, records: &[Record]) -> bool {
    let Some(registry) = &shared.stages.registry else { return true };
    let mut backoff = Backoff::default();
    loop {
        let brought = tokio::select! {
            () = shared.stopping.cancelled() => return false,
            brought = registry.bring(records) => brought,
        };
        let Err(error) = brought else { break };
        let cause = match error.class() {
            ErrorClass::Retriable => "unavailable",
            ErrorClass::Fatal | ErrorClass::Poison => "refused",
        };
        shared.stages.metrics.retried(Component::SchemaRegistry, cause);
        let message = messages(&error).join(": ");
        if shared.stages.health.down(Check::SchemaRegistry, &shared.scope, &message) {
            tracing::error!(partition = %shared.partition, error = message, "schemas cannot be had; the partition waits");
        }
        tokio::select! {
            () = shared.stopping.cancelled() => return false,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
    if backoff.attempts() > 0 && shared.stages.health.up(Check::SchemaRegistry, &shared.scope) {
        tracing::info!(partition = %shared.partition, "the schema registry answers again");
    }
    true
}
