//! PostgreSQL: connections, binding by array, description of tables.

use std::borrow::Cow;
use std::str::FromStr;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{Arguments, ConnectOptions, PgPool, Row, TypeInfo, ValueRef};

use super::SinkError;
use super::classify::{self, Attempt};
use super::database::{
    CONNECT_LIMIT, Database, LOCK_LIMIT, PREPARED_STATEMENTS, Reply, ReplyRow, STATEMENT_LIMIT,
    Transaction, answer, asserted, unbindable,
};
use super::held::Held;
use crate::model::TableName;
use crate::plan::{
    BindColumn, BindError, BindType, Cell, Dialect, LiveColumn, LiveTable, Postgres, Rows,
    Statement, bookkeeping_ddl, missing_bookkeeping,
};

/// A PostgreSQL database.
pub(super) struct PostgresDatabase {
    pool: PgPool,
}

impl PostgresDatabase {
    /// Prepares the connections; the first is made when it is needed.
    pub(super) fn open(url: &str, connections: u32) -> Result<Self, SinkError> {
        let attempt = Attempt::to("reading the database URL");
        let mut options = PgConnectOptions::from_str(url)
            .map_err(|error| attempt.failed(error, classify::postgres))?;
        if options.get_application_name().is_none() {
            options = options.application_name("rowcast");
        }
        // what the URL sets itself stays
        let given = options.get_options().unwrap_or_default().to_owned();
        let settings = [
            ("statement_timeout", STATEMENT_LIMIT.as_millis().to_string()),
            ("lock_timeout", LOCK_LIMIT.as_millis().to_string()),
            // a client that is gone must not hold its rows for hours
            ("tcp_keepalives_idle", "30".to_owned()),
            ("tcp_keepalives_interval", "10".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
        ];
        let options = options
            .statement_cache_capacity(PREPARED_STATEMENTS)
            .options(settings.into_iter().filter(|(name, _)| !given.contains(name)))
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(connections.max(1))
            .acquire_timeout(CONNECT_LIMIT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    async fn query(
        &self,
        attempted: &'static str,
        text: &'static str,
        name: &str,
    ) -> Result<Vec<PgRow>, SinkError> {
        answer(attempted, async {
            let rows = sqlx::query(text).bind(name).fetch_all(&self.pool).await;
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
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
        Ok(Box::new(PostgresTransaction(Held::begin(&self.pool, begin, classify::postgres).await?)))
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

    async fn create_bookkeeping(&self) -> Result<(), SinkError> {
        let attempted = "creating the bookkeeping tables";
        let failed = |error| Attempt::to(attempted).failed(error, classify::postgres);
        for (name, ddl) in bookkeeping_ddl(&Postgres) {
            // asked first: a user without CREATE may work on tables that are there
            let ddl = match self.describe(&TableName { schema: None, name: name.into() }).await? {
                Some(live) => missing_bookkeeping(&Postgres, &live).join(";\n"),
                None => ddl,
            };
            if ddl.is_empty() {
                continue;
            }
            let work = async {
                let mut transaction = self.pool.begin().await.map_err(failed)?;
                // two instances that start at once would both find it missing
                sqlx::raw_sql("SELECT pg_advisory_xact_lock(8247620513)")
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                sqlx::raw_sql(asserted(ddl.into()))
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed)?;
                transaction.commit().await.map_err(failed)
            };
            answer(attempted, work).await?;
        }
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
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
        answer(statement.attempted, async {
            let query = sqlx::query_with(asserted(text), arguments);
            let rows = query.fetch_all(self.0.connection()).await.map_err(failed)?;
            rows.iter().map(|row| reply_row(row).map_err(failed)).collect()
        })
        .await
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
    let cells = rows.column(place, 0, rows.len());
    let limit = column.limit;
    let added = match column.bind {
        BindType::Text | BindType::Json | BindType::Jsonb => {
            collect(cells, |cell| text(cell, limit)).map(|cells| arguments.add(cells))
        }
        BindType::Int2 => collect(cells, Cell::narrow::<i16>).map(|cells| arguments.add(cells)),
        BindType::Int4 => collect(cells, Cell::narrow::<i32>).map(|cells| arguments.add(cells)),
        BindType::Int8 => collect(cells, Cell::integer).map(|cells| arguments.add(cells)),
        BindType::Numeric => collect(cells, Cell::decimal).map(|cells| {
            let cells: Vec<_> = cells.iter().map(Option::as_deref).collect();
            arguments.add(cells)
        }),
        BindType::Float8 => collect(cells, Cell::double).map(|cells| arguments.add(cells)),
        BindType::Boolean => collect(cells, Cell::boolean).map(|cells| arguments.add(cells)),
        BindType::Date => collect(cells, Cell::date).map(|cells| arguments.add(cells)),
        BindType::TimestampTz => collect(cells, Cell::instant).map(|cells| arguments.add(cells)),
        BindType::Timestamp => {
            let utc = |cell: Cell<'_>| Ok(cell.instant()?.map(|instant| instant.naive_utc()));
            collect(cells, utc).map(|cells| arguments.add(cells))
        }
        BindType::Time => collect(cells, Cell::time).map(|cells| arguments.add(cells)),
        BindType::Uuid | BindType::UuidBytes => {
            collect(cells, Cell::uuid).map(|cells| arguments.add(cells))
        }
        BindType::Bytes => collect(cells, Cell::bytes).map(|cells| arguments.add(cells)),
    };
    match added {
        Ok(Ok(())) => Ok(()),
        // the driver could not encode it: a number outside of what the type can hold
        Ok(Err(_)) => Err(unbindable(statement, Some(column), BindError::OutOfRange)),
        Err(error) => Err(unbindable(statement, Some(column), error)),
    }
}

fn collect<'a, T>(
    cells: impl Iterator<Item = Cell<'a>>,
    convert: impl Fn(Cell<'a>) -> Result<Option<T>, BindError>,
) -> Result<Vec<Option<T>>, BindError> {
    cells.map(convert).collect()
}

fn text(cell: Cell<'_>, limit: Option<usize>) -> Result<Option<Cow<'_, str>>, BindError> {
    let text = cell.text(limit)?;
    if text.as_ref().is_some_and(|text| text.contains('\0')) {
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
