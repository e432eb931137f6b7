//! A connection that a transaction holds.
//!
//! In: a pool. Out: a begun transaction; committed or rolled back in time it gives its connection
//! back, else (an error, a cancelled task) it takes it along, so that nothing half done goes back to
//! the pool.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Executor, Pool};

use super::SinkError;
use super::classify::{Attempt, Verdict};
use super::database::{CONNECT_LIMIT, answer, answer_within, asserted};
use super::schema::Unfinished;

/// A connection in a transaction.
pub(super) struct Held<D: Database> {
    connection: PoolConnection<D>,
    finished: bool,
    judge: fn(&str) -> Verdict,
}

impl<D> Held<D>
where
    D: Database,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    /// Begins a transaction with this statement. `judge` reads the database's codes.
    pub(super) async fn begin(
        pool: &Pool<D>,
        statement: &'static str,
        judge: fn(&str) -> Verdict,
    ) -> Result<Self, SinkError> {
        let attempted = "beginning a transaction";
        let failed = |error| Attempt::to(attempted).failed(error, judge);
        answer(attempted, async {
            let connection = pool.acquire().await.map_err(failed)?;
            let mut held = Self { connection, finished: false, judge };
            sqlx::raw_sql(statement).execute(held.connection()).await.map_err(failed)?;
            Ok(held)
        })
        .await
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
            let result = answer_within(limit, attempted, async {
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

    /// Commits.
    pub(super) async fn commit(mut self) -> Result<(), SinkError> {
        let attempted = "committing";
        let judge = self.judge;
        answer(attempted, async {
            let done = sqlx::raw_sql("COMMIT").execute(self.connection()).await;
            done.map_err(|error| Attempt::to(attempted).failed(error, judge))
        })
        .await?;
        self.finished = true;
        Ok(())
    }

    /// Rolls back and keeps the connection, if the database answers.
    pub(super) async fn rollback(mut self) {
        let work = sqlx::raw_sql("ROLLBACK").execute(self.connection());
        let done = matches!(tokio::time::timeout(CONNECT_LIMIT, work).await, Ok(Ok(_)));
        self.finished = done;
    }
}

impl<D: Database> Drop for Held<D> {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}
