//! A connection that a transaction holds.
//!
//! In: the sink's connections. Out: a begun transaction; committed or rolled back in time it gives
//! its connection back, else (an error, a cancelled task) it takes it along, so that nothing half
//! done goes back to the pool.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor};

use super::SinkError;
use super::classify::{Attempt, Verdict};
use super::connections::{Connections, Turn};
use super::database::{answer, asserted};
use super::schema::Unfinished;

/// A connection in a transaction.
pub(super) struct Held<D: Database> {
    connection: PoolConnection<D>,
    /// Given back after the connection: fields are dropped in their order.
    _turn: Turn,
    finished: bool,
    answer_limit: Duration,
    rollback_limit: Duration,
    judge: fn(&str) -> Verdict,
}

impl<D> Held<D>
where
    D: Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    /// Begins a transaction with this statement.
    pub(super) async fn begin(
        connections: &Connections<D>,
        statement: &'static str,
    ) -> Result<Self, SinkError> {
        let attempted = "beginning a transaction";
        let (turn, connection) = connections.acquire(attempted).await?;
        let mut held = Self {
            connection,
            _turn: turn,
            finished: false,
            answer_limit: connections.settings().answer_limit(),
            rollback_limit: connections.settings().connect_timeout,
            judge: connections.judge(),
        };
        held.execute(attempted, statement).await?;
        Ok(held)
    }

    /// Runs DDL, each statement for `limit` at most. It says of all before the one that failed that they
    /// are done.
    pub(super) async fn change(
        &mut self,
        statements: &[String],
        limit: Duration,
    ) -> Result<(), Unfinished> {
        let attempted = "changing the schema";
        let judge = self.judge;
        for (done, statement) in statements.iter().enumerate() {
            let text = asserted(statement.as_str().into());
            let result = answer(limit, attempted, async {
                let done = sqlx::raw_sql(text).execute(self.connection()).await;
                done.map_err(|error| Attempt::to(attempted).failed(error, judge))
            });
            result.await.map_err(|error| Unfinished {
                statement: Some(statement.clone()),
                done,
                error,
            })?;
        }
        Ok(())
    }

    /// The same, and commits; if one fails all are undone.
    pub(super) async fn change_together(
        mut self,
        statements: &[String],
        limit: Duration,
    ) -> Result<(), Unfinished> {
        match self.change(statements, limit).await {
            Ok(()) => self.commit().await.map_err(Unfinished::at_all),
            Err(unfinished) => {
                self.rollback().await;
                Err(Unfinished { done: 0, ..unfinished })
            }
        }
    }

    /// The connection.
    pub(super) fn connection(&mut self) -> &mut D::Connection {
        &mut self.connection
    }

    /// How long an answer may take.
    pub(super) const fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// Commits.
    pub(super) async fn commit(mut self) -> Result<(), SinkError> {
        self.execute("committing", "COMMIT").await?;
        self.finished = true;
        Ok(())
    }

    /// Rolls back and keeps the connection, if the database answers.
    pub(super) async fn rollback(mut self) {
        let limit = self.rollback_limit;
        let work = sqlx::raw_sql("ROLLBACK").execute(self.connection());
        let done = matches!(tokio::time::timeout(limit, work).await, Ok(Ok(_)));
        self.finished = done;
    }

    /// Runs a statement that yields nothing.
    pub(super) async fn execute(
        &mut self,
        attempted: &'static str,
        statement: &'static str,
    ) -> Result<(), SinkError> {
        let judge = self.judge;
        answer(self.answer_limit, attempted, async {
            let done = sqlx::raw_sql(statement).execute(self.connection()).await;
            done.map(drop).map_err(|error| Attempt::to(attempted).failed(error, judge))
        })
        .await
    }
}

impl<D: Database> Drop for Held<D> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}
