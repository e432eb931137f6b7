//! SQLite: one writing connection, binding by value, description of tables.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, ConnectOptions, Row, TypeInfo, ValueRef};

use super::SinkError;
use super::classify::{self, Attempt, Verdict};
use super::connections::{ConnectionCount, ConnectionSettings, Connections};
use super::database::{
    Database, Indexes, PREPARED_STATEMENTS, Reply, ReplyRow, Transaction, answer, asserted,
    constant_column, unbindable,
};
use super::held::Held;
use super::schema::Unfinished;
use crate::error::Cause;
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, LiveColumn, LiveTable, Rows, Sqlite, Statement,
};

/// The schema that is the file itself.
const MAIN: &str = "main";

const BEGIN: &str = "BEGIN IMMEDIATE";

/// A SQLite database.
pub(super) struct SqliteDatabase {
    connections: Connections<sqlx::Sqlite>,
}

fn judge(code: &str) -> Verdict {
    classify::sqlite(code.parse().unwrap_or(-1))
}

impl SqliteDatabase {
    /// Prepares the connection. The file is created, for its owner only, if it is missing.
    pub(super) fn open(url: &str, limits: ConnectionSettings) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, judge))?
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(limits.lock_timeout)
            .statement_cache_capacity(PREPARED_STATEMENTS)
            .disable_statement_logging();
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(SinkError::Fatal {
                attempted: "reading the database URL",
                reason: "a database in memory is lost with its connection: name a file".to_owned(),
            });
        }
        create_private(options.get_filename())?;
        // SQLite has one writer: more connections would only wait for each other, unfairly
        let pool = limits
            .pool(1)
            // a connection that was given up in the middle of a statement finishes that first
            .acquire_timeout(limits.answer_limit())
            .connect_lazy_with(options);
        Ok(Self { connections: Connections::new(pool, limits, judge, None) })
    }
}

/// Creates the file readable by its owner only; SQLite gives its side files the same mode.
#[cfg(unix)]
fn create_private(path: &Path) -> Result<(), SinkError> {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    match opened {
        Ok(_) => Ok(()),
        Err(error) => Err(SinkError::Fatal {
            attempted: "opening the database file",
            reason: error.kind().to_string(),
        }),
    }
}

#[cfg(not(unix))]
fn create_private(_path: &Path) -> Result<(), SinkError> {
    Ok(())
}

#[async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> &'static dyn Dialect {
        &Sqlite
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, SinkError> {
        Ok(Box::new(SqliteTransaction(Held::begin(&self.connections, BEGIN).await?)))
    }

    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError> {
        let attempted = "reading the live schema";
        let failed = |error| Attempt::to(attempted).failed(error, judge);
        let schema = table.schema.as_deref().unwrap_or(MAIN);
        if schema != MAIN && !self.has_schema(schema).await? {
            return Ok(None);
        }
        let (_turn, mut connection) = self.connections.acquire(attempted).await?;
        let mut key = Vec::new();
        let mut columns = Vec::new();
        let rows = sqlx::query(COLUMNS).bind(&*table.name).bind(schema).fetch_all(&mut *connection);
        for row in rows.await.map_err(failed)? {
            let name: String = row.try_get(0).map_err(failed)?;
            let type_name: String = row.try_get(1).map_err(failed)?;
            let place: i64 = row.try_get(4).map_err(failed)?;
            if place > 0 {
                key.push((place, name.clone()));
            }
            let kind = Sqlite::affinity(&type_name).to_owned();
            columns.push(LiveColumn {
                name,
                type_name,
                kind,
                limit: None,
                confuses_ids: false,
                not_null: row.try_get(2).map_err(failed)?,
                filled: row.try_get(3).map_err(failed)?,
            });
        }
        if columns.is_empty() {
            return Ok(None);
        }
        key.sort();
        let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
        // a key INTEGER PRIMARY KEY is the row number itself and is filled by SQLite
        if let [only] = key.as_slice() {
            let number = |column: &&mut LiveColumn| {
                column.name == *only && column.type_name.eq_ignore_ascii_case("INTEGER")
            };
            if let Some(column) = columns.iter_mut().find(number) {
                column.filled = true;
            }
        }
        let mut keys = Indexes::default();
        let rows = sqlx::query(INDEXES).bind(&*table.name).bind(schema).bind(schema);
        for row in rows.fetch_all(&mut *connection).await.map_err(failed)? {
            let name: String = row.try_get(0).map_err(failed)?;
            let is_unique: bool = row.try_get(1).map_err(failed)?;
            keys.add(name, is_unique, row.try_get(2).map_err(failed)?);
        }
        let (mut unique, mut indexed) = keys.told();
        indexed.extend(key.first().cloned());
        if !key.is_empty() {
            unique.push(key);
        }
        Ok(Some(LiveTable {
            schema: schema.to_owned(),
            name: table.name.to_string(),
            columns,
            unique,
            indexed,
            index_names: Vec::new(),
        }))
    }

    async fn has_schema(&self, schema: &str) -> Result<bool, SinkError> {
        let attempted = "reading the live schema";
        let query = sqlx::query("SELECT 1 FROM pragma_database_list WHERE name = ?").bind(schema);
        let (_turn, mut connection) = self.connections.acquire(attempted).await?;
        let found = query.fetch_optional(&mut *connection).await;
        Ok(found.map_err(|error| Attempt::to(attempted).failed(error, judge))?.is_some())
    }

    async fn change(&self, statements: &[String], limit: Duration) -> Result<(), Unfinished> {
        let held = Held::begin(&self.connections, BEGIN).await.map_err(Unfinished::at_all)?;
        held.change_together(statements, limit).await
    }

    fn connections(&self) -> ConnectionCount {
        self.connections.count()
    }

    async fn close(&self) {
        self.connections.pool.close().await;
    }
}

struct SqliteTransaction(Held<sqlx::Sqlite>);

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Vec<ReplyRow>, SinkError> {
        let failed = |error| Attempt::run(statement).failed(error, judge);
        let takes_rows = !statement.columns.is_empty();
        let mut replies = Vec::new();
        let mut done = 0;
        while !takes_rows || done < rows.len() {
            let run = if takes_rows { statement.run(rows.len() - done) } else { 0 };
            let mut arguments = SqliteArguments::default();
            arguments.reserve(run * statement.columns.len() + constants.len(), 0);
            for row in done..done + run {
                for (cell, column) in rows.row(row).zip(&statement.columns) {
                    bind(&mut arguments, cell, column)
                        .map_err(|error| unbindable(statement, Some(column), error))?;
                }
            }
            for constant in statement.constants(constants) {
                bind(&mut arguments, constant, &constant_column(constant))
                    .map_err(|error| unbindable(statement, None, error))?;
            }
            let text = statement.text(run);
            answer(self.0.answer_limit(), statement.attempted, async {
                let query = sqlx::query_with(asserted(text), arguments);
                for row in query.fetch_all(self.0.connection()).await.map_err(failed)? {
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

    /// SQLite counts violations of deferred keys and tells only at the commit, so the tables that
    /// have such keys are looked through, whole.
    async fn check_deferred(&mut self) -> Result<(), SinkError> {
        let attempt = Attempt::to("checking deferred constraints");
        let broken = answer(self.0.answer_limit(), attempt.what, async {
            let query = sqlx::query_scalar(DEFERRED);
            let broken: Option<String> = query
                .fetch_optional(self.0.connection())
                .await
                .map_err(|error| attempt.failed(error, judge))?;
            Ok(broken)
        });
        match broken.await? {
            None => Ok(()),
            Some(table) => {
                let (cause, code) = (Cause::ConstraintForeignKey, FOREIGN_KEY);
                Err(classify::refused(cause, Some((code, None)), Some(table.into()), None))
            }
        }
    }

    async fn commit(self: Box<Self>) -> Result<(), SinkError> {
        self.0.commit().await
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await;
    }
}

fn bind(
    arguments: &mut SqliteArguments,
    cell: Cell<'_>,
    column: &BindColumn,
) -> Result<(), BindError> {
    let added = match column.bind {
        BindType::Int2 | BindType::Int4 | BindType::Int8 => arguments.add(cell.integer()?),
        BindType::Boolean => arguments.add(cell.boolean()?),
        BindType::Float8 => arguments.add(cell.double()?),
        BindType::Bytes => arguments.add(cell.bytes()?),
        BindType::Text
        | BindType::Json
        | BindType::Jsonb
        | BindType::Numeric
        | BindType::Date
        | BindType::TimestampTz
        | BindType::Timestamp
        | BindType::Time
        | BindType::Uuid
        | BindType::UuidBytes => arguments.add(cell.text(column.limit)?),
    };
    added.map_err(|_| BindError::OutOfRange)
}

fn reply_row(row: &SqliteRow) -> Result<ReplyRow, sqlx::Error> {
    (0..row.len())
        .map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(Reply::Null);
            }
            if value.type_info().name() == "INTEGER" {
                return row.try_get(column).map(Reply::Int);
            }
            row.try_get(column).map(Reply::Text)
        })
        .collect()
}

/// SQLite's code for a foreign key that is not there.
const FOREIGN_KEY: &str = "787";

/// A table with a broken foreign key, of those that have deferred ones.
const DEFERRED: &str = "SELECT s.name FROM sqlite_schema s JOIN pragma_foreign_key_check(s.name) \
WHERE s.type = 'table' AND s.sql LIKE '%DEFERRABLE%' LIMIT 1";

/// Name, declared type, whether NOT NULL, whether SQLite fills it, place in the primary key.
const COLUMNS: &str = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL OR hidden <> 0, pk \
FROM pragma_table_xinfo(?, ?)";

/// Index, whether unique, column; indexes on the whole table.
const INDEXES: &str = "SELECT l.name, l.\"unique\", i.name FROM pragma_index_list(?, ?) l \
JOIN pragma_index_xinfo(l.name, ?) i WHERE l.partial = 0 AND i.key = 1 \
ORDER BY l.name, i.seqno";
