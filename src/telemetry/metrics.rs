//! Every metric name and label, once.
//!
//! Labels come from closed enums or from the configuration, never from data. Series whose labels
//! are a closed enum exist at 0 from the start, so that a first dead letter is a step that
//! `increase()` sees.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::proto::MetricFamily;
use prometheus::{
    CounterVec, Encoder as _, Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use super::labels::{Component, RecordOutcome};
use super::pointcut::PointcutMetrics;
use super::registering::{Family, Registering};
use crate::error::{Cause, Stage};
use crate::model::{Offset, TopicPartition};

/// Upper bounds of the latency buckets, seconds.
const LATENCY_BUCKETS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// Upper bounds of the buckets for one batch in one stage, seconds.
const STAGE_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
/// Upper bounds of the batch-size buckets, records.
const BATCH_BUCKETS: [f64; 9] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Vec<Family>,
    /// Taken while a record moves between the sides of `received = settled + released + in
    /// flight`, and while they are read, so that the law holds in every scrape.
    conservation: Mutex<()>,
    received: IntCounterVec,
    settled: IntCounterVec,
    released: IntCounter,
    expired: IntCounterVec,
    in_flight: IntGauge,
    stage_records: IntCounterVec,
    stage_duration: HistogramVec,
    stage_busy: CounterVec,
    end_to_end_latency: HistogramVec,
    dead_letters: IntCounterVec,
    dead_letter_write_errors: IntCounter,
    retry_attempts: IntCounterVec,
    retry_waiting: IntGauge,
    lag: IntGaugeVec,
    committed: IntGaugeVec,
    rebalances: IntCounterVec,
    batch_records: HistogramVec,
    write_duration: HistogramVec,
    pool_connections: IntGaugeVec,
    pool_most: IntGauge,
    pool_waiting: IntGauge,
    retries: IntCounterVec,
    circuit_open: IntGaugeVec,
    start_timestamp: Gauge,
    pointcut: PointcutMetrics,
}

impl Metrics {
    /// A new registry with every series of a closed label set at 0.
    ///
    /// # Panics
    /// Never: the names below are valid and distinct.
    #[must_use]
    pub fn new() -> Self {
        let mut to = Registering::default();
        let build: IntGaugeVec = to.register(
            "gauge",
            IntGaugeVec::new(
                Opts::new("rowcast_build_info", "1; the labels say what runs."),
                &["version"],
            ),
        );
        let metrics = Self {
            conservation: Mutex::new(()),
            received: to.counters(
                "records_received_total",
                "Records taken from the ingest topic.",
                &["topic"],
            ),
            settled: to.counters(
                "records_settled_total",
                "Records that reached their one outcome: filtered, stale, written, retried or dead_lettered.",
                &["outcome"],
            ),
            released: to.register("counter",
                IntCounter::new(
                    "rowcast_records_released_total",
                    "Records given back unsettled when their partition was revoked; the next owner receives them again.",
                ),
            ),
            expired: to.counters(
                "offsets_expired_total",
                "Offsets between the committed one and the beginning of the log, found when a partition was taken over: deleted before they were read.",
                &["topic"],
            ),
            in_flight: to.register("gauge",
                IntGauge::new(
                    "rowcast_records_in_flight",
                    "Records received and neither settled nor released: received = settled + released + in flight.",
                ),
            ),
            stage_records: to.counters(
                "stage_records_total",
                "Records that entered a stage.",
                &["stage"],
            ),
            stage_duration: to.histograms(
                "stage_duration_seconds",
                "Time of one batch in a stage.",
                &["stage"],
                &STAGE_BUCKETS,
            ),
            stage_busy: to.register("counter",
                CounterVec::new(
                    Opts::new(
                        "rowcast_stage_busy_seconds_total",
                        "Time a stage was working, summed over tasks.",
                    ),
                    &["stage"],
                ),
            ),
            end_to_end_latency: to.histograms(
                "end_to_end_latency_seconds",
                "From a record's timestamp at the broker to its settlement.",
                &["topic"],
                &LATENCY_BUCKETS,
            ),
            dead_letters: to.counters(
                "dead_letters_total",
                "Dead letters that the dead-letter topic acknowledged.",
                &["stage", "cause", "resource_type"],
            ),
            dead_letter_write_errors: to.register("counter",
                IntCounter::new(
                    "rowcast_dead_letter_write_errors_total",
                    "Failed attempts to write dead letters; their partition waits.",
                ),
            ),
            retry_attempts: to.counters(
                "retry_attempts_total",
                "Records of the retry topic that were tried, by how it ended; retried: they wait again.",
                &["outcome"],
            ),
            retry_waiting: to.register("gauge",
                IntGauge::new(
                    "rowcast_retry_waiting_records",
                    "Records that wait in this process's partitions of the retry topic.",
                ),
            ),
            lag: to.gauges(
                "consumer_lag_records",
                "End of the log minus committed offset.",
                &["topic", "partition"],
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
            batch_records: to.histograms(
                "db_batch_records",
                "Records of one batch.",
                &["topic"],
                &BATCH_BUCKETS,
            ),
            write_duration: to.histograms(
                "db_write_duration_seconds",
                "Time to write one batch, isolation included.",
                &["outcome"],
                &STAGE_BUCKETS,
            ),
            pool_connections: to.gauges(
                "db_pool_connections",
                "Open connections to the database: busy in a transaction, or idle.",
                &["state"],
            ),
            pool_most: to.register("gauge",
                IntGauge::new(
                    "rowcast_db_pool_connections_max",
                    "The most connections there may be: sink.connections.",
                ),
            ),
            pool_waiting: to.register("gauge",
                IntGauge::new(
                    "rowcast_db_pool_waiting",
                    "Partitions whose batch waits for a connection, because all are busy.",
                ),
            ),
            retries: to.counters(
                "retries_total",
                "Attempts that failed and will be repeated.",
                &["component", "cause"],
            ),
            circuit_open: to.register("gauge",
                IntGaugeVec::new(
                    Opts::new(
                        "rowcast_circuit_open",
                        "Partitions that a systemic failure of the component holds without committing.",
                    ),
                    &["component"],
                ),
            ),
            start_timestamp: to.register("gauge",
                Gauge::new(
                    "rowcast_start_timestamp_seconds",
                    "When this process started, seconds since the epoch.",
                ),
            ),
            pointcut: PointcutMetrics::register(&mut to),
            registry: to.registry,
            families: to.families,
        };
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for outcome in RecordOutcome::ALL {
            self.settled.with_label_values(&[outcome.as_str()]);
            self.retry_attempts.with_label_values(&[outcome.as_str()]);
        }
        // plan and sink work as one transaction and are measured as one
        for stage in [Stage::Decode, Stage::Transform, Stage::Sink] {
            self.stage_records.with_label_values(&[stage.as_str()]);
            self.stage_busy.with_label_values(&[stage.as_str()]);
        }
        self.expect_resource_types(["other"]);
        for kind in ["assigned", "revoked", "lost"] {
            self.rebalances.with_label_values(&[kind]);
        }
        for state in ["busy", "idle"] {
            self.pool_connections.with_label_values(&[state]);
        }
        for component in Component::ALL {
            self.circuit_open.with_label_values(&[component.as_str()]);
            for cause in ["unavailable", "refused", "fenced", "rebalancing"] {
                self.retries.with_label_values(&[component.as_str(), cause]);
            }
        }
    }

    /// Dead letters of these types may come: their series start at 0. Types must be known FHIR
    /// types or `other`.
    pub fn expect_resource_types(&self, types: impl IntoIterator<Item = &'static str>) {
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

    fn locked(&self) -> MutexGuard<'_, ()> {
        self.conservation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records were taken from the topic.
    pub fn received(&self, topic: &str, records: usize) {
        let _conserving = self.locked();
        self.received.with_label_values(&[topic]).inc_by(records as u64);
        self.in_flight.add(signed(records));
    }

    /// Records reached their outcome.
    pub fn settled(&self, outcomes: &[RecordOutcome]) {
        let _conserving = self.locked();
        for outcome in outcomes {
            self.settled.with_label_values(&[outcome.as_str()]).inc();
        }
        self.in_flight.sub(signed(outcomes.len()));
    }

    /// Records were given back unsettled.
    pub fn released(&self, records: usize) {
        let _conserving = self.locked();
        self.released.inc_by(records as u64);
        self.in_flight.sub(signed(records));
    }

    /// Offsets were deleted from the log before they were read.
    pub fn expired(&self, topic: &str, offsets: i64) {
        self.expired.with_label_values(&[topic]).inc_by(offsets.unsigned_abs());
    }

    /// A batch of records went through a stage.
    pub fn stage(&self, stage: Stage, records: usize, seconds: f64) {
        self.stage_records.with_label_values(&[stage.as_str()]).inc_by(records as u64);
        self.stage_busy.with_label_values(&[stage.as_str()]).inc_by(seconds);
        self.stage_duration.with_label_values(&[stage.as_str()]).observe(seconds);
    }

    /// A batch was written.
    pub fn written(&self, topic: &str, records: usize, seconds: f64) {
        self.batch_records.with_label_values(&[topic]).observe(as_f64(records));
        self.write_duration.with_label_values(&["ok"]).observe(seconds);
    }

    /// A batch could not be written and will be tried again.
    pub fn write_failed(&self, seconds: f64) {
        self.write_duration.with_label_values(&["error"]).observe(seconds);
    }

    /// Records settled this long after the broker's timestamps.
    pub fn latencies(&self, topic: &str, seconds: impl Iterator<Item = f64>) {
        let latency = self.end_to_end_latency.with_label_values(&[topic]);
        seconds.for_each(|seconds| latency.observe(seconds));
    }

    /// The dead-letter topic acknowledged a letter. `resource_type` must be a known FHIR type or
    /// `other`.
    pub fn dead_letter(&self, stage: Stage, cause: Cause, resource_type: &'static str) {
        self.dead_letters.with_label_values(&[stage.as_str(), cause.as_str(), resource_type]).inc();
    }

    /// Writing dead letters failed; it will be tried again.
    pub fn dead_letter_write_failed(&self) {
        self.dead_letter_write_errors.inc();
    }

    /// Records of the retry topic were tried.
    pub fn retry_attempts(&self, outcomes: &[RecordOutcome]) {
        for outcome in outcomes {
            self.retry_attempts.with_label_values(&[outcome.as_str()]).inc();
        }
    }

    /// Records that wait in the retry topic.
    pub fn retry_waiting(&self, records: i64) {
        self.retry_waiting.set(records);
    }

    /// The connections to the database, as they are.
    pub fn connections(&self, busy: usize, idle: usize, most: usize, waiting: usize) {
        self.pool_connections.with_label_values(&["busy"]).set(signed(busy));
        self.pool_connections.with_label_values(&["idle"]).set(signed(idle));
        self.pool_most.set(signed(most));
        self.pool_waiting.set(signed(waiting));
    }

    /// An attempt failed and will be repeated.
    pub fn retried(&self, component: Component, cause: &'static str) {
        self.retries.with_label_values(&[component.as_str(), cause]).inc();
    }

    /// A partition waits behind an open circuit until the guard is dropped.
    pub fn open_circuit(self: &Arc<Self>, component: Component) -> OpenCircuit {
        self.circuit_open.with_label_values(&[component.as_str()]).inc();
        OpenCircuit { metrics: Arc::clone(self), component }
    }

    /// The assignment changed.
    pub fn rebalanced(&self, kind: &'static str, partitions: usize) {
        self.rebalances.with_label_values(&[kind]).inc_by(partitions as u64);
    }

    /// An offset was committed.
    pub fn committed(&self, partition: &TopicPartition, offset: Offset) {
        let number = partition.partition.to_string();
        self.committed.with_label_values(&[&*partition.topic, &number]).set(offset.0);
    }

    /// Records behind the end of the log.
    pub fn lag(&self, partition: &TopicPartition, records: i64) {
        let number = partition.partition.to_string();
        self.lag.with_label_values(&[&*partition.topic, &number]).set(records);
    }

    /// The partition is no longer ours: its series end.
    pub fn forget(&self, partition: &TopicPartition) {
        let number = partition.partition.to_string();
        let labels = [&*partition.topic, number.as_str()];
        // absent series are no error here: the partition may have been ours for a moment only
        let _ = self.lag.remove_label_values(&labels);
        let _ = self.committed.remove_label_values(&labels);
    }

    /// What POINTCUT counts.
    pub const fn pointcut(&self) -> &PointcutMetrics {
        &self.pointcut
    }

    /// When the process started, seconds since the epoch.
    pub fn started_at(&self, seconds: f64) {
        self.start_timestamp.set(seconds);
    }

    /// Every metric there can be, sorted by name, whether it has a series yet or not.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.families.clone();
        families.sort_by(|left, right| left.name.cmp(&right.name));
        families
    }

    /// All series that there are, at one moment.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let _conserving = self.locked();
        self.registry.gather()
    }

    /// The text exposition format, version 0.0.4.
    #[must_use]
    pub fn exposition(&self) -> String {
        let families = self.gather();
        let mut out = Vec::new();
        // writing to memory cannot fail
        let _ = TextEncoder::new().encode(&families, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// One partition behind an open circuit; dropping it closes the circuit.
#[derive(Debug)]
pub struct OpenCircuit {
    metrics: Arc<Metrics>,
    component: Component,
}

impl OpenCircuit {
    /// Whose systemic failure it is.
    #[must_use]
    pub const fn component(&self) -> Component {
        self.component
    }
}

impl Drop for OpenCircuit {
    fn drop(&mut self) {
        self.metrics.circuit_open.with_label_values(&[self.component.as_str()]).dec();
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss)] // batch sizes are far below 2^52
const fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

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

    #[test]
    fn what_was_received_is_settled_released_or_in_flight() {
        let metrics = Metrics::new();
        metrics.received("t", 10);
        metrics.settled(&[RecordOutcome::Written, RecordOutcome::Stale]);
        metrics.released(3);
        let text = metrics.exposition();
        assert_eq!(value(&text, "rowcast_records_in_flight"), Some(5.0));
        assert_eq!(value(&text, "rowcast_records_received_total{topic=\"t\"}"), Some(10.0));
        assert_eq!(value(&text, "rowcast_records_settled_total{outcome=\"written\"}"), Some(1.0));
        assert_eq!(value(&text, "rowcast_records_released_total"), Some(3.0));
    }
}
