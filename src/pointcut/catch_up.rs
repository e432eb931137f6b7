//! What no hook told is read from the server's history.
//!
//! In: a type, and how far its history was read. Out: all that changed since, deletes with their
//! versions, in the ingest topic, and then the new position. It reads on start, every so often, and
//! when somebody asks, with backoff for ever while the server is away. A position is never advanced
//! before the broker has all that comes before it; what is read twice is stale the second time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::appender::Appender;
use super::positions::{Position, Positions};
use super::progress::Progress;
use super::resolver::{Away, Resolved};
use crate::broker::{BrokerError, OutgoingRecord};
use crate::error::{ErrorClass, messages};
use crate::fhir_server::{FhirServer, FhirServerError, Page, Pages, Scope, record};
use crate::retry::Backoff;
use crate::source::VersionFrom;
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::pointcut::{CatchUpOutcome, ReadOutcome};
use crate::telemetry::metrics::{Component, Metrics};
use crate::topology::PointcutBegin;

/// How far before its position a history is read again. A server stamps a change before it commits
/// it, so one that is seen late may be older than one that was seen before. This is longer than any
/// transaction of a healthy server takes, and than the clocks of its machines differ.
const OVERLAP: TimeDelta = TimeDelta::minutes(5);

/// Entries a page, as a wish. Servers cap it; larger pages gain little and take memory.
const COUNT: u16 = 200;

/// Attempts at a page but the first, while the server is away: beyond, its paging is likely to be
/// forgotten, and the type is begun anew from its position.
const ATTEMPTS: u32 = 12;

/// Waits after a failure.
const DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// Those who may ask for one type and wait; beyond, they are told to come again.
const ASKING: usize = 512;

/// Asks for types to be caught up with. Cheap to clone.
#[derive(Clone)]
pub(super) struct CatchUps(Arc<Vec<(Arc<str>, mpsc::Sender<Ask>)>>);

/// Somebody asks, and may wait.
type Ask = Option<oneshot::Sender<Resolved>>;

/// A type, and the end at which catching up with it is asked for.
pub(super) type Asked = (Arc<str>, mpsc::Receiver<Ask>);

impl CatchUps {
    /// Asks for these types. The ends that are returned go with them, to whoever catches up.
    pub(super) fn new(types: impl IntoIterator<Item = Arc<str>>) -> (Self, Vec<Asked>) {
        let (mut asking, mut asked) = (Vec::new(), Vec::new());
        for name in types {
            let (ask, end) = mpsc::channel(ASKING);
            asking.push((Arc::clone(&name), ask));
            asked.push((name, end));
        }
        (Self(Arc::new(asking)), asked)
    }

    /// Catches up with a type and waits until the broker has all of it. The reading begins after the
    /// call.
    pub(super) async fn catch_up(&self, resource_type: &str) -> Resolved {
        let (done, answer) = oneshot::channel();
        let Some(ask) = self.of(resource_type) else { return Ok(()) };
        if ask.try_send(Some(done)).is_err() {
            return Err(Away::Server);
        }
        answer.await.unwrap_or(Err(Away::Server))
    }

    /// Asks for a type and does not wait.
    pub(super) fn nudge(&self, resource_type: &str) {
        if let Some(ask) = self.of(resource_type) {
            // full: it was asked for often enough
            let _ = ask.try_send(None);
        }
    }

    fn of(&self, resource_type: &str) -> Option<&mpsc::Sender<Ask>> {
        self.0.iter().find(|(name, _)| **name == *resource_type).map(|(_, ask)| ask)
    }
}

/// The right to read a history; none if the process ends.
type Turn = Option<OwnedSemaphorePermit>;

/// What catching up needs, whatever the type. Cheap to clone.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) server: FhirServer,
    pub(super) appender: Appender,
    pub(super) positions: Positions,
    pub(super) version_from: VersionFrom,
    pub(super) begin: PointcutBegin,
    pub(super) interval: Duration,
    /// Types that are read at a time.
    pub(super) turns: Arc<Semaphore>,
    pub(super) progress: Arc<Progress>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
}

/// A type that is followed.
pub(super) struct Followed {
    pub(super) means: Means,
    pub(super) resource_type: Arc<str>,
    pub(super) position: Option<Position>,
    pub(super) asked: mpsc::Receiver<Ask>,
}

impl Followed {
    /// Catches up for ever.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        let mut count = COUNT;
        let mut waiting: Vec<Ask> = Vec::new();
        loop {
            while let Ok(ask) = self.asked.try_recv() {
                waiting.push(ask);
            }
            let ended = self.catch_up(&mut count).await;
            let resolved = ended.as_ref().map(drop).map_err(|_| Away::Server);
            for done in waiting.drain(..).flatten() {
                // who asked may have given up waiting
                let _ = done.send(resolved);
            }
            match ended {
                Ok(()) => {
                    backoff.reset();
                    // instances that were started together do not all come at once
                    let wait = self.means.interval.mul_f64(fastrand::f64().mul_add(0.1, 0.9));
                    match tokio::time::timeout(wait, self.asked.recv()).await {
                        Ok(Some(ask)) => waiting.push(ask),
                        Ok(None) => return,
                        Err(_) => {}
                    }
                }
                Err(error) => {
                    let wait = backoff.next_delay().max(error.retry_after().unwrap_or_default());
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Catches up once and tells how it ended.
    async fn catch_up(&mut self, count: &mut u16) -> Result<(), FhirServerError> {
        let mut turn = self.means.turn().await;
        let ended = self.read(count, &mut turn).await;
        drop(turn);
        let Means { metrics, health, progress, .. } = &self.means;
        let resource_type = &*self.resource_type;
        match &ended {
            Ok(()) => {
                metrics.pointcut().caught_up(CatchUpOutcome::Completed);
                progress.completed(resource_type);
                if health.up(Check::FhirServer, resource_type) {
                    tracing::info!(resource_type, "the FHIR server answers again");
                }
            }
            Err(error) => {
                metrics.pointcut().caught_up(CatchUpOutcome::Failed);
                self.means.away(resource_type, error);
            }
        }
        ended
    }

    async fn read(&mut self, count: &mut u16, turn: &mut Turn) -> Result<(), FhirServerError> {
        let scope = Scope::Type(Arc::clone(&self.resource_type));
        let since = match (self.position, self.means.begin) {
            (Some(position), _) => position.last_updated.and_then(before),
            (None, PointcutBegin::History) => {
                let resource_type = &*self.resource_type;
                tracing::info!(resource_type, "not followed before: reading its whole history");
                None
            }
            (None, PointcutBegin::Now) => {
                let newest = self.newest(&scope).await?;
                self.advance(newest).await;
                return Ok(());
            }
        };
        let mut newest = self.position.and_then(|position| position.last_updated);
        let mut pages = self.means.server.history(&scope, since, *count);
        let (mut is_first, mut total, mut made) = (true, 0, None);
        loop {
            match self.next(&mut pages, is_first, turn).await {
                Ok(None) => break,
                Ok(Some(page)) => {
                    if is_first {
                        made = page.last_updated;
                    }
                    is_first = false;
                    total += page.entries.len();
                    let changed = page.entries.iter().filter_map(|entry| entry.last_updated).max();
                    newest = newest.max(changed);
                    self.means.write(&self.resource_type, page).await;
                }
                // many large resources on one page
                Err(FhirServerError::TooLarge { .. }) if *count > 1 => {
                    *count = (*count / 4).max(1);
                    is_first = true;
                    pages = self.means.server.history(&scope, since, *count);
                }
                Err(error) => return Err(error),
            }
        }
        tracing::debug!(resource_type = &*self.resource_type, entries = total, "caught up");
        self.advance(not_after(newest, made)).await;
        Ok(())
    }

    /// The next page. The first is not waited for: whoever asked learns that the server is away. A
    /// type that waits gives its turn to another.
    async fn next(
        &self,
        pages: &mut Pages,
        is_first: bool,
        turn: &mut Turn,
    ) -> Result<Option<Page>, FhirServerError> {
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        loop {
            match pages.next().await {
                Err(error)
                    if error.class() == ErrorClass::Retriable
                        && !is_first
                        && backoff.attempts() < ATTEMPTS =>
                {
                    self.means.away(&self.resource_type, &error);
                    let wait = backoff.next_delay().max(error.retry_after().unwrap_or_default());
                    *turn = None;
                    tokio::time::sleep(wait).await;
                    *turn = self.means.turn().await;
                }
                answered => {
                    if answered.is_ok() && backoff.attempts() > 0 {
                        self.means.health.up(Check::FhirServer, &self.resource_type);
                    }
                    return answered;
                }
            }
        }
    }

    /// When the newest change was made, by the server's clock.
    async fn newest(&self, scope: &Scope) -> Result<Option<DateTime<Utc>>, FhirServerError> {
        let page = self.means.server.history(scope, None, 1).next().await?;
        Ok(page.and_then(|page| {
            let newest = page.entries.iter().filter_map(|entry| entry.last_updated).max();
            let newest = newest.or(page.last_updated.filter(|_| !page.refused.is_empty()));
            not_after(newest, page.last_updated)
        }))
    }

    /// Remembers how far it was read: the broker has all of that.
    async fn advance(&mut self, last_updated: Option<DateTime<Utc>>) {
        let position = Position { last_updated };
        if self.position == Some(position) {
            return;
        }
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        while let Err(error) = self.means.positions.write(&self.resource_type, position).await {
            self.means.metrics.retried(Component::Broker, "unavailable");
            if self.means.health.down(Check::Broker, POSITIONS, &error.to_string()) {
                tracing::warn!(component = Component::Broker.as_str(), %error, "the topic of positions takes no records");
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        self.means.health.up(Check::Broker, POSITIONS);
        self.position = Some(position);
    }
}

/// The newest time of change, but none after the time when the server made the first page, if it says
/// so: a clock that ran ahead for a while must not hide what comes once it is right again.
fn not_after(newest: Option<DateTime<Utc>>, made: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    newest.map(|newest| made.map_or(newest, |made| newest.min(made)))
}

/// Scope in which writing positions tells its health.
const POSITIONS: &str = "pointcut positions";

impl Means {
    async fn turn(&self) -> Turn {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Appends what a page says, for as long as it takes.
    async fn write(&self, resource_type: &str, page: Page) {
        let counts = self.metrics.pointcut();
        let mut records = Vec::with_capacity(page.entries.len());
        let mut refused = page.refused;
        for entry in &page.entries {
            match record(entry, self.appender.topic(), self.version_from) {
                Ok(record) => records.push(record),
                Err(error) => refused.push(error),
            }
        }
        if let Some(first) = refused.first() {
            let error = messages(first).join(": ");
            let entries = refused.len();
            tracing::error!(resource_type, entries, error, "entries of the history are left out");
            counts.entries(ReadOutcome::Refused, entries);
        }
        let mut backoff = Backoff::new(DELAYS.0, DELAYS.1);
        while !records.is_empty() {
            let results = self.appender.append(records.clone()).await;
            let (again, too_large) = sort(records, &results);
            counts.entries(ReadOutcome::Written, results.len() - again.len() - too_large);
            if too_large > 0 {
                let entries = too_large;
                tracing::error!(resource_type, entries, "larger than the ingest topic takes");
                counts.entries(ReadOutcome::Refused, too_large);
            }
            records = again;
            if !records.is_empty() {
                counts.entries(ReadOutcome::Failed, records.len());
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }

    fn away(&self, resource_type: &str, error: &FhirServerError) {
        let cause = error.class().retry_cause();
        self.metrics.retried(Component::FhirServer, cause);
        let error = messages(error).join(": ");
        if self.health.down(Check::FhirServer, resource_type, &error) {
            tracing::warn!(
                resource_type,
                component = Component::FhirServer.as_str(),
                cause,
                error,
                "the FHIR server's history cannot be read; waiting"
            );
        }
    }
}

/// The time from which a history is read again. None: from its beginning, as for a position that no
/// server has written, since FHIR cannot say it.
fn before(position: DateTime<Utc>) -> Option<DateTime<Utc>> {
    position.checked_sub_signed(OVERLAP).filter(|from| (1..=9999).contains(&from.year()))
}

/// The records that the broker does not have, and how many it will never take.
fn sort<T>(
    records: Vec<OutgoingRecord>,
    results: &[Result<T, BrokerError>],
) -> (Vec<OutgoingRecord>, usize) {
    let (mut again, mut too_large) = (Vec::new(), 0);
    for (record, result) in records.into_iter().zip(results) {
        match result.as_ref().map_err(BrokerError::class) {
            Ok(_) => {}
            Err(ErrorClass::Poison) => too_large += 1,
            Err(ErrorClass::Retriable | ErrorClass::Fatal) => again.push(record),
        }
    }
    (again, too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_no_time_of_fhir_reads_from_the_beginning() {
        let of = |text: &str| before(text.parse().expect("a time of chrono's"));
        for text in ["-262143-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "+262142-12-31T00:00:00Z"]
        {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(of("2026-01-01T00:05:00Z"), "2026-01-01T00:00:00Z".parse().ok());
    }
}
