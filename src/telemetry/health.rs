//! Is it alive, is it ready, and if not, why not.
//!
//! Liveness looks at this process only: a database that is away must not make an orchestrator
//! restart every instance. Readiness names each dependency.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The main loop must have come round within this time; it does so every second.
const ALIVE_WITHIN: Duration = Duration::from_mins(1);

/// What readiness depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The broker answers.
    Broker,
    /// The group gave this member its partitions (possibly none).
    Assignment,
    /// The database takes writes.
    Database,
    /// The dead-letter topic takes letters.
    DeadLetterTopic,
    /// The retry topic can be read and written; holds if there is none.
    RetryTopic,
    /// No circuit is open.
    Circuit,
    /// No batch waits for a schema of the schema registry.
    SchemaRegistry,
    /// The FHIR server's history can be read; holds without POINTCUT.
    FhirServer,
    /// The FHIR server has our subscriptions; holds without POINTCUT.
    Subscriptions,
}

impl Check {
    const ALL: [Self; 9] = [
        Self::Broker,
        Self::Assignment,
        Self::Database,
        Self::DeadLetterTopic,
        Self::RetryTopic,
        Self::Circuit,
        Self::SchemaRegistry,
        Self::FhirServer,
        Self::Subscriptions,
    ];

    /// Whether it must be reached before anything can be done.
    const fn is_needed_at_start(self) -> bool {
        match self {
            Self::Broker | Self::Assignment | Self::Database | Self::DeadLetterTopic => true,
            Self::RetryTopic
            | Self::Circuit
            | Self::SchemaRegistry
            | Self::FhirServer
            | Self::Subscriptions => false,
        }
    }

    /// Whether nothing can be done while it does not hold. A FHIR server that is away keeps nobody
    /// from writing rows or from taking hooks; to be taken out of a load balancer for that would
    /// keep the server from reaching us once it is back.
    const fn decides(self) -> bool {
        !matches!(self, Self::FhirServer | Self::Subscriptions)
    }
}

/// State of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckState {
    /// Whether it holds.
    pub ok: bool,
    /// What it waits for, or what it found. Never data.
    pub message: String,
}

/// State of all checks.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether all hold that decide: `fhir_server` and `subscriptions` only tell.
    pub ready: bool,
    /// A standing notice: the embedded broker is no production broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<&'static str>,
    /// Each check.
    pub checks: BTreeMap<Check, CheckState>,
}

/// Health of this process; shared.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_tick: Instant,
    notice: Option<&'static str>,
    /// For each check, what is wrong with it, by scope. Nothing wrong: the check holds.
    wrong: BTreeMap<Check, BTreeMap<String, String>>,
}

/// Scope of what was not reached since the start; the first success of any scope ends it.
const START: &str = "";

impl Health {
    /// Alive, not ready: nothing has been reached yet.
    #[must_use]
    pub fn new() -> Self {
        Self::needing(Check::is_needed_at_start)
    }

    /// The same for a process that only fills the topic: it needs the broker.
    #[must_use]
    pub fn of_pointcut() -> Self {
        Self::needing(|check| check == Check::Broker)
    }

    fn needing(is_needed: impl Fn(Check) -> bool) -> Self {
        let mut wrong: BTreeMap<Check, BTreeMap<String, String>> = BTreeMap::new();
        for check in Check::ALL {
            let scopes = wrong.entry(check).or_default();
            if is_needed(check) {
                scopes.insert(START.to_owned(), "not reached yet".to_owned());
            }
        }
        Self { state: Mutex::new(State { last_tick: Instant::now(), notice: None, wrong }) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main loop came round.
    pub fn tick(&self) {
        self.locked().last_tick = Instant::now();
    }

    /// Whether the main loop comes round.
    pub fn alive(&self) -> bool {
        self.locked().last_tick.elapsed() < ALIVE_WITHIN
    }

    /// A notice that stands in every readiness answer.
    pub fn notice(&self, notice: &'static str) {
        self.locked().notice = Some(notice);
    }

    /// The check holds as far as `scope` (a partition, a component) can tell. Returns whether
    /// that is news.
    pub fn up(&self, check: Check, scope: &str) -> bool {
        let mut state = self.locked();
        let scopes = state.wrong.entry(check).or_default();
        let was_starting = scopes.remove(START).is_some();
        scopes.remove(scope).is_some() || was_starting
    }

    /// The check does not hold for `scope`. Returns whether that is news.
    pub fn down(&self, check: Check, scope: &str, message: &str) -> bool {
        let mut state = self.locked();
        let scopes = state.wrong.entry(check).or_default();
        scopes.remove(START);
        scopes.insert(scope.to_owned(), message.to_owned()).is_none()
    }

    /// The scope is no longer ours: nothing is wrong with it any more.
    pub fn forget(&self, scope: &str) {
        for scopes in self.locked().wrong.values_mut() {
            scopes.remove(scope);
        }
    }

    /// All checks.
    pub fn readiness(&self) -> Readiness {
        let state = self.locked();
        let checks: BTreeMap<Check, CheckState> = state
            .wrong
            .iter()
            .map(|(check, scopes)| {
                let message = scopes.iter().map(|(scope, message)| {
                    if scope.is_empty() { message.clone() } else { format!("{scope}: {message}") }
                });
                let message: Vec<String> = message.collect();
                (*check, CheckState { ok: scopes.is_empty(), message: message.join("; ") })
            })
            .collect();
        let ready = checks.iter().all(|(check, state)| state.ok || !check.decides());
        Readiness { ready, notice: state.notice, checks }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_in_trouble_is_enough_to_be_unready_and_its_recovery_to_be_ready() {
        let health = Health::new();
        assert!(!health.readiness().ready);
        for check in Check::ALL {
            health.up(check, "t-0");
        }
        assert!(health.readiness().ready);
        assert!(health.down(Check::Circuit, "t-1", "open"));
        assert!(!health.down(Check::Circuit, "t-1", "open still"));
        assert!(!health.up(Check::Circuit, "t-0"));
        assert!(!health.readiness().ready);
        assert!(health.up(Check::Circuit, "t-1"));
        assert!(health.readiness().ready);
    }

    #[test]
    fn a_fhir_server_that_is_away_is_told_and_takes_nobody_out_of_service() {
        let health = Health::of_pointcut();
        assert!(!health.readiness().ready);
        health.up(Check::Broker, "topic");
        health.down(Check::FhirServer, "Patient", "away");
        let readiness = health.readiness();
        assert!(readiness.ready);
        assert!(readiness.checks.get(&Check::FhirServer).is_some_and(|state| !state.ok));
    }
}
