//! What the database is given, and how long it takes.

use prometheus::{HistogramVec, IntGauge, IntGaugeVec};

use super::registering::Registering;
use super::{Metrics, STAGE_BUCKETS, as_f64, signed};

/// Upper bounds of the batch-size buckets, records.
const BATCH_BUCKETS: [f64; 9] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

/// Batches and connections.
#[derive(Debug)]
pub(super) struct DatabaseMetrics {
    batch_records: HistogramVec,
    write_duration: HistogramVec,
    pool_connections: IntGaugeVec,
    pool_most: IntGauge,
    pool_waiting: IntGauge,
}

impl DatabaseMetrics {
    /// Registers them.
    pub(super) fn register(to: &mut Registering) -> Self {
        let metrics = Self {
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
            pool_most: to.register(
                "gauge",
                IntGauge::new(
                    "rowcast_db_pool_connections_max",
                    "The most connections there may be: sink.connections.",
                ),
            ),
            pool_waiting: to.register(
                "gauge",
                IntGauge::new(
                    "rowcast_db_pool_waiting",
                    "Partitions whose batch waits for a connection, because all are busy.",
                ),
            ),
        };
        for state in ["busy", "idle"] {
            metrics.pool_connections.with_label_values(&[state]);
        }
        metrics
    }
}

impl Metrics {
    /// A batch was written.
    pub fn written(&self, topic: &str, records: usize, seconds: f64) {
        self.database.batch_records.with_label_values(&[topic]).observe(as_f64(records));
        self.database.write_duration.with_label_values(&["ok"]).observe(seconds);
    }

    /// A batch could not be written and will be tried again.
    pub fn write_failed(&self, seconds: f64) {
        self.database.write_duration.with_label_values(&["error"]).observe(seconds);
    }

    /// The connections to the database, as they are.
    pub fn connections(&self, busy: usize, idle: usize, most: usize, waiting: usize) {
        let DatabaseMetrics { pool_connections, pool_most, pool_waiting, .. } = &self.database;
        pool_connections.with_label_values(&["busy"]).set(signed(busy));
        pool_connections.with_label_values(&["idle"]).set(signed(idle));
        pool_most.set(signed(most));
        pool_waiting.set(signed(waiting));
    }
}
