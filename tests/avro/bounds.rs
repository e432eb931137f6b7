//! Values that are cut off, changed, or written to do harm.

use std::time::{Duration, Instant};

use rowcast::error::Cause;
use rowcast::source::DecodeError;
use serde_json::{Value, json};

use super::{ID, cause, framed, knowing, versioned};

fn refused(schema: &Value, body: &[u8]) -> Cause {
    let began = Instant::now();
    let cause = cause(knowing(schema, None).decode(&versioned(framed(ID, body))));
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    cause
}

fn patient(field: &Value) -> Value {
    json!({ "type": "record", "name": "Patient", "fields": [{ "name": "f", "type": field }] })
}

/// 2^62 as Avro writes it.
const HUGE: [u8; 9] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];

#[test]
fn a_length_beyond_the_bytes_allocates_nothing() {
    for kind in [json!("string"), json!("bytes"), json!({ "type": "map", "values": "null" })] {
        let mut body = HUGE.to_vec();
        body.extend(HUGE);
        assert_eq!(refused(&patient(&kind), &body), Cause::InvalidAvro, "{kind}");
    }
    let fixed = json!({ "type": "fixed", "name": "F", "size": 4_000_000_000_u64 });
    assert_eq!(refused(&patient(&fixed), b"short"), Cause::InvalidAvro);
}

#[test]
fn items_that_take_no_bytes_are_counted() {
    let nothing = json!({ "type": "record", "name": "Nothing", "fields": [] });
    for items in [json!("null"), nothing] {
        let array = json!({ "type": "array", "items": items });
        assert_eq!(refused(&patient(&array), &HUGE), Cause::TooLarge, "{items}");
    }
}

#[test]
fn nesting_is_bounded_in_types_that_hold_themselves() {
    let list = json!({ "type": "record", "name": "List", "fields": [
        { "name": "next", "type": ["null", "List"] } ] });
    assert_eq!(refused(&list, &vec![2; 100_000]), Cause::TooDeep);
    // without an end in its schema
    let endless =
        json!({ "type": "record", "name": "E", "fields": [{ "name": "e", "type": "E" }] });
    assert_eq!(refused(&endless, b""), Cause::TooDeep);
}

#[test]
fn numbers_that_json_does_not_have_are_refused() {
    let double = f64::NAN.to_le_bytes();
    assert_eq!(refused(&patient(&json!("double")), &double), Cause::InvalidAvro);
    let float = f32::INFINITY.to_le_bytes();
    assert_eq!(refused(&patient(&json!("float")), &float), Cause::InvalidAvro);
    assert_eq!(refused(&patient(&json!("int")), &HUGE), Cause::InvalidAvro);
    assert_eq!(refused(&patient(&json!("long")), &[0xff; 20]), Cause::InvalidAvro);
    let decimal = json!({ "type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2 });
    let mut long = vec![0x80, 0x80, 0x02];
    long.extend([1; 16_384]);
    assert_eq!(refused(&patient(&decimal), &long), Cause::InvalidAvro);
}

#[test]
fn what_the_schema_does_not_have_is_refused() {
    assert_eq!(refused(&patient(&json!("boolean")), &[2]), Cause::InvalidAvro);
    assert_eq!(refused(&patient(&json!(["null", "int"])), &[4]), Cause::InvalidAvro);
    assert_eq!(refused(&patient(&json!(["null", "int"])), &[1]), Cause::InvalidAvro);
    let kind = json!({ "type": "enum", "name": "K", "symbols": ["a"] });
    assert_eq!(refused(&patient(&kind), &[2]), Cause::InvalidAvro);
    assert_eq!(refused(&patient(&json!("string")), &[2, 0xff]), Cause::InvalidUtf8);
    assert_eq!(refused(&patient(&json!("null")), &[0]), Cause::InvalidAvro, "bytes are left over");
}

#[test]
fn a_value_larger_than_a_record_may_be_is_refused() {
    let schema = patient(&json!("string"));
    let mut settings = rowcast::source::DecodeSettings::default();
    settings.limits.bytes = 40;
    let none: [&str; 0] = [];
    let schemas = rowcast::source::Schemas::default().with_registry();
    let parsed = rowcast::source::AvroSchema::parse(&schema.to_string(), &none);
    schemas.bring(rowcast::source::SchemaId::Number(ID), parsed);
    let decoder = rowcast::source::Decoder::new(settings).with_schemas(schemas.into());
    for (size, control) in [(60, false), (20, true)] {
        let mut body = vec![size * 2];
        // a control character is six in JSON
        body.extend(vec![if control { 1 } else { b'a' }; usize::from(size)]);
        let error = decoder.decode(&versioned(framed(ID, &body))).expect_err("too large");
        assert_eq!(error.cause(), Cause::TooLarge);
        assert!(matches!(error, DecodeError::Avro { .. }));
    }
}
