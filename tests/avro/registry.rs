//! The registry's client: what it asks, how often, and what it makes of the answers.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::Value as AvroValue;
use rowcast::error::{Cause, ErrorClass};
use rowcast::model::Record;
use rowcast::registry::{Registry, RegistryError};
use rowcast::source::{Decoder, Schemas};
use rowcast::topology::{RegistryCredentials, SchemaRegistrySettings, Secret};
use serde_json::{Value, json};
use url::Url;

use super::server::Server;
use super::{cause, document, encoded, framed, one, versioned};
use crate::support;
use crate::support::tls::Authority;

fn settings(url: &str) -> SchemaRegistrySettings {
    SchemaRegistrySettings {
        url: Url::parse(url).expect("a URL"),
        credentials: None,
        authorities: None,
        timeout: Duration::from_secs(5),
    }
}

/// A registry's client and a decoder that sees what it brings.
fn client(settings: &SchemaRegistrySettings) -> (Registry, Decoder) {
    let schemas = Arc::new(Schemas::default().with_registry());
    let registry = Registry::new(settings, Arc::clone(&schemas)).expect("a client");
    (registry, Decoder::default().with_schemas(schemas))
}

fn schema() -> Value {
    json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" } ] })
}

fn patient(id: u32) -> Record {
    let value = AvroValue::Record(vec![
        ("resourceType".into(), AvroValue::String("Patient".into())),
        ("id".into(), AvroValue::String("1".into())),
    ]);
    versioned(framed(id, &encoded(&schema(), &value, None)))
}

/// By its GUID, in a header.
fn patient_by_guid(guid: [u8; 16]) -> Record {
    let mut record = patient(0);
    record.value = record.value.map(|value| value.slice(5..));
    let value = Some([&[1], guid.as_slice()].concat().into());
    record.headers.push(rowcast::model::Header { name: "__value_schema_id".into(), value });
    record
}

/// What bringing a schema ends with that refers to these.
fn refused_for_size(server: &Server, references: &Value) {
    server.put_with("/schemas/ids/7", &schema(), references);
    let (registry, _) = client(&settings(&server.url()));
    let error = support::block_on(registry.bring(&[patient(7)])).expect_err("too large");
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

fn reference(number: u32) -> Value {
    json!({ "name": format!("N{number}"), "subject": format!("s{number}"), "version": 1 })
}

#[test]
fn the_answers_for_one_schema_are_bounded_together() {
    let server = Server::start();
    let long = Value::String("x".repeat(7 << 20));
    for number in 0..3 {
        server.put(&format!("/subjects/s{number}/versions/1"), &long);
    }
    refused_for_size(&server, &json!([reference(0), reference(1), reference(2)]));
}

#[test]
fn references_are_counted_before_they_are_asked_for() {
    let server = Server::start();
    let many: Vec<Value> = (0..1_001).map(reference).collect();
    refused_for_size(&server, &json!(many));
    assert_eq!(server.asked(), ["/schemas/ids/7"]);
}

#[test]
fn a_schema_is_asked_for_once() {
    let server = Server::start();
    server.put("/schemas/ids/7", &schema());
    server.put("/schemas/guids/00010203-0405-0607-0809-0a0b0c0d0e0f", &schema());
    let (registry, decoder) = client(&settings(&server.url()));
    let guid = std::array::from_fn(|at| u8::try_from(at).expect("small"));
    let records = [patient(7), patient(7), patient_by_guid(guid)];
    // two partitions at a time, and again
    for _ in 0..2 {
        let both = async { tokio::join!(registry.bring(&records), registry.bring(&records)) };
        let (one, other) = support::block_on(both);
        one.and(other).expect("they are there");
    }
    let mut asked = server.asked();
    asked.sort();
    let guid = "/schemas/guids/00010203-0405-0607-0809-0a0b0c0d0e0f";
    assert_eq!(asked, [guid, "/schemas/ids/7"]);
    for record in &records {
        assert_eq!(document(&one(decoder.decode(record)))["resourceType"], "Patient");
    }
}

#[test]
fn an_unknown_schema_refuses_its_records_only_and_is_not_asked_for_again_and_again() {
    let server = Server::start();
    server.put("/schemas/ids/7", &schema());
    let (registry, decoder) = client(&settings(&server.url()));
    for _ in 0..3 {
        support::block_on(registry.bring(&[patient(8), patient(7)])).expect("it answers");
    }
    assert_eq!(server.asked().len(), 2);
    assert_eq!(cause(decoder.decode(&patient(8))), Cause::UnknownFormat);
    one(decoder.decode(&patient(7)));
}

#[test]
fn references_are_followed_whatever_their_subjects_are_called() {
    let server = Server::start();
    let at = |subject: &str| json!([{ "name": "n", "subject": subject, "version": 1 }]);
    let name = json!({ "type": "record", "name": "org.Name", "fields": [
        { "name": "use", "type": "org.Use" } ] });
    let uses = json!({ "type": "enum", "name": "org.Use", "symbols": ["usual"] });
    let patient = json!({ "type": "record", "name": "Patient", "fields": [
        { "name": "resourceType", "type": "string" }, { "name": "id", "type": "string" },
        { "name": "name", "type": "org.Name" } ] });
    server.put_with("/schemas/ids/7", &patient, &at("org.Name/key ä"));
    server.put_with("/subjects/org.Name/key ä/versions/1", &name, &at("use"));
    server.put("/subjects/use/versions/1", &uses);
    let (registry, decoder) = client(&settings(&server.url()));
    let record = versioned(framed(7, b"\x0ePatient\x021\0"));
    support::block_on(registry.bring(std::slice::from_ref(&record))).expect("all is there");
    assert_eq!(document(&one(decoder.decode(&record)))["name"]["use"], "usual");

    server.put_with("/schemas/ids/9", &patient, &at("lost"));
    let lost = support::block_on(registry.bring(&[versioned(framed(9, b""))]));
    assert!(matches!(lost, Err(RegistryError::LostReference)), "{lost:?}");
}

#[test]
fn schemas_of_other_kinds_refuse_their_records() {
    let server = Server::start();
    let other = json!({ "schema": "message M {}", "schemaType": "PROTOBUF" });
    server.change(|contents| drop(contents.schemas.insert("/schemas/ids/1".into(), other)));
    server.put("/schemas/ids/2", &json!("no schema"));
    let (registry, decoder) = client(&settings(&server.url()));
    support::block_on(registry.bring(&[patient(1), patient(2)])).expect("it answers");
    for (id, why) in [(1, "Protobuf"), (2, "no valid Avro schema")] {
        let error = decoder.decode(&patient(id)).expect_err("it is refused");
        assert_eq!(error.cause(), Cause::UnknownFormat);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn credentials_are_shown_and_a_wrong_one_is_told_apart_from_an_unknown_schema() {
    let server = Server::start();
    server.put("/schemas/ids/7", &schema());
    // user:pass
    for (authorization, credentials) in [
        (
            "Basic dXNlcjpwYXNz",
            RegistryCredentials::Basic { user: "user".into(), password: Secret::new("pass") },
        ),
        ("Bearer token", RegistryCredentials::Bearer(Secret::new("token"))),
    ] {
        server.change(|contents| contents.authorization = Some(authorization.into()));
        let mut settings = settings(&server.url());
        let refused = support::block_on(client(&settings).0.bring(&[patient(7)]));
        let error = refused.expect_err("without credentials");
        assert!(matches!(error, RegistryError::Credentials { status: 401 }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Fatal);
        settings.credentials = Some(credentials);
        support::block_on(client(&settings).0.bring(&[patient(7)])).expect("it lets us in");
    }
}

#[test]
fn a_registry_that_is_away_or_no_registry_refuses_no_record() {
    let server = Server::start();
    server.put("/schemas/ids/7", &schema());
    let (registry, decoder) = client(&settings(&server.url()));
    for (status, class) in
        [(500, ErrorClass::Retriable), (429, ErrorClass::Retriable), (302, ErrorClass::Fatal)]
    {
        server.change(|contents| contents.failing = Some(status));
        let error = support::block_on(registry.bring(&[patient(7)])).expect_err("it does not");
        assert_eq!(error.class(), class, "{status}");
    }
    server.change(|contents| contents.failing = None);
    support::block_on(registry.bring(&[patient(7)])).expect("it is there again");
    one(decoder.decode(&patient(7)));
    let elsewhere = settings(&format!("{}/elsewhere", server.url()));
    let error = support::block_on(client(&elsewhere).0.bring(&[patient(7)]));
    assert!(matches!(error, Err(RegistryError::NoRegistry { status: 404 })), "{error:?}");
    let nobody = settings(&format!("http://127.0.0.1:{}", support::free_port()));
    let error = support::block_on(client(&nobody).0.bring(&[patient(7)])).expect_err("nobody");
    assert_eq!(error.class(), ErrorClass::Retriable);
}

#[test]
fn tls_needs_a_certificate_of_an_authority_that_is_trusted() {
    let (authority, server) = (Authority::new(), Server::start());
    server.put("/schemas/ids/7", &schema());
    let tls = authority.before(Url::parse(&server.url()).expect("a URL").port().expect("a port"));
    let mut settings = settings(&tls.url(""));
    let error = support::block_on(client(&settings).0.bring(&[patient(7)]));
    assert!(matches!(error, Err(RegistryError::Away(_))), "{error:?}");
    settings.authorities = Some(authority.pem());
    let (trusting, decoder) = client(&settings);
    support::block_on(trusting.bring(&[patient(7)])).expect("it is trusted");
    one(decoder.decode(&patient(7)));
}

#[test]
fn certificates_that_are_none_are_refused_at_once() {
    let mut settings = settings("https://127.0.0.1:1");
    settings.authorities =
        Some("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n".into());
    let refused = Registry::new(&settings, Arc::default());
    assert!(matches!(refused, Err(RegistryError::Client(_))), "{refused:?}");
}
