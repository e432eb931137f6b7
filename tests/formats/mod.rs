//! Every change format: cases of our own, real captures, all operations through the whole way.

use std::sync::Arc;

use bytes::Bytes;
use rowcast::model::{Change, Header, Offset, Operation, Record, TopicPartition, Version};
use rowcast::source::{DebeziumColumns, DecodeError, DecodeSettings, Decoder, TypeFrom};
use serde_json::Value;

mod avro;
mod captures;
mod cases;
mod channel;
mod operations;
mod properties;
mod topics;

/// A record at offset 42. A value that is text is taken as it is, null is a tombstone.
fn record(key: Option<String>, value: &Value, headers: &[(&str, &str)]) -> Record {
    let value = match value {
        Value::Null => None,
        Value::String(text) => Some(Bytes::from(text.clone())),
        other => Some(Bytes::from(other.to_string())),
    };
    Record {
        source: TopicPartition::new("changes", 0),
        offset: Offset(42),
        timestamp: None,
        key: key.map(Bytes::from),
        value,
        headers: headers.iter().map(|(name, value)| Header::text(name, *value)).collect(),
    }
}

/// What a record says, a line for each change or refusal.
fn said(settings: &DecodeSettings, record: &Record) -> Vec<String> {
    let mut said = Vec::new();
    Decoder::new(settings.clone()).decode_each(record, |change| said.push(line(&change)));
    said
}

fn line(change: &Result<Change, DecodeError>) -> String {
    let named = |key: &rowcast::model::ResourceKey| format!("{}/{}", key.resource_type, key.id);
    match change {
        Ok(change) => {
            let operation = match change.operation {
                Operation::Upsert { .. } => "upsert",
                Operation::Delete { .. } => "delete",
            };
            let version = change.version().map(Version::get);
            let version = version.map_or(String::new(), |version| format!(" @{version}"));
            format!("{operation} {}{version}", named(&change.resource))
        }
        Err(error) => match error.hint() {
            Some(resource) => format!("hint {}", named(resource)),
            None => format!("refused {}", error.cause()),
        },
    }
}

/// The columns as the topology file names them.
fn columns(written: &Value) -> Option<Arc<DebeziumColumns>> {
    let name = |member: &str| written[member].as_str().map(str::to_owned);
    Some(Arc::new(DebeziumColumns {
        document: name("document")?,
        resource_type: name("type").as_deref().map(TypeFrom::parse),
        id: name("id"),
        version: name("version"),
    }))
}
