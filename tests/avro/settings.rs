//! What the topology file says of Avro and its registry.

use std::fs;
use std::time::Duration;

use rowcast::problem::Problem;
use rowcast::source::{Format, TypeFrom};
use rowcast::topology::{Loaded, RegistryCredentials, load_with};

const CANARY: &str = "canary-5f1c";

/// A topology with these members of `source`.
fn load(source: &str) -> Result<Loaded, Vec<Problem>> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("ca.pem"), "PEM").expect("written");
    fs::write(folder.path().join("a.avsc"), "\"string\"").expect("written");
    let text = format!(
        "name: clinical\nsource:\n  topic: changes\n{source}\nsink: {{ url: 'sqlite://rows.db' }}\n"
    );
    fs::write(folder.path().join("t.yaml"), text).expect("written");
    let secret = |name: &str| (name == "SECRET").then(|| CANARY.to_owned());
    load_with(&folder.path().join("t.yaml"), &[], &secret)
}

fn paths(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn registry_and_fields_are_read_and_secrets_shown_nowhere() {
    let loaded = load(
        "  format: avro
  schema_registry:
    url: https://registry.example/api
    auth: { basic: { user: rowcast, password: '${SECRET}' } }
    ca: ca.pem
    timeout: 3s
  avro: { schemas: ['*.avsc'], document: resource, type: Patient, id: id }",
    )
    .expect("it is right");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let topology = loaded.topology;
    assert!(topology.topics.iter().all(|topic| topic.format == Format::Avro));
    let registry = topology.schema_registry.clone().expect("a registry");
    assert_eq!(registry.url.as_str(), "https://registry.example/api");
    assert_eq!(registry.timeout, Duration::from_secs(3));
    assert_eq!(registry.authorities.as_deref(), Some("PEM"));
    let Some(RegistryCredentials::Basic { user, password }) = &registry.credentials else {
        panic!("basic credentials are expected")
    };
    assert_eq!((user.as_str(), password.expose()), ("rowcast", CANARY));
    let fields = topology.topics[0].avro.clone().expect("fields");
    assert_eq!(fields.document, "resource");
    assert_eq!(fields.resource_type, Some(TypeFrom::parse("Patient")));
    assert_eq!(topology.avro_schemas, [("a.avsc".to_owned(), "\"string\"".to_owned())]);
    let shown = format!("{topology:?} {}", topology.effective);
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    let registry = |more: &str| load(&format!("  schema_registry: {{ {more} }}"));
    for (more, path) in [
        ("url: 'kafka:9092'", "/source/schema_registry/url"),
        ("url: 'https://user:canary-5f1c@registry'", "/source/schema_registry/url"),
        ("url: 'https://registry?a=b'", "/source/schema_registry/url"),
        ("url: 'https://registry', auth: {}", "/source/schema_registry/auth"),
        (
            "url: 'https://registry', auth: { bearer: '${SECRET}', basic: { user: u, password: '${SECRET}' } }",
            "/source/schema_registry/auth",
        ),
        ("url: 'https://registry', auth: { bearer: 'a b' }", "/source/schema_registry/auth/bearer"),
        ("url: 'https://registry', auth: { bearer: '' }", "/source/schema_registry/auth/bearer"),
        ("url: 'https://registry', ca: none.pem", "/source/schema_registry/ca"),
        ("url: 'https://registry', timeout: 1h", "/source/schema_registry/timeout"),
    ] {
        let problems = registry(more).expect_err(more);
        assert_eq!(paths(&problems), [path], "{more}");
        assert!(!problems.iter().any(|problem| problem.to_string().contains(CANARY)), "{more}");
    }
    let fields = load("  avro: { operation: op, version: v, schemas: [none.avsc] }");
    let fields = fields.expect_err("no document");
    let places = ["/source/avro/operation", "/source/avro/version", "/source/avro/schemas/0"];
    assert_eq!(paths(&fields), places);
}

#[test]
fn topics_have_fields_of_their_own_and_files_hold_for_all() {
    let load = |topics: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.avsc"), "\"string\"").expect("written");
        let text = format!(
            "name: clinical\nsource: {{ avro: {{ document: common }}, topics: [{topics}] }}\n\
             dead_letter: {{ topic: letters }}\nsink: {{ url: 'sqlite://rows.db' }}\n"
        );
        fs::write(folder.path().join("t.yaml"), text).expect("written");
        load_with(&folder.path().join("t.yaml"), &[], &|_| None)
    };
    let topics = "{ topic: a }, { topic: b, avro: { document: own } }, { topic: c, avro: {} }";
    let topics = load(topics).expect("it is right").topology.topics;
    let fields = topics.iter().map(|topic| topic.avro.as_ref().map(|avro| avro.document.as_str()));
    assert_eq!(fields.collect::<Vec<_>>(), [Some("common"), Some("own"), None]);
    let refused = load("{ topic: a, avro: { schemas: ['*.avsc'], id: id, type: t } }");
    let places = ["schemas", "type", "id"].map(|name| format!("/source/topics/0/avro/{name}"));
    assert_eq!(paths(&refused.expect_err("no document")), places);
}

#[test]
fn secrets_in_the_file_and_on_the_wire_are_warned_of() {
    let warnings = |more: &str| {
        let loaded = load(&format!("  schema_registry: {{ {more} }}")).expect("it is right");
        loaded.warnings.iter().map(|warning| warning.path.clone()).collect::<Vec<_>>()
    };
    let literal = warnings("url: 'https://registry', auth: { bearer: canary-5f1c }");
    assert_eq!(literal, ["/source/schema_registry/auth/bearer"]);
    let clear = warnings("url: 'http://registry', auth: { bearer: '${SECRET}' }");
    assert_eq!(clear, ["/source/schema_registry/url"]);
    let local = "url: 'http://127.0.0.1:8081', auth: { bearer: '${SECRET}' }";
    assert!(warnings(local).is_empty());
    let clear = warnings("url: 'http://registry'");
    assert_eq!(clear, ["/source/schema_registry/url"], "a schema decides what a record says");
}
