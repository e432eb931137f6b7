//! Lines of a file or stdin become records of the ingest topic.
//!
//! In: NDJSON of resources, or of `{"key","value","headers","partition"}`. Out: records to be
//! produced. Errors name the line, never its content.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::broker::OutgoingRecord;
use crate::model::Header;

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FeedFormat {
    /// A FHIR resource; its key becomes `Type/id`.
    Resources,
    /// `{"key","value","headers","partition"}`: value a string (taken as it is), an object (its
    /// JSON text) or null (a tombstone); bytes that are no text in `key_base64`, `value_base64`.
    Records,
}

/// Why a line is no record.
#[derive(Debug, Error)]
pub(crate) enum FeedError {
    /// Not the JSON that the format asks for.
    #[error("line {line}: not {expected} (column {column})")]
    Line {
        /// Line, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// The resource lacks what makes its key.
    #[error("line {line}: the resource has no {member}")]
    Member {
        /// Line, from 1.
        line: usize,
        /// Absent member.
        member: &'static str,
    },
    /// Bytes that are not written as base64.
    #[error("line {line}: `{member}_base64` is not base64")]
    Base64 {
        /// Line, from 1.
        line: usize,
        /// What they are.
        member: &'static str,
    },
    /// The same given as text and as bytes.
    #[error("line {line}: has both `{member}` and `{member}_base64`")]
    Twice {
        /// Line, from 1.
        line: usize,
        /// What is given twice.
        member: &'static str,
    },
}

#[derive(Deserialize)]
struct ResourceHead<'a> {
    #[serde(rename = "resourceType", borrow)]
    resource_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine<'a> {
    #[serde(default)]
    key: Option<String>,
    #[serde(default, borrow)]
    key_base64: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    value: Option<&'a RawValue>,
    #[serde(default, borrow)]
    value_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    headers: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    partition: Option<i32>,
}

/// The record of one line; `number` counts from 1.
pub(crate) fn record(
    format: FeedFormat,
    topic: &Arc<str>,
    number: usize,
    line: &str,
) -> Result<OutgoingRecord, FeedError> {
    match format {
        FeedFormat::Resources => resource(topic, number, line),
        FeedFormat::Records => as_written(topic, number, line),
    }
}

fn resource(topic: &Arc<str>, number: usize, line: &str) -> Result<OutgoingRecord, FeedError> {
    let head: ResourceHead<'_> =
        serde_json::from_str(line).map_err(|error| at(number, &error, "a JSON object"))?;
    let missing = |member| FeedError::Member { line: number, member };
    let resource_type = head.resource_type.ok_or_else(|| missing("resourceType"))?;
    let id = head.id.ok_or_else(|| missing("id"))?;
    Ok(OutgoingRecord {
        topic: Arc::clone(topic),
        partition: None,
        key: Some(Bytes::from(format!("{resource_type}/{id}"))),
        value: Some(Bytes::from(line.to_owned())),
        headers: Vec::new(),
    })
}

fn as_written(topic: &Arc<str>, number: usize, line: &str) -> Result<OutgoingRecord, FeedError> {
    const EXPECTED: &str = "an object of key, value, headers and partition";
    let written: RecordLine<'_> =
        serde_json::from_str(line).map_err(|error| at(number, &error, EXPECTED))?;
    let value = match written.value.map(RawValue::get) {
        None | Some("null") => None,
        Some(text) if text.starts_with('"') => {
            let text: String =
                serde_json::from_str(text).map_err(|error| at(number, &error, EXPECTED))?;
            Some(Bytes::from(text))
        }
        Some(json) => Some(Bytes::from(json.to_owned())),
    };
    let key = written.key.map(Bytes::from);
    let headers = written.headers.into_iter().map(header);
    Ok(OutgoingRecord {
        topic: Arc::clone(topic),
        partition: written.partition,
        key: either(number, "key", key, written.key_base64.as_deref())?,
        value: either(number, "value", value, written.value_base64.as_deref())?,
        headers: headers.collect(),
    })
}

/// A key or a value, given as text or as bytes in base64.
fn either(
    line: usize,
    member: &'static str,
    text: Option<Bytes>,
    base64: Option<&str>,
) -> Result<Option<Bytes>, FeedError> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(FeedError::Twice { line, member }),
        (text, None) => Ok(text),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|_| FeedError::Base64 { line, member })?;
            Ok(Some(Bytes::from(bytes)))
        }
    }
}

/// A header as JSON writes it: text as it is, null as null, anything else as JSON text.
pub(super) fn header((name, value): (String, serde_json::Value)) -> Header {
    match value {
        serde_json::Value::Null => Header { name, value: None },
        serde_json::Value::String(text) => Header::text(&name, text),
        other => Header::text(&name, other.to_string()),
    }
}

fn at(line: usize, error: &serde_json::Error, expected: &'static str) -> FeedError {
    FeedError::Line { line, column: error.column(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(format: FeedFormat, line: &str) -> Result<OutgoingRecord, FeedError> {
        record(format, &"t".into(), 7, line)
    }

    #[test]
    fn a_resource_is_keyed_by_type_and_id_and_its_text_is_kept() {
        let line = r#"{"id":"1","resourceType":"Patient","weight":72.50}"#;
        let record = one(FeedFormat::Resources, line).expect("a record");
        assert_eq!(record.key.as_deref(), Some(&b"Patient/1"[..]));
        assert_eq!(record.value.as_deref(), Some(line.as_bytes()));
    }

    #[test]
    fn a_record_value_is_a_string_an_object_or_a_tombstone() {
        let value = |line| one(FeedFormat::Records, line).expect("a record").value;
        assert_eq!(value(r#"{"key":"k","value":"not json"}"#).as_deref(), Some(&b"not json"[..]));
        assert_eq!(value(r#"{"value":{"a": 1.50}}"#).as_deref(), Some(&br#"{"a": 1.50}"#[..]));
        assert_eq!(value(r#"{"key":"k","value":null}"#), None);
    }

    #[test]
    fn bytes_that_are_no_text_come_as_base64() {
        let line = r#"{"key_base64":"AAE=","value_base64":"/wA="}"#;
        let record = one(FeedFormat::Records, line).expect("a record");
        assert_eq!(record.key.as_deref(), Some(&[0, 1][..]));
        assert_eq!(record.value.as_deref(), Some(&[0xff, 0][..]));
        for (line, told) in [
            (r#"{"value_base64":"SECRET!"}"#, "line 7: `value_base64` is not base64"),
            (r#"{"value":"a","value_base64":"YQ=="}"#, "line 7: has both `value`"),
        ] {
            let error = one(FeedFormat::Records, line).expect_err("refused").to_string();
            assert!(error.starts_with(told) && !error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_quoted() {
        let error = one(FeedFormat::Records, r#"{"kee":"SECRET"}"#).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("line 7") && !text.contains("SECRET"), "{text}");
        assert!(one(FeedFormat::Resources, "{}").is_err());
    }
}
