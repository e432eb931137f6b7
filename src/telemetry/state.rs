//! What a running instance is doing: the answer of `/api/v1/state`, and what the page at `/` shows.
//!
//! In: the metrics, the health checks, the topology as described. Out: one [`State`], whose
//! sentence says how things stand and whose command says what to do next. Counts are of this process
//! since its start; other instances of the group have their own. Never a record's key, id or value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::health::{Check, Health, Readiness};
use super::metrics::Metrics;
use super::readings::{Past, Readings};
use crate::error::counted;

/// Behind by less than this, in records and in seconds, is the pace of things and no backlog.
const BACKLOG_RECORDS: u64 = 1000;
const BACKLOG_SECONDS: f64 = 10.0;

/// The topology, as far as it is fixed.
#[derive(Debug, Clone, Serialize)]
pub struct Described {
    /// Name, and consumer group.
    pub name: String,
    /// The topology file as it was named on the command line: what a command to copy needs.
    pub file: String,
    /// Which configuration this is, 64 hexadecimal digits.
    pub config_hash: String,
    /// The stages in the order a record travels.
    pub stages: Vec<DescribedStage>,
}

/// A stage of the topology.
#[derive(Debug, Clone, Serialize)]
pub struct DescribedStage {
    /// Name, unique in the topology.
    pub name: &'static str,
    /// Its settings, in the order to be shown. No secrets.
    pub settings: Vec<(&'static str, String)>,
    /// Names of the stages that records go on to.
    pub successors: Vec<&'static str>,
}

/// How things stand, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Something is needed that has not been reached since the start.
    Starting,
    /// Something is away: it is waited for, and things go on by themselves.
    Waiting,
    /// A systemic failure holds partitions until somebody mends it.
    Paused,
    /// Records are behind.
    CatchingUp,
    /// All is written but what was refused since the start.
    Refused,
    /// All is written.
    UpToDate,
}

/// What a running instance is doing.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// How things stand, in one word.
    pub condition: Condition,
    /// The same as a sentence.
    pub sentence: String,
    /// The command to run next, if there is something to do.
    pub next: Option<String>,
    /// rowcast's version.
    pub version: &'static str,
    /// Seconds since the start of the process.
    pub uptime_seconds: f64,
    /// The topology.
    pub topology: Described,
    /// Every check of `/readyz`.
    pub readiness: Readiness,
    /// Records since the start.
    pub records: Records,
    /// The stages at work, in the order a record travels.
    pub stages: Vec<StageState>,
    /// Records between the committed offsets and the end of the log, all partitions of this instance.
    pub lag: u64,
    /// Age of the oldest of the partitions' first records that are not committed, seconds.
    pub lag_seconds: f64,
    /// The partitions of this instance.
    pub partitions: Vec<PartitionState>,
    /// From a record's timestamp to the commit of its rows, last minute; absent if none was written.
    pub latency: Option<Latency>,
    /// Dead letters since the start, the most first.
    pub dead_letters: Vec<LetterCount>,
    /// Records that wait for a retry.
    pub retry_waiting: u64,
    /// The connections to the database.
    pub connections: Connections,
}

/// Records since the start: received = settled + released + in flight.
#[derive(Debug, Clone, Serialize)]
pub struct Records {
    /// Taken from the ingest topic.
    pub received: u64,
    /// Settled, by outcome.
    pub settled: BTreeMap<String, u64>,
    /// Given back unsettled when their partition was revoked.
    pub released: u64,
    /// In hand.
    pub in_flight: u64,
    /// Received a second, last minute.
    pub received_per_second: Option<f64>,
    /// Settled a second, last minute.
    pub settled_per_second: Option<f64>,
}

/// A stage at work.
#[derive(Debug, Clone, Serialize)]
pub struct StageState {
    /// Name.
    pub stage: String,
    /// Records that entered it since the start.
    pub records: u64,
    /// Records a second, last minute.
    pub records_per_second: Option<f64>,
    /// Tasks busy in it on average, last minute: 1 is one task all the time.
    pub busy: Option<f64>,
}

/// A partition of this instance.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionState {
    /// Topic.
    pub topic: String,
    /// Number.
    pub partition: u32,
    /// Committed offset, if there is one.
    pub committed: Option<u64>,
    /// Records behind the end of the log.
    pub lag: u64,
    /// Age of the first record that is not committed, seconds; 0 if none waits.
    pub lag_seconds: f64,
}

/// Seconds within which records were in the tables: upper bounds of the histogram's buckets; absent:
/// above the last.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Half of them.
    pub median_within: Option<f64>,
    /// Ninety-nine of a hundred.
    pub p99_within: Option<f64>,
}

/// Dead letters of one stage and cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterCount {
    /// Stage that refused.
    pub stage: String,
    /// Why.
    pub cause: String,
    /// How many since the start.
    pub letters: u64,
}

/// The connections to the database.
#[derive(Debug, Clone, Serialize)]
pub struct Connections {
    /// In a transaction.
    pub busy: u64,
    /// Open and idle.
    pub idle: u64,
    /// The most there may be.
    pub max: u64,
    /// Batches that wait for one.
    pub waiting: u64,
}

/// Who can say what the instance is doing; shared.
#[derive(Debug, Clone)]
pub struct Watch {
    described: Arc<Described>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    past: Arc<Past>,
}

impl Watch {
    /// Watches these. Rates need [`super::http::serve`], which keeps readings.
    #[must_use]
    pub fn new(described: Described, metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { described: Arc::new(described), metrics, health, past: Arc::default() }
    }

    /// Name of the topology.
    #[must_use]
    pub fn topology(&self) -> &str {
        &self.described.name
    }

    /// Keeps what the metrics say at this moment, for the rates of the next minute.
    pub(super) fn keep(&self) {
        self.past.keep(self.readings());
    }

    fn readings(&self) -> Readings {
        Readings::of(&self.metrics.gather(), Instant::now())
    }

    /// The state at this moment.
    #[must_use]
    pub fn state(&self) -> State {
        let now = self.readings();
        let records = self.records(&now);
        let partitions = partitions(&now);
        let lag = partitions.iter().map(|partition| partition.lag).sum();
        let lag_seconds = partitions.iter().map(|at| at.lag_seconds).fold(0.0, f64::max);
        let dead_letters = dead_letters(&now);
        let readiness = self.health.readiness();
        let held = now.sum("rowcast_circuit_open") > 0.0;
        let pace = self.past.lately(&now, |change| change.rate("rowcast_records_settled_total"));
        let lagging = Lagging { lag, pace: pace.filter(|pace| *pace > 0.0) };
        let verdict = Verdict::of(
            &readiness,
            held,
            &self.described,
            records.received == 0,
            lagging,
            &dead_letters,
        );
        let latency = self.past.since(&now, |change| {
            let within = |share| change.within("rowcast_end_to_end_latency_seconds", share);
            let finite = |bound: f64| bound.is_finite().then_some(bound);
            Some(Latency { median_within: finite(within(0.5)?), p99_within: finite(within(0.99)?) })
        });
        let connections = now.by("rowcast_db_pool_connections", ["state"]);
        let connections_now =
            |state: &str| connections.get(&[state.to_owned()]).map_or(0, |open| whole(*open));
        let started = now.sum("rowcast_start_timestamp_seconds");
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        State {
            condition: verdict.condition,
            sentence: verdict.sentence,
            next: verdict.next,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: if started > 0.0 { (clock - started).max(0.0) } else { 0.0 },
            topology: (*self.described).clone(),
            readiness,
            stages: self.stages(&now),
            records,
            lag,
            lag_seconds,
            partitions,
            latency: latency.flatten(),
            dead_letters,
            retry_waiting: whole(now.sum("rowcast_retry_waiting_records")),
            connections: Connections {
                busy: connections_now("busy"),
                idle: connections_now("idle"),
                max: whole(now.sum("rowcast_db_pool_connections_max")),
                waiting: whole(now.sum("rowcast_db_pool_waiting")),
            },
        }
    }

    fn records(&self, now: &Readings) -> Records {
        let settled = now.by("rowcast_records_settled_total", ["outcome"]);
        let rate = |name: &str| self.past.since(now, |change| change.rate(name));
        Records {
            received: whole(now.sum("rowcast_records_received_total")),
            settled: settled.into_iter().map(|([name], count)| (name, whole(count))).collect(),
            released: whole(now.sum("rowcast_records_released_total")),
            in_flight: whole(now.sum("rowcast_records_in_flight")),
            received_per_second: rate("rowcast_records_received_total"),
            settled_per_second: rate("rowcast_records_settled_total"),
        }
    }

    fn stages(&self, now: &Readings) -> Vec<StageState> {
        let rates = |name: &str| self.past.since(now, |change| change.rates(name, "stage"));
        let records = rates("rowcast_stage_records_total");
        let busy = rates("rowcast_stage_busy_seconds_total");
        let of = |rates: &Option<BTreeMap<String, f64>>, stage: &str| {
            rates.as_ref()?.get(stage).copied()
        };
        let entered = now.by("rowcast_stage_records_total", ["stage"]);
        let in_order = crate::error::Stage::ALL.iter().filter_map(|stage| {
            let name = [stage.as_str().to_owned()];
            let count = entered.get(&name)?;
            let [stage] = name;
            Some(StageState {
                records: whole(*count),
                records_per_second: of(&records, &stage),
                busy: of(&busy, &stage),
                stage,
            })
        });
        in_order.collect()
    }
}

/// How far the topic is ahead.
#[derive(Clone, Copy)]
struct Lagging {
    /// Records.
    lag: u64,
    /// Records settled a second, at present.
    pace: Option<f64>,
}

/// How things stand.
struct Verdict {
    condition: Condition,
    sentence: String,
    next: Option<String>,
}

impl Verdict {
    /// `held`: partitions stand behind an open circuit; `starting`: nothing was received yet.
    fn of(
        readiness: &Readiness,
        held: bool,
        described: &Described,
        starting: bool,
        Lagging { lag, pace }: Lagging,
        letters: &[LetterCount],
    ) -> Self {
        let command =
            |command: &str| Some(format!("rowcast {command} --topology {}", described.file));
        let wrong = |check: Check| {
            readiness
                .checks
                .get(&check)
                .filter(|state| !state.ok)
                .map(|state| state.message.as_str())
        };
        // what refuses everything alike is told by the check that it concerns
        let systemic = if held { wrong(Check::Database) } else { None };
        if let Some(message) = wrong(Check::Circuit).or(systemic) {
            return Self {
                condition: Condition::Paused,
                sentence: format!(
                    "Paused, nothing is committed or skipped: {message}. It goes on by itself once that is mended."
                ),
                next: command("check"),
            };
        }
        let waited_for = [
            (Check::Broker, "the broker", "topology"),
            (Check::Database, "the database", "check"),
            (Check::SchemaRegistry, "the schema registry", "check"),
            (Check::DeadLetterTopic, "the dead-letter topic", "dead-letters summary"),
            (Check::RetryTopic, "the retry topic", "topology"),
            (Check::Assignment, "the consumer group to assign partitions", "topology"),
            (Check::FhirServer, "the FHIR server", "pointcut install"),
            (Check::Subscriptions, "the FHIR server to take our subscriptions", "pointcut install"),
        ];
        for (check, name, to_run) in waited_for {
            let Some(message) = wrong(check) else { continue };
            return Self {
                condition: if starting { Condition::Starting } else { Condition::Waiting },
                sentence: format!(
                    "Waiting for {name}: {message}. Nothing is lost; it goes on by itself."
                ),
                next: command(to_run),
            };
        }
        let refused: u64 = letters.iter().map(|letters| letters.letters).sum();
        let were = if refused == 1 { "was" } else { "were" };
        let counted_refused = format!("{} {were}", counted(refused, "record"));
        let and_refused = match letters {
            [] => String::new(),
            [only] => format!(" {counted_refused} refused since the start, as {}.", only.cause),
            [most, ..] => format!(
                " {counted_refused} refused since the start, most of them as {}.",
                most.cause
            ),
        };
        let next = if refused > 0 { command("dead-letters summary") } else { None };
        #[allow(clippy::cast_precision_loss)] // for a time left in words
        let seconds = pace.map(|pace| lag as f64 / pace);
        if lag > 0 && (lag >= BACKLOG_RECORDS || seconds.is_some_and(|left| left > BACKLOG_SECONDS))
        {
            let left = match (seconds, pace) {
                (Some(seconds), Some(pace)) => format!(
                    " at {pace:.0} a second, about {} to go if no more came",
                    humantime::format_duration(std::time::Duration::from_secs(whole(
                        seconds.ceil()
                    )))
                ),
                _ => String::new(),
            };
            return Self {
                condition: Condition::CatchingUp,
                sentence: format!(
                    "Catching up: {} behind{left}.{and_refused}",
                    counted(lag, "record")
                ),
                next,
            };
        }
        if refused > 0 {
            return Self {
                condition: Condition::Refused,
                sentence: format!(
                    "Up to date but for what is in the dead-letter topic.{and_refused}"
                ),
                next,
            };
        }
        Self {
            condition: Condition::UpToDate,
            sentence: "Up to date, and nothing was refused since this instance started.".to_owned(),
            next: None,
        }
    }
}

fn partitions(now: &Readings) -> Vec<PartitionState> {
    let committed = now.by("rowcast_consumer_committed_offset", ["topic", "partition"]);
    let seconds = now.by("rowcast_consumer_lag_seconds", ["topic", "partition"]);
    let lag = now.by("rowcast_consumer_lag_records", ["topic", "partition"]);
    let mut partitions: Vec<_> = lag
        .into_iter()
        .map(|(key, lag)| {
            let committed = committed.get(&key).map(|offset| whole(*offset));
            let lag_seconds = seconds.get(&key).copied().unwrap_or_default();
            let [topic, partition] = key;
            let partition = partition.parse().unwrap_or_default();
            PartitionState { topic, partition, committed, lag: whole(lag), lag_seconds }
        })
        .collect();
    partitions
        .sort_by(|left, right| (&left.topic, left.partition).cmp(&(&right.topic, right.partition)));
    partitions
}

fn dead_letters(now: &Readings) -> Vec<LetterCount> {
    let counted = now.by("rowcast_dead_letters_total", ["stage", "cause"]);
    let counted = counted.into_iter().filter(|(_, letters)| *letters > 0.0);
    let mut letters: Vec<_> = counted
        .map(|([stage, cause], letters)| LetterCount { stage, cause, letters: whole(letters) })
        .collect();
    letters.sort_by_key(|count| std::cmp::Reverse(count.letters));
    letters
}

/// A count that metrics hold as a float.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts, below 2^53
fn whole(count: f64) -> u64 {
    count.max(0.0) as u64
}
