//! Schemas that a source system might register, and values by them.

use apache_avro::Schema;
use apache_avro::schema::Name;
use apache_avro::types::Value as AvroValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::avro::{Server, encoded, framed};

/// A schema with its number in the registry.
pub(super) struct Registered {
    id: u32,
    schema: &'static str,
}

/// A Patient as a record.
pub(super) const RESOURCE: Registered = Registered {
    id: 1,
    schema: r#"{ "type": "record", "name": "Patient", "fields": [
      { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" },
      { "name": "meta", "type": { "type": "record", "name": "Meta", "fields": [
        { "name": "versionId", "type": ["null", "string"] } ] } },
      { "name": "active", "type": ["null", "boolean"], "default": null },
      { "name": "gender", "type": ["null", "string"] },
      { "name": "name", "type": { "type": "array", "items": {
        "type": "record", "name": "HumanName", "fields": [
          { "name": "family", "type": ["null", "string"] } ] } } } ] }"#,
};

/// A message of HAPI's, its names and nothing else changed.
pub(super) const HAPI: Registered = Registered {
    id: 2,
    schema: r#"{ "type": "record", "name": "Message", "fields": [
      { "name": "payload", "type": { "type": "record", "name": "Payload", "fields": [
        { "name": "operationType", "type": { "type": "enum", "name": "OperationType",
          "symbols": ["CREATE", "UPDATE", "DELETE"] } },
        { "name": "payloadId", "type": "string" },
        { "name": "payloadVersion", "type": ["null", "string"] },
        { "name": "payload", "type": ["null", "string"], "default": null } ] } } ] }"#,
};

/// A row as Debezium's Avro converter writes it.
pub(super) const ROW: Registered = Registered {
    id: 3,
    schema: r#"{ "type": "record", "name": "Envelope", "fields": [
      { "name": "before", "type": ["null", { "type": "record", "name": "Value", "fields": [
        { "name": "id", "type": "string" }, { "name": "txid", "type": ["null", "long"] },
        { "name": "resource", "type": ["null", "string"] } ] }] },
      { "name": "after", "type": ["null", "Value"] }, { "name": "op", "type": "string" } ] }"#,
};

/// A change with the resource as JSON text in a field.
pub(super) const ENVELOPE: Registered = Registered {
    id: 4,
    schema: r#"{ "type": "record", "name": "Change", "fields": [
      { "name": "operation", "type": { "type": "enum", "name": "Operation",
        "symbols": ["UPDATE", "DELETE"] } },
      { "name": "type", "type": "string" }, { "name": "id", "type": "string" },
      { "name": "version", "type": "long" }, { "name": "resource", "type": ["null", "string"] } ] }"#,
};

impl Registered {
    /// A line of `produce --as records`: the value by this schema, in Confluent's wire format.
    pub(super) fn line(&self, key: &str, value: &Value) -> Value {
        let schema = Schema::parse_str(self.schema).expect("a schema");
        let value = value_of(value, &schema, &schema);
        let written = serde_json::from_str(self.schema).expect("JSON");
        let bytes = framed(self.id, &encoded(&written, &value, None));
        json!({ "key": key, "value_base64": STANDARD.encode(bytes) })
    }
}

/// A value by a schema. `root`: the schema that holds those which are referred to.
fn value_of(value: &Value, schema: &Schema, root: &Schema) -> AvroValue {
    match schema {
        Schema::Union(_) if value.is_null() => AvroValue::Union(0, Box::new(AvroValue::Null)),
        Schema::Union(union) => {
            let of = union.variants().get(1).expect("null, and something else");
            AvroValue::Union(1, Box::new(value_of(value, of, root)))
        }
        Schema::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields.map(|field| {
                (field.name.clone(), value_of(&value[&field.name], &field.schema, root))
            });
            AvroValue::Record(fields.collect())
        }
        Schema::Array(array) => {
            let items = value.as_array().expect("an array").iter();
            AvroValue::Array(items.map(|item| value_of(item, &array.items, root)).collect())
        }
        Schema::Enum(schema) => {
            let symbol = value.as_str().expect("text");
            let at = schema.symbols.iter().position(|known| known == symbol).expect("known");
            AvroValue::Enum(u32::try_from(at).expect("few"), symbol.to_owned())
        }
        Schema::Ref { name } => value_of(value, defined(name, root).expect("a type"), root),
        Schema::Long => AvroValue::Long(value.as_i64().expect("an integer")),
        Schema::Boolean => AvroValue::Boolean(value.as_bool().expect("a boolean")),
        _ => AvroValue::String(value.as_str().expect("text").to_owned()),
    }
}

/// The record of this name.
fn defined<'s>(name: &Name, schema: &'s Schema) -> Option<&'s Schema> {
    match schema {
        Schema::Record(record) if record.name == *name => Some(schema),
        Schema::Record(record) => {
            record.fields.iter().find_map(|field| defined(name, &field.schema))
        }
        Schema::Union(union) => union.variants().iter().find_map(|of| defined(name, of)),
        _ => None,
    }
}

/// A registry that has all of them.
pub(super) fn registry() -> Server {
    let registry = Server::start();
    for Registered { id, schema } in [RESOURCE, HAPI, ROW, ENVELOPE] {
        registry.put(&format!("/schemas/ids/{id}"), &Value::from(schema));
    }
    registry
}
