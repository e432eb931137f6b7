//! Tables of MySQL and MariaDB as they are.

use sqlx::mysql::MySqlRow;
use sqlx::{MySql, Row};

use super::judge;
use crate::model::TableName;
use crate::plan::{LiveColumn, LiveTable};
use crate::sink::SinkError;
use crate::sink::classify::Attempt;
use crate::sink::connections::Connections;
use crate::sink::database::{Indexes, answer};

const ATTEMPTED: &str = "reading the live schema";

/// A table as it is; `None` if there is none of this name.
pub(super) async fn describe(
    connections: &Connections<MySql>,
    table: &TableName,
) -> Result<Option<LiveTable>, SinkError> {
    let failed = |error| Attempt::to(ATTEMPTED).failed(error, judge);
    let mut schema = None;
    let mut columns = Vec::new();
    for row in query(connections, COLUMNS, table).await? {
        schema = Some(row.try_get::<String, _>(0).map_err(failed)?);
        columns.push(live_column(&row).map_err(failed)?);
    }
    let Some(schema) = schema else { return Ok(None) };
    let mut keys = Indexes::default();
    let mut index_names = Vec::new();
    for row in query(connections, INDEXES, table).await? {
        let name: String = row.try_get(0).map_err(failed)?;
        let is_unique: bool = row.try_get(1).map_err(failed)?;
        let column: Option<String> = row.try_get(2).map_err(failed)?;
        let is_first: bool = row.try_get(3).map_err(failed)?;
        index_names.extend(column.clone().filter(|_| is_first).map(|first| (first, name.clone())));
        keys.add(name, is_unique, column);
    }
    let (unique, indexed) = keys.told();
    let name = table.name.to_string();
    Ok(Some(LiveTable { schema, name, columns, unique, indexed, index_names }))
}

/// Whether the server has a schema of this name.
pub(super) async fn has_schema(
    connections: &Connections<MySql>,
    schema: &str,
) -> Result<bool, SinkError> {
    let (_turn, mut connection) = connections.acquire(ATTEMPTED).await?;
    answer(connections.settings().answer_limit(), ATTEMPTED, async {
        let query = sqlx::query(SCHEMA).bind(schema).bind(schema);
        let found = query.fetch_optional(&mut *connection).await;
        let found = found.map_err(|error| Attempt::to(ATTEMPTED).failed(error, judge))?;
        Ok(found.is_some())
    })
    .await
}

async fn query(
    connections: &Connections<MySql>,
    text: &'static str,
    table: &TableName,
) -> Result<Vec<MySqlRow>, SinkError> {
    let (_turn, mut connection) = connections.acquire(ATTEMPTED).await?;
    answer(connections.settings().answer_limit(), ATTEMPTED, async {
        let query = sqlx::query(text).bind(table.schema.as_deref()).bind(&*table.name);
        let rows = query.bind(&*table.name).fetch_all(&mut *connection).await;
        rows.map_err(|error| Attempt::to(ATTEMPTED).failed(error, judge))
    })
    .await
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

/// Names are told apart as the server does it.
const SCHEMA: &str = "\
SELECT 1 FROM information_schema.schemata WHERE schema_name = ? \
AND (@@lower_case_table_names <> 0 OR CAST(schema_name AS binary) = ?)";

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
AND (@@lower_case_table_names <> 0 OR CAST(table_name AS binary) = ?) ORDER BY ordinal_position";

/// Index, whether unique, column (of an expression or a part of a column: none), whether the index
/// begins with it.
const INDEXES: &str = "\
SELECT CAST(index_name AS char), non_unique = 0, \
CASE WHEN sub_part IS NULL THEN CAST(column_name AS char) END, seq_in_index = 1 \
FROM information_schema.statistics WHERE table_schema = COALESCE(?, DATABASE()) \
AND table_name = ? AND (@@lower_case_table_names <> 0 OR CAST(table_name AS binary) = ?) \
ORDER BY index_name, seq_in_index";
