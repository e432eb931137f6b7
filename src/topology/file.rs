//! The topology file as written.
//!
//! In: the keys and defaults an operator may write. Out: the JSON Schema for editors and for the
//! structural check, whose descriptions are the doc comments below. Nothing here is judged beyond
//! its shape; `resolve` makes valid values of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema as schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::avro::{AvroFile, SchemaRegistryFile};
use super::pointcut::PointcutFile;
use super::retry::RetryFile;
use super::secret::Secret;
use crate::problem;
use crate::source::{Format, VersionFrom};

/// What one rowcast process does: read a topic, make rows, write a database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "rowcast topology")]
pub(super) struct TopologyFile {
    /// Name of the topology and of its consumer group: instances with the same name share the
    /// partitions. Letters, digits, `.`, `_`, `-`; at most 249 characters, which is what Kafka
    /// takes everywhere.
    #[schemars(length(min = 1, max = 249), regex(pattern = "^[A-Za-z0-9._-]+$"))]
    pub name: String,
    /// Where records come from.
    pub source: SourceFile,
    /// What becomes of a change.
    #[serde(default)]
    pub transform: TransformFile,
    /// Where rows go.
    pub sink: SinkFile,
    /// Where records go that cannot be written.
    #[serde(default)]
    pub dead_letter: DeadLetterFile,
    /// A second way for records whose refusal may heal by itself: they wait in a topic of their own
    /// and are tried again, before they become dead letters. Absent: off, and they are dead letters
    /// at once. `retry: {}` turns it on; it needs the right to a topic and a consumer group more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryFile>,
    /// How many records are written in one transaction.
    #[serde(default)]
    pub batch: BatchFile,
    /// Metrics and health checks.
    #[serde(default)]
    pub http: HttpFile,
    /// Log lines on standard error.
    #[serde(default)]
    pub log: LogFile,
}

/// Where records come from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceFile {
    /// Any librdkafka property, handed over as it is; `bootstrap.servers` is required. Without
    /// `kafka` the embedded broker is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<BTreeMap<String, KafkaValue>>,
    /// The embedded broker: one file, one process, for trying out and tests. Not beside `kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedded: Option<EmbeddedFile>,
    /// A FHIR server whose changes fill the topic. Absent: others fill it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointcut: Option<PointcutFile>,
    /// Topic with the changes, or a regular expression that begins with `^`. This or `topics`.
    /// Default `changes` with `pointcut` and the embedded broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub topic: Option<String>,
    /// Several topics, each with what is particular to it. This or `topic`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicFile>,
    /// Whether records are keyed by resource, so that one partition holds all changes of a resource.
    /// Default true. False for topics that are keyed otherwise or not at all: writers then lock whole
    /// tables while they write deletes, and deletes without version are not right.
    #[serde(default = "default_keyed")]
    pub keyed: bool,
    /// What the records look like. `auto` decides for each record, so that a topic may change its
    /// producer.
    #[serde(default)]
    pub format: Format,
    /// Which columns of a table that Debezium captures say what. Without, its events are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debezium: Option<DebeziumFile>,
    /// The schema registry that knows the schemas of Avro records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_registry: Option<SchemaRegistryFile>,
    /// What Avro records hold, and schemas from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avro: Option<AvroFile>,
    /// Largest record value, in bytes or with a unit. Default 16MiB: far above any resource seen
    /// (2.1 MB), far below what harms memory. Larger ones are dead-lettered as `too_large`.
    #[serde(default = "default_record_bytes")]
    pub max_record_bytes: Size,
    /// Deepest nesting of objects and arrays in a document, in levels. Default 128: no FHIR
    /// resource needs more. Deeper ones are dead-lettered as `too_deep`.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 8, max = 512))]
    pub max_depth: u16,
}

/// The embedded broker.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmbeddedFile {
    /// File of the log, relative to the topology file. Default `rowcast-log.db`.
    #[serde(default = "default_log_path")]
    #[schemars(length(min = 1))]
    pub path: String,
}

impl Default for EmbeddedFile {
    fn default() -> Self {
        Self { path: default_log_path() }
    }
}

/// A topic of several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicFile {
    /// The topic, or a regular expression that begins with `^`. Of several entries that fit a
    /// topic the first counts.
    #[schemars(length(min = 1, max = 249))]
    pub topic: String,
    /// What its records look like. Default: `source.format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What a change's version is taken from. Default: `transform.version.from`. Topics that hold
    /// changes of the same resource need the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_from: Option<VersionFrom>,
    /// Which columns of its rows say what. Default: `source.debezium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debezium: Option<DebeziumFile>,
    /// What its Avro records hold; `{}`: the resource, or another format, as a whole. Default:
    /// `source.avro`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avro: Option<AvroFile>,
}

/// Which columns of a table that Debezium captures say what.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DebeziumFile {
    /// The column that holds the document: JSON text or an object.
    #[schemars(length(min = 1))]
    pub document: String,
    /// The resource type: a type that FHIR knows is meant as such, anything else is a column.
    /// Without, only the document tells it, and deletes need a table whose replica identity is
    /// full.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub resource_type: Option<String>,
    /// The column that holds the logical id. Without, only the document tells it, and deletes need
    /// a table whose replica identity is full. One that contradicts the document is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub id: Option<String>,
    /// The column with what `transform.version.from` asks for: a whole number, or an instant for
    /// `last_updated`. Default: the document's own. Log positions are no versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub version: Option<String>,
}

/// What becomes of a change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TransformFile {
    /// Rules files, as paths or glob patterns relative to the topology file. All of them together
    /// are the rules. Only a program that embeds rowcast with a transformer of its own may do
    /// without.
    #[serde(default)]
    #[schemars(inner(length(min = 1)))]
    pub rules: Vec<String>,
    /// How changes of one resource are ordered.
    #[serde(default)]
    pub version: VersionFile,
}

/// How changes of one resource are ordered.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionFile {
    /// What a change's version is taken from; a larger one wins. Default `version_id`, which
    /// servers that count their versions have.
    #[serde(default)]
    pub from: VersionFrom,
}

/// Where rows go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkFile {
    /// The database: `postgres://user@host:5432/database`, `mysql://user@host:3306/database`
    /// (`mariadb://` is the same) or `sqlite://file.db` (relative to the topology file). Take the
    /// password from `${VAR}` or `${file:PATH}`.
    pub url: Secret,
    /// Connections to the database, and so transactions at a time: a partition that writes uses
    /// one, the others wait their turn. Default: as many as this machine has processors, at least
    /// 2 and at most 16. SQLite always has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub connections: Option<u16>,
    /// Longest wait for a connection: TCP, TLS and login together. Default 5s.
    #[serde(default = "default_connect_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub connect_timeout: String,
    /// Longest time of one statement, after which the server gives it up; we wait 10s longer for
    /// its answer, and then give the connection up: its peer may have vanished. Default 30s.
    #[serde(default = "default_statement_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub statement_timeout: String,
    /// Longest wait of a statement for a lock. Default 10s.
    #[serde(default = "default_lock_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub lock_timeout: String,
    /// Longest silence within a transaction, after which the server ends the session and gives its
    /// locks back: a process that stands still must not hold its successor up. Default 20s: below
    /// the 45s after which Kafka gives its partitions to another, who then finds them free.
    #[serde(default = "default_idle_in_transaction_session_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub idle_in_transaction_session_timeout: String,
    /// Silence of a connection after which the server asks, by TCP, whether we are there: three
    /// times, 10s apart (PostgreSQL only). Default 30s.
    #[serde(default = "default_tcp_keepalive")]
    #[schemars(extend("examples" = ["5s"]))]
    pub tcp_keepalive: String,
}

/// Where records go that cannot be written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetterFile {
    /// Topic of the dead letters. Default: the source's topic with `.dead-letter` appended;
    /// required if that is a regular expression, or with several topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Compacted topic of what became of each letter: replayed, discarded, refused again. Default:
    /// the dead-letter topic with `.status` appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_topic: Option<String>,
    /// Replays after which a letter that is refused every time is quarantined: left out of replays
    /// unless it is named. Default 5.
    #[serde(default = "default_replays")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replays: u32,
    /// Share of recent changes, above 0 and up to 1, that may be refused with one cause before
    /// the partition pauses instead: a systemic fault must not drain the topic into the
    /// dead-letter topic. Default 0.5.
    #[serde(default = "default_ratio")]
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0, "examples" = [0.5]))]
    pub max_ratio: f64,
}

impl Default for DeadLetterFile {
    fn default() -> Self {
        Self {
            topic: None,
            status_topic: None,
            max_replays: default_replays(),
            max_ratio: default_ratio(),
        }
    }
}

/// How many records are written in one transaction: whichever bound is met first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchFile {
    /// Most records in a batch. Default 2000: measured, larger ones gain little, and a refused
    /// record in them takes longer to isolate.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 1, max = 100_000))]
    pub rows: u32,
    /// Most bytes of record values in a batch. Default 4MiB; memory is bounded by two batches for
    /// each partition.
    #[serde(default = "default_batch_bytes")]
    pub bytes: Size,
    /// Longest wait for a batch to fill, with a unit: `50ms`, `1s`. Default 50ms, which nobody
    /// who looks at a table notices. A batch waits less while settling one takes less than a
    /// quarter of that: batches are small and soon under light load, large under a backlog.
    #[serde(default = "default_linger")]
    #[schemars(extend("examples" = ["50ms"]))]
    pub linger: String,
}

impl Default for BatchFile {
    fn default() -> Self {
        Self { rows: default_rows(), bytes: default_batch_bytes(), linger: default_linger() }
    }
}

/// Metrics and health checks over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpFile {
    /// Address and port to listen on. Default 127.0.0.1:9464: on this machine only. Any other
    /// address needs a `token`.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Bearer token that callers of `/metrics` must show; the probes never ask. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for HttpFile {
    fn default() -> Self {
        Self { listen: default_listen(), token: None }
    }
}

/// Log lines on standard error.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogFile {
    /// How lines look. Default `auto`.
    #[serde(default)]
    pub format: LogFormat,
    /// Let the troubleshooting log, at TRACE, show the values that are written, with keys and
    /// resource ids: patient data then stands in the log. Default false: kinds and lengths alone.
    #[serde(default)]
    pub reveal_bind_values: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `human` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// For eyes.
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

/// A number of bytes as written: `4MiB`, `500 kB`, `1048576`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    /// Bytes.
    Bytes(u64),
    /// A number with a unit.
    Text(String),
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema!({ "type": ["string", "integer"], "minimum": 1 })
    }
}

/// The value of a librdkafka property as YAML reads it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum KafkaValue {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Whole(i64),
    /// Text, or whatever was in quotes.
    Text(String),
    /// A number too large for YAML to keep its digits: refused later, with advice to quote it.
    Other(IgnoredAny),
}

/// May be a password: debug output shows nothing of it.
impl std::fmt::Debug for KafkaValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(super::secret::REDACTED)
    }
}

/// May be a password: shown as `***`. The harmless ones are put in by `resolve`.
impl Serialize for KafkaValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(super::secret::REDACTED)
    }
}

impl JsonSchema for KafkaValue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "KafkaValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema!({ "type": ["string", "boolean", "integer"] })
    }
}

/// The JSON Schema (draft 2020-12) of the topology file: for editors, and what the structural
/// check checks against.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    problem::Schema::of::<TopologyFile>().document().clone()
}

fn default_record_bytes() -> Size {
    Size::Text("16MiB".into())
}

const fn default_keyed() -> bool {
    true
}

const fn default_depth() -> u16 {
    128
}

pub(super) fn default_log_path() -> String {
    "rowcast-log.db".into()
}

fn default_connect_timeout() -> String {
    "5s".into()
}

fn default_statement_timeout() -> String {
    "30s".into()
}

fn default_lock_timeout() -> String {
    "10s".into()
}

fn default_idle_in_transaction_session_timeout() -> String {
    "20s".into()
}

fn default_tcp_keepalive() -> String {
    "30s".into()
}

const fn default_replays() -> u32 {
    5
}

const fn default_ratio() -> f64 {
    0.5
}

const fn default_rows() -> u32 {
    2000
}

fn default_batch_bytes() -> Size {
    Size::Text("4MiB".into())
}

fn default_linger() -> String {
    "50ms".into()
}

fn default_listen() -> String {
    "127.0.0.1:9464".into()
}
