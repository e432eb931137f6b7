//! A topology, opened and run: what `rowcast run` does, and what a program that embeds rowcast
//! does with [`Transformer`]s of its own.
//!
//! In: a topology file and transformers. Out: rows in step with the ingest topic. It installs no
//! log and handles no signal, because the process belongs to whoever embeds it.

mod error;
mod feed;
mod pointcut;
mod start;
mod topics;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::ApplicationError;
pub use feed::{Batch, Feed};
use tokio::runtime::{Handle, RuntimeFlavor};
pub use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::kafka::KafkaBroker;
use crate::error::messages;
use crate::model::{Catalog, ColumnSource, Record};
use crate::plan::{Dialect, ForeignKeys, creating};
use crate::problem::Problem;
use crate::registry::{Registry, RegistryError};
use crate::sink::{DatabaseKind, DatabaseSchema, SinkError, SqlSink, TaskIdentity};
use crate::source::{AvroSchema, Decoder, FileFault, Schemas, VersionFrom};
use crate::topology::{self, BrokerChoice, Setting, SourceTopic, Topology};
use crate::transform::{RuleSet, Transformer, Transformers};

/// A topology with everything that fills its tables. Nothing is connected to until it is asked
/// for.
pub struct Application {
    /// The topology file as it was named.
    file: String,
    topology: Topology,
    rules: Arc<RuleSet>,
    /// The rules and what was brought besides, as one.
    transformer: Arc<dyn Transformer>,
    warnings: Vec<Problem>,
    database: DatabaseKind,
    schemas: Arc<Schemas>,
    registry: Option<Arc<Registry>>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl Application {
    /// Loads a topology file and compiles its rules, if it names any.
    ///
    /// # Errors
    /// [`ApplicationError::Configuration`] with every problem of the topology, or else of the
    /// rules.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ApplicationError> {
        Self::load_with(path, &[])
    }

    /// The same, with settings that override the file's.
    ///
    /// # Errors
    /// As [`Application::load`].
    pub fn load_with(
        path: impl AsRef<Path>,
        settings: &[Setting],
    ) -> Result<Self, ApplicationError> {
        let file = path.as_ref().display().to_string();
        let loaded =
            topology::load(path.as_ref(), settings).map_err(ApplicationError::Configuration)?;
        let topology = loaded.topology;
        let rules = RuleSet::load(&topology.rules).map_err(ApplicationError::Configuration)?;
        let rules = Arc::new(rules);
        let database = DatabaseKind::of_url(topology.sink.url.expose()).ok_or_else(|| {
            let problem =
                Problem::new(&file, "/sink/url", "not a postgres://, mysql:// or sqlite:// URL");
            ApplicationError::Configuration(vec![problem])
        })?;
        let schemas = Arc::new(schemas(&topology).map_err(ApplicationError::Configuration)?);
        let registry = topology.schema_registry.as_ref().map(|settings| {
            Registry::new(settings, Arc::clone(&schemas)).map(Arc::new).map_err(|error| {
                let place = "/source/schema_registry/ca";
                let problem = Problem::new(&file, place, messages(&error).join(": "));
                ApplicationError::Configuration(vec![problem])
            })
        });
        Ok(Self {
            schemas,
            registry: registry.transpose()?,
            transformer: Arc::clone(&rules) as Arc<dyn Transformer>,
            file,
            topology,
            rules,
            warnings: loaded.warnings,
            database,
        })
    }

    /// The same with another transformer beside the rules and those brought before.
    #[must_use]
    pub fn transformer(mut self, transformer: impl Transformer + 'static) -> Self {
        let before = std::mem::replace(&mut self.transformer, Arc::new(transformer));
        if !before.catalog().roots.is_empty() {
            let both = [before, self.transformer];
            self.transformer = Arc::new(Transformers::new(both));
        }
        self
    }

    /// Looks for everything that can be known to be wrong without a connection. What connects
    /// does so by itself.
    ///
    /// # Errors
    /// [`ApplicationError::Configuration`]: no table at all, a table filled twice, a mapped
    /// `version` that is not the guard.
    pub fn check(&self) -> Result<(), ApplicationError> {
        let mut problems = Vec::new();
        let roots = &self.catalog().roots;
        if roots.is_empty() {
            let message = "is required, because no other transformer was brought";
            problems.push(Problem::new(&self.file, "/transform/rules", message));
        }
        let mut filled: HashMap<String, &str> = HashMap::new();
        for root in roots {
            for table in root.declared_tables() {
                // databases differ in whether case counts
                let name = table.name.to_string().to_lowercase();
                if let Some(first) = filled.insert(name, &root.rule) {
                    let message = format!("`{}` is filled by {first} already", table.name);
                    problems.push(Problem::new(&*root.rule, "", message));
                }
            }
            let by_version_id = |topic: &SourceTopic| topic.version_from == VersionFrom::VersionId;
            if !self.topology.topics.iter().all(by_version_id) {
                problems.extend(root.root().columns.iter().filter_map(|column| {
                    let ColumnSource::Rule { rule, .. } = &column.source else { return None };
                    (&*column.name == "version").then(|| Problem::new(&**rule, "", MAPPED_VERSION))
                }));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(ApplicationError::Configuration(problems)) }
    }

    /// Creates the tables that are missing, of all transformers and those that rowcast keeps its
    /// books in: for trying out and tests. `rowcast schema` prints the same DDL for databases of
    /// consequence, and `rowcast schema apply` completes them.
    ///
    /// # Errors
    /// As [`Application::check`]; [`ApplicationError::Sink`] if a table cannot be made.
    pub async fn create_tables(&self) -> Result<(), ApplicationError> {
        self.check()?;
        let schema = self.schema()?;
        let mut missing = schema.compare(ForeignKeys::default()).await?;
        missing.retain(|problem| problem.column.is_none());
        schema.execute(&creating(&missing)).await.map_err(|unfinished| unfinished.error)?;
        schema.close().await;
        Ok(())
    }

    /// Opens the ingest topic for appending; it is made if it is not there.
    ///
    /// # Errors
    /// [`ApplicationError::Broker`]; [`ApplicationError::Configuration`] if `source.topic` is a
    /// pattern, or there are several topics.
    pub async fn feed(&self) -> Result<Feed, ApplicationError> {
        let Some(topic) = self.topology.only_topic() else {
            let message = "is a pattern or one of several; appending needs the name of a topic";
            let problem = Problem::new(&self.file, "/source/topic", message);
            return Err(ApplicationError::Configuration(vec![problem]));
        };
        self.feed_of(topic).await
    }

    /// Opens a topic for appending; it is made if it is not there.
    ///
    /// # Errors
    /// [`ApplicationError::Broker`]; [`ApplicationError::Configuration`] if the topology does not
    /// read this topic.
    pub async fn feed_of(&self, topic: &str) -> Result<Feed, ApplicationError> {
        if !self.topology.topics.iter().any(|read| read.selector.selects(topic)) {
            let message = format!("does not read `{topic}`");
            let problem = Problem::new(&self.file, "/source", message);
            return Err(ApplicationError::Configuration(vec![problem]));
        }
        Ok(Feed::open(&*self.broker().await?, topic).await?)
    }

    /// Keeps the rows in step with the topic until `stop`, or, with `until_idle`, until
    /// everything is settled, nothing waits for a retry, and nothing arrived for that long. Waits
    /// for broker and database to be there.
    ///
    /// # Errors
    /// As [`Application::check`]; [`ApplicationError::Schema`] if the live tables do not fit;
    /// [`ApplicationError::SingleThreaded`] on a runtime without worker threads;
    /// [`ApplicationError::Run`] if a task panics. What heals by itself is waited out.
    pub async fn run(
        &self,
        until_idle: Option<Duration>,
        stop: CancellationToken,
    ) -> Result<(), ApplicationError> {
        self.check()?;
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err(ApplicationError::SingleThreaded);
        }
        start::run(self, until_idle, stop).await
    }

    /// [`Application::run`] until idle.
    ///
    /// # Errors
    /// As [`Application::run`].
    pub async fn run_until_idle(&self, idle: Duration) -> Result<(), ApplicationError> {
        self.run(Some(idle), CancellationToken::new()).await
    }

    /// The topology.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The topology's rules; empty if it names none.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Changes to rows: the rules and what was brought besides.
    #[must_use]
    pub const fn transform(&self) -> &Arc<dyn Transformer> {
        &self.transformer
    }

    /// The tables of all transformers.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        self.transformer.catalog()
    }

    /// What decides the rows of each root of the catalog, as hashes.
    #[must_use]
    pub fn rules_hashes(&self) -> Vec<String> {
        let roots = 0..self.catalog().roots.len();
        roots.map(|root| self.transformer.rules_hash(root)).collect()
    }

    /// What works but should be mended.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The sink's dialect.
    #[must_use]
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.database.dialect()
    }

    /// Records to changes, as the topology says. What [`Application::bring_schemas`] brought, it
    /// knows.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        self.topology.decoder().with_schemas(Arc::clone(&self.schemas))
    }

    /// Brings the schemas that these records name: to be done before they are decoded. Tries for
    /// half a minute while the schema registry is away; without one there is nothing to do.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn bring_schemas(&self, records: &[Record]) -> Result<(), RegistryError> {
        match &self.registry {
            Some(registry) => registry.bring_or_give_up(records).await,
            None => Ok(()),
        }
    }

    /// The schema registry, if the topology names one.
    pub(crate) const fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// The broker; Kafka is not contacted yet.
    ///
    /// # Errors
    /// [`ApplicationError::Configuration`] if Kafka's client refuses a property,
    /// [`ApplicationError::Broker`] if the embedded broker's file cannot be opened.
    pub async fn broker(&self) -> Result<Arc<dyn Broker>, ApplicationError> {
        Ok(match &self.topology.broker {
            BrokerChoice::Kafka(properties) => {
                let broker = KafkaBroker::new(properties.clone()).map_err(|error| {
                    let problem = Problem::new(&self.file, "/source/kafka", error.to_string());
                    ApplicationError::Configuration(vec![problem])
                })?;
                Arc::new(broker)
            }
            BrokerChoice::Embedded { path } => Arc::new(EmbeddedBroker::open(path).await?),
        })
    }

    /// The database, to compare its schema with the tables of all transformers; not contacted yet.
    ///
    /// # Errors
    /// [`SinkError`] if the URL cannot be used.
    pub fn schema(&self) -> Result<DatabaseSchema, SinkError> {
        DatabaseSchema::open(self.topology.sink.url.expose(), Arc::new(self.catalog().clone()))
    }

    /// The database, connected, its schema not yet compared. `cluster_id`: the broker's, which
    /// tells its topics from another's of the same name.
    ///
    /// # Errors
    /// [`SinkError`] if it cannot be reached or refuses us.
    pub async fn sink(&self, cluster_id: &str) -> Result<SqlSink, SinkError> {
        let identity =
            TaskIdentity { cluster_id: cluster_id.to_owned(), name: self.topology.name.clone() };
        let sink = SqlSink::connect_with(
            self.topology.sink.url.expose(),
            self.topology.sink.connections,
            Arc::new(self.catalog().clone()),
            identity,
        );
        Ok(sink.await?.with_keying(self.topology.keying).revealing(self.topology.reveal))
    }
}

/// What guards must be what is stored.
const MAPPED_VERSION: &str = "`version` may be mapped only with transform.version.from: \
                              version_id; leave the column out and rowcast fills it";

/// The schemas of the topology's files, and room for those of its registry.
fn schemas(topology: &Topology) -> Result<Schemas, Vec<Problem>> {
    let files = &topology.avro_schemas;
    let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
    let compiled = AvroSchema::parse_all(&texts).map_err(|FileFault { place, fault }| {
        let named = place.and_then(|place| files.get(place));
        let name = named.map_or("source.avro.schemas", |(name, _)| name.as_str());
        vec![Problem::new(name, "", format!("cannot be used: {fault}"))]
    })?;
    let schemas = Schemas::new(compiled);
    Ok(if topology.schema_registry.is_some() { schemas.with_registry() } else { schemas })
}
