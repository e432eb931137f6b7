//! The declared topology: from the file as written to values the stages take.
//!
//! In: a YAML file, `--set`s and the environment. Out: a [`Topology`] in which nothing is left to
//! doubt, or every [`Problem`](crate::problem::Problem) at once, each with its place. It never
//! connects to anything, never compiles rules, and never lets a secret into a message: values that
//! may be secret are [`Secret`]s, and problems name paths and kinds only.

mod avro;
mod database_url;
mod describe;
mod fhir_server;
mod file;
mod interpolate;
mod kafka;
mod load;
mod pointcut;
mod resolve;
mod retry;
mod secret;
mod server_auth;
mod set;
mod structure;
mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::dead_letter::RetryPolicy;
use crate::model::{DocumentLimits, Reveal, TopicSelector};
use crate::sink::{ConnectionSettings, Keying};
use crate::source::{AvroFields, DebeziumColumns, DecodeSettings, Decoder, Format, VersionFrom};

pub use avro::{RegistryCredentials, SchemaRegistrySettings};
pub use describe::{DescribedStage, Description, StageKind};
pub use fhir_server::{FhirServerAuth, FhirServerSettings};
pub use file::{LogFormat, json_schema};
pub use interpolate::secret;
pub use load::{Loaded, load, load_with};
pub use pointcut::{PointcutBegin, PointcutSettings};
pub use secret::{REDACTED, Secret};
pub use set::{Setting, SettingError};

/// A topology fit to run. Made by [`load`] only.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Name, and consumer group.
    pub name: String,
    /// The log that is read and that takes dead letters.
    pub broker: BrokerChoice,
    /// The topics that are read, at least one. Of several that fit a topic the first counts.
    pub topics: Vec<SourceTopic>,
    /// Whether one partition holds all changes of a resource.
    pub keying: Keying,
    /// The FHIR server whose changes fill a topic, if there is one.
    pub pointcut: Option<PointcutSettings>,
    /// Who knows the schemas of Avro records, whatever their topic.
    pub schema_registry: Option<SchemaRegistrySettings>,
    /// Files with Avro schemas: the name to show and the text, not yet compiled.
    pub avro_schemas: Vec<(String, String)>,
    /// What orders the changes of one resource, where its topic does not say otherwise.
    pub version_from: VersionFrom,
    /// Bounds of a document.
    pub limits: DocumentLimits,
    /// Rules files in the order of their patterns, then by name: the name to show (relative to the
    /// topology file, with `/`) and the text, not yet compiled.
    pub rules: Vec<(String, String)>,
    /// The database.
    pub sink: SinkSettings,
    /// Where refused records go, and when not.
    pub dead_letter: DeadLetterSettings,
    /// Where refused records wait that may heal by themselves; `None`: nowhere.
    pub retry: Option<RetrySettings>,
    /// Bounds of a batch.
    pub batch: BatchSettings,
    /// Where metrics and health are served.
    pub http: HttpSettings,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What the troubleshooting log may show.
    pub reveal: Reveal,
    /// The whole configuration with its defaults, secrets shown as `***`: to be printed.
    pub effective: serde_json::Value,
    /// SHA-256, as 64 hexadecimal digits, of `effective` and the rules: tells which configuration
    /// made a dead letter. Does not depend on the folder the file lies in, or on secrets.
    pub config_hash: String,
}

impl Topology {
    /// The topic, if there is but one and it is named: what feeding appends to.
    #[must_use]
    pub fn only_topic(&self) -> Option<&str> {
        match self.topics.as_slice() {
            [only] => only.selector.name(),
            _ => None,
        }
    }

    /// Records to changes, but for Avro, whose schemas are not compiled yet.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        let of = |topic: &SourceTopic| DecodeSettings {
            format: topic.format,
            version_from: topic.version_from,
            limits: self.limits,
            debezium: topic.debezium.clone(),
            avro: topic.avro.clone(),
        };
        let first = self.topics.first().map(of).unwrap_or_default();
        let own = |topic: &SourceTopic| (topic.selector.clone(), of(topic));
        let topics: Vec<_> = self.topics.iter().map(own).collect();
        let differ = topics.iter().any(|(_, settings)| *settings != first);
        // most topologies read all their records alike, and need not ask for each where it is from
        Decoder::new(first).with_topics(if differ { topics } else { Vec::new() })
    }
}

/// A topic that is read, or a pattern of topics.
#[derive(Debug, Clone)]
pub struct SourceTopic {
    /// Which.
    pub selector: TopicSelector,
    /// What its records look like.
    pub format: Format,
    /// What orders the changes of one resource.
    pub version_from: VersionFrom,
    /// Which columns of Debezium's rows say what.
    pub debezium: Option<Arc<DebeziumColumns>>,
    /// Where an Avro record has its document, if it is not the document itself.
    pub avro: Option<Arc<AvroFields>>,
}

/// Which log.
#[derive(Clone, PartialEq, Eq)]
pub enum BrokerChoice {
    /// Apache Kafka, with librdkafka's properties. Some of them are secrets.
    Kafka(BTreeMap<String, String>),
    /// The embedded broker.
    Embedded {
        /// Its file.
        path: PathBuf,
    },
}

impl BrokerChoice {
    /// The name for descriptions and logs: the bootstrap servers or the file.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Kafka(properties) => {
                let servers = kafka::bootstrap_servers(properties).unwrap_or_default();
                format!("kafka {servers}")
            }
            Self::Embedded { path } => format!("embedded {}", path.display()),
        }
    }
}

/// Properties that are not known to be harmless are shown by their names.
impl fmt::Debug for BrokerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kafka(properties) => {
                f.write_str("Kafka")?;
                f.debug_map().entries(kafka::harmless(properties)).finish()
            }
            Self::Embedded { path } => f.debug_struct("Embedded").field("path", path).finish(),
        }
    }
}

/// The database to write to.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    /// `postgres://…`, `mysql://…` or `sqlite://…`; a relative SQLite file was resolved.
    pub url: Secret,
    /// How many connections, and how long anything on them may take.
    pub connections: ConnectionSettings,
}

impl SinkSettings {
    /// The database without user, password and options: for descriptions and logs.
    #[must_use]
    pub fn shown(&self) -> String {
        database_url::shown(&self.url)
    }

    /// How many transactions at a time there are in effect: a file has one writer, whatever is set.
    #[must_use]
    pub fn transactions(&self) -> u32 {
        if database_url::is_file(&self.url) { 1 } else { self.connections.connections }
    }
}

/// Where refused records go.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterSettings {
    /// Topic; never one that the source reads.
    pub topic: String,
    /// Compacted topic of what became of each letter; neither of the other two.
    pub status_topic: String,
    /// Replays after which a letter that is refused every time is quarantined; at least 1.
    pub max_replays: u32,
    /// Above 0, up to 1: the share of recent changes that may be refused with one cause.
    pub max_ratio: f64,
}

/// Where refused records wait to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Topic; neither read by the source nor the dead letters'.
    pub topic: String,
    /// Which, when and how often.
    pub policy: RetryPolicy,
}

/// Bounds of a batch: whichever is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Records, at least 1.
    pub rows: usize,
    /// Bytes of record values.
    pub bytes: usize,
    /// Longest wait for it to fill.
    pub linger: Duration,
}

/// Where metrics and health are served.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Address to listen on; with a token if it is not a loopback address.
    pub listen: SocketAddr,
    /// Bearer token to be shown by callers.
    pub token: Option<Secret>,
}
