//! POINTCUT of a topology: beside a run, alone, and its subscriptions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Application, ApplicationError, start};
use crate::broker::Broker;
use crate::pointcut::{self, Parts, Pointcut, PointcutError, Subscriptions};
use crate::problem::Problem;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::topology::PointcutSettings;

/// How often a process that does nothing else says that it is alive.
const TICK: Duration = Duration::from_secs(1);

impl Application {
    /// Fills the ingest topic from the FHIR server until `stop`, and does nothing else: an instance
    /// of several that share its hooks. Waits for broker and server to be there.
    ///
    /// # Errors
    /// [`ApplicationError::Configuration`] without `source.pointcut`; [`ApplicationError::Pointcut`]
    /// if its address is taken or a part of it panics. What heals by itself is waited out.
    pub async fn run_pointcut(&self, stop: CancellationToken) -> Result<(), ApplicationError> {
        self.check()?;
        let settings = self.pointcut_settings()?;
        let health = Arc::new(Health::of_pointcut());
        let (metrics, _served) = start::serve_http(self, &health, &stop).await?;
        let broker = start::open_broker(self, &health).await?;
        let pointcut = self.open_pointcut(settings, &broker, &metrics, &health).await?;
        let alive = async {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                health.tick();
            }
        };
        tokio::select! {
            ended = pointcut.run(stop) => Ok(ended?),
            () = alive => Ok(()),
        }
    }

    /// The subscriptions that the topology has at its FHIR server, to be installed or uninstalled. The
    /// server is not asked yet.
    ///
    /// # Errors
    /// [`ApplicationError::Configuration`] without `source.pointcut`; [`ApplicationError::Pointcut`]
    /// if certificates or credentials cannot be used.
    pub fn subscriptions(&self) -> Result<Subscriptions, ApplicationError> {
        let settings = self.pointcut_settings()?;
        let types = self.followed_types(settings);
        Ok(pointcut::subscriptions(&self.topology.name, settings, types)?)
    }

    /// Starts POINTCUT beside a run, if the topology has it. Once it ends, `stop` is cancelled.
    pub(super) async fn pointcut_beside(
        &self,
        broker: &Arc<dyn Broker>,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        stop: &CancellationToken,
    ) -> Result<Option<Beside>, ApplicationError> {
        let Some(settings) = &self.topology.pointcut else { return Ok(None) };
        let pointcut = self.open_pointcut(settings, broker, metrics, health).await?;
        let (topic_is_there, caught_up) = (pointcut.topic_is_there(), pointcut.caught_up());
        let stop = stop.clone();
        let running = tokio::spawn(async move {
            // also if it panics: the run must not go on without it
            let _ending = stop.clone().drop_guard();
            pointcut.run(stop).await
        });
        Ok(Some(Beside { running, topic_is_there, caught_up }))
    }

    async fn open_pointcut(
        &self,
        settings: &PointcutSettings,
        broker: &Arc<dyn Broker>,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
    ) -> Result<Pointcut, PointcutError> {
        let mut topics = self.topology.topics.iter();
        let topic = topics.find(|topic| topic.selector.selects(&settings.topic));
        Pointcut::open(Parts {
            topology: self.topology.name.clone(),
            settings: settings.clone(),
            types: self.followed_types(settings),
            version_from: topic.map_or(self.topology.version_from, |topic| topic.version_from),
            limits: self.topology.limits,
            broker: Arc::clone(broker),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
        })
        .await
    }

    fn pointcut_settings(&self) -> Result<&PointcutSettings, ApplicationError> {
        self.topology.pointcut.as_ref().ok_or_else(|| {
            let problem = Problem::new(&self.file, "/source/pointcut", "is required");
            ApplicationError::Configuration(vec![problem])
        })
    }

    /// The types that are named, or that the rules use.
    fn followed_types(&self, settings: &PointcutSettings) -> BTreeSet<Arc<str>> {
        if settings.types.is_empty() {
            self.catalog().roots.iter().map(|root| Arc::from(&*root.resource_type)).collect()
        } else {
            settings.types.iter().map(|name| Arc::from(name.as_str())).collect()
        }
    }
}

/// POINTCUT beside a run.
pub(super) struct Beside {
    running: JoinHandle<Result<(), PointcutError>>,
    topic_is_there: CancellationToken,
    caught_up: CancellationToken,
}

impl Beside {
    /// Cancelled once the ingest topic is there: who subscribes to it earlier may be told much later.
    pub(super) const fn topic_is_there(&self) -> &CancellationToken {
        &self.topic_is_there
    }

    /// Cancelled once every type was caught up with.
    pub(super) const fn caught_up(&self) -> &CancellationToken {
        &self.caught_up
    }

    /// Waits for its end, which must have been asked for.
    pub(super) async fn ended(self) -> Result<(), PointcutError> {
        self.running.await.unwrap_or(Err(PointcutError::Panicked))
    }
}
