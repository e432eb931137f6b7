//! What Avro values become, by the schema that wrote them.

use std::collections::HashMap;
use std::path::Path;

use apache_avro::types::Value as AvroValue;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Days, Decimal, Duration, GenericSingleObjectWriter, Millis, Months, Schema};
use bytes::Bytes;
use rowcast::error::{Cause, Refusal};
use rowcast::model::{Header, Operation, Record, Version};
use rowcast::source::{
    AvroFields, AvroSchema, DebeziumColumns, DecodeSettings, Decoder, Format, SchemaFault,
    SchemaId, Schemas, TypeFrom, VersionFrom,
};
use serde_json::{Value, json};

use super::{ID, cause, document, encoded, framed, knowing, one, reading, record, versioned};

/// The fields of Confluent's sample.
fn fields() -> AvroFields {
    AvroFields {
        document: "resource".into(),
        operation: Some("op".into()),
        resource_type: Some(TypeFrom::parse("resourceType")),
        id: Some("id".into()),
        version: Some("versionId".into()),
    }
}

/// The schema of Confluent's sample.
fn change_schema() -> Value {
    json!({ "type": "record", "name": "FhirChange", "namespace": "lab", "fields": [
        { "name": "op", "type": { "type": "enum", "name": "Op", "symbols": ["CREATE", "UPDATE", "DELETE", "MERGE"] } },
        { "name": "resourceType", "type": "string" },
        { "name": "id", "type": "string" },
        { "name": "versionId", "type": ["null", "string"], "default": null },
        { "name": "resource", "type": ["null", "string"], "default": null },
    ]})
}

fn change(op: u32, id: &str, version: Option<&str>, resource: Option<&str>) -> AvroValue {
    let symbol = ["CREATE", "UPDATE", "DELETE", "MERGE"][op as usize].to_owned();
    let optional = |text: Option<&str>| match text {
        Some(text) => AvroValue::Union(1, Box::new(AvroValue::String(text.to_owned()))),
        None => AvroValue::Union(0, Box::new(AvroValue::Null)),
    };
    AvroValue::Record(vec![
        ("op".into(), AvroValue::Enum(op, symbol)),
        ("resourceType".into(), AvroValue::String("Patient".into())),
        ("id".into(), AvroValue::String(id.into())),
        ("versionId".into(), optional(version)),
        ("resource".into(), optional(resource)),
    ])
}

#[test]
fn the_bytes_of_confluents_own_serialiser_are_read_in_both_framings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/messages/confluent-avro-samples.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let samples: Value = serde_json::from_str(&text).expect("JSON");
    let schema = samples["writer_schema"].to_string();
    let none: [&str; 0] = [];
    let schemas = Schemas::default().with_registry();
    let guid: [u8; 16] = hex("cf50c2fb641f4415b1df46984b2c4a0d").try_into().expect("a GUID");
    for id in [SchemaId::Number(1), SchemaId::Guid(guid)] {
        schemas.bring(id, AvroSchema::parse(&schema, &none));
    }
    let decoder = reading(schemas, Some(fields()));
    let changes: Vec<_> = samples["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|sample| {
            let mut record = record(hex(sample["hex"].as_str().expect("hex")));
            for header in sample["headers"].as_array().expect("headers") {
                record.headers.push(Header {
                    name: header[0].as_str().expect("a name").into(),
                    value: Some(Bytes::from(hex(header[1].as_str().expect("hex")))),
                });
            }
            decoder.decode(&record)
        })
        .collect();
    let [created, deleted, without_document] = changes.try_into().expect("three samples");
    let created = one(created);
    assert_eq!((&*created.resource.resource_type, &*created.resource.id), ("Patient", "123"));
    assert_eq!(created.version(), Version::new(1));
    assert_eq!(document(&created)["name"][0]["family"], "Müller");
    let deleted = one(deleted);
    assert!(matches!(deleted.operation, Operation::Delete { .. }));
    assert_eq!(deleted.version(), Version::new(2));
    // a CREATE in Confluent's header mode, whose sample holds no resource
    assert_eq!(cause(without_document), Cause::IncompleteDocument);
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("ASCII"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hex")).collect()
}

#[test]
fn named_fields_say_what_happened_to_which_resource() {
    let decoder = knowing(&change_schema(), Some(fields()));
    let read =
        |value| decoder.decode(&record(framed(ID, &encoded(&change_schema(), &value, None))));
    let patient = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3"}}"#;
    let upsert = one(read(change(1, "1", Some("4"), Some(patient))));
    assert_eq!(upsert.version(), Version::new(4));
    assert_eq!(one(read(change(0, "Patient/1", None, Some(patient)))).version(), Version::new(3));
    let deleted = one(read(change(2, "1", Some("5"), None)));
    assert!(matches!(deleted.operation, Operation::Delete { .. }));
    assert_eq!((&*deleted.resource.id, deleted.version()), ("1", Version::new(5)));
    assert_eq!(cause(read(change(1, "2", None, Some(patient)))), Cause::KeyMismatch);
    assert_eq!(cause(read(change(1, "1", None, None))), Cause::IncompleteDocument);
    assert_eq!(cause(read(change(3, "1", None, Some(patient)))), Cause::UnknownFormat);
    assert_eq!(cause(read(change(2, "a b", None, None))), Cause::MissingId);
}

#[test]
fn without_a_field_for_the_operation_null_deletes_what_the_key_names() {
    let only = AvroFields { document: "resource".into(), ..AvroFields::default() };
    let decoder = knowing(&change_schema(), Some(only));
    let mut record =
        record(framed(ID, &encoded(&change_schema(), &change(0, "x", None, None), None)));
    assert_eq!(cause(decoder.decode(&record)), Cause::MissingId);
    record.key = Some(Bytes::from_static(b"Patient/9"));
    let deleted = one(decoder.decode(&record));
    assert!(matches!(deleted.operation, Operation::Delete { version: None }));
    assert_eq!(&*deleted.resource.id, "9");
}

#[test]
fn a_type_may_be_the_same_for_all() {
    let constant = AvroFields { resource_type: Some(TypeFrom::parse("Group")), ..fields() };
    let decoder = knowing(&change_schema(), Some(constant));
    let value = encoded(&change_schema(), &change(2, "1", None, None), None);
    assert_eq!(&*one(decoder.decode(&record(framed(ID, &value)))).resource.resource_type, "Group");
}

#[test]
fn a_field_that_the_settings_name_must_be_there() {
    for name in ["resource", "op", "id"] {
        let mut schema = change_schema();
        for field in schema["fields"].as_array_mut().expect("fields") {
            if field["name"] == name {
                field["name"] = json!("other");
            }
        }
        let decoder = knowing(&schema, Some(fields()));
        let mut value = change(2, "1", None, None);
        if let AvroValue::Record(fields) = &mut value {
            fields.iter_mut().filter(|field| field.0 == name).for_each(|f| f.0 = "other".into());
        }
        let refused = decoder.decode(&record(framed(ID, &encoded(&schema, &value, None))));
        assert_eq!(cause(refused), Cause::UnknownFormat, "{name}");
    }
}

#[test]
fn every_type_of_avro_has_its_json() {
    let schema = json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" },
        { "name": "id", "type": { "type": "string", "logicalType": "uuid" } },
        { "name": "data", "type": "bytes" },
        { "name": "hash", "type": { "type": "fixed", "name": "Hash", "size": 3 } },
        { "name": "weight", "type": { "type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2 } },
        { "name": "day", "type": { "type": "int", "logicalType": "date" } },
        { "name": "noon", "type": { "type": "long", "logicalType": "time-micros" } },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "local", "type": { "type": "long", "logicalType": "local-timestamp-micros" } },
        { "name": "period", "type": { "type": "fixed", "name": "Period", "size": 12, "logicalType": "duration" } },
        { "name": "share", "type": "double" },
        { "name": "third", "type": "float" },
        { "name": "kind", "type": { "type": "enum", "name": "Kind", "symbols": ["a", "b"] } },
        { "name": "again", "type": ["null", "Kind"] },
        { "name": "nothing", "type": "null" },
        { "name": "extension", "type": { "type": "map", "values": ["null", "boolean"] } },
    ]});
    let day = Duration::new(Months::new(1), Days::new(2), Millis::new(3004));
    let value = AvroValue::Record(vec![
        ("resourceType".into(), AvroValue::String("Patient".into())),
        (
            "id".into(),
            AvroValue::Uuid("00112233-4455-6677-8899-aabbccddeeff".parse().expect("a UUID")),
        ),
        ("data".into(), AvroValue::Bytes(vec![0, 1, 2, 255])),
        ("hash".into(), AvroValue::Fixed(3, vec![9, 8, 7])),
        ("weight".into(), AvroValue::Decimal(Decimal::from([0x1c, 0x52]))),
        ("day".into(), AvroValue::Date(19_000)),
        ("noon".into(), AvroValue::TimeMicros(43_200_000_001)),
        ("at".into(), AvroValue::TimestampMillis(1_764_000_000_000)),
        ("local".into(), AvroValue::LocalTimestampMicros(1)),
        ("period".into(), AvroValue::Duration(day)),
        ("share".into(), AvroValue::Double(0.1)),
        ("third".into(), AvroValue::Float(0.3)),
        ("kind".into(), AvroValue::Enum(0, "a".into())),
        ("again".into(), AvroValue::Union(1, Box::new(AvroValue::Enum(1, "b".into())))),
        ("nothing".into(), AvroValue::Null),
        (
            "extension".into(),
            AvroValue::Map(HashMap::from([
                ("\"q\"".into(), AvroValue::Union(0, Box::new(AvroValue::Null))),
                ("yes".into(), AvroValue::Union(1, Box::new(AvroValue::Boolean(true)))),
            ])),
        ),
    ]);
    let record = versioned(framed(ID, &encoded(&schema, &value, None)));
    let change = one(knowing(&schema, None).decode(&record));
    let expected = json!({
        "resourceType": "Patient", "id": "00112233-4455-6677-8899-aabbccddeeff",
        "data": "AAEC/w==", "hash": "CQgH", "weight": 72.50, "day": "2022-01-08",
        "noon": "12:00:00.000001", "at": "2025-11-24T16:00:00.000Z",
        "local": "1970-01-01T00:00:00.000001", "period": "P1M2DT3.004S",
        "share": 0.1, "third": 0.3, "kind": "a", "again": "b",
        "extension": { "\"q\"": null, "yes": true },
    });
    assert_eq!(document(&change), expected);
    let Operation::Upsert { document, .. } = &change.operation else { panic!("it deletes") };
    let text = sonic_rs::to_string(document.root()).expect("JSON");
    assert!(text.contains("\"weight\":72.50,"), "digits are lost: {text}");
}

#[test]
fn an_envelope_as_a_record_is_told_by_its_shape() {
    let schema = json!({ "type": "record", "name": "Message", "fields": [
        { "name": "payload", "type": { "type": "record", "name": "Payload", "fields": [
            { "name": "operationType", "type": "string" },
            { "name": "payloadId", "type": ["null", "string"] },
            { "name": "resourceId", "type": ["null", "string"] },
            { "name": "payloadVersion", "type": ["null", "string"] },
            { "name": "payload", "type": ["null", "string"] } ] } } ] });
    let text = |text: &str| AvroValue::Union(1, Box::new(AvroValue::String(text.into())));
    let null = || AvroValue::Union(0, Box::new(AvroValue::Null));
    let value = |operation: &str, payload| {
        let payload = AvroValue::Record(vec![
            ("operationType".into(), AvroValue::String(operation.into())),
            ("payloadId".into(), text("Patient/5")),
            ("resourceId".into(), null()),
            ("payloadVersion".into(), text("2")),
            ("payload".into(), payload),
        ]);
        let value = AvroValue::Record(vec![("payload".into(), payload)]);
        record(framed(ID, &encoded(&schema, &value, None)))
    };
    let decoder = knowing(&schema, None);
    let patient = r#"{"resourceType":"Patient","id":"5","active":true}"#;
    let updated = one(decoder.decode(&value("UPDATE", text(patient))));
    assert_eq!(updated.version(), Version::new(2));
    assert_eq!(document(&updated)["active"], true);
    let deleted = one(decoder.decode(&value("DELETE", null())));
    assert!(matches!(deleted.operation, Operation::Delete { .. }));
}

#[test]
fn a_schema_of_mere_text_holds_json() {
    let patient = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"3"}}"#;
    for (schema, value) in [
        (json!("string"), AvroValue::String(patient.into())),
        (json!("bytes"), AvroValue::Bytes(patient.into())),
    ] {
        let value = framed(ID, &encoded(&schema, &value, None));
        let change = one(knowing(&schema, None).decode(&record(value)));
        assert_eq!(change.version(), Version::new(3));
    }
}

#[test]
fn single_objects_are_read_by_the_schemas_of_files_that_may_refer_to_each_other() {
    let name = r#"{"type":"record","name":"org.Name","fields":[{"name":"family","type":"string"},
        {"name":"use","type":{"type":"enum","name":"Use","symbols":["usual","official"]}}]}"#;
    let patient = r#"{"type":"record","name":"org.Patient","doc":"not part of the fingerprint",
        "fields":[{"name":"resourceType","type":"string"},{"name":"id","type":"string"},
        {"name":"name","type":"org.Name"}, {"name":"use","type":"org.Use"}]}"#;
    // as another program writes it: the schema in one piece
    let whole = patient.replacen("\"org.Name\"", name, 1);
    let schema = Schema::parse_str(&whole).expect("a schema");
    let value = AvroValue::Record(vec![
        ("resourceType".into(), AvroValue::String("Patient".into())),
        ("id".into(), AvroValue::String("1".into())),
        (
            "name".into(),
            AvroValue::Record(vec![
                ("family".into(), AvroValue::String("Müller".into())),
                ("use".into(), AvroValue::Enum(1, "official".into())),
            ]),
        ),
        ("use".into(), AvroValue::Enum(0, "usual".into())),
    ]);
    let mut bytes = Vec::new();
    let mut writer = GenericSingleObjectWriter::new_with_capacity(&schema, 100).expect("a writer");
    writer.write_value_ref(&value, &mut bytes).expect("the value fits");
    assert_eq!(bytes[..2], [0xc3, 0x01]);

    let files = AvroSchema::parse_all(&[patient, name]).expect("schemas");
    let change = one(reading(Schemas::new(files), None).decode(&versioned(bytes.clone())));
    assert_eq!(document(&change)["name"], json!({ "family": "Müller", "use": "official" }));
    let other = AvroSchema::parse_all(&[name]).expect("a schema");
    let refused = reading(Schemas::new(other), None).decode(&versioned(bytes));
    assert_eq!(cause(refused), Cause::UnknownFormat);
}

#[test]
fn a_type_inside_a_referred_schema_is_found() {
    let address = r#"{"type":"record","name":"org.Address","fields":[
        {"name":"use","type":{"type":"enum","name":"Use","symbols":["home"]}}]}"#;
    let patient = json!({ "type": "record", "name": "Patient", "namespace": "org", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" },
        { "name": "use", "type": "org.Use" }, { "name": "address", "type": "Address" } ] });
    let schema = AvroSchema::parse(&patient.to_string(), &[address]).expect("all is there");
    let schemas = Schemas::default().with_registry();
    schemas.bring(SchemaId::Number(ID), Ok(schema));
    let body = [b"\x0ePatient".as_slice(), b"\x021\0\0"].concat();
    let change = one(reading(schemas, None).decode(&versioned(framed(ID, &body))));
    assert_eq!(document(&change)["address"]["use"], "home");
    let none: [&str; 0] = [];
    let lost = AvroSchema::parse(&patient.to_string(), &none);
    assert_eq!(lost.err(), Some(SchemaFault::Invalid));
}

/// A row as Debezium captures it, before and after.
fn captured(document: Option<&str>, op: &str) -> (Value, Vec<u8>) {
    let row = json!(["null", { "type": "record", "name": "Row", "fields": [
        { "name": "id", "type": "string" }, { "name": "document", "type": ["null", "string"] } ] }]);
    let schema = json!({ "type": "record", "name": "Envelope", "fields": [
        { "name": "before", "type": row }, { "name": "after", "type": ["null", "Row"] },
        { "name": "op", "type": "string" } ] });
    let parsed = Schema::parse_str(&schema.to_string()).expect("a schema");
    let null = || AvroValue::Union(0, Box::new(AvroValue::Null));
    let document = document
        .map_or_else(null, |text| AvroValue::Union(1, Box::new(AvroValue::String(text.into()))));
    let row = AvroValue::Record(vec![
        ("id".into(), AvroValue::String("1".into())),
        ("document".into(), document),
    ]);
    let value = AvroValue::Record(vec![
        ("before".into(), null()),
        ("after".into(), AvroValue::Union(1, Box::new(row))),
        ("op".into(), AvroValue::String(op.into())),
    ]);
    let writer = GenericDatumWriter::builder(&parsed).build().expect("a writer");
    (schema, writer.write_value_to_vec(value).expect("it fits"))
}

/// A decoder of the topic's format that knows this schema by its number.
fn of_a_topic(format: Format, schema: &Value) -> Decoder {
    let schemas = Schemas::default().with_registry();
    let none: [&str; 0] = [];
    schemas.bring(SchemaId::Number(ID), AvroSchema::parse(&schema.to_string(), &none));
    let debezium = DebeziumColumns {
        document: "document".into(),
        resource_type: Some(TypeFrom::parse("Patient")),
        id: Some("id".into()),
        version: None,
    };
    let settings =
        DecodeSettings { format, debezium: Some(debezium.into()), ..DecodeSettings::default() };
    Decoder::new(settings).with_schemas(schemas.into())
}

#[test]
fn rows_that_debezium_captured_are_read_from_avro_too() {
    let (schema, body) = captured(Some(r#"{"active":true,"meta":{"versionId":"4"}}"#), "c");
    for format in [Format::Avro, Format::Auto, Format::Debezium] {
        let change = one(of_a_topic(format, &schema).decode(&record(framed(ID, &body))));
        assert_eq!((&*change.resource.id, change.version()), ("1", Version::new(4)));
        assert_eq!(document(&change)["active"], true);
    }
}

#[test]
fn null_columns_of_captured_rows_stay_members() {
    let (schema, body) = captured(None, "u");
    let refused = of_a_topic(Format::Avro, &schema).decode(&versioned(framed(ID, &body)));
    // a hint: the column is there and its document is not
    assert_eq!(cause(refused), Cause::IncompleteDocument);
}

#[test]
fn avro_is_read_whatever_the_topic_holds_otherwise() {
    let patient = json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" } ] });
    let value = AvroValue::Record(vec![
        ("resourceType".into(), AvroValue::String("Patient".into())),
        ("id".into(), AvroValue::String("1".into())),
    ]);
    let body = encoded(&patient, &value, None);
    for format in [Format::Fhir, Format::Auto, Format::Avro] {
        let decoder = of_a_topic(format, &patient);
        assert_eq!(&*one(decoder.decode(&versioned(framed(ID, &body)))).resource.id, "1");
    }
    let hapi = of_a_topic(Format::Hapi, &patient);
    assert_eq!(cause(hapi.decode(&versioned(framed(ID, &body)))), Cause::UnknownFormat);
    let json = record(br#"{"resourceType":"Patient","id":"1","meta":{"versionId":"2"}}"#.into());
    one(of_a_topic(Format::Fhir, &patient).decode(&json));
    assert_eq!(cause(of_a_topic(Format::Avro, &patient).decode(&json)), Cause::UnknownFormat);
}

#[test]
fn the_version_field_may_be_the_instant_that_orders_changes() {
    let schema = json!({ "type": "record", "name": "Change", "fields": [
        { "name": "id", "type": "string" },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "resource", "type": "string" } ] });
    let value = AvroValue::Record(vec![
        ("id".into(), AvroValue::String("Patient/1".into())),
        ("at".into(), AvroValue::TimestampMillis(5)),
        ("resource".into(), AvroValue::String(r#"{"resourceType":"Patient","id":"1"}"#.into())),
    ]);
    let fields = AvroFields {
        document: "resource".into(),
        id: Some("id".into()),
        version: Some("at".into()),
        ..AvroFields::default()
    };
    let schemas = Schemas::default().with_registry();
    let none: [&str; 0] = [];
    schemas.bring(SchemaId::Number(ID), AvroSchema::parse(&schema.to_string(), &none));
    let settings = DecodeSettings {
        version_from: VersionFrom::LastUpdated,
        avro: Some(fields.into()),
        ..DecodeSettings::default()
    };
    let decoder = Decoder::new(settings).with_schemas(schemas.into());
    let change = one(decoder.decode(&record(framed(ID, &encoded(&schema, &value, None)))));
    assert_eq!(change.version(), Version::new(5_000));
}

#[test]
fn what_names_no_schema_to_be_had_is_refused_and_says_why() {
    let schemas = Schemas::default().with_registry();
    schemas.bring(SchemaId::Number(8), Err(SchemaFault::NotAvro));
    let registry = reading(schemas, None);
    let no_registry = reading(Schemas::default(), None);
    let said = |decoder: &Decoder, record: &Record| {
        let error = decoder.decode(record).expect_err("refused");
        assert_eq!(error.cause(), Cause::UnknownFormat);
        Refusal::from(error).to_string()
    };
    let framed = |id| record(framed(id, b"secret"));
    assert!(said(&registry, &framed(9)).contains("no schema with the id"));
    assert!(said(&registry, &framed(8)).contains("Protobuf"));
    assert!(said(&no_registry, &framed(9)).contains("source.schema_registry"));
    assert!(
        said(&registry, &record(b"\xc3\x01secret-secret".into())).contains("source.avro.schemas")
    );
    assert!(said(&registry, &record(b"\0\0\0".into())).contains("cut off"));
    assert!(said(&registry, &record(b"{}".into())).contains("names no Avro schema"));
    let mut header = record(b"secret".into());
    header
        .headers
        .push(Header { name: "__value_schema_id".into(), value: Some("\x01short".into()) });
    assert!(said(&registry, &header).contains("cut off"));
    for record in [framed(9), record(b"\xc3\x01secret-secret".into())] {
        assert!(!said(&registry, &record).contains("secret"));
    }
}
