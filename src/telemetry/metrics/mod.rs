//! Every metric name and label, once: those of the records' way here, the others by what they are about.
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

use self::consumer::ConsumerMetrics;
use self::database::DatabaseMetrics;
pub use self::database::{CollectedLatency, TableLatency};
pub use self::labels::{Component, RecordOutcome, TableOperation};
use self::letters::LetterMetrics;
use self::pointcut::PointcutMetrics;
pub use self::registering::Family;
use self::registering::Registering;
use crate::error::Stage;

mod consumer;
mod database;
mod labels;
mod letters;
pub mod pointcut;
mod registering;

/// Upper bounds of the buckets for one batch in one stage, seconds.
const STAGE_BUCKETS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
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
    in_flight: IntGauge,
    stage_records: IntCounterVec,
    stage_duration: HistogramVec,
    stage_busy: CounterVec,
    retries: IntCounterVec,
    circuit_open: IntGaugeVec,
    start_timestamp: Gauge,
    consumer: ConsumerMetrics,
    database: DatabaseMetrics,
    letters: LetterMetrics,
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
            consumer: ConsumerMetrics::register(&mut to),
            database: DatabaseMetrics::register(&mut to),
            letters: LetterMetrics::register(&mut to),
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
        }
        // plan and sink work as one transaction and are measured as one
        for stage in [Stage::Decode, Stage::Transform, Stage::Sink] {
            self.stage_records.with_label_values(&[stage.as_str()]);
            self.stage_busy.with_label_values(&[stage.as_str()]);
        }
        for component in Component::ALL {
            self.circuit_open.with_label_values(&[component.as_str()]);
            for cause in ["unavailable", "refused", "fenced", "rebalancing"] {
                self.retries.with_label_values(&[component.as_str(), cause]);
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

    /// A batch of records went through a stage.
    pub fn stage(&self, stage: Stage, records: usize, seconds: f64) {
        self.stage_records.with_label_values(&[stage.as_str()]).inc_by(records as u64);
        self.stage_busy.with_label_values(&[stage.as_str()]).inc_by(seconds);
        self.stage_duration.with_label_values(&[stage.as_str()]).observe(seconds);
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
    pub(in crate::telemetry) fn gather(&self) -> Vec<MetricFamily> {
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

/// The value of a series in the text exposition format.
#[cfg(test)]
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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
