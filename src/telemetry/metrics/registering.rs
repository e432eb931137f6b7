//! Registers metrics under our prefix, and keeps what the reference says of them.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// A metric as the reference lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// What it means.
    pub help: String,
}

/// Registers metrics and keeps what the reference says of them.
#[derive(Default)]
pub(super) struct Registering {
    /// What is scraped.
    pub(super) registry: Registry,
    /// What the reference lists.
    pub(super) families: Vec<Family>,
}

impl Registering {
    pub(super) fn register<C: Collector + Clone + 'static>(
        &mut self,
        kind: &'static str,
        collector: prometheus::Result<C>,
    ) -> C {
        let collector = collector.expect("metric names and labels are valid literals");
        self.families.extend(collector.desc().into_iter().map(|described| Family {
            name: described.fq_name.clone(),
            kind,
            labels: described.variable_labels.clone(),
            help: described.help.clone(),
        }));
        let registered = self.registry.register(Box::new(collector.clone()));
        registered.expect("each metric is registered once");
        collector
    }

    pub(super) fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let options = Opts::new(format!("rowcast_{name}"), help);
        self.register("counter", IntCounterVec::new(options, labels))
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let options = Opts::new(format!("rowcast_{name}"), help);
        self.register("gauge", IntGaugeVec::new(options, labels))
    }

    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::new(format!("rowcast_{name}"), help).buckets(buckets.to_vec());
        self.register("histogram", HistogramVec::new(options, labels))
    }
}
