//! Rows become the database's state.
//!
//! In: changes that have become rows, and the right to write (an [`Owner`]). Out: one outcome per
//! change, after one committed transaction. All of DESIGN's guard rules live in `plan` (which
//! statements) and here (in which order). It never drops a change silently and never passes on
//! the database's DETAIL texts, which carry row values.

mod classify;
mod connections;
mod database;
mod guard;
mod held;
mod isolate;
mod mysql;
mod postgres;
mod schema;
mod sql;
mod sqlite;
mod traced;
mod transaction;

use async_trait::async_trait;

pub use self::connections::{ConnectionCount, ConnectionSettings};
pub use self::isolate::{rehearse, write};
pub use self::schema::{DatabaseSchema, Unfinished};
pub use self::sql::{Claim, DatabaseKind, RebuildSource, Rulings, SqlSink, TakenUp};
pub use self::transaction::{Keying, TaskIdentity};
use crate::model::{Offset, RowChange, TopicPartition};

/// The right to write for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A partition task with the epoch it took the partition over with.
    Task {
        /// The partition.
        partition: TopicPartition,
        /// From [`Sink::take_over`].
        epoch: i64,
    },
    /// Replay of a letter: locks the row of the letter's origin partition, leaves `epoch` and
    /// `next_offset` alone.
    Replay {
        /// The letter's origin partition.
        partition: TopicPartition,
        /// Lifts the memory that a delete without version was refused before.
        force: bool,
    },
}

/// What taking a partition over found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ownership {
    /// The epoch now ours: every transaction checks it.
    pub epoch: i64,
    /// The highest offset ever settled; telling only, never used for seeking.
    pub next_offset: Option<Offset>,
}

/// How one change ended in the database. Ordered: a record's outcome is the highest among its
/// changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// No transformer takes it, or its `where` does not match.
    Filtered,
    /// At or below what was applied already.
    Stale,
    /// Rows were written or removed.
    Written,
}

/// A database.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes a partition over: raises its epoch, so that a former owner's writes fail.
    async fn take_over(&self, partition: &TopicPartition) -> Result<Ownership, SinkError>;

    /// Applies changes (in origin order) in one transaction. `next`: the offset that is settled
    /// once this batch is, remembered for telling.
    ///
    /// The outcomes are in the order of the changes; `None` marks a delete without version that
    /// was refused before: it was not tried again and is to be dead-lettered with cause
    /// `refused_delete`.
    async fn apply(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError>;

    /// What [`Sink::apply`] would give at this moment: the same statements under the same locks,
    /// with what is checked only at a commit checked too, and rolled back. Nothing stays.
    async fn rehearse(
        &self,
        _owner: &Owner,
        _changes: &[&RowChange],
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let reason = "this sink cannot undo what it does".to_owned();
        Err(SinkError::Fatal { attempted: "rehearsing a batch", reason })
    }

    /// Remembers that a delete without version was refused, so that it is never applied late by
    /// itself, over something newer.
    async fn note_refused_delete(&self, owner: &Owner, change: &RowChange)
    -> Result<(), SinkError>;

    /// Its connections as they are at the moment, for telling; all 0 if it has none.
    fn connections(&self) -> ConnectionCount {
        ConnectionCount::default()
    }
}

/// Why a transaction did not commit. Messages are ours or the database's primary message code;
/// never its DETAIL.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Unreachable, busy, deadlock, shutting down, unknown commit outcome: wait and try again.
    #[error("{attempted}: the database is not available ({reason})")]
    Unavailable {
        /// What was being attempted.
        attempted: &'static str,
        /// SQLSTATE or the driver's own words, without data.
        reason: String,
    },
    /// Some change of the batch can never be written. Known exactly only if the batch was one
    /// change.
    #[error("a change was refused: {0}")]
    Refused(Box<crate::error::Refusal>),
    /// Concerns every change: missing table or column, authentication, read-only target, full
    /// disk, a code nobody knows.
    #[error("{attempted}: {reason}")]
    Fatal {
        /// What was being attempted.
        attempted: &'static str,
        /// SQLSTATE and what to do, without data.
        reason: String,
    },
    /// The server answers and does not let us in: user, password, database, certificate.
    #[error("{attempted}: {reason}; {server}")]
    NotLetIn {
        /// What was being attempted.
        attempted: &'static str,
        /// SQLSTATE and what to do.
        reason: String,
        /// As whom, where: from the URL, without its password.
        server: String,
    },
    /// Another instance took the partition over.
    #[error("the partition was taken over by another instance")]
    Fenced,
}

impl SinkError {
    /// What the runtime does about it.
    #[must_use]
    pub const fn class(&self) -> crate::error::ErrorClass {
        use crate::error::ErrorClass;
        match self {
            Self::Unavailable { .. } | Self::Fenced => ErrorClass::Retriable,
            Self::Refused(_) => ErrorClass::Poison,
            Self::Fatal { .. } | Self::NotLetIn { .. } => ErrorClass::Fatal,
        }
    }
}
