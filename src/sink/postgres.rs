//! PostgreSQL: connections, binding by array, description of tables.

mod privileges;

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgBindIterExt as _, PgConnectOptions, PgHasArrayType, PgRow};
use sqlx::{Arguments, ConnectOptions, Encode, Row, Type, TypeInfo, ValueRef};

use super::SinkError;
use super::classify::{self, Attempt};
use super::connections::{ConnectionCount, ConnectionSettings, Connections, Server};
use super::database::{
    Database, Lacks, PREPARED_STATEMENTS, Reply, ReplyRow, Transaction, answer, asserted,
    unbindable,
};
use super::held::Held;
use super::schema::Unfinished;
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, LiveColumn, LiveTable, Needed, Postgres, Rows,
    Statement,
};

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Between two questions whether a silent client is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions after which it is not.
const KEEPALIVE_COUNT: u32 = 3;

/// A PostgreSQL database.
pub(super) struct PostgresDatabase {
    connections: Connections<sqlx::Postgres>,
}

impl PostgresDatabase {
    /// Prepares the connections; the first is made when it is needed.
    pub(super) fn open(url: &str, limits: ConnectionSettings) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let mut options = PgConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, classify::postgres))?;
        if options.get_application_name().is_none() {
            options = options.application_name("rowcast");
        }
        // what the URL sets itself stays
        let given = options.get_options().unwrap_or_default().to_owned();
        let idle = limits.idle_in_transaction_session_timeout;
        let probes = KEEPALIVE_INTERVAL * KEEPALIVE_COUNT;
        let settings = [
            ("statement_timeout", limits.statement_timeout.as_millis().to_string()),
            ("lock_timeout", limits.lock_timeout.as_millis().to_string()),
            // a client that is gone, or stands still, must not hold its rows for hours
            ("idle_in_transaction_session_timeout", idle.as_millis().to_string()),
            ("tcp_keepalives_idle", limits.tcp_keepalive.as_secs().max(1).to_string()),
            ("tcp_keepalives_interval", KEEPALIVE_INTERVAL.as_secs().to_string()),
            ("tcp_keepalives_count", KEEPALIVE_COUNT.to_string()),
            ("tcp_user_timeout", (limits.tcp_keepalive + probes).as_millis().to_string()),
            // all our statements find rows by their keys; they are planned once, over empty tables
            // and without statistics, and would read whole tables ever after
            ("enable_seqscan", "off".to_owned()),
            // a trigger's notice may hold row values, and the driver passes it on to the log
            ("client_min_messages", "error".to_owned()),
        ];
        let options = options
            .statement_cache_capacity(PREPARED_STATEMENTS)
            .options(settings.into_iter().filter(|(name, _)| !given.contains(name)))
            .disable_statement_logging();
        let server = options.get_socket().is_none().then(|| Server {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            user: options.get_username().to_owned(),
            database: options.get_database().map(ToOwned::to_owned),
        });
        let pool = limits.pool(limits.connections.max(1)).connect_lazy_with(options);
        Ok(Self { connections: Connections::new(pool, limits, classify::postgres, server) })
    }

    const fn answer_limit(&self) -> Duration {
        self.connections.settings().answer_limit()
    }

    async fn query(
        &self,
        attempted: &'static str,
        text: &'static str,
        name: &str,
    ) -> Result<Vec<PgRow>, SinkError> {
        let (_turn, mut connection) = self.connections.acquire(attempted).await?;
        answer(self.answer_limit(), attempted, async {
            let rows = sqlx::query(text).bind(name).fetch_all(&mut *connection).await;
            rows.map_err(|error| Attempt::to(attempted).failed(error, classify::postgres))
        })
        .await
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, SinkError> {
        Ok(Box::new(PostgresTransaction(Held::begin(&self.connections, BEGIN).await?)))
    }

    async fn describe(&self, table: &TableName) -> Result<Option<LiveTable>, SinkError> {
        let attempted = "reading the live schema";
        let failed = |error| Attempt::to(attempted).failed(error, classify::postgres);
        let quoted = Postgres.table(table);
        let mut schema = None;
        let mut columns = Vec::new();
        for row in self.query(attempted, COLUMNS, &quoted).await? {
            schema = Some(row.try_get::<String, _>(0).map_err(failed)?);
            let limit: Option<i32> = row.try_get(4).map_err(failed)?;
            let kind: String = row.try_get(3).map_err(failed)?;
            columns.push(LiveColumn {
                name: row.try_get(1).map_err(failed)?,
                type_name: row.try_get(2).map_err(failed)?,
                confuses_ids: kind == "citext",
                kind,
                limit: limit.and_then(|limit| usize::try_from(limit).ok()),
                not_null: row.try_get(5).map_err(failed)?,
                filled: row.try_get(6).map_err(failed)?,
            });
        }
        let Some(schema) = schema else { return Ok(None) };
        let (mut unique, mut indexed) = (Vec::new(), Vec::new());
        for row in self.query(attempted, INDEXES, &quoted).await? {
            let is_unique: bool = row.try_get(0).map_err(failed)?;
            let names: Vec<String> = row.try_get(1).map_err(failed)?;
            indexed.extend(names.first().cloned());
            if is_unique {
                unique.push(names);
            }
        }
        Ok(Some(LiveTable {
            schema,
            name: table.name.to_string(),
            columns,
            unique,
            indexed,
            index_names: Vec::new(),
        }))
    }

    async fn has_schema(&self, schema: &str) -> Result<bool, SinkError> {
        let found = self.query("reading the live schema", SCHEMA, schema).await?;
        Ok(!found.is_empty())
    }

    async fn lacks(&self, schemas: &[&str], needed: &[Needed]) -> Result<Lacks, SinkError> {
        self.read_lacks(schemas, needed).await
    }

    async fn uncreatable(&self, schemas: &[&str]) -> Result<Lacks, SinkError> {
        let mut lacks = self.read_lacks(&[], &[]).await?;
        for schema in schemas.iter().copied().map(Some).chain([None]) {
            let lack = self.lacks_create(schema).await?;
            lacks.found.extend(lack.filter(|lack| !lacks.found.contains(lack)));
        }
        Ok(lacks)
    }

    async fn change(&self, statements: &[String], limit: Duration) -> Result<(), Unfinished> {
        let held = Held::begin(&self.connections, BEGIN).await;
        let mut held = held.map_err(Unfinished::at_all)?;
        let prepare = [
            format!("SET LOCAL statement_timeout = {}", limit.as_millis()),
            // two that start at once would both find a table missing
            "SELECT pg_advisory_xact_lock(8247620513)".to_owned(),
        ];
        let prepared = held.change(&prepare, self.answer_limit()).await;
        prepared.map_err(|unfinished| Unfinished::at_all(unfinished.error))?;
        held.change_together(statements, limit).await
    }

    fn connections(&self) -> ConnectionCount {
        self.connections.count()
    }

    async fn close(&self) {
        self.connections.pool.close().await;
    }
}

struct PostgresTransaction(Held<sqlx::Postgres>);

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn run(
        &mut self,
        statement: &Statement,
        rows: &Rows<'_>,
        constants: &[Cell<'_>],
    ) -> Result<Vec<ReplyRow>, SinkError> {
        if !statement.columns.is_empty() && rows.is_empty() {
            return Ok(Vec::new());
        }
        let attempt = Attempt::run(statement);
        let failed = |error| attempt.failed(error, classify::postgres);
        let mut arguments = PgArguments::default();
        for (place, column) in statement.columns.iter().enumerate() {
            bind_column(&mut arguments, statement, column, rows, place)?;
        }
        for constant in statement.constants(constants) {
            bind_constant(&mut arguments, constant).map_err(failed)?;
        }
        let text = statement.text(rows.len());
        answer(self.0.answer_limit(), statement.attempted, async {
            let query = sqlx::query_with(asserted(text), arguments);
            let rows = query.fetch_all(self.0.connection()).await.map_err(failed)?;
            rows.iter().map(|row| reply_row(row).map_err(failed)).collect()
        })
        .await
    }

    async fn check_deferred(&mut self) -> Result<(), SinkError> {
        self.0.execute("checking deferred constraints", "SET CONSTRAINTS ALL IMMEDIATE").await
    }

    async fn commit(self: Box<Self>) -> Result<(), SinkError> {
        self.0.commit().await
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await;
    }
}

fn bind_column(
    arguments: &mut PgArguments,
    statement: &Statement,
    column: &BindColumn,
    rows: &Rows<'_>,
    place: usize,
) -> Result<(), SinkError> {
    let cells = rows.column(place);
    let limit = column.limit;
    let bound = match column.bind {
        BindType::Text | BindType::Json | BindType::Jsonb => {
            bind_array(arguments, cells, |cell| text(cell, limit))
        }
        BindType::Int2 => bind_array(arguments, cells, Cell::narrow::<i16>),
        BindType::Int4 => bind_array(arguments, cells, Cell::narrow::<i32>),
        BindType::Int8 => bind_array(arguments, cells, Cell::integer),
        BindType::Numeric => {
            bind_array(arguments, cells, |cell| Ok(cell.decimal()?.map(Cow::into_owned)))
        }
        BindType::Float8 => bind_array(arguments, cells, Cell::double),
        BindType::Boolean => bind_array(arguments, cells, Cell::boolean),
        BindType::Date => bind_array(arguments, cells, Cell::date),
        BindType::TimestampTz => bind_array(arguments, cells, Cell::instant),
        BindType::Timestamp => bind_array(arguments, cells, |cell| {
            Ok(cell.instant()?.map(|instant| instant.naive_utc()))
        }),
        BindType::Time => bind_array(arguments, cells, Cell::time),
        BindType::Uuid | BindType::UuidBytes => bind_array(arguments, cells, Cell::uuid),
        BindType::Bytes => bind_array(arguments, cells, Cell::bytes),
    };
    bound.map_err(|error| unbindable(statement, Some(column), error))
}

/// Binds cells as one array, written as they are converted. What was bound before an error is of no
/// use.
fn bind_array<'a, T>(
    arguments: &mut PgArguments,
    cells: impl Iterator<Item = Cell<'a>>,
    convert: impl Fn(Cell<'a>) -> Result<Option<T>, BindError>,
) -> Result<(), BindError>
where
    T: for<'q> Encode<'q, sqlx::Postgres> + Type<sqlx::Postgres> + PgHasArrayType,
{
    let mut refused = None;
    let converted = cells.map_while(|cell| match convert(cell) {
        Ok(value) => Some(value),
        Err(error) => {
            refused = Some(error);
            None
        }
    });
    let added = arguments.add(converted.bind_iter());
    match (refused, added) {
        (Some(error), _) => Err(error),
        // the driver could not encode it: a number outside of what the type can hold
        (None, Err(_)) => Err(BindError::OutOfRange),
        (None, Ok(())) => Ok(()),
    }
}

fn text(cell: Cell<'_>, limit: Option<usize>) -> Result<Option<Cow<'_, str>>, BindError> {
    let text = cell.text(limit)?;
    if text.as_ref().is_some_and(|text| memchr::memchr(0, text.as_bytes()).is_some()) {
        return Err(BindError::Nul);
    }
    Ok(text)
}

fn bind_constant(arguments: &mut PgArguments, cell: Cell<'_>) -> Result<(), sqlx::Error> {
    let added = match cell {
        Cell::Int(number) => arguments.add(number),
        Cell::Text(text) => arguments.add(text),
        _ => arguments.add(None::<&str>),
    };
    added.map_err(sqlx::Error::Encode)
}

fn reply_row(row: &PgRow) -> Result<ReplyRow, sqlx::Error> {
    (0..row.len())
        .map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(Reply::Null);
            }
            if value.type_info().name() == "INT8" {
                return row.try_get(column).map(Reply::Int);
            }
            row.try_get(column).map(Reply::Text)
        })
        .collect()
}

const SCHEMA: &str = "SELECT 1 FROM pg_namespace WHERE nspname = $1";

/// Schema, name, type in words, type's name (of a domain: the one below it), characters that
/// `varchar(n)` and `char(n)` take, whether NOT NULL, whether the database fills it.
const COLUMNS: &str = "\
SELECT n.nspname::text, a.attname::text, format_type(a.atttypid, a.atttypmod)::text, \
COALESCE(b.typname, t.typname)::text, \
CASE WHEN COALESCE(b.typname, t.typname) IN ('varchar', 'bpchar') \
THEN NULLIF(CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END, -1) - 4 END, \
a.attnotnull OR t.typnotnull, \
a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' \
FROM pg_class c \
JOIN pg_namespace n ON n.oid = c.relnamespace \
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
JOIN pg_type t ON t.oid = a.atttypid \
LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd' \
WHERE c.oid = to_regclass($1) ORDER BY a.attnum";

/// Whether unique (at once: what ON CONFLICT needs), and the columns, of indexes on the whole
/// table without expressions.
const INDEXES: &str = "\
SELECT i.indisunique AND i.indimmediate, \
ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
WHERE k.place <= i.indnkeyatts ORDER BY k.place) \
FROM pg_index i WHERE i.indrelid = to_regclass($1) \
AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid";
