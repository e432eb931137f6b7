//! Random schemas and values: what apache-avro writes is read as the same document, and what is cut
//! off or changed never does harm.

use std::collections::HashMap;

use apache_avro::types::Value as AvroValue;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{ID, document, encoded, framed, knowing, one, versioned};

/// A type, as random schemas are made of.
#[derive(Debug, Clone)]
enum Kind {
    Boolean,
    Int,
    Long,
    Double,
    Text,
    Bytes,
    Symbol,
    Instant,
    Optional(Box<Kind>),
    List(Box<Kind>),
    Members(Box<Kind>),
    Record(Vec<Kind>),
}

fn kinds() -> impl Strategy<Value = Kind> {
    let plain = prop_oneof![
        Just(Kind::Boolean),
        Just(Kind::Int),
        Just(Kind::Long),
        Just(Kind::Double),
        Just(Kind::Text),
        Just(Kind::Bytes),
        Just(Kind::Symbol),
        Just(Kind::Instant),
    ];
    plain.prop_recursive(4, 24, 5, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            inner.clone().prop_filter_map("unions hold no unions", |kind| match kind {
                Kind::Optional(_) => None,
                kind => Some(Kind::Optional(Box::new(kind))),
            }),
            boxed.clone().prop_map(Kind::List),
            boxed.prop_map(Kind::Members),
            proptest::collection::vec(inner, 0..5).prop_map(Kind::Record),
        ]
    })
}

fn schema(kind: &Kind, names: &mut u32) -> Value {
    *names += 1;
    let name = format!("N{names}");
    match kind {
        Kind::Boolean => json!("boolean"),
        Kind::Int => json!("int"),
        Kind::Long => json!("long"),
        Kind::Double => json!("double"),
        Kind::Text => json!("string"),
        Kind::Bytes => json!("bytes"),
        Kind::Symbol => json!({ "type": "enum", "name": name, "symbols": ["one", "two"] }),
        Kind::Instant => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        Kind::Optional(of) => json!(["null", schema(of, names)]),
        Kind::List(of) => json!({ "type": "array", "items": schema(of, names) }),
        Kind::Members(of) => json!({ "type": "map", "values": schema(of, names) }),
        Kind::Record(fields) => {
            let fields = fields.iter().enumerate();
            let fields: Vec<Value> = fields
                .map(|(at, of)| json!({ "name": format!("f{at}"), "type": schema(of, names) }))
                .collect();
            json!({ "type": "record", "name": name, "fields": fields })
        }
    }
}

/// A random value, and the document it should become.
fn sample(kind: &Kind, random: &mut fastrand::Rng) -> (AvroValue, Value) {
    match kind {
        Kind::Boolean => {
            let value = random.bool();
            (AvroValue::Boolean(value), json!(value))
        }
        Kind::Int => {
            let value = random.i32(..);
            (AvroValue::Int(value), json!(value))
        }
        Kind::Long => {
            let value = random.i64(..) >> random.u32(0..64);
            (AvroValue::Long(value), json!(value))
        }
        Kind::Double => {
            let value = f64::from(random.i32(..)) / 64.0;
            (AvroValue::Double(value), json!(value))
        }
        Kind::Text => {
            let value: String = (0..random.usize(0..40)).map(|_| random.char(..)).collect();
            (AvroValue::String(value.clone()), json!(value))
        }
        Kind::Bytes => (AvroValue::Bytes(vec![0xff; 3]), json!("////")),
        Kind::Symbol => {
            let symbol = ["one", "two"][random.usize(0..2)];
            (AvroValue::Enum(u32::from(symbol == "two"), symbol.into()), json!(symbol))
        }
        Kind::Instant => {
            (AvroValue::TimestampMicros(1_000_001), json!("1970-01-01T00:00:01.000001Z"))
        }
        Kind::Optional(_) if random.bool() => {
            (AvroValue::Union(0, Box::new(AvroValue::Null)), Value::Null)
        }
        Kind::Optional(of) => {
            let (value, json) = sample(of, random);
            (AvroValue::Union(1, Box::new(value)), json)
        }
        Kind::List(of) => {
            let (values, json) = (0..random.usize(0..5)).map(|_| sample(of, random)).unzip();
            (AvroValue::Array(values), Value::Array(json))
        }
        Kind::Members(of) => {
            let mut values = HashMap::new();
            let mut members = Map::new();
            for at in 0..random.usize(0..4) {
                let (value, json) = sample(of, random);
                values.insert(format!("{at} \"\n"), value);
                members.insert(format!("{at} \"\n"), json);
            }
            (AvroValue::Map(values), Value::Object(members))
        }
        Kind::Record(fields) => {
            let mut values = Vec::new();
            let mut members = Map::new();
            for (at, of) in fields.iter().enumerate() {
                let (value, json) = sample(of, random);
                values.push((format!("f{at}"), value));
                // a field that is null is left out
                if !json.is_null() {
                    members.insert(format!("f{at}"), json);
                }
            }
            (AvroValue::Record(values), Value::Object(members))
        }
    }
}

/// A patient with a random field: schema, bytes, document.
fn patient(kind: &Kind, seed: u64) -> (Value, Vec<u8>, Value) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (value, json) = sample(kind, &mut random);
    let schema = json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" },
        { "name": "random", "type": schema(kind, &mut 0) } ] });
    let value = AvroValue::Record(vec![
        ("resourceType".into(), AvroValue::String("Patient".into())),
        ("id".into(), AvroValue::String("1".into())),
        ("random".into(), value),
    ]);
    let mut document = json!({ "resourceType": "Patient", "id": "1" });
    if !json.is_null() {
        document["random"] = json;
    }
    let blocks = random.bool().then_some(1);
    let body = encoded(&schema, &value, blocks);
    (schema, body, document)
}

proptest! {
    #[test]
    fn what_apache_avro_writes_is_read_as_the_same_document(kind in kinds(), seed in any::<u64>()) {
        let (schema, body, expected) = patient(&kind, seed);
        let change = one(knowing(&schema, None).decode(&versioned(framed(ID, &body))));
        prop_assert_eq!(document(&change), expected);
    }

    #[test]
    fn whatever_is_cut_off_is_refused(kind in kinds(), seed in any::<u64>()) {
        let (schema, body, _) = patient(&kind, seed);
        let decoder = knowing(&schema, None);
        for size in 0..body.len() {
            let cut = body.get(..size).expect("it is shorter");
            prop_assert!(decoder.decode(&versioned(framed(ID, cut))).is_err(), "{} bytes", size);
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        kind in kinds(),
        seed in any::<u64>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (schema, mut body, _) = patient(&kind, seed);
        for (place, byte) in changes {
            *place.get_mut(&mut body) = byte;
        }
        let _ = knowing(&schema, None).decode(&versioned(framed(ID, &body)));
    }

    #[test]
    fn arbitrary_bytes_and_headers_never_panic(
        kind in kinds(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        header in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
    ) {
        let schema = schema(&kind, &mut 0);
        let mut record = versioned(framed(ID, &body));
        if let Some(header) = header {
            let name = "__value_schema_id".to_owned();
            record.headers.push(rowcast::model::Header { name, value: Some(header.into()) });
        }
        let _ = knowing(&schema, None).decode(&record);
    }
}
