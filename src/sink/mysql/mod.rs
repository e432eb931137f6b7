//! MySQL and MariaDB: connections and transactions.

mod bind;
mod describe;
mod privileges;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions, Executor};
use tokio::sync::OnceCell;

use self::bind::{bind, bind_cells, bind_json, reply_row, size};
use self::describe::{describe, has_schema};
use super::SinkError;
use super::classify::{self, Attempt, Verdict};
use super::connections::{ConnectionCount, ConnectionSettings, Connections, Server};
use super::database::{
    Database, Lacks, PREPARED_STATEMENTS, ReplyRow, Transaction, answer, asserted, constant_column,
    unbindable,
};
use super::held::Held;
use super::schema::Unfinished;
use crate::model::TableName;
use crate::plan::{BindError, Cell, Dialect, LiveTable, Mysql, Needed, Rows, Statement};

/// The most bytes of rows in one statement, however much more the server takes: larger packets
/// only cost memory.
const MOST_BYTES: usize = 16 << 20;
/// What a statement needs beside the bytes of its rows, generously.
const OVERHEAD: usize = 64 << 10;
/// The most rows in one JSON text: about a megabyte of ids.
const MOST_JSON_ROWS: usize = 8192;

/// Nothing is cut off silently; nobody waits for ever, nor is waited for. Each server has its own
/// name for a statement's limit. `wait_timeout` ends silent sessions, also within a transaction.
fn session(limits: &ConnectionSettings) -> String {
    let seconds = |limit: Duration| limit.as_millis().div_ceil(1000).max(1);
    let lock = seconds(limits.lock_timeout);
    let silence = seconds(limits.idle_in_transaction_session_timeout);
    let statement = limits.statement_timeout.as_millis();
    format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,\
         NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO', \
         SESSION innodb_lock_wait_timeout = {lock}, SESSION lock_wait_timeout = {lock}, \
         SESSION wait_timeout = {silence}, SESSION foreign_key_checks = 1, \
         SESSION unique_checks = 1, SESSION sql_safe_updates = 0, SESSION autocommit = 1 \
         /*M!100100 , SESSION max_statement_time = {statement} / 1000 */ \
         /*!80000 , SESSION max_execution_time = {statement} */"
    )
}

/// Without locks on gaps, which would make any two writers of new rows wait for each other.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

const BEGIN: &str = "START TRANSACTION";

/// A MySQL or MariaDB database.
pub(super) struct MysqlDatabase {
    connections: Connections<sqlx::MySql>,
    /// The bytes of rows that a statement may carry.
    most_bytes: OnceCell<usize>,
}

fn judge(code: &str) -> Verdict {
    classify::mysql(code.parse().unwrap_or(0))
}

impl MysqlDatabase {
    /// Prepares the connections; the first is made when it is needed.
    pub(super) fn open(url: &str, limits: ConnectionSettings) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let options = MySqlConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, judge))?
            .charset("utf8mb4")
            .timezone(Some("+00:00".to_owned()))
            .statement_cache_capacity(PREPARED_STATEMENTS)
            .disable_statement_logging();
        let server = options.get_socket().is_none().then(|| Server {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            database: options.get_database().map(ToOwned::to_owned),
        });
        let session: Arc<str> = session(&limits).into();
        let pool = limits
            .pool(limits.connections.max(1))
            .after_connect(move |connection: &mut MySqlConnection, _| {
                let session = Arc::clone(&session);
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(asserted(session))).await?;
                    connection.execute(ISOLATION).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        let connections = Connections::new(pool, limits, judge, server);
        Ok(Self { connections, most_bytes: OnceCell::new() })
    }

    const fn answer_limit(&self) -> Duration {
        self.connections.settings().answer_limit()
    }

    async fn most_bytes(&self) -> Result<usize, SinkError> {
        let attempted = "asking for the server's limits";
        let ask = || async {
            let (_turn, mut connection) = self.connections.acquire(attempted).await?;
            answer(self.answer_limit(), attempted, async {
                let query = sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS signed)");
                let packet: Result<i64, _> = query.fetch_one(&mut *connection).await;
                packet.map_err(|error| Attempt::to(attempted).failed(error, judge))
            })
            .await
            .map(|packet| usize::try_from(packet).unwrap_or(MOST_BYTES).saturating_sub(OVERHEAD))
        };
        self.most_bytes.get_or_try_init(ask).await.copied()
    }
}

#[async_trait]
impl Database for MysqlDatabase {
    fn dialect(&self) -> &'static dyn Dialect {
        &Mysql
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, SinkError> {
        let most_bytes = self.most_bytes().await?;
        let held = Held::begin(&self.connections, BEGIN).await?;
        Ok(Box::new(MysqlTransaction { held, most_bytes }))
    }

    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError> {
        describe(&self.connections, table).await
    }

    async fn has_schema(&self, schema: &str) -> Result<bool, SinkError> {
        has_schema(&self.connections, schema).await
    }

    async fn lacks(&self, _schemas: &[&str], needed: &[Needed]) -> Result<Lacks, SinkError> {
        privileges::lacks(&self.connections, needed).await
    }

    /// Each statement is committed by itself. The connection, whose limits are other ones, is not used
    /// again.
    async fn change(&self, statements: &[String], limit: Duration) -> Result<(), Unfinished> {
        let held = Held::begin(&self.connections, BEGIN).await;
        let mut held = held.map_err(Unfinished::at_all)?;
        let prepare = format!(
            "SET SESSION autocommit = 1 /*M!100100 , SESSION max_statement_time = {} */",
            limit.as_secs()
        );
        let prepared = held.change(&[prepare], self.answer_limit()).await;
        prepared.map_err(|unfinished| Unfinished::at_all(unfinished.error))?;
        held.change(statements, limit).await
    }

    fn connections(&self) -> ConnectionCount {
        self.connections.count()
    }

    async fn close(&self) {
        self.connections.pool.close().await;
    }
}

struct MysqlTransaction {
    held: Held<sqlx::MySql>,
    most_bytes: usize,
}

#[async_trait]
impl Transaction for MysqlTransaction {
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Vec<ReplyRow>, SinkError> {
        let Some([question, write]) = statement.steps() else {
            return self.run_one(statement, rows, constants).await;
        };
        let mut answers = Vec::new();
        for from in (0..rows.len()).step_by(MOST_JSON_ROWS) {
            let asked = from..rows.len().min(from + MOST_JSON_ROWS);
            let asked = rows.chosen(asked, &question.places);
            let mut written = self.run_one(&question.statement, &asked, constants).await?;
            // the first cell of an answer is the place of its row, from 1
            let place = |answer: &mut ReplyRow| usize::try_from(answer.remove(0).int()?).ok();
            let mut places: Vec<usize> = written.iter_mut().filter_map(place).collect();
            places.sort_unstable();
            let chosen = places.into_iter().map(|place| from + place - 1);
            let chosen = rows.chosen(chosen, &write.places);
            self.run_one(&write.statement, &chosen, constants).await?;
            answers.append(&mut written);
        }
        Ok(answers)
    }

    /// Nothing is deferred here.
    async fn check_deferred(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<(), SinkError> {
        self.held.commit().await
    }

    async fn rollback(self: Box<Self>) {
        self.held.rollback().await;
    }
}

impl MysqlTransaction {
    async fn run_one(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Vec<ReplyRow>, SinkError> {
        let takes_rows = !statement.columns.is_empty();
        let mut replies = Vec::new();
        let mut done = 0;
        while !takes_rows || done < rows.len() {
            let mut arguments = MySqlArguments::default();
            let mut run = 0;
            if statement.binds_cells() {
                run = statement.run(self.fitting(statement, rows, done)?);
                bind_cells(&mut arguments, statement, rows, done..done + run)?;
            } else if takes_rows {
                run = (rows.len() - done).min(MOST_JSON_ROWS);
                bind_json(&mut arguments, statement, rows, done..done + run)?;
            }
            for constant in statement.constants(constants) {
                bind(&mut arguments, constant, &constant_column(constant))
                    .map_err(|error| unbindable(statement, None, error))?;
            }
            let failed = |error| Attempt::run(statement).failed(error, judge);
            let query = sqlx::query_with(asserted(statement.text(run)), arguments);
            answer(self.held.answer_limit(), statement.attempted, async {
                let rows = query.fetch_all(self.held.connection()).await.map_err(failed)?;
                for row in rows {
                    replies.push(reply_row(&row).map_err(failed)?);
                }
                Ok(())
            })
            .await?;
            if !takes_rows {
                break;
            }
            done += run;
        }
        Ok(replies)
    }

    /// How many rows from `from` on fit into one statement; at least one.
    fn fitting(
        &self,
        statement: &Statement,
        rows: &Rows<'_>,
        from: usize,
    ) -> Result<usize, SinkError> {
        let mut bytes = 0;
        let mut count = 0;
        while from + count < rows.len() {
            bytes += rows.row(from + count).map(size).sum::<usize>();
            if count == 0 && bytes > self.most_bytes {
                let limit = self.most_bytes;
                return Err(unbindable(statement, None, BindError::TooLarge { limit }));
            }
            if count > 0 && bytes > self.most_bytes.min(MOST_BYTES) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }
}
