//! Values of columns for people and programs. They are payload: only for what the user named.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::model::Value;

/// For programs: decimals, dates and instants (UTC, microseconds) as text, bytes as base64.
pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => json!(null),
        Value::Text(text) => json!(text.as_str()),
        Value::Int(number) => json!(number),
        // text, so that no digit is lost on the way through a reader's floats
        Value::Decimal(decimal) => json!(decimal.to_plain_string()),
        Value::Double(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        Value::Date(date) => json!(date.to_string()),
        Value::DateTime(instant) => {
            json!(instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        }
        Value::Time(time) => json!(time.to_string()),
        Value::Uuid(uuid) => json!(uuid.to_string()),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Value::Binary(bytes) => json!(BASE64.encode(bytes)),
    }
}

/// For people: the same without quotes.
pub(super) fn to_text(value: &Value) -> String {
    match (value, to_json(value)) {
        (Value::Json(text), _) => text.clone(),
        (_, serde_json::Value::Null) => "NULL".to_owned(),
        (_, serde_json::Value::String(text)) => text,
        (_, other) => other.to_string(),
    }
}
