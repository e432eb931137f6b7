//! FHIR values become typed column values.
//!
//! In: what a path yielded, and a column type. Out: a [`Value`], or what kind of value was seen
//! instead. FHIR writes dates, instants, decimals and bytes as text; conversion keeps every
//! digit and never rounds, except that instants end at microseconds.

use std::borrow::Cow;
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::{BigDecimal, ToPrimitive as _};
use chrono::{DateTime, NaiveDate, NaiveTime, Timelike, Utc};
use sonic_rs::{JsonType, JsonValueTrait as _};
use thiserror::Error;
use uuid::Uuid;

use super::fhirpath::Item;
use super::rules::PartialDate;
use crate::model::{ColumnType, Node, Value};

/// Most digits of a number, before and after the point together. FHIR's decimals have 18; a
/// number like `1e999999999` would be expanded to a gigabyte further on.
const MAX_DIGITS: u64 = 1_000;
/// Longest text that is tried as a number, bytes: the digits, sign, point and exponent.
const MAX_NUMBER_TEXT: usize = 1_100;

/// What to do about an object in a column of a primitive type.
const PRIMITIVE_WANTED: &str = "; let the path end at a primitive, or make it a JSON column";

/// A value that does not convert.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{seen} does not convert to {wanted}{advice}")]
pub(super) struct CastError {
    seen: &'static str,
    wanted: ColumnType,
    advice: &'static str,
}

/// A FHIR value as columns see it.
#[derive(Clone)]
pub(super) enum Scalar<'d> {
    /// Text, and all that FHIR writes as text.
    Text(Cow<'d, str>),
    /// A number as it was written.
    Number(Cow<'d, str>),
    /// A truth value.
    Boolean(bool),
    /// An object or array.
    Complex(&'d Node),
}

impl<'d> Scalar<'d> {
    /// The value of an item; `None` for a JSON null, which FHIR writes where a list of primitives
    /// has an element with nothing but extensions.
    pub(super) fn of(item: &Item<'d>) -> Option<Self> {
        match item {
            Item::Node { node, .. } => Self::of_node(node),
            Item::Boolean(value) => Some(Self::Boolean(*value)),
            Item::Integer(_) | Item::Decimal(_) => item.text().map(Self::Number),
            Item::String(_)
            | Item::Date(_)
            | Item::DateTime(_)
            | Item::Time(_)
            | Item::Quantity(_)
            | Item::Type(_) => item.text().map(Self::Text),
        }
    }

    /// Whether an item is such a value: [`Scalar::of`] without making it.
    pub(super) fn is_in(item: &Item<'_>) -> bool {
        !matches!(item, Item::Node { node, .. } if node.is_null())
    }

    fn of_node(node: &'d Node) -> Option<Self> {
        // Most are text, and each look at a node costs.
        if let Some(text) = node.as_str() {
            return Some(Self::Text(text.into()));
        }
        match node.get_type() {
            JsonType::Null => None,
            JsonType::Boolean => node.as_bool().map(Self::Boolean),
            JsonType::Number => {
                node.as_raw_number().map(|raw| Self::Number(raw.as_str().to_owned().into()))
            }
            JsonType::String | JsonType::Object | JsonType::Array => Some(Self::Complex(node)),
        }
    }

    /// The text of a primitive.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(Cow::Borrowed(text)),
            Self::Boolean(true) => Some("true".into()),
            Self::Boolean(false) => Some("false".into()),
            Self::Complex(_) => None,
        }
    }

    /// The value as JSON text, numbers with their digits.
    pub(super) fn json(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_ref()).to_string(),
            Self::Number(_) | Self::Boolean(_) => self.text().unwrap_or_default().into_owned(),
            Self::Complex(node) => {
                sonic_rs::to_string(node).expect("a parsed document can be written again")
            }
        }
    }

    /// The text of a primitive, for a column of type `to`.
    ///
    /// # Errors
    /// [`CastError`] for objects and arrays.
    pub(super) fn primitive(&self, to: ColumnType) -> Result<String, CastError> {
        self.text().map(Cow::into_owned).ok_or(CastError {
            seen: self.kind(),
            wanted: to,
            advice: PRIMITIVE_WANTED,
        })
    }

    /// The value as a key: a conversion that would make one key of two different texts (`7` and
    /// `007`) is refused.
    ///
    /// # Errors
    /// [`CastError`] names the kind of value seen.
    pub(super) fn cast_identically(&self, to: ColumnType) -> Result<Value, CastError> {
        let value = self.cast(to, PartialDate::Error)?;
        let back = match &value {
            Value::Int(number) => Some(number.to_string()),
            Value::Uuid(uuid) => Some(uuid.to_string()),
            _ => None,
        };
        match (back, self.text()) {
            (Some(back), Some(text)) if back != text => Err(CastError {
                seen: "an id in other than its canonical form",
                wanted: to,
                advice: "; different ids would become one",
            }),
            _ => Ok(value),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Complex(_) => "an object",
        }
    }

    /// The value as a column's type; [`Value::Null`] only for a partial date that the rule says
    /// so of.
    ///
    /// # Errors
    /// [`CastError`] names the kind of value seen.
    pub(super) fn cast(&self, to: ColumnType, partial: PartialDate) -> Result<Value, CastError> {
        let fail = |seen, advice| CastError { seen, wanted: to, advice };
        if to == ColumnType::Json {
            return Ok(Value::Json(self.json()));
        }
        let Some(text) = self.text() else {
            return Err(fail(self.kind(), PRIMITIVE_WANTED));
        };
        let text = text.as_ref();
        let value = match to {
            ColumnType::String => Some(Value::Text(text.into())),
            ColumnType::Int => return self.integer(text, to, i64::from(i32::MAX)),
            ColumnType::BigInt => return self.integer(text, to, i64::MAX),
            ColumnType::Decimal => decimal(text).map(Value::Decimal),
            ColumnType::Double => {
                text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Double)
            }
            ColumnType::Boolean => match text {
                "true" => Some(Value::Boolean(true)),
                "false" => Some(Value::Boolean(false)),
                _ => None,
            },
            ColumnType::Date => return date(text, partial, to),
            ColumnType::DateTime => return date_time(text, partial, to),
            ColumnType::Time => time(text).map(Value::Time),
            ColumnType::Uuid => uuid(text).map(Value::Uuid),
            ColumnType::Binary => binary(text).map(Value::Binary),
            ColumnType::Json => None,
        };
        value.ok_or_else(|| fail(self.kind(), ""))
    }

    fn integer(&self, text: &str, to: ColumnType, max: i64) -> Result<Value, CastError> {
        let fail = |seen| CastError { seen, wanted: to, advice: "" };
        let number = if let Ok(number) = text.parse::<i64>() {
            number
        } else {
            let decimal = decimal(text).ok_or_else(|| fail(self.kind()))?;
            if !decimal.is_integer() {
                return Err(fail("a number with decimals"));
            }
            decimal.to_i64().ok_or_else(|| fail("a number beyond the range"))?
        };
        if (-max - 1..=max).contains(&number) {
            Ok(Value::Int(number))
        } else {
            Err(fail("a number beyond the range"))
        }
    }
}

fn decimal(text: &str) -> Option<BigDecimal> {
    if text.len() > MAX_NUMBER_TEXT {
        return None;
    }
    let number = BigDecimal::from_str(text).ok()?;
    let scale = number.fractional_digit_count().unsigned_abs();
    (number.digits().saturating_add(scale) <= MAX_DIGITS).then_some(number)
}

/// What of a date is written.
enum Written {
    Year,
    Month,
    Day,
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, padded to its first day.
fn calendar_date(text: &str) -> Option<(NaiveDate, Written)> {
    let bytes = text.as_bytes();
    let shaped = bytes.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !shaped {
        return None;
    }
    let (year, month, day) = (text.get(..4)?, text.get(5..7), text.get(8..10));
    let written = match bytes.len() {
        4 => Written::Year,
        7 => Written::Month,
        10 => Written::Day,
        _ => return None,
    };
    let or_first = |digits: Option<&str>| digits.map_or(Ok(1), str::parse);
    let (month, day) = (or_first(month).ok()?, or_first(day).ok()?);
    NaiveDate::from_ymd_opt(year.parse().ok()?, month, day).map(|date| (date, written))
}

/// The date as written, from a date or a date-time: a birth in Sydney keeps its day.
fn date(text: &str, partial: PartialDate, to: ColumnType) -> Result<Value, CastError> {
    let not_a_date = CastError { seen: "a value that is no date", wanted: to, advice: "" };
    let day = match text.split_once('T') {
        Some((day, _)) => {
            instant(text).ok_or(not_a_date)?;
            day
        }
        None => text,
    };
    let (date, written) = calendar_date(day).ok_or(not_a_date)?;
    match (written, partial) {
        (Written::Day, _) | (_, PartialDate::Start) => Ok(Value::Date(date)),
        (_, PartialDate::Null) => Ok(Value::Null),
        (_, PartialDate::Error) => {
            Err(CastError { seen: "a partial date", wanted: to, advice: "" })
        }
    }
}

/// An instant. A date alone is partial: its midnight is in UTC.
fn date_time(text: &str, partial: PartialDate, to: ColumnType) -> Result<Value, CastError> {
    if text.contains('T') {
        return instant(text).map(Value::DateTime).ok_or(CastError {
            seen: "a value that is no date-time",
            wanted: to,
            advice: "; FHIR requires seconds and a time zone with a time",
        });
    }
    let not_a_date = CastError { seen: "a value that is no date-time", wanted: to, advice: "" };
    let (date, _) = calendar_date(text).ok_or(not_a_date)?;
    match partial {
        PartialDate::Start => Ok(Value::DateTime(date.and_time(NaiveTime::MIN).and_utc())),
        PartialDate::Null => Ok(Value::Null),
        PartialDate::Error => Err(CastError { seen: "a partial date", wanted: to, advice: "" }),
    }
}

/// A date-time with seconds and zone, cut to microseconds.
fn instant(text: &str) -> Option<DateTime<Utc>> {
    let instant = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    instant.with_nanosecond(microseconds(&instant))
}

fn time(text: &str) -> Option<NaiveTime> {
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    time.with_nanosecond(microseconds(&time))
}

/// The fraction of the second in nanoseconds, cut to microseconds. A leap second is the last second of
/// its minute, as in FHIRPath: databases differ on a 60th.
fn microseconds(time: &impl Timelike) -> u32 {
    time.nanosecond() % 1_000_000_000 / 1_000 * 1_000
}

/// A hyphenated UUID, with or without `urn:uuid:`.
fn uuid(text: &str) -> Option<Uuid> {
    let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// Base64; FHIR allows white space in it.
fn binary(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return BASE64.decode(compact).ok();
    }
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(text: &str, to: ColumnType) -> Result<Value, CastError> {
        Scalar::Text(text.into()).cast(to, PartialDate::Start)
    }

    fn number(text: &str, to: ColumnType) -> Result<Value, CastError> {
        Scalar::Number(text.into()).cast(to, PartialDate::Start)
    }

    #[test]
    fn integers_are_checked_against_their_range() {
        assert_eq!(number("-2147483648", ColumnType::Int), Ok(Value::Int(-2_147_483_648)));
        assert!(number("2147483648", ColumnType::Int).is_err());
        assert_eq!(number("2147483648", ColumnType::BigInt), Ok(Value::Int(2_147_483_648)));
        assert_eq!(number("9223372036854775807", ColumnType::BigInt), Ok(Value::Int(i64::MAX)));
        assert!(number("9223372036854775808", ColumnType::BigInt).is_err());
        assert_eq!(number("1e3", ColumnType::Int), Ok(Value::Int(1_000)));
        assert_eq!(number("5.0", ColumnType::Int), Ok(Value::Int(5)));
        assert!(number("5.5", ColumnType::Int).is_err());
        assert_eq!(cast("12", ColumnType::Int), Ok(Value::Int(12)));
        assert!(cast("twelve", ColumnType::Int).is_err());
    }

    #[test]
    fn decimals_keep_their_digits() {
        let Ok(Value::Decimal(decimal)) = number("72.50", ColumnType::Decimal) else {
            panic!("72.50 is a decimal")
        };
        assert_eq!(decimal.to_string(), "72.50");
    }

    #[test]
    fn numbers_that_would_fill_the_memory_are_refused() {
        for huge in ["1e999999999", "1e-999999999", &"9".repeat(2_000)] {
            for to in [ColumnType::Decimal, ColumnType::BigInt] {
                assert!(number(huge, to).is_err(), "{to}");
            }
        }
        assert!(number("1e999", ColumnType::Double).is_err());
        assert!(cast("NaN", ColumnType::Double).is_err());
    }

    #[test]
    fn date_times_become_instants_of_microseconds() {
        let instant = |text: &str| match cast(text, ColumnType::DateTime) {
            Ok(Value::DateTime(instant)) => instant.to_rfc3339(),
            other => panic!("{text} gives {other:?}"),
        };
        assert_eq!(instant("2024-05-01T10:00:00+02:00"), "2024-05-01T08:00:00+00:00");
        assert_eq!(instant("2024-05-01T10:00:00.123456789Z"), "2024-05-01T10:00:00.123456+00:00");
        assert_eq!(instant("2024-05-01"), "2024-05-01T00:00:00+00:00");
        assert_eq!(instant("2024"), "2024-01-01T00:00:00+00:00");
        for bad in ["2024-05-01T10:00:00", "2024-05-01T10:00Z", "2024-13", "24", "", "T"] {
            assert!(cast(bad, ColumnType::DateTime).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_leap_second_is_the_last_second_of_its_minute() {
        let (leap, plain) = ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.25Z");
        assert_eq!(cast(leap, ColumnType::DateTime), cast(plain, ColumnType::DateTime));
        assert_eq!(cast("23:59:60", ColumnType::Time), cast("23:59:59", ColumnType::Time));
        let Ok(Value::DateTime(instant)) = cast(leap, ColumnType::DateTime) else {
            panic!("a date-time")
        };
        assert_eq!(instant.to_rfc3339(), "2016-12-31T23:59:59.250+00:00");
    }

    #[test]
    fn a_date_keeps_the_day_that_was_written() {
        let day = |text: &str| Value::Date(text.parse().expect("a date"));
        let written = cast("2024-05-01T01:00:00+10:00", ColumnType::Date);
        assert_eq!(written, Ok(day("2024-05-01")));
        assert_eq!(cast("1974-03", ColumnType::Date), Ok(day("1974-03-01")));
        for bad in ["1974-3", "1974-02-30", "1974-03-02x", "19740302", "1974-03-02T"] {
            assert!(cast(bad, ColumnType::Date).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_uuids_booleans_and_bytes_are_read_from_text() {
        let half_past = NaiveTime::from_hms_opt(10, 30, 0).expect("a time");
        assert_eq!(cast("10:30:00", ColumnType::Time), Ok(Value::Time(half_past)));
        assert!(cast("25:00:00", ColumnType::Time).is_err());
        let id = Uuid::from_u128(0x6f2c_43a1_9d0e_4b57_8a66_d1f3_0b9e_72c4);
        for text in [format!("{id}"), format!("urn:uuid:{id}")] {
            assert_eq!(cast(&text, ColumnType::Uuid), Ok(Value::Uuid(id)));
        }
        assert!(cast(&id.simple().to_string(), ColumnType::Uuid).is_err());
        assert_eq!(cast("true", ColumnType::Boolean), Ok(Value::Boolean(true)));
        assert!(cast("yes", ColumnType::Boolean).is_err());
        assert_eq!(cast("aG\nk=", ColumnType::Binary), Ok(Value::Binary(b"hi".to_vec())));
        assert!(cast("!", ColumnType::Binary).is_err());
    }

    #[test]
    fn a_mismatch_names_kinds_and_types_only() {
        let error = cast("secret", ColumnType::Boolean).expect_err("no boolean");
        assert_eq!(error.to_string(), "a string does not convert to BOOLEAN");
    }
}
