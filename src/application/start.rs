//! The start of a run: what is waited for before the first record, and how the stages are put
//! together.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::{CancellationToken, DropGuard};

use super::pointcut::Beside;
use super::{Application, ApplicationError, topics};
use crate::broker::{Begin, Broker, BrokerError, ConsumerSettings, TopicSettings};
use crate::dead_letter::{Letterhead, RetryQueue};
use crate::error::{ErrorClass, messages};
use crate::model::resource_type_label;
use crate::plan::{ProblemKind, SchemaProblem, Severity};
use crate::retry::Backoff;
use crate::runtime::{self, BatchLimits, RetryStage, Stages};
use crate::sink::{Claim, SinkError, SqlSink};
use crate::telemetry::health::{Check, Health};
use crate::telemetry::http;
use crate::telemetry::logs;
use crate::telemetry::metrics::{Component, Metrics};
use crate::telemetry::state::{Described, DescribedStage, Watch};
use crate::topology::Topology;

/// How long a revoked partition may be held back: as long as stopping may take, and a little for
/// the way there and back.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(22);

/// How long connections may take to close: with what stopping takes before, below the 25 s in which
/// a stopped process must be gone.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How often the start says that it is alive while it waits.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How long the retry topic keeps a record.
const RETRY_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Scope in which the start tells its health.
const START: &str = "start";

const EMBEDDED_NOTICE: &str = "embedded broker: single process, one machine, not for production; set source.kafka to use Apache Kafka";

/// Runs a topology until stopped or idle. Waits for broker and database to be there.
pub(super) async fn run(
    application: &Application,
    until_idle: Option<Duration>,
    stop: CancellationToken,
) -> Result<(), ApplicationError> {
    let health = Arc::new(Health::new());
    let (metrics, _served) = serve_http(application, &health, &stop).await?;
    let broker = open_broker(application, &health).await?;
    // what runs beside each other ends together
    let stop = stop.child_token();
    let beside = application.pointcut_beside(&broker, &metrics, &health, &stop).await?;
    let starting = Starting { application, metrics: &metrics, health: &health, stop: &stop };
    let outcome = run_stages(&starting, &broker, until_idle, beside.as_ref()).await;
    stop.cancel();
    match beside {
        // its own failure is why the run was stopped
        Some(beside) => Ok(beside.ended().await.map_err(Into::into).and(outcome)?),
        None => outcome,
    }
}

/// Serves metrics and health until `stop`, or until what is returned is dropped.
pub(super) async fn serve_http(
    application: &Application,
    health: &Arc<Health>,
    stop: &CancellationToken,
) -> Result<(Arc<Metrics>, DropGuard), ApplicationError> {
    let topology = application.topology();
    let metrics = Arc::new(Metrics::new());
    metrics
        .started_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    metrics.expect_tables(application.catalog());
    let types = application.catalog().roots.iter();
    metrics.expect_resource_types(types.map(|root| resource_type_label(&root.resource_type)));
    let served = stop.child_token();
    let token = topology.http.token.as_ref().map(|token| token.expose().to_owned());
    let address = http::serve(
        topology.http.listen,
        token,
        Arc::clone(&metrics),
        Arc::clone(health),
        Watch::new(described(application), Arc::clone(&metrics), Arc::clone(health)),
        logs::switch(),
        served.clone(),
    )
    .await
    .map_err(|source| ApplicationError::Http { listen: topology.http.listen, source })?;
    tracing::info!(topology = topology.name, config = topology.config_hash, %address, "starting");
    Ok((metrics, served.drop_guard()))
}

/// Opens the broker, and says what it is not fit for.
pub(super) async fn open_broker(
    application: &Application,
    health: &Health,
) -> Result<Arc<dyn Broker>, ApplicationError> {
    let broker = application.broker().await?;
    if broker.is_embedded() {
        health.notice(EMBEDDED_NOTICE);
        tracing::warn!(target: logs::START, "{EMBEDDED_NOTICE}");
    }
    Ok(broker)
}

/// Starts the stages and runs them. `beside`: who fills the topic, and must have begun.
async fn run_stages(
    starting: &Starting<'_>,
    broker: &Arc<dyn Broker>,
    until_idle: Option<Duration>,
    beside: Option<&Beside>,
) -> Result<(), ApplicationError> {
    let Starting { application, metrics, health, stop } = *starting;
    let topology = application.topology();
    let Some(cluster_id) = starting.cluster_id(&**broker).await? else { return Ok(()) };
    let Some(sink) = starting.sink(&cluster_id).await? else { return Ok(()) };
    if !starting.dead_letter_topic(&**broker).await? {
        return Ok(());
    }
    starting.status_topic(&**broker).await;

    let mut retry_partitions = 0;
    if let Some(retry) = &topology.retry {
        let Some(partitions) = starting.retry_topic(&**broker, &retry.topic).await? else {
            return Ok(());
        };
        retry_partitions = partitions;
    }

    let sink = Arc::new(sink.counting(Arc::clone(metrics)));
    let producer = broker.producer()?;
    let letterhead = |topic: &str| Letterhead {
        topic: topic.into(),
        topology: topology.name.as_str().into(),
        config_hash: topology.config_hash.as_str().into(),
    };
    let retry = topology.retry.as_ref().map(|retry| {
        Arc::new(RetryStage::new(
            RetryQueue::new(letterhead(&retry.topic), Arc::clone(&producer)),
            retry.policy.clone(),
            retry_partitions,
            topology.dead_letter.max_ratio,
        ))
    });
    let stages = Arc::new(Stages {
        decoder: application.decoder(),
        registry: application.registry().cloned(),
        transformer: Arc::clone(application.transform()),
        sink: Arc::clone(&sink) as _,
        dead_letters: Arc::new(application.dead_letter_queue(producer)),
        retry,
        batch: BatchLimits {
            rows: topology.batch.rows,
            bytes: topology.batch.bytes,
            linger: topology.batch.linger,
        },
        max_ratio: topology.dead_letter.max_ratio,
        reveal: topology.reveal,
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
    });
    if let Some(beside) = beside
        && !starting.wait_for(beside.topic_is_there()).await
    {
        return Ok(());
    }
    let member = broker.consumer(ConsumerSettings {
        group: topology.name.clone(),
        topics: topology.topics.iter().map(|topic| topic.selector.as_str().to_owned()).collect(),
        revocation_deadline: REVOCATION_DEADLINE,
        begin: Begin::AsConfigured,
    })?;
    let retry_member = match &topology.retry {
        Some(retry) => Some(broker.consumer(ConsumerSettings {
            group: format!("{}.retry", topology.name),
            topics: vec![retry.topic.clone()],
            revocation_deadline: REVOCATION_DEADLINE,
            // the first letter may be sent before the group has a committed offset
            begin: Begin::Earliest,
        })?),
        None => None,
    };
    if until_idle.is_some()
        && let Some(beside) = beside
        && !starting.wait_for(beside.caught_up()).await
    {
        return Ok(());
    }
    let outcome = runtime::run(stages, member, retry_member, until_idle, stop.clone()).await;
    // who started this goes on with the database to itself
    if tokio::time::timeout(CLOSE_WITHIN, sink.close()).await.is_err() {
        tracing::warn!("the database did not let its connections go in time");
    }
    Ok(outcome?)
}

/// The topology as the state page shows it.
fn described(application: &Application) -> Described {
    let description = application.topology().describe();
    let stages = description.stages.into_iter().map(|stage| DescribedStage {
        name: stage.name,
        settings: stage.settings,
        successors: stage.successors,
    });
    Described {
        name: description.name,
        file: application.file.clone(),
        config_hash: description.config_hash,
        stages: stages.collect(),
    }
}

/// What is waited for before the first record.
struct Starting<'a> {
    application: &'a Application,
    metrics: &'a Arc<Metrics>,
    health: &'a Arc<Health>,
    stop: &'a CancellationToken,
}

impl Starting<'_> {
    /// Asks the broker who it is until it answers; `None` if stopped meanwhile.
    async fn cluster_id(&self, broker: &dyn Broker) -> Result<Option<String>, ApplicationError> {
        let mut backoff = Backoff::default();
        loop {
            match broker.cluster_id().await {
                Ok(cluster_id) => {
                    self.health.up(Check::Broker, START);
                    return Ok(Some(cluster_id));
                }
                Err(error) => self.broker_away(Check::Broker, Component::Broker, &error),
            }
            if self.wait(&mut backoff).await {
                return Ok(None);
            }
        }
    }

    /// Connects to the database until it answers, then compares the schema and claims the tables: a
    /// schema that does not fit ends the start with the DDL that mends it, and so does a table of
    /// another topology.
    async fn sink(&self, cluster_id: &str) -> Result<Option<SqlSink>, ApplicationError> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.application.sink(cluster_id).await {
                Ok(sink) => match self.fit_and_claim(&sink).await? {
                    Ok(()) => {
                        self.health.up(Check::Database, START);
                        return Ok(Some(sink));
                    }
                    Err(error) => error,
                },
                Err(error) => {
                    self.refuse_lacks(&error).await?;
                    error
                }
            };
            self.database_away(&error);
            if self.wait(&mut backoff).await {
                return Ok(None);
            }
        }
    }

    /// Ends the start with what lacks, if a privilege does that the database can tell.
    async fn refuse_lacks(&self, error: &SinkError) -> Result<(), ApplicationError> {
        if error.class() != ErrorClass::Fatal {
            return Ok(());
        }
        let schema = self.application.schema()?;
        let problems = schema.check().await.unwrap_or_default();
        schema.close().await;
        let lacks = |problem: &SchemaProblem| problem.kind == ProblemKind::MissingPrivilege;
        if problems.iter().any(lacks) { accept(problems) } else { Ok(()) }
    }

    /// Compares the schema and claims the tables. The inner error is waited out.
    async fn fit_and_claim(
        &self,
        sink: &SqlSink,
    ) -> Result<Result<(), SinkError>, ApplicationError> {
        match sink.check_schema().await {
            Ok(problems) => accept(problems)?,
            Err(error) => return Ok(Err(error)),
        }
        let claims = match sink.claim(&self.application.rules_hashes()).await {
            Ok(claims) => claims,
            Err(error) => return Ok(Err(error)),
        };
        let name = &self.application.topology().name;
        let refusals: Vec<_> = claims.iter().filter_map(|claim| claim.refusal(name)).collect();
        if !refusals.is_empty() {
            return Err(ApplicationError::Claimed(refusals));
        }
        for warning in claims.iter().filter_map(Claim::warning) {
            tracing::warn!(target: logs::START, "{warning}");
        }
        Ok(Ok(()))
    }

    /// Sees to it that the dead-letter topic is there; `false` if stopped meanwhile. A topic of
    /// our making keeps its letters until somebody deals with them.
    async fn dead_letter_topic(&self, broker: &dyn Broker) -> Result<bool, ApplicationError> {
        let topology = self.application.topology();
        let mut backoff = Backoff::default();
        loop {
            let topic = topics::dead_letter_topic(topology, broker).await;
            match broker.ensure_topic(&topic).await {
                Ok(created) => {
                    if created {
                        tracing::info!(
                            topic = topic.name,
                            "dead-letter topic created, retention unlimited"
                        );
                    }
                    self.health.up(Check::DeadLetterTopic, START);
                    return Ok(true);
                }
                Err(error) => {
                    self.broker_away(Check::DeadLetterTopic, Component::DeadLetterTopic, &error);
                }
            }
            if self.wait(&mut backoff).await {
                return Ok(false);
            }
        }
    }

    /// Makes the status topic, if it may. A run does without: only commands write to it, and these
    /// make it too or say what is in the way.
    async fn status_topic(&self, broker: &dyn Broker) {
        let topic = topics::status_topic(self.application.topology(), broker).await;
        match broker.ensure_topic(&topic).await {
            Ok(true) => tracing::info!(topic = topic.name, "status topic created, compacted"),
            Ok(false) => {}
            Err(error) => {
                let error = messages(&topics::refused(&topic, error)).join(": ");
                tracing::warn!(
                    topic = topic.name,
                    error,
                    "replays and discards of dead letters cannot be recorded"
                );
            }
        }
    }

    /// Sees to it that the retry topic is there, and gives its partitions; `None` if stopped
    /// meanwhile. A topic of our making keeps what waits for a month of standstill: longer than an
    /// ingest topic commonly keeps anything, and not for ever, since what waited is never removed
    /// otherwise.
    async fn retry_topic(
        &self,
        broker: &dyn Broker,
        name: &str,
    ) -> Result<Option<i32>, ApplicationError> {
        let mut backoff = Backoff::default();
        loop {
            match ensure_retry_topic(broker, self.application.topology(), name).await {
                Ok(partitions) => {
                    self.health.up(Check::RetryTopic, START);
                    return Ok(Some(partitions));
                }
                Err(error) => self.broker_away(Check::RetryTopic, Component::RetryTopic, &error),
            }
            if self.wait(&mut backoff).await {
                return Ok(None);
            }
        }
    }

    fn broker_away(&self, check: Check, component: Component, error: &BrokerError) {
        self.metrics.retried(component, error.class().retry_cause());
        if self.health.down(check, START, &error.to_string()) {
            let (component, cause) = (component.as_str(), error.class().retry_cause());
            tracing::warn!(component, cause, %error, "the broker is away or refuses; waiting");
        }
    }

    fn database_away(&self, error: &SinkError) {
        self.metrics.retried(Component::Database, error.class().retry_cause());
        if self.health.down(Check::Database, START, &error.to_string()) {
            let (component, cause) = (Component::Database.as_str(), error.class().retry_cause());
            tracing::warn!(component, cause, %error, "the database does not answer; waiting");
        }
    }

    /// Waits until this happened; `false` if stopped meanwhile.
    async fn wait_for(&self, happened: &CancellationToken) -> bool {
        loop {
            self.health.tick();
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = happened.cancelled() => return true,
                () = tokio::time::sleep(ALIVE_EVERY) => {}
            }
        }
    }

    /// Waits a little; `true` if stopped.
    async fn wait(&self, backoff: &mut Backoff) -> bool {
        self.health.tick();
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = tokio::time::sleep(backoff.next_delay()) => false,
        }
    }
}

/// Creates the retry topic unless it is there, with as many partitions as the source has.
async fn ensure_retry_topic(
    broker: &dyn Broker,
    topology: &Topology,
    name: &str,
) -> Result<i32, BrokerError> {
    let topic = TopicSettings {
        name: name.to_owned(),
        partitions: topics::source_partitions(topology, broker).await,
        properties: vec![("retention.ms".to_owned(), RETRY_RETENTION.as_millis().to_string())],
    };
    if broker.ensure_topic(&topic).await? {
        tracing::info!(topic = name, "retry topic created, retention 30 days");
    }
    let missing = || BrokerError::Unavailable {
        attempted: "asking for a topic's partitions",
        reason: "the retry topic is not known yet".to_owned(),
    };
    broker.partitions(name).await?.ok_or_else(missing)
}

/// Warnings alone let pass.
fn accept(problems: Vec<SchemaProblem>) -> Result<(), ApplicationError> {
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(ApplicationError::Schema(problems));
    }
    for problem in problems {
        tracing::warn!(target: logs::START, "{problem}");
    }
    Ok(())
}
