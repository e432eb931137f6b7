//! What it costs to decode a Patient of 3 kB from Avro, beside the same from JSON, on one core.
//!
//! Only ratios within one run tell anything about the code. The last two cases are the ways not taken:
//! apache-avro's own reader alone, and with a tree made of what it reads.

#[expect(dead_code, reason = "one of its documents is enough here")]
mod documents;

use std::hint::black_box;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use rowcast::model::{Offset, Record, TopicPartition};
use rowcast::source::{AvroFields, AvroSchema, DecodeSettings, Decoder, SchemaId, Schemas};
use serde_json::{Map, Value, json};

/// As in the command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let patient = documents::patient();
    let text = patient.to_string();
    let as_record = schema_of(&[&patient], &mut 0);
    let as_text = json!({ "type": "record", "name": "Change", "fields": [
        { "name": "operation", "type": { "type": "enum", "name": "Op", "symbols": ["CREATE", "DELETE"] } },
        { "name": "id", "type": "string" }, { "name": "source", "type": ["null", "string"] },
        { "name": "resource", "type": ["null", "string"] } ] });
    let row =
        json!({ "operation": "CREATE", "id": patient["id"], "source": "bench", "resource": text });
    let (record_body, text_body) = (encode(&as_record, &patient), encode(&as_text, &row));
    println!(
        "{} bytes of JSON, {} as a record, {} as text in a record",
        text.len(),
        record_body.len(),
        text_body.len()
    );
    let fields = AvroFields {
        document: "resource".into(),
        operation: Some("operation".into()),
        id: Some("id".into()),
        ..AvroFields::default()
    };
    let cases = [
        ("JSON", Decoder::default(), record(text.clone().into_bytes())),
        ("Avro, a record", decoder(&as_record, None), framed(&record_body)),
        ("Avro, JSON in a field", decoder(&as_text, Some(fields)), framed(&text_body)),
    ];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode a Patient");
    group.throughput(Throughput::Elements(1));
    for (name, decoder, record) in &cases {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| decoder.decode(black_box(record)).expect("a change"));
        });
    }
    let schema = Schema::parse_str(&as_record.to_string()).expect("a schema");
    let reader = GenericDatumReader::builder(&schema).build().expect("a reader");
    group.bench_function("apache-avro's reader alone", |bencher| {
        bencher
            .iter(|| reader.read_value(&mut black_box(record_body.as_slice())).expect("a value"));
    });
    group.bench_function("apache-avro's reader and a tree", |bencher| {
        bencher.iter(|| {
            tree(reader.read_value(&mut black_box(record_body.as_slice())).expect("a value"))
        });
    });
    group.finish();
    criterion.final_summary();
}

fn record(value: Vec<u8>) -> Record {
    Record {
        source: TopicPartition::new("changes", 0),
        offset: Offset(0),
        timestamp: None,
        key: Some(Bytes::from_static(b"Patient/0f0e0d0c-0b0a-4908-8706-050403020100")),
        value: Some(Bytes::from(value)),
        headers: Vec::new(),
    }
}

fn framed(body: &[u8]) -> Record {
    record([&[0, 0, 0, 0, 7], body].concat())
}

fn decoder(schema: &Value, fields: Option<AvroFields>) -> Decoder {
    let schemas = Schemas::default().with_registry();
    let none: [&str; 0] = [];
    schemas.bring(SchemaId::Number(7), AvroSchema::parse(&schema.to_string(), &none));
    let settings = DecodeSettings { avro: fields.map(Arc::new), ..DecodeSettings::default() };
    Decoder::new(settings).with_schemas(Arc::new(schemas))
}

fn encode(schema: &Value, value: &Value) -> Vec<u8> {
    let schema = Schema::parse_str(&schema.to_string()).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    writer.write_value_to_vec(value_of(value, &schema)).expect("the value fits")
}

/// A schema that all these values fit; members may be absent, as in FHIR.
fn schema_of(values: &[&Value], names: &mut u32) -> Value {
    match values.first() {
        Some(Value::Object(_)) => {
            let mut members: Map<String, Value> = Map::new();
            for (name, value) in values.iter().filter_map(|value| value.as_object()).flatten() {
                let all = members.entry(name).or_insert_with(|| json!([]));
                all.as_array_mut().expect("made so").push(value.clone());
            }
            let fields: Vec<Value> = members
                .iter()
                .map(|(name, all)| {
                    let all: Vec<&Value> = all.as_array().expect("made so").iter().collect();
                    json!({ "name": name, "type": ["null", schema_of(&all, names)] })
                })
                .collect();
            *names += 1;
            json!({ "type": "record", "name": format!("R{names}"), "fields": fields })
        }
        Some(Value::Array(_)) => {
            let items: Vec<&Value> =
                values.iter().filter_map(|value| value.as_array()).flatten().collect();
            json!({ "type": "array", "items": schema_of(&items, names) })
        }
        Some(Value::Bool(_)) => json!("boolean"),
        Some(Value::Number(_)) if values.iter().all(|value| value.is_i64()) => json!("long"),
        Some(Value::Number(_)) => json!("double"),
        Some(Value::String(_) | Value::Null) | None => json!("string"),
    }
}

fn value_of(value: &Value, schema: &Schema) -> AvroValue {
    match schema {
        Schema::Union(union) if value.is_null() => {
            let null = union.variants().iter().position(|branch| matches!(branch, Schema::Null));
            AvroValue::Union(
                u32::try_from(null.expect("null")).expect("few"),
                AvroValue::Null.into(),
            )
        }
        Schema::Union(union) => AvroValue::Union(1, value_of(value, &union.variants()[1]).into()),
        Schema::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields
                .map(|field| (field.name.clone(), value_of(&value[&field.name], &field.schema)));
            AvroValue::Record(fields.collect())
        }
        Schema::Array(array) => {
            let items = value.as_array().expect("an array").iter();
            AvroValue::Array(items.map(|item| value_of(item, &array.items)).collect())
        }
        Schema::Enum(schema) => {
            let symbol = value.as_str().expect("text");
            let at = schema.symbols.iter().position(|known| known == symbol).expect("known");
            AvroValue::Enum(u32::try_from(at).expect("few"), symbol.to_owned())
        }
        Schema::Boolean => AvroValue::Boolean(value.as_bool().expect("a boolean")),
        Schema::Long => AvroValue::Long(value.as_i64().expect("an integer")),
        Schema::Double => AvroValue::Double(value.as_f64().expect("a number")),
        _ => AvroValue::String(value.as_str().expect("text").to_owned()),
    }
}

/// The tree that a direct conversion would make.
fn tree(value: AvroValue) -> sonic_rs::Value {
    match value {
        AvroValue::Union(_, value) => tree(*value),
        AvroValue::Record(fields) => {
            let mut members = sonic_rs::Object::new();
            for (name, value) in fields {
                let value = tree(value);
                if !sonic_rs::JsonValueTrait::is_null(&value) {
                    members.insert(&name, value);
                }
            }
            members.into()
        }
        AvroValue::Array(items) => items.into_iter().map(tree).collect::<sonic_rs::Array>().into(),
        AvroValue::Boolean(value) => value.into(),
        AvroValue::Long(value) => value.into(),
        AvroValue::Double(value) => sonic_rs::Value::new_f64(value).unwrap_or_default(),
        AvroValue::String(text) => sonic_rs::Value::from(&text),
        _ => sonic_rs::Value::default(),
    }
}
