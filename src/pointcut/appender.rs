//! Appends to the ingest topic, what comes at the same time together.
//!
//! In: records of one request or of one page. Out: whether the broker has them, record by record.
//! Whatever waits goes to the broker in one call, so that many small requests cost it little. It never
//! says that a record is there before the broker does.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::broker::{BrokerError, OutgoingRecord, Producer};
use crate::error::ErrorClass;
use crate::telemetry::health::{Check, Health};
use crate::telemetry::metrics::{Component, Metrics};

/// Requests that wait to be appended; who comes later waits at the door.
const WAITING: usize = 1024;
/// Records given to the broker at a time; the last request may go beyond.
const RECORDS_TOGETHER: usize = 2000;
/// Bytes given to the broker at a time; the last request may go beyond.
const BYTES_TOGETHER: usize = 8 << 20;

/// Scope in which appending tells its health.
const SCOPE: &str = "pointcut";

/// Whether the broker has a record.
pub(super) type Appended = Result<(), BrokerError>;

/// The ingest topic, open for appending. Cheap to clone; clones share what is given to the broker.
#[derive(Clone)]
pub(super) struct Appender {
    requests: mpsc::Sender<Request>,
    topic: Arc<str>,
}

struct Request {
    records: Vec<OutgoingRecord>,
    done: oneshot::Sender<Vec<Appended>>,
    room: Option<OwnedSemaphorePermit>,
}

/// What gives to the broker: to be run beside the appender.
pub(super) struct Appending {
    waiting: mpsc::Receiver<Request>,
    producer: Arc<dyn Producer>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Appender {
    pub(super) fn new(
        topic: Arc<str>,
        producer: Arc<dyn Producer>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> (Self, Appending) {
        let (requests, waiting) = mpsc::channel(WAITING);
        (Self { requests, topic }, Appending { waiting, producer, metrics, health })
    }

    /// The topic's name.
    pub(super) const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Appends records; the results are in their order.
    pub(super) async fn append(&self, records: Vec<OutgoingRecord>) -> Vec<Appended> {
        self.append_from(records, None).await
    }

    /// The same of records that were made in memory that is set aside for them: it stays so until the
    /// broker answered, also where nobody waits for that any more.
    pub(super) async fn append_from(
        &self,
        records: Vec<OutgoingRecord>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Vec<Appended> {
        if records.is_empty() {
            return Vec::new();
        }
        let count = records.len();
        let (done, answer) = oneshot::channel();
        let results = match self.requests.send(Request { records, done, room }).await {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        results.unwrap_or_else(|| (0..count).map(|_| Err(ending())).collect())
    }
}

impl Appending {
    /// Gives to the broker what comes, until nobody is left who could append.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            let mut waiters = Vec::new();
            let mut records = Vec::new();
            let mut rooms = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next {
                bytes += request.records.iter().map(size).sum::<usize>();
                waiters.push((request.records.len(), request.done));
                rooms.extend(request.room);
                records.extend(request.records);
                let is_full = records.len() >= RECORDS_TOGETHER || bytes >= BYTES_TOGETHER;
                next = if is_full { None } else { self.waiting.try_recv().ok() };
            }
            let results = self.producer.send(records).await;
            drop(rooms);
            self.tell(&results);
            let mut results = results.into_iter().map(|result| result.map(drop));
            for (count, done) in waiters {
                let mut own: Vec<Appended> = results.by_ref().take(count).collect();
                // a broker that answers for less than it was given has not got the rest
                own.resize_with(count, || Err(ending()));
                // who asked may have given up waiting
                let _ = done.send(own);
            }
        }
    }

    fn tell<T>(&self, results: &[Result<T, BrokerError>]) {
        let failed = results.iter().filter_map(|result| result.as_ref().err());
        match failed.filter(|error| error.class() != ErrorClass::Poison).last() {
            Some(error) => {
                self.metrics.retried(Component::Broker, error.class().retry_cause());
                if self.health.down(Check::Broker, SCOPE, &error.to_string()) {
                    tracing::warn!(component = Component::Broker.as_str(), cause = error.class().retry_cause(), %error, "the ingest topic takes no records");
                }
            }
            None => {
                if self.health.up(Check::Broker, SCOPE) {
                    tracing::info!("the ingest topic takes records");
                }
            }
        }
    }
}

fn size(record: &OutgoingRecord) -> usize {
    let value = record.value.as_ref().map_or(0, bytes::Bytes::len);
    value + record.key.as_ref().map_or(0, bytes::Bytes::len)
}

fn ending() -> BrokerError {
    BrokerError::Unavailable {
        attempted: "appending to the ingest topic",
        reason: "shutting down".to_owned(),
    }
}
