//! Hints become changes: what a hook leaves out is read from the server.
//!
//! In: a resource that changed. Out: its newest version in the ingest topic, the version that a
//! deletion made included. Hints of one resource that come while it waits to be read share one
//! reading; one that comes while it is being read has it read once more, because the answer under way
//! may be older than the change. Readings at a time are bounded.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::appender::Appender;
use super::watched;
use crate::error::{ErrorClass, messages};
use crate::fhir_server::{FhirServer, record};
use crate::model::{ResourceKey, resource_type_label};
use crate::source::VersionFrom;
use crate::telemetry::metrics::pointcut::ReadOutcome;
use crate::telemetry::metrics::{Component, Metrics};

/// Readings at a time: enough to keep up with a burst of deletes, few enough for the server to have
/// connections left for others.
const TOGETHER: usize = 8;

/// Resources that wait to be read; of more than that the history of their types is read.
const WAITING: usize = 4096;

/// Who is away, so that a hint is not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    /// The FHIR server, or it refuses.
    Server,
    /// The broker.
    Broker,
}

/// What reading a resource came to.
pub(super) type Resolved = Result<(), Away>;

/// Reads resources. Cheap to clone; clones share readings.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Shared>);

struct Shared {
    server: FhirServer,
    appender: Appender,
    version_from: VersionFrom,
    metrics: Arc<Metrics>,
    turns: Semaphore,
    /// Resources that are read or wait for it, with those who wait for the next reading.
    waiting: Mutex<HashMap<ResourceKey, Vec<oneshot::Sender<Resolved>>>>,
    panicked: CancellationToken,
}

impl Resolver {
    pub(super) fn new(
        server: FhirServer,
        appender: Appender,
        version_from: VersionFrom,
        metrics: Arc<Metrics>,
        panicked: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            server,
            appender,
            version_from,
            metrics,
            turns: Semaphore::new(TOGETHER),
            waiting: Mutex::default(),
            panicked,
        }))
    }

    /// Reads a resource and appends what it is now. The reading begins after the call.
    pub(super) async fn resolve(&self, resource: ResourceKey) -> Resolved {
        let (done, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.0.waiting();
            let is_full = waiting.len() >= WAITING;
            match waiting.entry(resource.clone()) {
                Slot::Occupied(mut others) => {
                    others.get_mut().retain(|other| !other.is_closed());
                    others.get_mut().push(done);
                    false
                }
                Slot::Vacant(_) if is_full => return Err(Away::Server),
                Slot::Vacant(slot) => {
                    slot.insert(vec![done]);
                    true
                }
            }
        };
        if is_first {
            let panicked = self.0.panicked.clone();
            tokio::spawn(watched(Arc::clone(&self.0).read_while_asked(resource), panicked));
        }
        // without an answer the reading panicked
        answer.await.unwrap_or(Err(Away::Server))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<ResourceKey, Vec<oneshot::Sender<Resolved>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until nobody asks any more.
    async fn read_while_asked(self: Arc<Self>, resource: ResourceKey) {
        loop {
            let turn = self.turns.acquire().await;
            let asked = {
                let mut waiting = self.waiting();
                let Some(asking) = waiting.get_mut(&resource) else { return };
                asking.retain(|asking| !asking.is_closed());
                if asking.is_empty() {
                    waiting.remove(&resource);
                    return;
                }
                // whoever asks from here on asks for another reading
                std::mem::take(asking)
            };
            let (outcome, resolved) = self.read(&resource).await;
            drop(turn);
            for done in asked {
                self.metrics.pointcut().hint(outcome);
                // who asked may have given up waiting
                let _ = done.send(resolved);
            }
        }
    }

    async fn read(&self, resource: &ResourceKey) -> (ReadOutcome, Resolved) {
        let resource_type = resource_type_label(&resource.resource_type);
        let entry = match self.server.current(resource).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return (ReadOutcome::Unknown, Ok(())),
            Err(error) => {
                self.metrics.retried(Component::FhirServer, error.class().retry_cause());
                let error = messages(&error).join(": ");
                tracing::debug!(resource_type, error, "a hint is not resolved");
                return (ReadOutcome::Failed, Err(Away::Server));
            }
        };
        let record = match record(&entry, self.appender.topic(), self.version_from) {
            Ok(record) => record,
            Err(error) => {
                let error = messages(&error).join(": ");
                tracing::error!(resource_type, error, "a resource cannot be written");
                return (ReadOutcome::Refused, Ok(()));
            }
        };
        let appended = self.appender.append(vec![record]).await;
        match appended.into_iter().next() {
            Some(Ok(())) => (ReadOutcome::Written, Ok(())),
            Some(Err(error)) if error.class() == ErrorClass::Poison => {
                tracing::error!(resource_type, %error, "a resource cannot be written");
                (ReadOutcome::Refused, Ok(()))
            }
            Some(Err(_)) | None => (ReadOutcome::Failed, Err(Away::Broker)),
        }
    }
}
