//! What was refused, and what became of it.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::registering::Registering;
use super::{Metrics, RecordOutcome};
use crate::error::{Cause, Stage};

/// Dead letters and the retry topic.
#[derive(Debug)]
pub(super) struct LetterMetrics {
    dead_letters: IntCounterVec,
    write_errors: IntCounter,
    replays: IntCounterVec,
    retry_attempts: IntCounterVec,
    retry_waiting: IntGauge,
}

impl LetterMetrics {
    /// Registers them, every series at 0; of letters those whose type is `other`.
    pub(super) fn register(to: &mut Registering) -> Self {
        let metrics = Self {
            dead_letters: to.counters(
                "dead_letters_total",
                "Dead letters that the dead-letter topic acknowledged.",
                &["stage", "cause", "resource_type"],
            ),
            write_errors: to.register(
                "counter",
                IntCounter::new(
                    "rowcast_dead_letter_write_errors_total",
                    "Failed attempts to write dead letters; their partition waits.",
                ),
            ),
            replays: to.counters(
                "dead_letter_replays_total",
                "Dead letters that `dead-letters replay --to-topic` sent to the ingest topic again, by what became of them there. A direct replay is the work of the command's own process, and its output tells.",
                &["outcome"],
            ),
            retry_attempts: to.counters(
                "retry_attempts_total",
                "Records of the retry topic that were tried, by how it ended; retried: they wait again.",
                &["outcome"],
            ),
            retry_waiting: to.register(
                "gauge",
                IntGauge::new(
                    "rowcast_retry_waiting_records",
                    "Records that wait in this process's partitions of the retry topic.",
                ),
            ),
        };
        for outcome in RecordOutcome::ALL {
            metrics.replays.with_label_values(&[outcome.as_str()]);
            metrics.retry_attempts.with_label_values(&[outcome.as_str()]);
        }
        metrics.expect_resource_types(["other"]);
        metrics
    }

    fn expect_resource_types(&self, types: impl IntoIterator<Item = &'static str>) {
        for resource_type in types {
            for (stage, cause) in
                Stage::ALL.iter().flat_map(|stage| Cause::ALL.map(|cause| (stage, cause)))
            {
                self.dead_letters.with_label_values(&[
                    stage.as_str(),
                    cause.as_str(),
                    resource_type,
                ]);
            }
        }
    }
}

impl Metrics {
    /// Dead letters of these types may come: their series start at 0. Types must be known FHIR
    /// types or `other`.
    pub fn expect_resource_types(&self, types: impl IntoIterator<Item = &'static str>) {
        self.letters.expect_resource_types(types);
    }

    /// The dead-letter topic acknowledged a letter. `resource_type` must be a known FHIR type or
    /// `other`.
    pub fn dead_letter(&self, stage: Stage, cause: Cause, resource_type: &'static str) {
        let labels = [stage.as_str(), cause.as_str(), resource_type];
        self.letters.dead_letters.with_label_values(&labels).inc();
    }

    /// Writing dead letters failed; it will be tried again.
    pub fn dead_letter_write_failed(&self) {
        self.letters.write_errors.inc();
    }

    /// A letter that was sent to the ingest topic again is settled.
    pub fn replayed(&self, outcome: RecordOutcome) {
        self.letters.replays.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Records of the retry topic were tried.
    pub fn retry_attempts(&self, outcomes: &[RecordOutcome]) {
        for outcome in outcomes {
            self.letters.retry_attempts.with_label_values(&[outcome.as_str()]).inc();
        }
    }

    /// Records that wait in the retry topic.
    pub fn retry_waiting(&self, records: i64) {
        self.letters.retry_waiting.set(records);
    }
}

#[cfg(test)]
mod tests {
    use super::super::value;
    use super::*;

    #[test]
    fn every_stage_and_cause_exists_at_zero_from_the_start() {
        let text = Metrics::new().exposition();
        for stage in Stage::ALL {
            for cause in Cause::ALL {
                let series = format!(
                    "rowcast_dead_letters_total{{cause=\"{cause}\",resource_type=\"other\",stage=\"{stage}\"}}"
                );
                assert_eq!(value(&text, &series), Some(0.0), "{series}");
            }
        }
    }
}
