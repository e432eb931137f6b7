//! Cells on their way to MySQL and MariaDB, each as a bind of its own or all as one JSON text, and
//! the cells that come back.

use std::borrow::Cow;
use std::ops::Range;

use chrono::{DateTime, Utc};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{Arguments, Row, TypeInfo, ValueRef};
use uuid::Uuid;

use crate::plan::{BindColumn, BindError, BindType, Cell, Rows, Statement};
use crate::sink::SinkError;
use crate::sink::database::{Reply, ReplyRow, unbindable};

/// About how many bytes a cell takes on its way.
pub(super) fn size(cell: Cell<'_>) -> usize {
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

/// Each cell of some rows as a bind of its own.
pub(super) fn bind_cells(
    arguments: &mut MySqlArguments,
    statement: &Statement,
    rows: &Rows<'_>,
    some: Range<usize>,
) -> Result<(), SinkError> {
    arguments.reserve(some.len() * statement.columns.len(), 0);
    for row in some {
        for (cell, column) in rows.row(row).zip(&statement.columns) {
            bind(arguments, cell, column)
                .map_err(|error| unbindable(statement, Some(column), error))?;
        }
    }
    Ok(())
}

/// All cells of some rows as one JSON text, an array of arrays.
pub(super) fn bind_json(
    arguments: &mut MySqlArguments,
    statement: &Statement,
    rows: &Rows<'_>,
    some: Range<usize>,
) -> Result<(), SinkError> {
    let mut arrays = Vec::with_capacity(some.len());
    for row in some {
        let mut values = Vec::with_capacity(statement.columns.len());
        for (cell, column) in rows.row(row).zip(&statement.columns) {
            let value = json(cell, column);
            values.push(value.map_err(|error| unbindable(statement, Some(column), error))?);
        }
        arrays.push(serde_json::Value::Array(values));
    }
    let added = arguments.add(serde_json::Value::Array(arrays).to_string());
    added.map_err(|_| unbindable(statement, None, BindError::OutOfRange))
}

fn json(cell: Cell<'_>, column: &BindColumn) -> Result<serde_json::Value, BindError> {
    Ok(match column.bind {
        BindType::Int2 | BindType::Int4 | BindType::Int8 => cell.integer()?.into(),
        BindType::Uuid | BindType::UuidBytes => cell.uuid()?.map(|uuid| uuid.to_string()).into(),
        _ => cell.text(column.limit)?.map(Cow::into_owned).into(),
    })
}

/// One cell.
pub(super) fn bind(
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
        BindType::Uuid => arguments.add(cell.uuid()?.map(Uuid::hyphenated)),
        BindType::UuidBytes => arguments.add(cell.uuid()?),
        BindType::Bytes => arguments.add(cell.bytes()?),
    };
    added.map_err(|_| BindError::OutOfRange)
}

/// A row that came back.
pub(super) fn reply_row(row: &MySqlRow) -> Result<ReplyRow, sqlx::Error> {
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
