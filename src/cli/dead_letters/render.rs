//! How letters are printed: the same names in every command.
//!
//! In: letters and their records. Out: JSON and text for the terminal. Keys, values and the values
//! of headers that are not rowcast's are in it only where the operator asked for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::dead_letter::{Letter, headers};
use crate::error::Cause;
use crate::model::Record;

/// Whether payload may be printed: `--reveal-payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Hidden,
    Revealed,
}

impl Payload {
    pub(super) const fn asked_for(revealed: bool) -> Self {
        if revealed { Self::Revealed } else { Self::Hidden }
    }
}

/// A letter without its record. Fields are named like the headers without their prefix; `topic`,
/// `partition` and `offset` are the origin's, `dead_letter` is where the letter itself is.
pub(super) fn letter(letter: &Letter) -> Map<String, Value> {
    let Letter { summary, status, position, last_status } = letter;
    let fields = json!({
        "id": summary.id,
        "status": status.as_str(),
        "stage": summary.stage.as_str(),
        "cause": summary.cause.as_str(),
        "topic": &*summary.origin.topic,
        "partition": summary.origin.partition,
        "offset": summary.offset.0,
        "resource_type": summary.place.resource_type.as_deref(),
        "version": summary.place.version,
        "table": summary.place.table.as_deref(),
        "column": summary.place.column.as_deref(),
        "rule": summary.place.rule.as_deref(),
        "path": summary.place.path.as_deref(),
        "sqlstate": summary.place.sqlstate.as_deref(),
        "exception": summary.exception,
        "message": summary.messages.join(": "),
        "changes_refused": summary.changes_refused,
        "attempts": summary.attempts,
        "replays": summary.replays,
        "first_failed_at": instant(summary.first_failed_at),
        "last_failed_at": instant(summary.last_failed_at),
        "timestamp": summary.timestamp.and_then(instant),
        "config_hash": summary.config_hash,
        "pointer": summary.pointer.as_ref().map(|pointer| {
            json!({ "value_sha256": pointer.sha256, "value_bytes": pointer.bytes })
        }),
        "edited": summary.edited.as_ref().map(|edit| {
            json!({ "at": instant(edit.at), "sha256": edit.sha256, "reason": edit.reason })
        }),
        "dead_letter": position,
        "last_status": last_status,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A letter with its record: all headers of ours by name, and of the others the names; with the
/// payload key, value and the others' values too.
pub(super) fn whole(of: &Letter, record: &Record, payload: Payload) -> Map<String, Value> {
    let mut fields = letter(of);
    let (ours, original): (Vec<_>, Vec<_>) =
        record.headers.iter().partition(|header| headers::is_ours(&header.name));
    let ours = ours.into_iter().map(|header| {
        let value = header.value.as_deref().map(String::from_utf8_lossy);
        (header.name.clone(), json!(value))
    });
    fields.insert("headers".into(), Value::Object(ours.collect()));
    let original = original.into_iter().map(|header| {
        let mut shown = Map::new();
        shown.insert("name".into(), json!(header.name));
        if payload == Payload::Revealed {
            bytes(&mut shown, "value", header.value.as_deref());
        }
        Value::Object(shown)
    });
    fields.insert("original_headers".into(), original.collect());
    fields.insert("key_bytes".into(), json!(record.key.as_ref().map(bytes::Bytes::len)));
    fields.insert("value_bytes".into(), json!(record.value.as_ref().map(bytes::Bytes::len)));
    if payload == Payload::Revealed {
        bytes(&mut fields, "key", record.key.as_deref());
        bytes(&mut fields, "value", record.value.as_deref());
    }
    fields
}

/// Bytes as text if they are UTF-8, else as base64 in a field of that name.
fn bytes(fields: &mut Map<String, Value>, name: &str, value: Option<&[u8]>) {
    match value.map(std::str::from_utf8) {
        None => fields.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => fields.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => fields
            .insert(format!("{name}_base64"), json!(value.map(|bytes| STANDARD.encode(bytes)))),
    };
}

/// Bytes for a terminal: nothing in them may steer it.
pub(super) fn on_terminal(value: Option<&[u8]>) -> String {
    match value.map(std::str::from_utf8) {
        None => "(none)".to_owned(),
        Some(Ok(text)) => printable(text),
        Some(Err(_)) => format!("base64:{}", STANDARD.encode(value.unwrap_or_default())),
    }
}

/// Text with its control characters escaped, save line breaks and tabs.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

/// Where a cause is explained.
pub(super) fn page(cause: Cause) -> String {
    format!("docs/causes.md#{cause}")
}

/// Milliseconds since the epoch as RFC 3339.
pub(super) fn instant(millis: i64) -> Option<String> {
    let instant = chrono::DateTime::from_timestamp_millis(millis)?;
    Some(instant.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_become_base64() {
        let mut fields = Map::new();
        bytes(&mut fields, "value", Some(b"\xff\x00"));
        bytes(&mut fields, "key", Some(b"k"));
        assert_eq!(Value::Object(fields), json!({ "value_base64": "/wA=", "key": "k" }));
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(on_terminal(Some(b"a\x1b[2Jb\nc")), "a\\u{1b}[2Jb\nc");
    }
}
