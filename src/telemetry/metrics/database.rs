//! What the database is given, and how long it takes.

use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, local::LocalHistogram,
};

use super::registering::Registering;
use super::{Metrics, STAGE_BUCKETS, TableOperation, as_f64, signed};
use crate::model::{Catalog, Guard};

/// Upper bounds of the latency buckets, seconds.
const LATENCY_BUCKETS: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// Upper bounds of the batch-size buckets, records.
const BATCH_BUCKETS: [f64; 9] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

/// Rows, batches and connections.
#[derive(Debug)]
pub(super) struct DatabaseMetrics {
    rows: IntCounterVec,
    latency: HistogramVec,
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
            rows: to.counters(
                "db_rows_total",
                "Rows of committed transactions. upsert: root rows inserted, or written anew by a newer version; insert: child and history rows, a resource's child rows being removed and inserted anew with each version; delete: rows removed.",
                &["table", "operation"],
            ),
            latency: to.histograms(
                "end_to_end_latency_seconds",
                "From the broker's timestamp of a record to the commit of the rows that it wrote or removed, by root table.",
                &["table"],
                &LATENCY_BUCKETS,
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

/// How old what is written to a root table is.
#[derive(Debug)]
pub struct TableLatency(Histogram);

impl TableLatency {
    /// Collects what is observed of one batch, so that the shared histogram is touched once for it.
    #[must_use]
    pub fn collecting(&self) -> CollectedLatency {
        CollectedLatency(self.0.local())
    }
}

/// How old what one batch wrote to a root table is; told when dropped.
#[derive(Debug)]
pub struct CollectedLatency(LocalHistogram);

impl CollectedLatency {
    /// Rows were committed this long after the broker's timestamp.
    pub fn observe(&mut self, seconds: f64) {
        self.0.observe(seconds);
    }
}

impl Metrics {
    /// These tables may be written: their series start at 0.
    pub fn expect_tables(&self, catalog: &Catalog) {
        use TableOperation::{Delete, Insert, Upsert};
        for root in &catalog.roots {
            let root_table = root.named_table().name.to_string();
            self.database.latency.with_label_values(&[&*root_table]);
            for table in root.declared_tables() {
                // the rows of a view are no root's: it may hold several of a resource
                let is_root = table.parent.is_none() && root.guard == Guard::RootRow;
                let writes = if is_root { Upsert } else { Insert };
                let name = table.name.to_string();
                for operation in [writes, Delete] {
                    self.rows(&name, operation, 0);
                }
                if root.history {
                    self.rows(&table.name.history().to_string(), Insert, 0);
                }
            }
        }
    }

    /// Rows were written or removed, and the database has committed them.
    pub fn rows(&self, table: &str, operation: TableOperation, count: u64) {
        self.database.rows.with_label_values(&[table, operation.as_str()]).inc_by(count);
    }

    /// How old what is written to a root table is.
    #[must_use]
    pub fn latency(&self, table: &str) -> TableLatency {
        TableLatency(self.database.latency.with_label_values(&[table]))
    }

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
