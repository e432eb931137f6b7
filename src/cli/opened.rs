//! A topology file opened for a command: loaded, rules compiled, its parts built.

use std::sync::Arc;

use super::{Failure, TopologyArguments};
use crate::broker::Broker;
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::kafka::KafkaBroker;
use crate::model::ColumnSource;
use crate::plan::Dialect;
use crate::sink::{DatabaseKind, SqlSink, TaskIdentity};
use crate::source::{DecodeSettings, Decoder, VersionFrom};
use crate::topology::{BrokerChoice, Topology, load};
use crate::transform::{RuleSet, Transformer as _};

/// A valid topology with its compiled rules.
pub(super) struct Opened {
    /// The topology.
    pub topology: Topology,
    /// Its rules.
    pub rules: Arc<RuleSet>,
    /// What works but should be mended.
    pub warnings: Vec<String>,
    /// Which database the sink is.
    pub database: DatabaseKind,
}

impl Opened {
    /// Loads the file and compiles the rules; all problems of both at once.
    pub(super) fn load(arguments: &TopologyArguments) -> Result<Self, Failure> {
        let loaded = load(&arguments.topology, &arguments.settings)
            .map_err(|problems| Failure::problems(&problems))?;
        let topology = loaded.topology;
        let rules =
            RuleSet::load(&topology.rules).map_err(|problems| Failure::problems(&problems))?;
        version_is_the_guard(&rules, topology.version_from)?;
        let database = DatabaseKind::of_url(topology.sink.url.expose()).ok_or_else(|| {
            Failure::configuration(&[
                "sink.url: not a postgres://, mysql:// or sqlite:// URL".to_owned()
            ])
        })?;
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(Self { topology, rules: Arc::new(rules), warnings, database })
    }

    /// Says the warnings on stderr.
    pub(super) fn warn(&self) {
        for warning in &self.warnings {
            eprintln!("warning: {warning}");
        }
    }

    /// The broker; Kafka is not contacted yet.
    pub(super) async fn broker(&self) -> Result<Arc<dyn Broker>, Failure> {
        Ok(match &self.topology.broker {
            BrokerChoice::Kafka(properties) => {
                let broker = KafkaBroker::new(properties.clone());
                Arc::new(
                    broker.map_err(|error| {
                        Failure::configuration(&[format!("source.kafka: {error}")])
                    })?,
                )
            }
            BrokerChoice::Embedded { path } => Arc::new(EmbeddedBroker::open(path).await?),
        })
    }

    /// The database, connected, its schema not yet compared.
    pub(super) async fn sink(&self, cluster_id: &str) -> Result<SqlSink, crate::sink::SinkError> {
        let identity =
            TaskIdentity { cluster_id: cluster_id.to_owned(), name: self.topology.name.clone() };
        SqlSink::connect(
            self.topology.sink.url.expose(),
            u32::from(self.topology.sink.connections),
            Arc::new(self.rules.catalog().clone()),
            identity,
        )
        .await
    }

    /// Records to changes, as the topology says.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(DecodeSettings {
            format: self.topology.format,
            version_from: self.topology.version_from,
            limits: self.topology.limits,
        })
    }

    /// The sink's dialect.
    pub(super) fn dialect(&self) -> &'static dyn Dialect {
        self.database.dialect()
    }
}

/// A mapped `version` column is filled from `meta.versionId`; what guards must be what is stored.
fn version_is_the_guard(rules: &RuleSet, from: VersionFrom) -> Result<(), Failure> {
    if from == VersionFrom::VersionId {
        return Ok(());
    }
    let roots = rules.catalog().roots.iter();
    let mapped = roots.flat_map(|root| &root.root().columns).filter_map(|column| match &column.source {
        ColumnSource::Rule { rule, .. } if &*column.name == "version" => Some(format!(
            "{rule}: `version` may be mapped only with transform.version.from: version_id; leave the column out and rowcast fills it"
        )),
        _ => None,
    });
    let problems: Vec<String> = mapped.collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure::configuration(&problems)) }
}
