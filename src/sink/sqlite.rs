//! SQLite: one writing connection, binding by value, description of tables.

use std::path::Path;
use std::str::FromStr;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Arguments, ConnectOptions, Row, SqlitePool, TypeInfo, ValueRef};

use super::SinkError;
use super::classify::{self, Attempt, Verdict};
use super::database::{
    ANSWER_LIMIT, CONNECT_LIMIT, Database, Indexes, PREPARED_STATEMENTS, Reply, ReplyRow,
    Transaction, answer, asserted, constant_column, unbindable,
};
use super::held::Held;
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, LiveColumn, LiveTable, Rows, Sqlite, Statement,
    bookkeeping_ddl, missing_bookkeeping,
};

/// A SQLite database.
pub(super) struct SqliteDatabase {
    pool: SqlitePool,
}

fn judge(code: &str) -> Verdict {
    classify::sqlite(code.parse().unwrap_or(-1))
}

impl SqliteDatabase {
    /// Prepares the connection. The file is created, for its owner only, if it is missing.
    pub(super) fn open(url: &str) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, judge))?
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(CONNECT_LIMIT)
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
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ANSWER_LIMIT)
            .connect_lazy_with(options);
        Ok(Self { pool })
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
        Ok(Box::new(SqliteTransaction(Held::begin(&self.pool, "BEGIN IMMEDIATE", judge).await?)))
    }

    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError> {
        let failed = |error| Attempt::to("reading the live schema").failed(error, judge);
        let schema = table.schema.as_deref().unwrap_or("main");
        let mut key = Vec::new();
        let mut columns = Vec::new();
        let rows = sqlx::query(COLUMNS).bind(&*table.name).bind(schema).fetch_all(&self.pool);
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
        for row in rows.fetch_all(&self.pool).await.map_err(failed)? {
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

    async fn create_bookkeeping(&self) -> Result<(), SinkError> {
        for (name, ddl) in bookkeeping_ddl(&Sqlite) {
            let live = self.describe(&TableName { schema: None, name: name.into() }).await?;
            let missing = live.map(|live| missing_bookkeeping(&Sqlite, &live));
            for ddl in missing.unwrap_or_else(|| vec![ddl]) {
                sqlx::raw_sql(asserted(ddl.into())).execute(&self.pool).await.map_err(|error| {
                    Attempt::to("creating the bookkeeping tables").failed(error, judge)
                })?;
            }
        }
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
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
            let cells = rows.span(done, run);
            arguments.reserve(cells.len() + constants.len(), 0);
            for (cell, column) in cells.iter().zip(statement.columns.iter().cycle()) {
                bind(&mut arguments, *cell, column)
                    .map_err(|error| unbindable(statement, Some(column), error))?;
            }
            for constant in statement.constants(constants) {
                bind(&mut arguments, constant, &constant_column(constant))
                    .map_err(|error| unbindable(statement, None, error))?;
            }
            let text = statement.text(run);
            answer(statement.attempted, async {
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

/// Name, declared type, whether NOT NULL, whether SQLite fills it, place in the primary key.
const COLUMNS: &str = "SELECT name, type, \"notnull\", dflt_value IS NOT NULL OR hidden <> 0, pk \
FROM pragma_table_xinfo(?, ?)";

/// Index, whether unique, column; indexes on the whole table.
const INDEXES: &str = "SELECT l.name, l.\"unique\", i.name FROM pragma_index_list(?, ?) l \
JOIN pragma_index_xinfo(l.name, ?) i WHERE l.partial = 0 AND i.key = 1 \
ORDER BY l.name, i.seqno";
