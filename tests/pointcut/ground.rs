//! POINTCUT between a server and a broker of a test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rowcast::application::CancellationToken;
use rowcast::broker::Broker;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::model::Record;
use rowcast::pointcut::{Parts, Pointcut, PointcutError};
use rowcast::telemetry::health::{Check, Health};
use rowcast::telemetry::metrics::Metrics;
use rowcast::topology::{PointcutSettings, Topology, load_with};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::server::Server;
use super::valve::Valve;
use crate::support;

pub(super) const TOKEN: &str = "canary-hook-token-1f5c";

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// An answer of the hook endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: String,
}

/// A record of the ingest topic: key, value as JSON, and the version in its header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) version: Option<String>,
}

/// Where POINTCUT runs.
pub(super) struct Ground {
    pub(super) server: Server,
    pub(super) broker: Arc<Valve>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    topology: Topology,
    _folder: tempfile::TempDir,
    running: Option<Running>,
    client: reqwest::Client,
}

struct Running {
    stop: CancellationToken,
    caught_up: CancellationToken,
    ended: JoinHandle<Result<(), PointcutError>>,
}

/// A topology with POINTCUT; `more`: YAML in its section, with a comma before.
pub(super) fn topology(server: &str, more: &str, rest: &str) -> (tempfile::TempDir, Topology) {
    let folder = tempfile::tempdir().expect("a folder");
    let port = support::free_port();
    let text = format!(
        "name: clinical\nsource:\n  topic: changes\n  pointcut: {{ server: '{server}', listen: '127.0.0.1:{port}', \
         token: '${{TOKEN}}', catch_up: 1h{more} }}\n{rest}sink: {{ url: 'sqlite://rows.db' }}\n"
    );
    std::fs::write(folder.path().join("t.yaml"), text).expect("written");
    let secret = |name: &str| (name == "TOKEN").then(|| TOKEN.to_owned());
    let loaded = load_with(&folder.path().join("t.yaml"), &[], &secret);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems:#?}"));
    (folder, loaded.topology)
}

impl Ground {
    /// Patients and Observations are followed; nothing runs yet.
    pub(super) async fn new(more: &str, rest: &str) -> Self {
        let server = Server::start();
        let (folder, topology) = topology(&server.base(), more, rest);
        let broker = EmbeddedBroker::open(folder.path().join("log.db")).await.expect("a broker");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build();
        Self {
            server,
            broker: Arc::new(Valve::before(broker)),
            metrics: Arc::default(),
            health: Arc::new(Health::of_pointcut()),
            topology,
            _folder: folder,
            running: None,
            client: client.expect("a client"),
        }
    }

    /// The same, caught up with and looked after this often; by default once an hour.
    pub(super) fn every(mut self, time: &str) -> Self {
        let pointcut = self.topology.pointcut.as_mut().expect("it is configured");
        pointcut.catch_up = humantime::parse_duration(time).expect("a time");
        self
    }

    /// The same for whoever shows no token.
    pub(super) fn without_token(mut self) -> Self {
        self.topology.pointcut.as_mut().expect("it is configured").token = None;
        self
    }

    /// Runs, with everything caught up with.
    pub(super) async fn running(more: &str, rest: &str) -> Self {
        let mut ground = Self::new(more, rest).await;
        ground.start().await;
        ground.caught_up().await;
        ground
    }

    /// Starts it.
    pub(super) async fn start(&mut self) {
        let pointcut = Pointcut::open(Parts {
            topology: self.topology.name.clone(),
            settings: self.settings().clone(),
            types: ["Observation", "Patient"].map(Arc::from).into(),
            version_from: self.topology.version_from,
            limits: self.topology.limits,
            broker: Arc::clone(&self.broker) as Arc<dyn Broker>,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
        });
        let pointcut = pointcut.await.expect("it opens");
        let stop = CancellationToken::new();
        let caught_up = pointcut.caught_up();
        let ended = tokio::spawn(pointcut.run(stop.clone()));
        self.running = Some(Running { stop, caught_up, ended });
    }

    /// Waits until every type was caught up with since the start.
    pub(super) async fn caught_up(&self) {
        let running = self.running.as_ref().expect("it runs");
        tokio::time::timeout(SOON, running.caught_up.cancelled()).await.expect("caught up");
    }

    /// Stops it in order.
    pub(super) async fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.stop.cancel();
        let ended = tokio::time::timeout(SOON, running.ended).await.expect("it ends");
        ended.expect("no panic").expect("it ends well");
    }

    /// Waits for its end by itself.
    pub(super) async fn ended(&mut self) -> Result<(), PointcutError> {
        let running = self.running.take().expect("it runs");
        let ended = tokio::time::timeout(SOON, running.ended).await.expect("it ends");
        ended.expect("no panic")
    }

    pub(super) fn settings(&self) -> &PointcutSettings {
        self.topology.pointcut.as_ref().expect("it is configured")
    }

    pub(super) fn port(&self) -> u16 {
        self.settings().listen.port()
    }

    /// A request with the token.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let json = [("Content-Type", "application/fhir+json; charset=UTF-8")];
        let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &json };
        self.send_with(method, path, headers, body).await
    }

    /// The same with headers; with the token unless they have another.
    pub(super) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port());
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.client.request(method, url).body(body.to_owned());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization")) {
            request = request.bearer_auth(TOKEN);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("it answers");
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("Retry-After").cloned();
        let retry_after = retry_after.map(|value| value.to_str().expect("text").to_owned());
        Answer { status, retry_after, body: answer.text().await.expect("a body") }
    }

    /// The records of the ingest topic, in no order across partitions.
    pub(super) async fn records(&self) -> Vec<Seen> {
        self.read("changes").await.iter().map(seen).collect()
    }

    /// The records of a topic.
    pub(super) async fn read(&self, topic: &str) -> Vec<Record> {
        let mut reader = self.broker.reader(topic).await.expect("a reader");
        let mut all = Vec::new();
        while let Some(records) = reader.next().await.expect("records") {
            all.extend(records);
        }
        all
    }

    /// Versions of a resource in the topic, sorted: of documents and, with a `-`, of deletes.
    pub(super) async fn versions(&self, key: &str) -> Vec<i64> {
        let records = self.records().await;
        let mut versions: Vec<i64> =
            records.iter().filter(|seen| seen.key == key).map(Seen::signed_version).collect();
        versions.sort_by_key(|version| version.abs());
        versions
    }

    /// A metric's sum.
    pub(super) fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let value = support::metrics::value(&self.metrics.exposition(), name, labels);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts
        let count = value.unwrap_or_else(|| panic!("{name} {labels:?}")) as usize;
        count
    }

    /// How often hooks were answered so.
    pub(super) fn answered(&self, answer: &str) -> usize {
        self.count("rowcast_pointcut_requests_total", &[("answer", answer)])
    }

    /// Whether a check holds.
    pub(super) fn is_well(&self, check: Check) -> bool {
        self.health.readiness().checks.get(&check).is_some_and(|state| state.ok)
    }

    /// Waits until this is so.
    pub(super) async fn until(&self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !is_so(self).await {
            assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn seen(record: &Record) -> Seen {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    Seen {
        key: text(record.key.as_deref().expect("a key")),
        value: record.value.as_deref().map(text),
        version: record.header("rowcast.version").map(str::to_owned),
    }
}

impl Seen {
    fn signed_version(&self) -> i64 {
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let Some(value) = &self.value else {
            return -number(self.version.as_deref().expect("no delete without a version"));
        };
        let document: Value = serde_json::from_str(value).expect("a document");
        let version = document.pointer("/meta/versionId").and_then(Value::as_str);
        number(version.expect("a version"))
    }
}
