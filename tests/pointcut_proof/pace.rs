//! Requests at a rate, whatever the answers take: how late each was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What is to be sent.
pub(super) struct Load {
    pub(super) port: u16,
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
    /// Connections, each with one request at a time.
    pub(super) connections: usize,
    pub(super) authorization: String,
    /// Path and body of the request of this number.
    pub(super) request: fn(u64) -> (String, String),
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The numbers of requests that were answered with 200.
    pub(super) acknowledged: Vec<u64>,
    /// Answers of other kinds, and requests without one.
    pub(super) refused: u64,
    /// From when a request was due to its answer, sorted: waiting for a connection counts.
    pub(super) latencies: Vec<Duration>,
    pub(super) took: Duration,
}

impl Outcome {
    /// So many of a thousand were answered within this.
    pub(super) fn within(&self, permille: usize) -> Duration {
        let at =
            (self.latencies.len() * permille / 1000).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

impl Load {
    /// Sends it all, from a runtime of its own.
    pub(super) fn send(self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(self.sent())
    }

    async fn sent(self) -> Outcome {
        let load = Arc::new(self);
        let next = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let mut sides = tokio::task::JoinSet::new();
        for _ in 0..load.connections {
            sides.spawn(
                Side { load: Arc::clone(&load), connection: None }.run(Arc::clone(&next), start),
            );
        }
        let mut outcome = Outcome::default();
        while let Some(side) = sides.join_next().await {
            let side = side.expect("it did not panic");
            outcome.acknowledged.extend(side.acknowledged);
            outcome.refused += side.refused;
            outcome.latencies.extend(side.latencies);
        }
        outcome.took = start.elapsed();
        outcome.latencies.sort_unstable();
        outcome
    }
}

struct Side {
    load: Arc<Load>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Side {
    async fn run(mut self, next: Arc<AtomicU64>, start: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let last = u64::from(self.load.rate) * u64::from(self.load.seconds);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                return outcome;
            }
            let due =
                start + Duration::from_nanos(number * 1_000_000_000 / u64::from(self.load.rate));
            tokio::time::sleep_until(due).await;
            match self.once(number).await {
                Some(200) => outcome.acknowledged.push(number),
                _ => outcome.refused += 1,
            }
            outcome.latencies.push(due.elapsed());
        }
    }

    async fn once(&mut self, number: u64) -> Option<u16> {
        let mut connection = match self.connection.take() {
            Some(open) if !open.is_closed() => open,
            _ => self.connect().await?,
        };
        let (path, body) = (self.load.request)(number);
        let request = hyper::Request::put(format!("/{path}"))
            .header("host", "127.0.0.1")
            .header("authorization", &self.load.authorization)
            .header("content-type", "application/fhir+json; charset=UTF-8")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        connection.ready().await.ok()?;
        let answer = connection.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.ok()?;
        self.connection = Some(connection);
        Some(status)
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(("127.0.0.1", self.load.port)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }
}
