//! The connections of a sink: how many, how long anything may take, and whose turn it is.
//!
//! In: the driver's pool. Out: a connection that answered a moment ago, or the reason why there is
//! none. Who waits for a turn waits as long as it takes: a pool that is busy is no failure, and each
//! of its holders is bounded by [`ConnectionSettings`]. It never holds two connections for one turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SinkError;
use super::classify::{Attempt, Verdict};

/// How much longer than the server's own limit for a statement we wait for its answer: the server
/// may be gone, and then nobody else ends the waiting.
const ANSWER_GRACE: Duration = Duration::from_secs(10);
/// A connection from the pool must answer within this time, or it is replaced: its peer may have
/// vanished without a word.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// The fewest connections by default: measured on two processors, updates gain nothing from more.
const FEWEST: usize = 2;
/// The most connections by default: servers count them.
const MOST: usize = 16;

/// How many connections a sink has, and how long anything on them may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Transactions at a time, at least 1. SQLite, which has one writer, always has 1.
    pub connections: u32,
    /// For TCP, TLS and login together.
    pub connect_timeout: Duration,
    /// The server gives a statement up after this time; we wait 10 s longer for its answer.
    pub statement_timeout: Duration,
    /// The server gives waiting for a lock up after this time.
    pub lock_timeout: Duration,
    /// The server ends a session that says nothing within a transaction for this time, and gives
    /// its locks back.
    pub idle_in_transaction_session_timeout: Duration,
    /// The server asks a silent client whether it is there after this time (PostgreSQL).
    pub tcp_keepalive: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(FEWEST, Into::into);
        Self {
            connections: u32::try_from(processors.clamp(FEWEST, MOST)).unwrap_or(u32::MAX),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            idle_in_transaction_session_timeout: Duration::from_secs(20),
            tcp_keepalive: Duration::from_secs(30),
        }
    }
}

impl ConnectionSettings {
    /// We give the server up after this time.
    pub(super) const fn answer_limit(&self) -> Duration {
        self.statement_timeout.saturating_add(ANSWER_GRACE)
    }

    /// A connection that nobody used for this time is closed by us, before the server does so.
    const fn idle_limit(&self) -> Duration {
        self.idle_in_transaction_session_timeout.checked_div(2).expect("2 is not 0")
    }

    /// Options of a pool for `transactions` at a time.
    pub(super) fn pool<D: Database>(&self, transactions: u32) -> PoolOptions<D> {
        PoolOptions::new()
            .max_connections(transactions)
            .acquire_timeout(self.connect_timeout + ALIVE_WITHIN)
            .idle_timeout(self.idle_limit())
            .test_before_acquire(false)
            .before_acquire(|connection: &mut D::Connection, _| {
                Box::pin(async move {
                    let answer = tokio::time::timeout(ALIVE_WITHIN, connection.ping()).await;
                    Ok(matches!(answer, Ok(Ok(()))))
                })
            })
    }
}

/// The connections of a sink as they are at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCount {
    /// Open and waiting for work.
    pub idle: usize,
    /// In a transaction, or reading the live schema.
    pub busy: usize,
    /// The most there may be.
    pub most: usize,
    /// Tasks that wait for one.
    pub waiting: usize,
}

/// Where the server is and who we are there: for telling why there is no connection.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) database: Option<String>,
}

impl Server {
    /// Tells where, and as whom.
    async fn locate(&self, error: SinkError, is_network: bool) -> SinkError {
        let Self { host, port, user, database } = self;
        match error {
            SinkError::Unavailable { attempted, .. } if is_network && self.is_unknown().await => {
                let reason = format!("{host}:{port}: the name does not resolve");
                SinkError::Unavailable { attempted, reason }
            }
            SinkError::Unavailable { attempted, reason } => {
                SinkError::Unavailable { attempted, reason: format!("{host}:{port}: {reason}") }
            }
            SinkError::Fatal { attempted, reason } => {
                let database = database.as_deref().unwrap_or(user);
                let server = format!("user `{user}`, database `{database}` at {host}:{port}");
                SinkError::NotLetIn { attempted, reason, server }
            }
            other => other,
        }
    }

    /// Whether nobody knows the host's name. The driver's error says so in words only.
    async fn is_unknown(&self) -> bool {
        let asked = tokio::net::lookup_host((self.host.as_str(), self.port));
        matches!(tokio::time::timeout(ALIVE_WITHIN, asked).await, Ok(Err(_)))
    }
}

/// A pool, and the queue before it.
pub(super) struct Connections<D: Database> {
    pub(super) pool: Pool<D>,
    /// None: a file.
    server: Option<Server>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    settings: ConnectionSettings,
    judge: fn(&str) -> Verdict,
}

/// The right to hold a connection.
pub(super) type Turn = OwnedSemaphorePermit;

impl<D: Database> Connections<D> {
    /// `judge` reads the database's codes.
    pub(super) fn new(
        pool: Pool<D>,
        settings: ConnectionSettings,
        judge: fn(&str) -> Verdict,
        server: Option<Server>,
    ) -> Self {
        let turns = usize::try_from(pool.options().get_max_connections()).unwrap_or(1);
        let turns = Arc::new(Semaphore::new(turns));
        Self { pool, server, turns, waiting: AtomicUsize::new(0), settings, judge }
    }

    /// How long anything may take.
    pub(super) const fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// Reads the database's codes.
    pub(super) const fn judge(&self) -> fn(&str) -> Verdict {
        self.judge
    }

    /// A connection that answers, once it is our turn.
    pub(super) async fn acquire(
        &self,
        attempted: &'static str,
    ) -> Result<(Turn, PoolConnection<D>), SinkError> {
        let turn = self.turn().await;
        let error = match self.pool.acquire().await {
            Ok(connection) => return Ok((turn, connection)),
            Err(sqlx::Error::PoolTimedOut) => self.reason().await,
            Err(error) => error,
        };
        let is_network = matches!(error, sqlx::Error::Io(_));
        let error = Attempt::to(attempted).failed(error, self.judge);
        Err(match &self.server {
            Some(server) => server.locate(error, is_network).await,
            None => error,
        })
    }

    async fn turn(&self) -> Turn {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return turn;
        }
        let _waiting = Waiting::new(&self.waiting);
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.expect("this semaphore is never closed")
    }

    /// Why there is no connection. The pool keeps trying where a server refuses or is full, and then
    /// only says that its time is up; so the question is put once more.
    async fn reason(&self) -> sqlx::Error {
        let options = self.pool.connect_options();
        match tokio::time::timeout(ALIVE_WITHIN, options.connect()).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> ConnectionCount {
        let idle = self.pool.num_idle();
        let all = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        ConnectionCount {
            idle,
            busy: all.saturating_sub(idle),
            most: usize::try_from(self.pool.options().get_max_connections()).unwrap_or(usize::MAX),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

/// Counts one that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
