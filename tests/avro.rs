//! Avro: frames, values and schemas, and the registry that brings them.

mod bounds;
mod commands;
mod pipeline;
mod registry;
mod roundtrip;
mod server;
mod settings;
mod values;

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use rowcast::error::Cause;
use rowcast::model::{Change, Header, Offset, Operation, Record, TopicPartition};
use rowcast::source::{
    AvroFields, AvroSchema, DecodeError, DecodeSettings, Decoder, Format, SchemaId, Schemas,
};
use serde_json::Value;

pub(crate) use pipeline::{patient, schema, source};
pub(crate) use server::Server;

/// The number that tests give their schema.
const ID: u32 = 7;

/// A record with this value, keyed by nothing.
fn record(value: Vec<u8>) -> Record {
    Record {
        source: TopicPartition::new("changes", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(Bytes::from(value)),
        headers: Vec::new(),
    }
}

/// The same with a version that the value need not have.
fn versioned(value: Vec<u8>) -> Record {
    let mut record = record(value);
    record.headers.push(Header::text("rowcast.version", "1"));
    record
}

/// A value behind Confluent's magic byte and the number of its schema.
pub(crate) fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    let mut value = vec![0];
    value.extend(id.to_be_bytes());
    value.extend(body);
    value
}

/// A value as apache-avro writes it, in blocks of at least one byte if they are to be many.
pub(crate) fn encoded(schema: &Value, value: &AvroValue, blocks: Option<usize>) -> Vec<u8> {
    let schema = Schema::parse_str(&schema.to_string()).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema).maybe_target_block_size(blocks).build();
    let written = writer.expect("a writer").write_value_to_vec(value.clone());
    written.expect("the value fits its schema")
}

/// A decoder that knows this schema by [`ID`].
fn knowing(schema: &Value, fields: Option<AvroFields>) -> Decoder {
    let schemas = Schemas::default().with_registry();
    let none: [&str; 0] = [];
    schemas.bring(SchemaId::Number(ID), AvroSchema::parse(&schema.to_string(), &none));
    reading(schemas, fields)
}

fn reading(schemas: Schemas, fields: Option<AvroFields>) -> Decoder {
    let avro = fields.map(Arc::new);
    let settings = DecodeSettings { format: Format::Avro, avro, ..DecodeSettings::default() };
    Decoder::new(settings).with_schemas(Arc::new(schemas))
}

fn one(changes: Result<Vec<Change>, DecodeError>) -> Change {
    let mut changes = changes.expect("a change");
    assert_eq!(changes.len(), 1);
    changes.remove(0)
}

fn cause(changes: Result<Vec<Change>, DecodeError>) -> Cause {
    changes.expect_err("the record must be refused").cause()
}

/// The document of an upsert.
fn document(change: &Change) -> Value {
    let Operation::Upsert { document, .. } = &change.operation else { panic!("it deletes") };
    let text = sonic_rs::to_string(document.root()).expect("JSON");
    serde_json::from_str(&text).expect("JSON")
}
