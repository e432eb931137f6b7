//! MySQL and MariaDB: connections, binding by value or as JSON, description of tables.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlPoolOptions, MySqlRow};
use sqlx::{Arguments, ConnectOptions, Executor, MySqlPool, Row, TypeInfo, ValueRef};
use tokio::sync::OnceCell;

use super::SinkError;
use super::classify::{self, Attempt, Verdict};
use super::database::{
    CONNECT_LIMIT, Database, PREPARED_STATEMENTS, Reply, ReplyRow, Transaction, answer, asserted,
    unbindable,
};
use super::held::Held;
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, LiveColumn, LiveTable, Mysql, Rows, Statement,
    bookkeeping_ddl,
};

/// Connections idle for longer are closed by us, before the server does so (see [`SESSION`]).
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The most bytes of rows in one statement, however much more the server takes: larger packets
/// only cost memory.
const MOST_BYTES: usize = 16 << 20;
/// What a statement needs beside the bytes of its rows, generously.
const OVERHEAD: usize = 64 << 10;
/// The most rows in one JSON text: about a megabyte of ids.
const MOST_JSON_ROWS: usize = 8192;

/// Nothing is cut off silently; nobody waits for ever, nor is waited for: 10 s for a lock, 30 s for
/// a statement (each server has its own name for that), 120 s for a client that says nothing more.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,\
NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO', \
SESSION innodb_lock_wait_timeout = 10, SESSION lock_wait_timeout = 10, \
SESSION wait_timeout = 120, SESSION foreign_key_checks = 1, SESSION unique_checks = 1, \
SESSION sql_safe_updates = 0, SESSION autocommit = 1 \
/*M!100100 , SESSION max_statement_time = 30 */ \
/*!80000 , SESSION max_execution_time = 30000 */";

/// Without locks on gaps, which would make any two writers of new rows wait for each other.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A MySQL or MariaDB database.
pub(super) struct MysqlDatabase {
    pool: MySqlPool,
    /// The bytes of rows that a statement may carry.
    most_bytes: OnceCell<usize>,
}

fn judge(code: &str) -> Verdict {
    classify::mysql(code.parse().unwrap_or(0))
}

impl MysqlDatabase {
    /// Prepares the connections; the first is made when it is needed.
    pub(super) fn open(url: &str, connections: u32) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let options = MySqlConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, judge))?
            .charset("utf8mb4")
            .timezone(Some("+00:00".to_owned()))
            .statement_cache_capacity(PREPARED_STATEMENTS)
            .disable_statement_logging();
        let pool = MySqlPoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(CONNECT_LIMIT)
            .idle_timeout(IDLE_LIMIT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(SESSION).await?;
                    connection.execute(ISOLATION).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, most_bytes: OnceCell::new() })
    }

    async fn query(
        &self,
        attempted: &'static str,
        text: &'static str,
        table: &TableName,
    ) -> Result<Vec<MySqlRow>, SinkError> {
        answer(attempted, async {
            let query = sqlx::query(text).bind(table.schema.as_deref()).bind(&*table.name);
            let rows = query.bind(&*table.name).fetch_all(&self.pool).await;
            rows.map_err(|error| Attempt::to(attempted).failed(error, judge))
        })
        .await
    }

    async fn most_bytes(&self) -> Result<usize, SinkError> {
        let attempted = "asking for the server's limits";
        let ask = || async {
            answer(attempted, async {
                let query = sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS signed)");
                let packet: Result<i64, _> = query.fetch_one(&self.pool).await;
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
        let held = Held::begin(&self.pool, "START TRANSACTION", judge).await?;
        Ok(Box::new(MysqlTransaction { held, most_bytes }))
    }

    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError> {
        let attempted = "reading the live schema";
        let failed = |error| Attempt::to(attempted).failed(error, judge);
        let mut schema = None;
        let mut columns = Vec::new();
        for row in self.query(attempted, COLUMNS, table).await? {
            schema = Some(row.try_get::<String, _>(0).map_err(failed)?);
            columns.push(live_column(&row).map_err(failed)?);
        }
        let Some(schema) = schema else { return Ok(None) };
        let mut found: Vec<(String, bool, Vec<String>)> = Vec::new();
        for row in self.query(attempted, INDEXES, table).await? {
            let name: String = row.try_get(0).map_err(failed)?;
            let is_unique: bool = row.try_get(1).map_err(failed)?;
            // an expression, or the beginning of a column, never equals one
            let column: Option<String> = row.try_get(2).map_err(failed)?;
            let column = column.unwrap_or_default();
            match found.last_mut() {
                Some((last, _, columns)) if *last == name => columns.push(column),
                _ => found.push((name, is_unique, vec![column])),
            }
        }
        let (mut unique, mut indexed) = (Vec::new(), Vec::new());
        for (_, is_unique, columns) in found {
            indexed.extend(columns.first().cloned());
            if is_unique {
                unique.push(columns);
            }
        }
        Ok(Some(LiveTable { schema, name: table.name.to_string(), columns, unique, indexed }))
    }

    async fn create_bookkeeping(&self) -> Result<(), SinkError> {
        let attempted = "creating the bookkeeping tables";
        for (name, ddl) in bookkeeping_ddl(&Mysql) {
            // asked first: a user without CREATE may work on tables that are there
            if self.describe(&TableName { schema: None, name: name.into() }).await?.is_some() {
                continue;
            }
            answer(attempted, async {
                let done = sqlx::raw_sql(asserted(ddl.into())).execute(&self.pool).await;
                done.map_err(|error| Attempt::to(attempted).failed(error, judge))
            })
            .await?;
        }
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A column as `COLUMNS` tells it.
fn live_column(row: &MySqlRow) -> Result<LiveColumn, sqlx::Error> {
    let type_name: String = row.try_get(2)?;
    let data_type: String = row.try_get(3)?;
    let characters: Option<i64> = row.try_get(4)?;
    let scale: Option<i64> = row.try_get(5)?;
    let moment: Option<i64> = row.try_get(6)?;
    let collation: Option<String> = row.try_get(7)?;
    let (kind, limit) = match &*data_type {
        "char" | "varchar" => (data_type, characters),
        "decimal" => (data_type, scale),
        "binary" => (type_name.clone(), None),
        "datetime" | "timestamp" | "time" => {
            (format!("{data_type}({})", moment.unwrap_or(0)), None)
        }
        _ if type_name.contains("unsigned") => (format!("{data_type} unsigned"), None),
        _ => (data_type, None),
    };
    Ok(LiveColumn {
        name: row.try_get(1)?,
        confuses_ids: collation.is_some_and(|collation| collation != "utf8mb4_bin"),
        type_name,
        kind,
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        not_null: row.try_get(8)?,
        filled: row.try_get(9)?,
    })
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
                bind_cells(&mut arguments, statement, rows.span(done, run))?;
            } else if takes_rows {
                run = (rows.len() - done).min(MOST_JSON_ROWS);
                bind_json(&mut arguments, statement, rows.span(done, run))?;
            }
            for constant in statement.constants(constants) {
                let column = match constant {
                    Cell::Int(_) => BindColumn::own(BindType::Int8),
                    _ => BindColumn::own(BindType::Text),
                };
                bind(&mut arguments, constant, &column)
                    .map_err(|error| unbindable(statement, None, error))?;
            }
            let failed = |error| Attempt::run(statement).failed(error, judge);
            let query = sqlx::query_with(asserted(statement.text(run)), arguments);
            answer(statement.attempted, async {
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
            bytes += rows.span(from + count, 1).iter().map(|cell| size(*cell)).sum::<usize>();
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

/// About how many bytes a cell takes on its way.
fn size(cell: Cell<'_>) -> usize {
    const SMALL: usize = 48;
    match cell {
        Cell::Text(text) | Cell::Json(text) => SMALL + text.len(),
        Cell::Binary(bytes) => SMALL + bytes.len(),
        Cell::Decimal(_) => 8 * SMALL,
        Cell::Null
        | Cell::Int(_)
        | Cell::Double(_)
        | Cell::Boolean(_)
        | Cell::Date(_)
        | Cell::DateTime(_)
        | Cell::Time(_)
        | Cell::Uuid(_) => SMALL,
    }
}

/// Each cell as a bind of its own.
fn bind_cells(
    arguments: &mut MySqlArguments,
    statement: &Statement,
    cells: &[Cell<'_>],
) -> Result<(), SinkError> {
    arguments.reserve(cells.len(), 0);
    for (cell, column) in cells.iter().zip(statement.columns.iter().cycle()) {
        bind(arguments, *cell, column)
            .map_err(|error| unbindable(statement, Some(column), error))?;
    }
    Ok(())
}

/// All cells as one JSON text, an array of arrays.
fn bind_json(
    arguments: &mut MySqlArguments,
    statement: &Statement,
    cells: &[Cell<'_>],
) -> Result<(), SinkError> {
    let mut rows = Vec::new();
    for row in cells.chunks(statement.columns.len().max(1)) {
        let mut values = Vec::with_capacity(row.len());
        for (cell, column) in row.iter().zip(&statement.columns) {
            let value = json(*cell, column);
            values.push(value.map_err(|error| unbindable(statement, Some(column), error))?);
        }
        rows.push(serde_json::Value::Array(values));
    }
    let added = arguments.add(serde_json::Value::Array(rows).to_string());
    added.map_err(|_| unbindable(statement, None, BindError::OutOfRange))
}

fn json(cell: Cell<'_>, column: &BindColumn) -> Result<serde_json::Value, BindError> {
    Ok(match column.bind {
        BindType::Int2 | BindType::Int4 | BindType::Int8 => cell.integer()?.into(),
        BindType::Uuid | BindType::UuidBytes => cell.uuid()?.map(|uuid| uuid.to_string()).into(),
        _ => cell.text(column.limit)?.map(std::borrow::Cow::into_owned).into(),
    })
}

fn bind(
    arguments: &mut MySqlArguments,
    cell: Cell<'_>,
    column: &BindColumn,
) -> Result<(), BindError> {
    let added = match column.bind {
        BindType::Text | BindType::Json | BindType::Jsonb => {
            arguments.add(cell.text(column.limit)?.as_deref())
        }
        BindType::Int2 => arguments.add(cell.narrow::<i16>()?),
        BindType::Int4 => arguments.add(cell.narrow::<i32>()?),
        BindType::Int8 => arguments.add(cell.integer()?),
        BindType::Numeric => arguments.add(cell.exact(column.limit)?),
        BindType::Float8 => arguments.add(cell.double()?),
        BindType::Boolean => arguments.add(cell.boolean()?),
        // as text: of a moment out of its range MariaDB makes NULL if it comes in binary
        BindType::Date => arguments.add(cell.date()?.map(|date| date.to_string())),
        BindType::TimestampTz | BindType::Timestamp => {
            let text = |instant: DateTime<Utc>| instant.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            arguments.add(cell.instant()?.map(text))
        }
        BindType::Time => arguments.add(cell.time()?.map(|time| time.to_string())),
        BindType::Uuid => arguments.add(cell.uuid()?.map(uuid::Uuid::hyphenated)),
        BindType::UuidBytes => arguments.add(cell.uuid()?),
        BindType::Bytes => arguments.add(cell.bytes()?),
    };
    added.map_err(|_| BindError::OutOfRange)
}

fn reply_row(row: &MySqlRow) -> Result<ReplyRow, sqlx::Error> {
    (0..row.len())
        .map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(Reply::Null);
            }
            if value.type_info().name().contains("INT") {
                return row.try_get_unchecked(column).map(Reply::Int);
            }
            // also what is stored as bytes is text: ids and names
            let bytes: Vec<u8> = row.try_get_unchecked(column)?;
            let text = String::from_utf8(bytes).map_err(|error| sqlx::Error::Decode(error.into()));
            text.map(Reply::Text)
        })
        .collect()
}

/// Schema, name, type in words, type, characters that it takes, digits after the point, digits of a
/// second, collation, whether NOT NULL, whether the database fills it. Table names are told apart as
/// the server does it. MariaDB writes the default NULL as a word.
const COLUMNS: &str = "\
SELECT CAST(table_schema AS char), CAST(column_name AS char), CAST(column_type AS char), \
LOWER(CAST(data_type AS char)), CAST(character_maximum_length AS signed), \
CAST(numeric_scale AS signed), CAST(datetime_precision AS signed), CAST(collation_name AS char), \
is_nullable = 'NO', COALESCE(CAST(column_default AS char), 'NULL') <> 'NULL' \
OR extra LIKE '%auto_increment%' OR extra LIKE '%GENERATED%' \
FROM information_schema.columns WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? \
AND (@@lower_case_table_names <> 0 OR BINARY table_name = ?) ORDER BY ordinal_position";

/// Index, whether unique, column (of an expression or a part of a column: none).
const INDEXES: &str = "\
SELECT CAST(index_name AS char), non_unique = 0, \
CASE WHEN sub_part IS NULL THEN CAST(column_name AS char) END \
FROM information_schema.statistics WHERE table_schema = COALESCE(?, DATABASE()) \
AND table_name = ? AND (@@lower_case_table_names <> 0 OR BINARY table_name = ?) \
ORDER BY index_name, seq_in_index";
