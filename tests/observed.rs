//! What a real Prometheus sees of two instances of one group, over a real Kafka and PostgreSQL, under
//! load: the dashboard's panels have data, and alerts fire when their fault is made and clear when it
//! is mended.
//!
//! Times of the alert rules are a twentieth of what they are in earnest; nothing else is changed in
//! them. The faults take minutes and are made by `make alerts-proof`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::prometheus::{self, Prometheus};
use crate::support::{self, Kafka, Postgres, Rowcast, free_port, http, wait_for};

/// Seconds that stand for a minute of the alert rules.
const MINUTE: u32 = 3;

fn dashboards(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name);
    std::fs::read_to_string(path).expect("it is there")
}

/// The alert rules with a twentieth of their times.
fn hastened_rules() -> String {
    let time = Regex::new(r"(\[|:|for: )(\d+)(m|h)\b").expect("it is right");
    let rules = dashboards("alerts.yaml");
    let hastened = time.replace_all(&rules, |time: &Captures<'_>| {
        let minutes =
            time[2].parse::<u32>().expect("digits") * if &time[3] == "h" { 60 } else { 1 };
        format!("{}{}s", &time[1], minutes * MINUTE)
    });
    hastened.into_owned()
}

/// A Prometheus that scrapes twice a second, with hastened rules.
struct Observer {
    prometheus: Prometheus,
    _folder: tempfile::TempDir,
}

impl Observer {
    /// `None`, and a visible `skipped`, where there is no Prometheus.
    fn start(targets: &[u16]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let targets: Vec<_> = targets.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let configuration = json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms" },
            "rule_files": ["alerts.yaml"],
            "scrape_configs": [{ "job_name": "rowcast", "static_configs": [{ "targets": targets }] }],
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration.to_string()).expect("it is written");
        std::fs::write(folder.path().join("alerts.yaml"), hastened_rules()).expect("it is written");
        let prometheus = Prometheus::start(&file, ([127, 0, 0, 1], free_port()).into())?;
        Some(Self { prometheus, _folder: folder })
    }

    /// The series that an expression yields.
    fn query(&self, expression: &str) -> Option<Vec<Value>> {
        self.prometheus.query(expression)
    }

    /// Names of the alerts that fire.
    fn firing(&self) -> Option<BTreeSet<String>> {
        let alerts = self.query("ALERTS{alertstate=\"firing\"}")?;
        let name = |alert: &Value| alert["metric"]["alertname"].as_str().map(str::to_owned);
        Some(alerts.iter().filter_map(name).collect())
    }

    /// Waits until these fire, whatever else does.
    fn wait_until_firing(&self, wanted: &[&str]) {
        wait_for(&format!("{wanted:?} firing"), SOON * 3, || {
            let firing = self.firing()?;
            wanted.iter().all(|name| firing.contains(*name)).then_some(())
        });
    }

    /// Waits until nothing fires.
    fn wait_until_clear(&self) {
        let mut last = BTreeSet::new();
        let deadline = std::time::Instant::now() + SOON * 4;
        loop {
            if let Some(firing) = self.firing() {
                if firing.is_empty() {
                    return;
                }
                last = firing;
            }
            assert!(std::time::Instant::now() < deadline, "still firing: {last:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Two instances of one group, a server of their own, and who watches them.
struct Watched {
    kafka: Kafka,
    server: support::Instance,
    pipeline: Pipeline,
    second_port: u16,
    prometheus: Observer,
    made: AtomicUsize,
    poison: AtomicBool,
    stop: AtomicBool,
}

impl Watched {
    fn start() -> Option<(Self, Rowcast, Rowcast)> {
        let kafka = support::requires_kafka()?;
        let server = support::requires_own_postgres()?;
        let database = Postgres::at(server.address()).database("observed");
        let topic = kafka.topic("observed", 4);
        let servers = (kafka.servers(), ", delivery.timeout.ms: 3000");
        let pipeline = Pipeline::servers_with(servers, topic, database, RULES, "");
        pipeline.create_tables();
        let second_port = free_port();
        let prometheus = Observer::start(&[pipeline.port(), second_port])?;
        let first = pipeline.start(&["run"]);
        let watched = Self {
            kafka,
            server,
            pipeline,
            second_port,
            prometheus,
            made: AtomicUsize::new(0),
            poison: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        };
        let second = watched.start_second();
        watched.pipeline.wait_until_ready(Ready::Yes);
        http::wait_for_status(second_port, "/readyz", 200, SOON);
        Some((watched, first, second))
    }

    fn start_second(&self) -> Rowcast {
        let listen = format!("http.listen=127.0.0.1:{}", self.second_port);
        self.pipeline.start(&["run", "--set", &listen])
    }

    /// Records all the time, a tenth of them poisonous while that is asked for.
    fn load(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let from = self.made.fetch_add(100, Ordering::Relaxed);
            let bad = json!({ "address": [{ "city": "A" }, { "city": "B" }] });
            let poison = self.poison.load(Ordering::Relaxed);
            let record = |n: usize| {
                let more = if poison && n.is_multiple_of(10) { bad.clone() } else { json!({}) };
                patient(&format!("p{n}"), 1, &more)
            };
            let records: Vec<_> = (from..from + 100).map(record).collect();
            self.pipeline.produce(&records);
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Does this under load.
    fn meanwhile(&self, doing: impl FnOnce()) {
        std::thread::scope(|scope| {
            let _stopping = Stopping(&self.stop);
            scope.spawn(|| self.load());
            doing();
        });
    }
}

/// Ends the load, also where an assertion fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Title and expression of each of the dashboard's queries, its variables filled in.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&dashboards("rowcast.json")).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = text(&target["expr"])
                .replace("$__rate_interval", "5s")
                // steps of subqueries, which no variable has
                .replace(":15s]", ":1s]")
                .replace("$job", "rowcast")
                .replace("$instance", ".+");
            // what shows trouble only has nothing to show while there is none
            let expression = expression.strip_suffix("> 0").unwrap_or(&expression).to_owned();
            queries.push((text(&panel["title"]), expression));
        }
    }
    queries
}

#[test]
fn every_panel_has_data_from_a_prometheus_that_scrapes_two_instances_under_load() {
    let Some((watched, _first, _second)) = Watched::start() else { return };
    watched.poison.store(true, Ordering::Relaxed);
    watched.meanwhile(|| {
        wait_for("records on both instances", SOON, || {
            let settled = "sum by (instance) (rowcast_records_settled_total) > 0";
            (watched.prometheus.query(settled)?.len() == 2).then_some(())
        });
        for (title, expression) in panels() {
            wait_for(&format!("data for {title}: {expression}"), SOON, || {
                let series = watched.prometheus.query(&expression)?;
                // what no observation has filled yet is NaN, and no data
                let filled = |series: &Value| series["value"][1] != "NaN";
                series.iter().any(filled).then_some(())
            });
        }
        let metrics = http::get(watched.pipeline.port(), "/metrics").expect("metrics").body;
        promtool(&["check", "metrics"], &metrics);
    });
}

/// Made by `make alerts-proof`, which sets `ROWCAST_ALERTS_PROOF`: it takes minutes.
#[test]
fn alerts_fire_when_their_fault_is_made_and_clear_when_it_is_mended() {
    if std::env::var_os("ROWCAST_ALERTS_PROOF").is_none() {
        eprintln!("skipped: `make alerts-proof` makes the faults");
        return;
    }
    let Some((watched, _first, mut second)) = Watched::start() else { return };
    let (prometheus, pipeline) = (&watched.prometheus, &watched.pipeline);
    watched.meanwhile(|| {
        let told = |what: &str| eprintln!("{what}");
        // the group's first assignments may count as a storm where a minute is three seconds
        std::thread::sleep(Duration::from_secs(20));
        prometheus.wait_until_clear();
        told("quiet under load");

        watched.server.stop();
        prometheus.wait_until_firing(&[
            "RowcastRetrying",
            "RowcastNotCommitting",
            "RowcastStuckPartition",
        ]);
        watched.server.start_again();
        prometheus.wait_until_clear();
        told("database stopped: fired and cleared");

        watched.poison.store(true, Ordering::Relaxed);
        prometheus.wait_until_firing(&["RowcastDeadLetters", "RowcastDeadLetterRatio"]);
        watched.poison.store(false, Ordering::Relaxed);
        prometheus.wait_until_clear();
        told("a tenth poisonous: fired and cleared");

        second.kill();
        prometheus.wait_until_firing(&["RowcastInstanceDown"]);
        second = watched.start_second();
        prometheus.wait_until_clear();
        told("an instance killed: fired and cleared");

        pipeline.execute("ALTER TABLE patient RENAME TO elsewhere");
        prometheus.wait_until_firing(&["RowcastCircuitOpen"]);
        pipeline.execute("ALTER TABLE elsewhere RENAME TO patient");
        prometheus.wait_until_clear();
        told("a table gone: fired and cleared");

        let letters = format!("{}.dead-letter", pipeline.topic());
        let most = |bytes| {
            let properties = [("max.message.bytes", bytes), ("retention.ms", "-1")];
            watched.kafka.set_properties(&letters, &properties);
        };
        most("200");
        watched.poison.store(true, Ordering::Relaxed);
        prometheus.wait_until_firing(&["RowcastDeadLetterWriteFailing"]);
        watched.poison.store(false, Ordering::Relaxed);
        most("1048588");
        prometheus.wait_until_clear();
        told("dead-letter topic unwritable: fired and cleared");

        let lost = prometheus
            .query("max_over_time(ALERTS{alertname=\"RowcastConservationViolated\"}[1h])");
        assert_eq!(lost, Some(Vec::new()), "every record had its outcome throughout");
    });
    drop(second);
}

/// Runs promtool beside the rules, which must find nothing wrong.
fn promtool(arguments: &[&str], input: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    prometheus::promtool(&folder, arguments, input);
}

#[test]
fn promtool_finds_the_alerts_right_and_sees_each_of_them_fire() {
    if !support::has_program("promtool") {
        return;
    }
    promtool(&["check", "rules", "alerts.yaml"], "");
    promtool(&["test", "rules", "alerts.test.yaml"], "");
}
