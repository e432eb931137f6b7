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

    /// Name, as `/readyz` says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Assignment => "assignment",
            Self::Database => "database",
            Self::DeadLetterTopic => "dead_letter_topic",
            Self::RetryTopic => "retry_topic",
            Self::SchemaRegistry => "schema_registry",
            Self::FhirServer => "fhir_server",
            Self::Subscriptions => "subscriptions",
            Self::Circuit => "circuit",
        }
    }

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
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    /// Whether all hold that decide: `fhir_server` and `subscriptions` only tell.
    pub ready: bool,
    /// A standing notice: the embedded broker is no production broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<&'static str>,
    /// Each check.
    pub checks: BTreeMap<Check, CheckState>,
}

/// What anybody may know of [`Readiness`]: which checks hold, and not why others do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BareReadiness {
    /// Whether all hold that decide.
    pub ready: bool,
    /// Each check.
    pub checks: BTreeMap<Check, BareCheck>,
}

/// Whether a check holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BareCheck {
    /// Whether it does.
    pub ok: bool,
}

impl Readiness {
    /// Without what checks wait for: names of topics and tables, causes, codes.
    #[must_use]
    pub fn bare(&self) -> BareReadiness {
        let bare = |(check, state): (&Check, &CheckState)| (*check, BareCheck { ok: state.ok });
        BareReadiness { ready: self.ready, checks: self.checks.iter().map(bare).collect() }
    }
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
                (*check, CheckState { ok: scopes.is_empty(), message: told(scopes) })
            })
            .collect();
        let ready = checks.iter().all(|(check, state)| state.ok || !check.decides());
        Readiness { ready, notice: state.notice, checks }
    }
}

/// What is wrong with a check: what concerns several scopes is told once, with the first of them.
fn told(scopes: &BTreeMap<String, String>) -> String {
    let mut alike: Vec<(&str, Vec<&str>)> = Vec::new();
    for (scope, message) in scopes {
        match alike.iter_mut().find(|(told, _)| told == message) {
            Some((_, scopes)) => scopes.push(scope),
            None => alike.push((message, vec![scope])),
        }
    }
    let each = alike.iter().map(|(message, scopes)| match scopes.as_slice() {
        [START] => (*message).to_owned(),
        [first] => format!("{first}: {message}"),
        [first, others @ ..] => format!("{first} and {} more: {message}", others.len()),
        [] => String::new(),
    });
    each.collect::<Vec<_>>().join("; ")
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
    fn what_concerns_several_partitions_is_told_once() {
        let health = Health::new();
        for partition in ["t-0", "t-1", "t-2"] {
            health.down(Check::Database, partition, "the table is missing");
        }
        health.down(Check::Database, "t-3", "no answer");
        let told = &health.readiness().checks[&Check::Database].message;
        assert_eq!(told, "t-0 and 2 more: the table is missing; t-3: no answer");
    }

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
