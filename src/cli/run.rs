//! `rowcast run`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::opened::Opened;
use super::{Failure, TopologyArguments, check};
use crate::broker::{Broker, BrokerError, ConsumerSettings, TopicSettings};
use crate::dead_letter::{DeadLetterQueue, Letterhead};
use crate::error::ErrorClass;
use crate::model::resource_type_label;
use crate::retry::Backoff;
use crate::runtime::{self, BatchLimits, Stages};
use crate::sink::{SinkError, SqlSink};
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::{Component, Metrics};
use crate::telemetry::{http, logs};
use crate::topology::{LogFormat, Topology};
use crate::transform::Transformer as _;

/// How long a revoked partition may be held back: as long as stopping may take, and a little for
/// the way there and back.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(22);

/// Scope in which the start tells its health.
const START: &str = "start";

const EMBEDDED_NOTICE: &str = "embedded broker: single process, one machine, not for production; set source.kafka to use Apache Kafka";

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Exit 0 once committed offsets have reached every log end and nothing arrived for this
    /// long.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    until_idle: Option<Duration>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let opened = Opened::load(&arguments.topology)?;
    logs::start(log_format(&opened.topology), std::env::var("RUST_LOG").ok().as_deref());
    for warning in &opened.warnings {
        tracing::warn!("{warning}");
    }
    let stop = stop_on_signal()?;
    keep_rows_in_step(&opened, arguments.until_idle, stop).await
}

/// Runs an opened topology until stopped or idle. Waits for broker and database to be there.
pub(super) async fn keep_rows_in_step(
    opened: &Opened,
    until_idle: Option<Duration>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let topology = &opened.topology;
    let metrics = Arc::new(Metrics::new());
    metrics
        .started_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    let types = opened.rules.catalog().roots.iter();
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
    .map_err(|error| Failure::failed(format!("http.listen {}: {error}", topology.http.listen)))?;
    let _closing = served.drop_guard();
    tracing::info!(topology = topology.name, config = topology.config_hash, %address, "starting");

    let broker = opened.broker().await?;
    if broker.is_embedded() {
        health.notice(EMBEDDED_NOTICE);
        tracing::warn!("{EMBEDDED_NOTICE}");
    }
    let starting = Starting { opened, metrics: &metrics, health: &health, stop: &stop };
    let Some(cluster_id) = starting.cluster_id(&*broker).await? else { return Ok(()) };
    let Some(sink) = starting.sink(&cluster_id).await? else { return Ok(()) };
    if !starting.dead_letter_topic(&*broker).await? {
        return Ok(());
    }

    let stages = Arc::new(Stages {
        decoder: opened.decoder(),
        transformer: Arc::clone(&opened.rules) as _,
        sink: Arc::new(sink),
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
        topic: topology.topic.clone(),
        revocation_deadline: REVOCATION_DEADLINE,
    })?;
    runtime::run(stages, consumer, group, until_idle, stop)
        .await
        .map_err(|error| Failure::failed(error.to_string()))
}

/// What is waited for before the first record.
struct Starting<'a> {
    opened: &'a Opened,
    metrics: &'a Metrics,
    health: &'a Health,
    stop: &'a CancellationToken,
}

impl Starting<'_> {
    /// Asks the broker who it is until it answers; `None` if stopped meanwhile.
    async fn cluster_id(&self, broker: &dyn Broker) -> Result<Option<String>, Failure> {
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

    /// Connects to the database until it answers, then compares the schema: a schema that does
    /// not fit ends the start with the DDL that mends it.
    async fn sink(&self, cluster_id: &str) -> Result<Option<SqlSink>, Failure> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.opened.sink(cluster_id).await {
                Ok(sink) => match sink.check_schema().await {
                    Ok(problems) => {
                        check::refuse(&problems)?;
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

    /// Sees to it that the dead-letter topic is there; `false` if stopped meanwhile. A topic of
    /// our making keeps its letters until somebody deals with them.
    async fn dead_letter_topic(&self, broker: &dyn Broker) -> Result<bool, Failure> {
        let topology = &self.opened.topology;
        let mut backoff = Backoff::default();
        loop {
            let partitions = broker.partitions(&topology.topic).await.unwrap_or_default();
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

const fn log_format(topology: &Topology) -> logs::LogFormat {
    match topology.log_format {
        LogFormat::Auto => logs::LogFormat::Auto,
        LogFormat::Human => logs::LogFormat::Human,
        LogFormat::Json => logs::LogFormat::Json,
    }
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once.
fn stop_on_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: settling what is in hand");
        stopping.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("stopped at once; unsettled records are delivered again");
        std::process::exit(1);
    });
    Ok(stop)
}
