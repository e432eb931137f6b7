//! The start of a run: what is waited for before the first record, and how the stages are put
//! together.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::{Application, ApplicationError};
use crate::broker::{Broker, BrokerError, ConsumerSettings, TopicSettings};
use crate::dead_letter::{DeadLetterQueue, Letterhead};
use crate::error::ErrorClass;
use crate::model::resource_type_label;
use crate::plan::{SchemaProblem, Severity};
use crate::retry::Backoff;
use crate::runtime::{self, BatchLimits, Stages};
use crate::sink::{Claim, SinkError, SqlSink};
use crate::telemetry::health::{Check, Health};
use crate::telemetry::http;
use crate::telemetry::metrics::{Component, Metrics};

/// How long a revoked partition may be held back: as long as stopping may take, and a little for
/// the way there and back.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(22);

/// How long connections may take to close: with what stopping takes before, below the 25 s in which
/// a stopped process must be gone.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Scope in which the start tells its health.
const START: &str = "start";

const EMBEDDED_NOTICE: &str = "embedded broker: single process, one machine, not for production; set source.kafka to use Apache Kafka";

/// Runs a topology until stopped or idle. Waits for broker and database to be there.
pub(super) async fn run(
    application: &Application,
    until_idle: Option<Duration>,
    stop: CancellationToken,
) -> Result<(), ApplicationError> {
    let topology = application.topology();
    let metrics = Arc::new(Metrics::new());
    metrics
        .started_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    let types = application.catalog().roots.iter();
    metrics.expect_resource_types(types.map(|root| resource_type_label(&root.resource_type)));
    let health = Arc::new(Health::new());
    let served = stop.child_token();
    let token = topology.http.token.as_ref().map(|token| token.expose().to_owned());
    let address = http::serve(
        topology.http.listen,
        token,
        Arc::clone(&metrics),
        Arc::clone(&health),
        served.clone(),
    )
    .await
    .map_err(|source| ApplicationError::Http { listen: topology.http.listen, source })?;
    let _closing = served.drop_guard();
    tracing::info!(topology = topology.name, config = topology.config_hash, %address, "starting");

    let broker = application.broker().await?;
    if broker.is_embedded() {
        health.notice(EMBEDDED_NOTICE);
        tracing::warn!("{EMBEDDED_NOTICE}");
    }
    let starting = Starting { application, metrics: &metrics, health: &health, stop: &stop };
    let Some(cluster_id) = starting.cluster_id(&*broker).await? else { return Ok(()) };
    let Some(sink) = starting.sink(&cluster_id).await? else { return Ok(()) };
    if !starting.dead_letter_topic(&*broker).await? {
        return Ok(());
    }

    let sink = Arc::new(sink);
    let stages = Arc::new(Stages {
        decoder: application.decoder(),
        transformer: Arc::clone(application.transform()),
        sink: Arc::clone(&sink) as _,
        dead_letters: Arc::new(DeadLetterQueue::new(
            Letterhead {
                topic: topology.dead_letter.topic.as_str().into(),
                topology: topology.name.as_str().into(),
                config_hash: topology.config_hash.as_str().into(),
            },
            broker.producer()?,
        )),
        batch: BatchLimits {
            rows: topology.batch.rows,
            bytes: topology.batch.bytes,
            linger: topology.batch.linger,
        },
        max_ratio: topology.dead_letter.max_ratio,
        metrics,
        health,
    });
    let (consumer, group) = broker.consumer(ConsumerSettings {
        group: topology.name.clone(),
        topics: topology.topics.iter().map(|topic| topic.selector.as_str().to_owned()).collect(),
        revocation_deadline: REVOCATION_DEADLINE,
    })?;
    let outcome = runtime::run(stages, consumer, group, until_idle, stop).await;
    // who started this goes on with the database to itself
    if tokio::time::timeout(CLOSE_WITHIN, sink.close()).await.is_err() {
        tracing::warn!("the database did not let its connections go in time");
    }
    Ok(outcome?)
}

/// What is waited for before the first record.
struct Starting<'a> {
    application: &'a Application,
    metrics: &'a Metrics,
    health: &'a Health,
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
                Err(error) => error,
            };
            self.database_away(&error);
            if self.wait(&mut backoff).await {
                return Ok(None);
            }
        }
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
            tracing::warn!("{warning}");
        }
        Ok(Ok(()))
    }

    /// Sees to it that the dead-letter topic is there; `false` if stopped meanwhile. A topic of
    /// our making keeps its letters until somebody deals with them.
    async fn dead_letter_topic(&self, broker: &dyn Broker) -> Result<bool, ApplicationError> {
        let topology = self.application.topology();
        let mut backoff = Backoff::default();
        loop {
            let mut partitions = None;
            for name in topology.topics.iter().filter_map(|topic| topic.selector.name()) {
                partitions = partitions.max(broker.partitions(name).await.unwrap_or_default());
            }
            let topic = TopicSettings {
                name: topology.dead_letter.topic.clone(),
                partitions,
                properties: vec![("retention.ms".to_owned(), "-1".to_owned())],
            };
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

    fn broker_away(&self, check: Check, component: Component, error: &BrokerError) {
        self.metrics.retried(component, cause(error.class()));
        if self.health.down(check, START, &error.to_string()) {
            tracing::warn!(%error, "waiting");
        }
    }

    fn database_away(&self, error: &SinkError) {
        self.metrics.retried(Component::Database, cause(error.class()));
        if self.health.down(Check::Database, START, &error.to_string()) {
            tracing::warn!(%error, "waiting");
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

const fn cause(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Retriable => "unavailable",
        ErrorClass::Poison | ErrorClass::Fatal => "refused",
    }
}

/// Warnings alone let pass.
fn accept(problems: Vec<SchemaProblem>) -> Result<(), ApplicationError> {
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(ApplicationError::Schema(problems));
    }
    for problem in problems {
        tracing::warn!("{problem}");
    }
    Ok(())
}
