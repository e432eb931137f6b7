//! POINTCUT: rowcast attaches itself to a FHIR server and fills the ingest topic.
//!
//! In: the server's hooks, and its history. Out: records of the canonical form, each a whole resource
//! or a delete, each with its version. Subscriptions at the server bring the hooks; what they leave out
//! is read from the server; what never came is found in its history. It writes to the server nothing
//! but its own subscriptions, and it never emits a delete without version.
//!
//! Nothing ends it but a stop or a fault of its own: server and broker are waited for. Several
//! instances may share the hooks of one server behind one address; what they write twice is stale.

mod admission;
mod appender;
mod catch_up;
mod endpoint;
mod hook;
mod positions;
mod progress;
mod resolver;
mod subscription;
mod subscriptions;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use subscriptions::{Done, Subscribed, Subscriptions};

use crate::broker::{Broker, BrokerError, TopicSettings};
use crate::fhir_server::{FhirServer, FhirServerError};
use crate::http_server;
use crate::model::DocumentLimits;
use crate::retry::Backoff;
use crate::source::VersionFrom;
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::{Component, Metrics};
use crate::topology::PointcutSettings;
use admission::Admission;
use appender::{Appender, Appending};
use catch_up::{Asked, CatchUps, Followed, Means};
use endpoint::Endpoint;
use hook::Hooks;
use positions::{Position, Positions};
use progress::Progress;
use resolver::Resolver;
use subscription::Hooked;
use subscriptions::Keeping;

/// Connections for hooks at a time.
const CONNECTIONS: usize = 1024;

/// Types whose history is read at a time: a server that was away is not asked for all at once.
const TYPES_TOGETHER: usize = 2;

/// How often the age of the last catch-up is told.
const TICK: Duration = Duration::from_secs(1);

/// Longest time for hooks under way to be answered once it is to stop; a little more than they have.
const END_WITHIN: Duration = Duration::from_secs(6);

/// Scope in which the start tells its health.
const START: &str = "pointcut";

/// What it is made of.
#[derive(Clone)]
pub struct Parts {
    /// The topology's name.
    pub topology: String,
    /// Which server, where hooks arrive, which topic.
    pub settings: PointcutSettings,
    /// The types to follow: those that the settings name, or the rules use.
    pub types: BTreeSet<Arc<str>>,
    /// What a version is, in the topic that is filled.
    pub version_from: VersionFrom,
    /// Bounds of a resource.
    pub limits: DocumentLimits,
    /// Whose topics they are.
    pub broker: Arc<dyn Broker>,
    /// Counted here.
    pub metrics: Arc<Metrics>,
    /// Told here.
    pub health: Arc<Health>,
}

/// Why it does not start, or ends other than by being stopped.
#[derive(Debug, Error)]
pub enum PointcutError {
    /// The address for hooks is not to be had.
    #[error("source.pointcut.listen {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The client of the FHIR server cannot be made.
    #[error("source.pointcut")]
    Client(#[from] FhirServerError),
    /// The broker's client cannot be made.
    #[error("source.pointcut: appending to the topic")]
    Broker(#[from] BrokerError),
    /// A part of it panicked: a fault in rowcast.
    #[error("a part of POINTCUT panicked; what was under way was not acknowledged")]
    Panicked,
}

/// The subscriptions of a topology, to be installed and uninstalled. The server is not asked yet.
///
/// # Errors
/// [`PointcutError::Client`]
pub fn subscriptions(
    topology: &str,
    settings: &PointcutSettings,
    types: BTreeSet<Arc<str>>,
) -> Result<Subscriptions, PointcutError> {
    let server = FhirServer::new(settings.server.clone())?;
    Ok(Subscriptions::new(server, hooked(topology, settings), types))
}

fn hooked(topology: &str, settings: &PointcutSettings) -> Hooked {
    Hooked {
        topology: topology.to_owned(),
        public_url: settings.public_url.clone(),
        token: settings.token.clone(),
    }
}

/// POINTCUT, listening and not yet running.
pub struct Pointcut {
    parts: Parts,
    listener: TcpListener,
    server: FhirServer,
    endpoint: Arc<Endpoint>,
    appender: Appender,
    appending: Appending,
    positions: Positions,
    catch_ups: CatchUps,
    followed: Vec<Asked>,
    progress: Arc<Progress>,
    panicked: CancellationToken,
    topic_is_there: CancellationToken,
}

impl fmt::Debug for Pointcut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pointcut").field("settings", &self.parts.settings).finish_non_exhaustive()
    }
}

impl Pointcut {
    /// Listens for hooks, which are answered once it runs. Neither broker nor server is asked yet.
    ///
    /// # Errors
    /// [`PointcutError`] if the address is taken, or a client cannot be made.
    pub async fn open(parts: Parts) -> Result<Self, PointcutError> {
        let Parts { settings, types, metrics, health, .. } = &parts;
        let listen = settings.listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| PointcutError::Listen { listen, source })?;
        let server = FhirServer::new(settings.server.clone())?;
        let producer = parts.broker.producer()?;
        let topic: Arc<str> = settings.topic.as_str().into();
        let (appender, appending) = Appender::new(
            Arc::clone(&topic),
            Arc::clone(&producer),
            Arc::clone(metrics),
            Arc::clone(health),
        );
        let positions = Positions::new(&settings.position_topic(), &settings.server.base, producer);
        let (catch_ups, followed) = CatchUps::new(types.iter().cloned());
        let panicked = CancellationToken::new();
        let resolver = Resolver::new(
            server.clone(),
            appender.clone(),
            parts.version_from,
            Arc::clone(metrics),
            panicked.clone(),
        );
        let endpoint = Arc::new(Endpoint::new(
            Hooks::new(topic, types.clone(), parts.version_from, parts.limits),
            appender.clone(),
            resolver,
            catch_ups.clone(),
            Admission::new(settings.token.clone()),
            Arc::clone(metrics),
            parts.limits.bytes,
        ));
        let progress = Arc::new(Progress::new(types.iter().cloned()));
        Ok(Self {
            parts,
            listener,
            server,
            endpoint,
            appender,
            appending,
            positions,
            catch_ups,
            followed,
            progress,
            panicked,
            topic_is_there: CancellationToken::new(),
        })
    }

    /// Cancelled once the ingest topic is there.
    #[must_use]
    pub fn topic_is_there(&self) -> CancellationToken {
        self.topic_is_there.clone()
    }

    /// Cancelled once every type was caught up with since the start.
    #[must_use]
    pub fn caught_up(&self) -> CancellationToken {
        self.progress.all()
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// [`PointcutError::Panicked`]. Server and broker are waited for, whatever they say.
    pub async fn run(self, stop: CancellationToken) -> Result<(), PointcutError> {
        let Self { parts, listener, server, endpoint, appender, appending, .. } = self;
        let Parts { settings, broker, metrics, health, .. } = &parts;
        let (panicked, progress) = (self.panicked, self.progress);
        let ending = stop.child_token();
        let _ended = ending.clone().drop_guard();
        tracing::info!(
            address = %settings.listen,
            server = %settings.server.base,
            types = parts.types.len(),
            topic = settings.topic,
            "POINTCUT starts"
        );

        let serving = http_server::serve(listener, endpoint.router(), CONNECTIONS, ending.clone());
        let serving = tokio::spawn(watched(serving, panicked.clone()));
        // both end with the set
        let mut tasks = JoinSet::new();
        tasks.spawn(watched(appending.run(), panicked.clone()));

        let topic_is_there = &self.topic_is_there;
        let waiting = Waiting { broker: &**broker, metrics, health, topic_is_there };
        let known = tokio::select! {
            () = stop.cancelled() => return finish(serving, ending, tasks).await,
            () = panicked.cancelled() => return Err(PointcutError::Panicked),
            known = waiting.positions(settings, &self.positions) => known,
        };
        endpoint.open();

        let keeping = Keeping {
            subscriptions: Subscriptions::new(
                server.clone(),
                hooked(&parts.topology, settings),
                parts.types.clone(),
            ),
            catch_ups: self.catch_ups,
            interval: settings.catch_up,
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
        };
        tasks.spawn(watched(keeping.run(), panicked.clone()));
        let means = Means {
            server,
            appender,
            positions: self.positions,
            version_from: parts.version_from,
            begin: settings.begin,
            interval: settings.catch_up,
            turns: Arc::new(Semaphore::new(TYPES_TOGETHER)),
            progress: Arc::clone(&progress),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
        };
        for (resource_type, asked) in self.followed {
            let position = known.get(&*resource_type).copied();
            let followed = Followed { means: means.clone(), resource_type, position, asked };
            tasks.spawn(watched(followed.run(), panicked.clone()));
        }
        drop(means);

        let mut ticks = tokio::time::interval(TICK);
        let outcome = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = panicked.cancelled() => break Err(PointcutError::Panicked),
                _ = ticks.tick() => metrics.pointcut().catch_up_age(progress.age()),
            }
        };
        finish(serving, ending, tasks).await.and(outcome)
    }
}

/// Lets hooks under way be answered, then ends the rest.
async fn finish(
    serving: tokio::task::JoinHandle<()>,
    ending: CancellationToken,
    mut tasks: JoinSet<()>,
) -> Result<(), PointcutError> {
    ending.cancel();
    let _ = tokio::time::timeout(END_WITHIN, serving).await;
    tasks.shutdown().await;
    Ok(())
}

/// What is waited for before the first hook.
struct Waiting<'a> {
    broker: &'a dyn Broker,
    metrics: &'a Metrics,
    health: &'a Health,
    topic_is_there: &'a CancellationToken,
}

impl Waiting<'_> {
    /// Sees to it that both topics are there, and reads how far each type was read, for as long as it
    /// takes.
    async fn positions(
        &self,
        settings: &PointcutSettings,
        positions: &Positions,
    ) -> HashMap<String, Position> {
        let mut backoff = Backoff::default();
        loop {
            match self.try_positions(settings, positions).await {
                Ok(known) => {
                    self.health.up(Check::Broker, START);
                    return known;
                }
                Err(error) => {
                    self.metrics.retried(Component::Broker, "unavailable");
                    if self.health.down(Check::Broker, START, &error.to_string()) {
                        tracing::warn!(component = Component::Broker.as_str(), cause = "unavailable", %error, "POINTCUT waits for its topics");
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn try_positions(
        &self,
        settings: &PointcutSettings,
        positions: &Positions,
    ) -> Result<HashMap<String, Position>, BrokerError> {
        let name = settings.topic.clone();
        let ingest = TopicSettings { name, partitions: None, properties: Vec::new() };
        if self.broker.ensure_topic(&ingest).await? {
            tracing::info!(topic = ingest.name, "ingest topic created");
        }
        self.topic_is_there.cancel();
        let topic = Positions::settings(&settings.position_topic());
        if self.broker.ensure_topic(&topic).await? {
            tracing::info!(topic = topic.name, "topic of positions created, compacted");
        }
        positions.read(self.broker).await
    }
}

/// Runs a part; a panic is told.
async fn watched(part: impl Future<Output = ()>, panicked: CancellationToken) {
    // nothing of the part is looked at afterwards
    if AssertUnwindSafe(part).catch_unwind().await.is_err() {
        panicked.cancel();
    }
}
