//! Keeps rowcast's subscriptions at a FHIR server, and takes them away.
//!
//! In: the types to follow. Out: a subscription of each at the server, put back where the server lost
//! it or switched it off. It touches no subscription but those of its topology.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::catch_up::CatchUps;
use super::subscription::{Hooked, Wanted, fits, state};
use crate::error::messages;
use crate::fhir_server::{FhirServer, FhirServerError, FhirVersion};
use crate::retry::Backoff;
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::pointcut::SubscriptionState;
use crate::telemetry::metrics::{Component, Metrics};

/// How long it takes at least until the server is asked again, and at most while a subscription is
/// not active.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Subscriptions a page, when ours are looked for.
const COUNT: u16 = 200;

/// What was done with a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The server did not have it.
    Created,
    /// The server had another of its id, or did not serve it any more.
    Updated,
    /// It was as it should be.
    Unchanged,
    /// It was taken away.
    Removed,
}

impl Done {
    /// The name in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
        }
    }
}

/// A subscription of ours, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Of which type.
    pub resource_type: Arc<str>,
    /// Its id at the server.
    pub id: String,
    /// What was done.
    pub done: Done,
    /// How it stood before that.
    pub before: SubscriptionState,
}

impl Subscribed {
    /// How it stands now: what was put is to be activated by the server.
    #[must_use]
    pub const fn state(&self) -> SubscriptionState {
        match self.done {
            Done::Created | Done::Updated => SubscriptionState::Requested,
            Done::Unchanged => self.before,
            Done::Removed => SubscriptionState::Missing,
        }
    }
}

/// The subscriptions of a topology at a FHIR server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    server: FhirServer,
    hooked: Arc<Hooked>,
    types: Arc<BTreeSet<Arc<str>>>,
}

impl Subscriptions {
    pub(super) fn new(server: FhirServer, hooked: Hooked, types: BTreeSet<Arc<str>>) -> Self {
        Self { server, hooked: Arc::new(hooked), types: Arc::new(types) }
    }

    /// Sees to it that the server has them.
    ///
    /// # Errors
    /// [`FhirServerError`] of the first that cannot be put; those before it are there.
    pub async fn install(&self) -> Result<Vec<Subscribed>, FhirServerError> {
        let version = self.server.fhir_version().await?;
        let mut subscribed = Vec::new();
        for resource_type in &*self.types {
            subscribed.push(self.ensure(version, resource_type).await?);
        }
        Ok(subscribed)
    }

    /// Takes all of them away, of types that are no longer followed too. The server's history stays.
    ///
    /// # Errors
    /// [`FhirServerError`]; running it again goes on.
    pub async fn uninstall(&self) -> Result<Vec<Subscribed>, FhirServerError> {
        let version = self.server.fhir_version().await?;
        let mut ours: BTreeSet<Arc<str>> = (*self.types).clone();
        let mut pages = self.server.search("Subscription", &[], COUNT);
        while let Some(page) = pages.next().await? {
            let ids = page.entries.iter().map(|entry| &entry.resource.id);
            ours.extend(ids.filter_map(|id| self.hooked.type_of(id)).map(Arc::from));
        }
        let mut removed = Vec::new();
        for resource_type in ours {
            let id = self.hooked.id(&resource_type);
            let found = self.read("Subscription", &id).await?;
            if let Some(found) = found {
                self.server.delete(&["Subscription", &id]).await?;
                let before = state(&found);
                let done = Done::Removed;
                removed.push(Subscribed { resource_type, id: id.clone(), done, before });
            }
            if version != FhirVersion::R4 && self.read("SubscriptionTopic", &id).await?.is_some() {
                self.server.delete(&["SubscriptionTopic", &id]).await?;
            }
        }
        Ok(removed)
    }

    /// Puts a type's subscription unless the server has it and serves it.
    async fn ensure(
        &self,
        version: FhirVersion,
        resource_type: &Arc<str>,
    ) -> Result<Subscribed, FhirServerError> {
        let id = self.hooked.id(resource_type);
        let Wanted { topic, subscription } =
            self.hooked.wanted(version, self.server.base(), resource_type);
        if let Some(topic) = topic {
            let found = self.read("SubscriptionTopic", &id).await?;
            if !found.is_some_and(|found| fits(&topic, &found)) {
                self.put("SubscriptionTopic", &id, &topic).await?;
            }
        }
        let found = self.read("Subscription", &id).await?;
        let before = found.as_ref().map_or(SubscriptionState::Missing, state);
        let is_served = matches!(before, SubscriptionState::Active | SubscriptionState::Requested);
        let done = match found {
            Some(found) if is_served && fits(&subscription, &found) => Done::Unchanged,
            found => {
                self.put("Subscription", &id, &subscription).await?;
                if found.is_some() { Done::Updated } else { Done::Created }
            }
        };
        Ok(Subscribed { resource_type: Arc::clone(resource_type), id, done, before })
    }

    async fn read(&self, kind: &str, id: &str) -> Result<Option<Value>, FhirServerError> {
        let answer = self.server.get(&[kind, id]).await?;
        // what is no JSON is put anew
        Ok(answer.map(|answer| serde_json::from_slice(&answer.body.0).unwrap_or_default()))
    }

    async fn put(&self, kind: &str, id: &str, resource: &Value) -> Result<(), FhirServerError> {
        let json = Bytes::from(resource.to_string());
        self.server.put(&[kind, id], json).await.map(drop)
    }
}

/// Looks after the subscriptions for ever.
pub(super) struct Keeping {
    pub(super) subscriptions: Subscriptions,
    pub(super) catch_ups: CatchUps,
    pub(super) interval: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
}

impl Keeping {
    /// Puts them, and looks after them every so often; sooner while one is not active. What changed
    /// while a subscription was not active is caught up with once it is.
    pub(super) async fn run(self) {
        let types = Arc::clone(&self.subscriptions.types);
        let mut states: BTreeMap<Arc<str>, SubscriptionState> =
            types.iter().map(|name| (Arc::clone(name), SubscriptionState::Unknown)).collect();
        let mut version = None;
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        loop {
            self.look_after(&mut version, &mut states).await;
            let all: Vec<_> = states.values().copied().collect();
            self.metrics.pointcut().subscriptions(&all);
            let wait = if all.iter().all(|state| *state == SubscriptionState::Active) {
                backoff.reset();
                self.interval
            } else {
                backoff.next_delay().min(self.interval)
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn look_after(
        &self,
        version: &mut Option<FhirVersion>,
        states: &mut BTreeMap<Arc<str>, SubscriptionState>,
    ) {
        let known = match *version {
            Some(known) => known,
            None => match self.subscriptions.server.fhir_version().await {
                Ok(known) => *version.insert(known),
                Err(error) => return self.failed(SERVER, &error),
            },
        };
        self.health.up(Check::Subscriptions, SERVER);
        for (resource_type, state) in states {
            match self.subscriptions.ensure(known, resource_type).await {
                Ok(subscribed) => self.found(&subscribed, state),
                Err(error) => {
                    *state = SubscriptionState::Unknown;
                    self.failed(resource_type, &error);
                }
            }
        }
    }

    fn found(&self, subscribed: &Subscribed, state: &mut SubscriptionState) {
        let resource_type = &*subscribed.resource_type;
        if subscribed.done != Done::Unchanged {
            let before = subscribed.before.as_str();
            tracing::info!(resource_type, before, "subscription put at the FHIR server");
        }
        let last = std::mem::replace(state, subscribed.state());
        if *state == SubscriptionState::Active {
            self.health.up(Check::Subscriptions, resource_type);
            if !matches!(last, SubscriptionState::Active) {
                tracing::info!(resource_type, "the subscription is active");
                self.catch_ups.nudge(resource_type);
            }
        } else {
            let message = match subscribed.before {
                SubscriptionState::Error => "the FHIR server had given it up; asked to activate it",
                SubscriptionState::Off => "it had been switched off; asked to activate it",
                _ => "not activated by the FHIR server yet",
            };
            self.health.down(Check::Subscriptions, resource_type, message);
        }
    }

    fn failed(&self, scope: &str, error: &FhirServerError) {
        let cause = error.class().retry_cause();
        self.metrics.retried(Component::FhirServer, cause);
        let error = messages(error).join(": ");
        if self.health.down(Check::Subscriptions, scope, &error) {
            let resource_type = (scope != SERVER).then_some(scope);
            let component = Component::FhirServer.as_str();
            tracing::warn!(
                resource_type,
                component,
                cause,
                error,
                "subscriptions cannot be seen to"
            );
        }
    }
}

/// Scope of what concerns all subscriptions.
const SERVER: &str = "server";
