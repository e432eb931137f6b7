//! What the metrics say at one moment, as numbers: the state page and its JSON are made of them, so
//! that page and dashboard can never disagree.
//!
//! In: gathered families. Out: sums by label, and what became of them within the last minute.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_mins(1);
/// How often a reading is kept.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// Every series at one moment.
#[derive(Debug)]
pub(super) struct Readings {
    at: Instant,
    series: HashMap<String, Vec<Series>>,
}

/// A series: its labels, and its value, or the upper bounds of a histogram with the observations up
/// to each.
#[derive(Debug)]
struct Series {
    labels: BTreeMap<String, String>,
    value: f64,
    buckets: Vec<(f64, u64)>,
}

impl Readings {
    pub(super) fn of(families: &[MetricFamily], at: Instant) -> Self {
        let series = families.iter().map(|family| {
            let kind = family.get_field_type();
            let series = family.get_metric().iter().map(|metric| series(metric, kind)).collect();
            (family.name().to_owned(), series)
        });
        Self { at, series: series.collect() }
    }

    fn of_metric(&self, name: &str) -> &[Series] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sum of all series of a metric.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.of_metric(name).iter().map(|series| series.value).sum()
    }

    /// The sums by the values of these labels, in their order.
    pub(super) fn by<const N: usize>(
        &self,
        name: &str,
        labels: [&str; N],
    ) -> BTreeMap<[String; N], f64> {
        let mut sums = BTreeMap::new();
        for series in self.of_metric(name) {
            let key = labels.map(|label| series.labels.get(label).cloned().unwrap_or_default());
            *sums.entry(key).or_default() += series.value;
        }
        sums
    }

    /// Observations up to each upper bound, all series of a histogram together.
    fn buckets(&self, name: &str) -> Vec<(f64, u64)> {
        let mut together: Vec<(f64, u64)> = Vec::new();
        for series in self.of_metric(name) {
            if together.is_empty() {
                together.clone_from(&series.buckets);
            } else {
                for (sum, (_, observations)) in together.iter_mut().zip(&series.buckets) {
                    sum.1 += observations;
                }
            }
        }
        together
    }
}

fn series(metric: &Metric, kind: MetricType) -> Series {
    let labels = metric.get_label().iter();
    let labels = labels.map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
    let mut buckets = Vec::new();
    let value = match kind {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            buckets.extend(
                histogram
                    .get_bucket()
                    .iter()
                    .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())),
            );
            buckets.push((f64::INFINITY, histogram.get_sample_count()));
            histogram.get_sample_sum()
        }
        MetricType::SUMMARY | MetricType::UNTYPED => 0.0,
    };
    Series { labels, value, buckets }
}

/// The readings of the last minute.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<VecDeque<Readings>>);

impl Past {
    /// Keeps a reading, and drops what is older than the window.
    pub(super) fn keep(&self, readings: Readings) {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // the oldest that is kept lies at or before the window's beginning
        while past.get(1).is_some_and(|next| readings.at.duration_since(next.at) >= WINDOW) {
            past.pop_front();
        }
        past.push_back(readings);
    }

    /// What became of the counters since the oldest reading; `None` before there is one a second
    /// older.
    pub(super) fn since<T>(
        &self,
        now: &Readings,
        read: impl FnOnce(&Change<'_>) -> T,
    ) -> Option<T> {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed(past.front()?, now, read)
    }

    /// The same since a reading some seconds ago: what a minute's mean, idle time included, does not
    /// tell of work that has only just begun.
    pub(super) fn lately<T>(
        &self,
        now: &Readings,
        read: impl FnOnce(&Change<'_>) -> T,
    ) -> Option<T> {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_past = |then: &&Readings| now.at.saturating_duration_since(then.at) >= EVERY;
        changed(past.iter().rev().find(is_past).or(past.front())?, now, read)
    }
}

fn changed<T>(then: &Readings, now: &Readings, read: impl FnOnce(&Change<'_>) -> T) -> Option<T> {
    let seconds = now.at.saturating_duration_since(then.at).as_secs_f64();
    (seconds >= 1.0).then(|| read(&Change { then, now, seconds }))
}

/// Two readings, and the seconds between them.
pub(super) struct Change<'a> {
    then: &'a Readings,
    now: &'a Readings,
    seconds: f64,
}

impl Change<'_> {
    /// Increase a second of a counter, all its series together.
    pub(super) fn rate(&self, name: &str) -> f64 {
        (self.now.sum(name) - self.then.sum(name)) / self.seconds
    }

    /// The same for each value of a label.
    pub(super) fn rates(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let then = self.then.by(name, [label]);
        let now = self.now.by(name, [label]).into_iter();
        now.map(|(key, value)| {
            let before = then.get(&key).copied().unwrap_or_default();
            let [key] = key;
            (key, (value - before) / self.seconds)
        })
        .collect()
    }

    /// The bucket that this share (0 to 1) of the observations lies in or below, by its upper bound;
    /// `None` if there were none. Infinity: beyond the last.
    pub(super) fn within(&self, name: &str, share: f64) -> Option<f64> {
        let then = self.then.buckets(name);
        let mut increase = self.now.buckets(name);
        for (now, then) in increase.iter_mut().zip(&then) {
            now.1 = now.1.saturating_sub(then.1);
        }
        let all = increase.last().map(|(_, observations)| *observations).filter(|all| *all > 0)?;
        #[allow(clippy::cast_precision_loss)] // observations of a minute
        increase
            .into_iter()
            .find(|(_, observations)| *observations as f64 >= share * all as f64)
            .map(|(bound, _)| bound)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    fn registry() -> (Registry, IntCounterVec, HistogramVec) {
        let registry = Registry::new();
        let records = IntCounterVec::new(Opts::new("records", "Records."), &["topic"]).unwrap();
        let latency = HistogramOpts::new("latency", "Latency.").buckets(vec![0.1, 1.0]);
        let latency = HistogramVec::new(latency, &["topic"]).unwrap();
        registry.register(Box::new(records.clone())).unwrap();
        registry.register(Box::new(latency.clone())).unwrap();
        (registry, records, latency)
    }

    #[test]
    fn a_rate_is_the_increase_of_the_last_minute_by_its_seconds() {
        let (registry, records, _) = registry();
        let start = Instant::now();
        let past = Past::default();
        records.with_label_values(&["a"]).inc_by(1000);
        for second in (0..120).step_by(5) {
            let at = start + Duration::from_secs(second);
            past.keep(Readings::of(&registry.gather(), at));
            records.with_label_values(&["a"]).inc_by(10);
            records.with_label_values(&["b"]).inc_by(5);
        }
        let now = Readings::of(&registry.gather(), start + Duration::from_mins(2));
        let rates =
            past.since(&now, |change| (change.rate("records"), change.rates("records", "topic")));
        let (all, by_topic) = rates.expect("a minute has passed");
        assert!((all - 3.0).abs() < 0.2, "{all}");
        assert!(
            (by_topic["a"] - 2.0).abs() < 0.2 && (by_topic["b"] - 1.0).abs() < 0.1,
            "{by_topic:?}"
        );
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket_among_the_last_observations() {
        let (registry, _, latency) = registry();
        let start = Instant::now();
        let past = Past::default();
        for _ in 0..1000 {
            latency.with_label_values(&["a"]).observe(5.0);
        }
        past.keep(Readings::of(&registry.gather(), start));
        let later = |registry: &Registry| Readings::of(&registry.gather(), start + EVERY);
        let within =
            |share| past.since(&later(&registry), |change| change.within("latency", share));
        assert_eq!(within(0.5), Some(None));
        for _ in 0..98 {
            latency.with_label_values(&["b"]).observe(0.05);
        }
        latency.with_label_values(&["a"]).observe(0.5);
        latency.with_label_values(&["a"]).observe(7.0);
        assert_eq!(within(0.5), Some(Some(0.1)));
        assert_eq!(within(0.99), Some(Some(1.0)));
        assert_eq!(within(1.0), Some(Some(f64::INFINITY)));
    }
}
