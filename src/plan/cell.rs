//! Cells: the borrowed values that are bound to statements, and how a column wants them.
//!
//! In: values of rows. Out: the same values as the type that the live column takes, or a
//! [`BindError`] that says what does not fit, never the value.

use std::borrow::Cow;
use std::sync::Arc;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use uuid::Uuid;

use crate::error::Cause;
use crate::model::Value;

/// A value on its way into a statement. Borrows from the change; cheap to copy.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// SQL NULL.
    Null,
    /// Text.
    Text(&'a str),
    /// Integer.
    Int(i64),
    /// Decimal with its digits.
    Decimal(&'a BigDecimal),
    /// Float.
    Double(f64),
    /// Truth value.
    Boolean(bool),
    /// Calendar date.
    Date(NaiveDate),
    /// Instant.
    DateTime(DateTime<Utc>),
    /// Time of day.
    Time(NaiveTime),
    /// UUID.
    Uuid(Uuid),
    /// JSON text.
    Json(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Text(text) => Self::Text(text),
            Value::Int(number) => Self::Int(*number),
            Value::Decimal(number) => Self::Decimal(number),
            Value::Double(number) => Self::Double(*number),
            Value::Boolean(truth) => Self::Boolean(*truth),
            Value::Date(date) => Self::Date(*date),
            Value::DateTime(instant) => Self::DateTime(*instant),
            Value::Time(time) => Self::Time(*time),
            Value::Uuid(uuid) => Self::Uuid(*uuid),
            Value::Json(text) => Self::Json(text),
            Value::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

/// As what a column's cells are bound. The live column's own type decides; where it is narrower
/// or wider (`varchar(10)`, `numeric`) the database's assignment conversion does the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindType {
    /// Text of any kind.
    Text,
    /// 16-bit integer.
    Int2,
    /// 32-bit integer.
    Int4,
    /// 64-bit integer.
    Int8,
    /// Exact number.
    Numeric,
    /// 64-bit float.
    Float8,
    /// Truth value.
    Boolean,
    /// Calendar date.
    Date,
    /// Instant with zone.
    TimestampTz,
    /// Instant without zone: holds UTC.
    Timestamp,
    /// Time of day.
    Time,
    /// UUID.
    Uuid,
    /// UUID as its 16 bytes.
    UuidBytes,
    /// JSON kept as text.
    Json,
    /// Binary JSON.
    Jsonb,
    /// Bytes.
    Bytes,
}

/// How one column of a statement's rows is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindColumn {
    /// The column's name, for refusals; `None` for what rowcast adds of its own.
    pub name: Option<Arc<str>>,
    /// As what.
    pub bind: BindType,
    /// The most characters that the column takes; of an exact number where the database would round
    /// it silently, the most digits after the point.
    pub limit: Option<usize>,
}

impl BindColumn {
    /// A column of rowcast's own.
    #[must_use]
    pub const fn own(bind: BindType) -> Self {
        Self { name: None, bind, limit: None }
    }
}

/// Rows of cells, all of one width, kept by column: most are bound as one array per column.
#[derive(Clone)]
pub struct Rows<'a> {
    count: usize,
    columns: Vec<Vec<Cell<'a>>>,
}

impl<'a> Rows<'a> {
    /// No rows yet, of `width` cells each.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { count: 0, columns: vec![Vec::new(); width] }
    }

    /// Appends a row. Cells that are missing are NULL, cells beyond the width are dropped.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell<'a>>) {
        let mut row = row.into_iter();
        for column in &mut self.columns {
            column.push(row.next().unwrap_or(Cell::Null));
        }
        self.count += 1;
    }

    /// Some cells of some rows: those at `places`, in that order, of the rows at `rows`.
    #[must_use]
    pub fn chosen(&self, rows: impl Iterator<Item = usize> + Clone, places: &[usize]) -> Self {
        let cell = |column: &Vec<Cell<'a>>, row: usize| column.get(row).copied();
        let chosen = |place: &usize| {
            let column = self.columns.get(*place);
            let cells = rows.clone().map(|row| column.and_then(|column| cell(column, row)));
            cells.map(|cell| cell.unwrap_or(Cell::Null)).collect()
        };
        Self { columns: places.iter().map(chosen).collect(), count: rows.count() }
    }

    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The cells of one column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = Cell<'a>> + '_ {
        self.columns.get(column).into_iter().flatten().copied()
    }

    /// The cells of one row.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Cell<'a>> + '_ {
        self.columns.iter().filter_map(move |column| column.get(row).copied())
    }
}

/// Why a value cannot be bound to its column. Known before the database sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The text has more characters than the column takes.
    #[error("the value is longer than the column's {limit} characters")]
    TooLong {
        /// What the column takes.
        limit: usize,
    },
    /// The number has more digits after the point than the column keeps.
    #[error("the number has more than the column's {limit} digits after the point")]
    TooPrecise {
        /// What the column keeps.
        limit: usize,
    },
    /// The value is larger than what the server takes at once.
    #[error("the row is larger than the {limit} bytes that the server takes at once")]
    TooLarge {
        /// What the server takes.
        limit: usize,
    },
    /// PostgreSQL cannot store the character U+0000 in text.
    #[error("the text contains the character U+0000, which the database cannot store")]
    Nul,
    /// The number is outside the column's range.
    #[error("the number is outside the range of the column's type")]
    OutOfRange,
    /// The value is of another kind than the column's.
    #[error("a {kind} value does not fit the column's type")]
    WrongKind {
        /// Kind of the value.
        kind: &'static str,
    },
}

impl BindError {
    /// The cause for the dead letter.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::TooLong { .. } => Cause::ValueTooLong,
            Self::TooPrecise { .. } | Self::TooLarge { .. } | Self::Nul | Self::OutOfRange => {
                Cause::DataException
            }
            Self::WrongKind { .. } => Cause::TypeMismatch,
        }
    }
}

impl<'a> Cell<'a> {
    const fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "string",
            Self::Int(_) => "integer",
            Self::Decimal(_) => "decimal",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::Date(_) => "date",
            Self::DateTime(_) => "date-time",
            Self::Time(_) => "time",
            Self::Uuid(_) => "uuid",
            Self::Json(_) => "json",
            Self::Binary(_) => "binary",
        }
    }

    const fn wrong<T>(self) -> Result<Option<T>, BindError> {
        Err(BindError::WrongKind { kind: self.kind() })
    }

    /// As text: strings and JSON as they are; exact numbers, dates, times and UUIDs in the one
    /// form that DESIGN gives for text columns.
    pub fn text(self, limit: Option<usize>) -> Result<Option<Cow<'a, str>>, BindError> {
        let text: Cow<'a, str> = match self {
            Self::Null => return Ok(None),
            Self::Text(text) | Self::Json(text) => text.into(),
            Self::Int(number) => number.to_string().into(),
            Self::Decimal(number) => decimal_text(number).into(),
            Self::Date(date) => date.format("%Y-%m-%d").to_string().into(),
            Self::DateTime(instant) => instant.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into(),
            Self::Time(time) => time.format("%H:%M:%S%.6f").to_string().into(),
            Self::Uuid(uuid) => uuid.to_string().into(),
            Self::Double(_) | Self::Boolean(_) | Self::Binary(_) => return self.wrong(),
        };
        // bytes are at least as many as characters: most texts need no counting
        match limit {
            Some(limit) if text.len() > limit && text.chars().count() > limit => {
                Err(BindError::TooLong { limit })
            }
            _ => Ok(Some(text)),
        }
    }

    /// As a 64-bit integer. Text is read as a number: a mapped `id` in an integer column.
    pub fn integer(self) -> Result<Option<i64>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Int(number) => Ok(Some(number)),
            Self::Text(text) => text.parse().map(Some).map_err(|_| BindError::OutOfRange),
            Self::Boolean(truth) => Ok(Some(truth.into())),
            _ => self.wrong(),
        }
    }

    /// As a narrower integer.
    pub fn narrow<T: TryFrom<i64>>(self) -> Result<Option<T>, BindError> {
        let number = self.integer()?;
        number.map(|number| T::try_from(number).map_err(|_| BindError::OutOfRange)).transpose()
    }

    /// As an exact number.
    pub fn decimal(self) -> Result<Option<Cow<'a, BigDecimal>>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Decimal(number) => Ok(Some(Cow::Borrowed(number))),
            Self::Int(number) => Ok(Some(Cow::Owned(BigDecimal::from(number)))),
            _ => self.wrong(),
        }
    }

    /// As the text of an exact number with at most `limit` digits after the point that count.
    pub fn exact(self, limit: Option<usize>) -> Result<Option<String>, BindError> {
        let Some(number) = self.decimal()? else { return Ok(None) };
        if let Some(limit) = limit {
            let digits = number.normalized().fractional_digit_count();
            if usize::try_from(digits).is_ok_and(|digits| digits > limit) {
                return Err(BindError::TooPrecise { limit });
            }
        }
        Ok(Some(decimal_text(&number)))
    }

    /// As a float.
    pub fn double(self) -> Result<Option<f64>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Double(number) => Ok(Some(number)),
            _ => self.wrong(),
        }
    }

    /// As a truth value.
    pub fn boolean(self) -> Result<Option<bool>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Boolean(truth) => Ok(Some(truth)),
            _ => self.wrong(),
        }
    }

    /// As a date.
    pub fn date(self) -> Result<Option<NaiveDate>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Date(date) => Ok(Some(date)),
            _ => self.wrong(),
        }
    }

    /// As an instant.
    pub fn instant(self) -> Result<Option<DateTime<Utc>>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::DateTime(instant) => Ok(Some(instant)),
            _ => self.wrong(),
        }
    }

    /// As a time of day.
    pub fn time(self) -> Result<Option<NaiveTime>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Time(time) => Ok(Some(time)),
            _ => self.wrong(),
        }
    }

    /// As a UUID. Text is parsed: a mapped `id` in a UUID column.
    pub fn uuid(self) -> Result<Option<Uuid>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Uuid(uuid) => Ok(Some(uuid)),
            Self::Text(text) => Uuid::parse_str(text)
                .map(Some)
                .map_err(|_| BindError::WrongKind { kind: self.kind() }),
            _ => self.wrong(),
        }
    }

    /// As bytes.
    pub fn bytes(self) -> Result<Option<&'a [u8]>, BindError> {
        match self {
            Self::Null => Ok(None),
            Self::Binary(bytes) => Ok(Some(bytes)),
            _ => self.wrong(),
        }
    }
}

/// Digits as written where that stays readable; an exponent only where plain notation would be
/// longer than any number in use.
fn decimal_text(number: &BigDecimal) -> String {
    let (_, scale) = number.as_bigint_and_exponent();
    if (-100..=1000).contains(&scale) { number.to_plain_string() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn decimals_keep_their_digits_as_text() {
        for text in ["72.50", "0.00", "-1.0", "100", "0.000000001"] {
            let number = BigDecimal::from_str(text).unwrap();
            assert_eq!(Cell::Decimal(&number).text(None), Ok(Some(text.into())));
        }
    }

    #[test]
    fn instants_are_utc_text_with_six_digits() {
        let instant = DateTime::parse_from_rfc3339("2020-02-29T23:59:59.5+02:00").unwrap();
        let text = Cell::DateTime(instant.to_utc()).text(None).unwrap();
        assert_eq!(text.as_deref(), Some("2020-02-29T21:59:59.500000Z"));
    }

    #[test]
    fn a_limit_counts_characters_not_bytes() {
        assert_eq!(Cell::Text("äöü").text(Some(3)), Ok(Some("äöü".into())));
        assert_eq!(Cell::Text("äöüß").text(Some(3)), Err(BindError::TooLong { limit: 3 }));
    }

    #[test]
    fn an_exact_number_may_end_in_zeros_but_is_never_rounded() {
        let exact = |text: &str, limit| {
            let number = BigDecimal::from_str(text).unwrap();
            Cell::Decimal(&number).exact(Some(limit)).map(Option::unwrap)
        };
        assert_eq!(exact("72.500", 1), Ok("72.500".to_owned()));
        assert_eq!(exact("1E+3", 0), Ok("1000".to_owned()));
        assert_eq!(exact("72.505", 2), Err(BindError::TooPrecise { limit: 2 }));
    }

    #[test]
    fn an_integer_too_large_for_its_column_is_refused() {
        assert_eq!(Cell::Int(40_000).narrow::<i16>(), Err(BindError::OutOfRange));
        assert_eq!(Cell::Int(-5).narrow::<i16>(), Ok(Some(-5)));
    }

    #[test]
    fn rows_give_their_columns_and_single_rows() {
        let mut rows = Rows::new(2);
        for number in 0..5 {
            rows.push([Cell::Int(number), Cell::Int(number * 10)]);
        }
        let numbers = |cells: &mut dyn Iterator<Item = Cell<'_>>| -> Vec<i64> {
            cells.map(|cell| cell.integer().unwrap().unwrap()).collect()
        };
        assert_eq!(rows.len(), 5);
        assert_eq!(numbers(&mut rows.column(1)), [0, 10, 20, 30, 40]);
        assert_eq!(numbers(&mut rows.row(3)), [3, 30]);
        assert_eq!(numbers(&mut rows.chosen([4, 0].into_iter(), &[1]).column(0)), [40, 0]);
    }
}
