//! What a database must do for the sink: begin, run planned statements, commit, describe a table.
//!
//! A database is one file that implements [`Database`] and [`Transaction`] and one dialect in
//! `plan`. The transaction script knows nothing else of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::SinkError;
use super::connections::ConnectionCount;
use super::schema::Unfinished;
use crate::error::{Place, Refusal, Stage};
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, Lack, LiveTable, Needed, Rows, Statement,
};

/// Statements kept prepared per connection; above the number of texts of any sane catalog.
pub(super) const PREPARED_STATEMENTS: usize = 1000;

/// A cell that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// NULL.
    Null,
    /// Text.
    Text(String),
    /// Integer.
    Int(i64),
}

impl Reply {
    pub(super) const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Int(_) => None,
        }
    }
}

/// A row that came back.
pub(super) type ReplyRow = Vec<Reply>;

/// The indexes of a table, as they are read column by column.
#[derive(Default)]
pub(super) struct Indexes {
    found: Vec<(String, bool, Vec<String>)>,
}

impl Indexes {
    /// The next column of this index. An expression, or the beginning of a column, has no name here:
    /// the empty one never equals a column's.
    pub(super) fn add(&mut self, index: String, is_unique: bool, column: Option<String>) {
        let column = column.unwrap_or_default();
        match self.found.last_mut() {
            Some((last, _, columns)) if *last == index => columns.push(column),
            _ => self.found.push((index, is_unique, vec![column])),
        }
    }

    /// The columns of the unique ones, and the first columns of all.
    pub(super) fn told(self) -> (Vec<Vec<String>>, Vec<String>) {
        let firsts = self.found.iter().filter_map(|(_, _, columns)| columns.first().cloned());
        let indexed = firsts.collect();
        let unique = self.found.into_iter().filter(|(_, is_unique, _)| *is_unique);
        (unique.map(|(_, _, columns)| columns).collect(), indexed)
    }
}

/// How a constant is bound.
pub(super) const fn constant_column(constant: Cell<'_>) -> BindColumn {
    match constant {
        Cell::Int(_) => BindColumn::own(BindType::Int8),
        _ => BindColumn::own(BindType::Text),
    }
}

/// What the role of the connections is not granted.
#[derive(Default)]
pub(super) struct Lacks {
    /// The role's name.
    pub(super) role: String,
    /// The role as a GRANT names it.
    pub(super) grantee: String,
    pub(super) found: Vec<Lack>,
}

/// A database and its connections.
#[async_trait]
pub(super) trait Database: Send + Sync {
    /// How it writes things.
    fn dialect(&self) -> &'static dyn Dialect;
    /// Begins a transaction that may write.
    async fn begin(&self) -> Result<Box<dyn Transaction>, SinkError>;
    /// A table as it is; `None` if there is none of this name.
    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError>;
    /// Whether it has a schema of this name.
    async fn has_schema(&self, schema: &str) -> Result<bool, SinkError>;
    /// What the role may not do of what is needed. Of schemas that it may not look into, only that. A
    /// database without roles, SQLite, refuses nothing here: its file was opened for writing.
    async fn lacks(&self, _schemas: &[&str], _needed: &[Needed]) -> Result<Lacks, SinkError> {
        Ok(Lacks::default())
    }
    /// Which of these schemas, and of the one where names without a schema lie, the role may not create
    /// tables in. Nothing where the database does not tell.
    async fn uncreatable(&self, _schemas: &[&str]) -> Result<Lacks, SinkError> {
        Ok(Lacks::default())
    }
    /// Runs DDL on a connection of its own, each statement for `limit` at most, in one transaction
    /// where the database undoes DDL. Locks are waited for no longer than otherwise.
    async fn change(&self, statements: &[String], limit: Duration) -> Result<(), Unfinished>;
    /// Its connections as they are at the moment.
    fn connections(&self) -> ConnectionCount;
    /// Ends all connections.
    async fn close(&self);
}

/// An open transaction. Dropped without commit or rollback (an error, a cancelled task) it takes
/// its connection with it, so that nothing half done goes back to the pool.
#[async_trait]
pub(super) trait Transaction: Send {
    /// Runs a statement over rows; nothing is sent if it takes rows and there are none.
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Vec<ReplyRow>, SinkError>;
    /// Checks now what the database would check only at the commit.
    async fn check_deferred(&mut self) -> Result<(), SinkError>;
    /// Commits.
    async fn commit(self: Box<Self>) -> Result<(), SinkError>;
    /// Rolls back and keeps the connection.
    async fn rollback(self: Box<Self>);
}

/// The one place that asserts that SQL text is safe: every text is made by a dialect, which quotes
/// all identifiers and binds all values.
pub(super) fn asserted(text: Arc<str>) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// A value that cannot be bound, as a refusal that names table and column.
pub(super) fn unbindable(
    statement: &Statement,
    column: Option<&BindColumn>,
    error: BindError,
) -> SinkError {
    let place = Place {
        table: statement.table.clone(),
        column: column.and_then(|column| column.name.clone()),
        ..Place::default()
    };
    SinkError::Refused(Box::new(Refusal::new(
        Stage::Plan,
        error.cause(),
        &error,
        "BindError",
        place,
    )))
}

/// Waits for the database, but not for ever.
pub(super) async fn answer<T>(
    limit: Duration,
    attempted: &'static str,
    work: impl Future<Output = Result<T, SinkError>>,
) -> Result<T, SinkError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(SinkError::Unavailable {
            attempted,
            reason: format!("no answer within {} s", limit.as_secs()),
        }),
    }
}
