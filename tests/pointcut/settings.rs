//! What the topology file says of POINTCUT.

use std::fs;
use std::time::Duration;

use rowcast::problem::Problem;
use rowcast::topology::{FhirServerAuth, Loaded, PointcutBegin, Secret, load_with};

const CANARY: &str = "canary-5f1c-9ad0";

/// A topology with this in its source.
fn load(source: &str) -> Result<Loaded, Vec<Problem>> {
    let folder = tempfile::tempdir().expect("a folder");
    let text =
        format!("name: clinical\nsource:\n  {source}\nsink: {{ url: 'sqlite://rows.db' }}\n");
    fs::write(folder.path().join("t.yaml"), text).expect("written");
    let secret = |name: &str| (name == "SECRET").then(|| CANARY.to_owned());
    load_with(&folder.path().join("t.yaml"), &[], &secret)
}

/// The same with these settings besides the server.
fn with(more: &str) -> Result<Loaded, Vec<Problem>> {
    load(&format!("pointcut: {{ server: 'http://127.0.0.1:8080/fhir'{more} }}"))
}

fn paths(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn a_server_alone_is_enough_on_this_machine() {
    let loaded = with("").expect("it is right");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let topology = loaded.topology;
    assert_eq!(topology.only_topic(), Some("changes"), "of the embedded broker");
    assert_eq!(topology.dead_letter.topic, "changes.dead-letter");
    let pointcut = topology.pointcut.expect("it is there");
    assert_eq!(pointcut.public_url.as_str(), "http://127.0.0.1:9465/");
    assert_eq!(pointcut.catch_up, Duration::from_mins(5));
    assert_eq!(pointcut.begin, PointcutBegin::History);
    assert_eq!((pointcut.topic.as_str(), pointcut.types.len()), ("changes", 0));
    assert_eq!(pointcut.position_topic(), "changes.pointcut");
    assert_eq!(pointcut.server.auth, FhirServerAuth::None);
}

#[test]
fn all_of_it_is_read_and_secrets_are_shown_nowhere() {
    let loaded = load(
        "topics: [{ topic: fhir }, { topic: cdr, format: hapi }]
  kafka: { bootstrap.servers: 'localhost:9092' }
  pointcut:
    server: https://fhir.example/fhir
    auth: { client_credentials: { token_url: 'https://auth.example/token', client_id: rowcast,
            client_secret: '${SECRET}', scope: system/*.read } }
    listen: 0.0.0.0:9465
    public_url: https://rowcast.example/hooks
    token: ${SECRET}
    types: [Patient, Claim]
    catch_up: 1m
    begin: now
    topic: fhir
dead_letter: { topic: letters }",
    )
    .unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let topology = loaded.topology;
    let shown = format!("{topology:?} {} {}", topology.effective, topology.describe());
    assert!(!shown.contains(CANARY), "{shown}");
    let pointcut = topology.pointcut.expect("it is there");
    let FhirServerAuth::ClientCredentials { client_id, client_secret, .. } = &pointcut.server.auth
    else {
        panic!("client credentials are expected")
    };
    assert_eq!((client_id.as_str(), client_secret.expose()), ("rowcast", CANARY));
    assert_eq!(pointcut.token.as_ref().map(Secret::expose), Some(CANARY));
    assert_eq!(pointcut.types.len(), 2);
    assert_eq!((pointcut.topic.as_str(), pointcut.begin), ("fhir", PointcutBegin::Now));
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    let at = |place: &str| format!("/source/pointcut/{place}");
    for (more, path) in [
        (", auth: {}", at("auth")),
        (", auth: { bearer: '${SECRET}', basic: { user: u, password: '${SECRET}' } }", at("auth")),
        (", auth: { bearer: 'a b' }", at("auth/bearer")),
        (", auth: { basic: { user: u, password: '' } }", at("auth/basic/password")),
        (", listen: 'localhost'", at("listen")),
        (", listen: '127.0.0.1:0'", at("listen")),
        (", listen: '127.0.0.1:9464'", at("listen")),
        (", listen: '0.0.0.0:9465', token: '${SECRET}'", at("public_url")),
        (", listen: '0.0.0.0:9465', public_url: 'https://rowcast.example'", at("token")),
        (", public_url: 'https://rowcast.example/hooks'", at("token")),
        (", public_url: 'http://10.0.0.1:9465'", at("token")),
        (", public_url: 'rowcast.example'", at("public_url")),
        (", token: short", at("token")),
        (", token: 'with a space in it all'", at("token")),
        (", types: [Patient, Nothing]", at("types/1")),
        (", catch_up: 1ms", at("catch_up")),
        (", timeout: 1h", at("timeout")),
        (", topic: other", at("topic")),
        (", ca: none.pem", at("ca")),
    ] {
        let problems = with(more).expect_err(more);
        assert_eq!(paths(&problems), [path.as_str()], "{more}");
        assert!(!problems.iter().any(|problem| problem.to_string().contains(CANARY)), "{more}");
    }
    for server in
        ["fhir.example", "ftp://fhir.example", "https://u:p@fhir.example", "https://f/x?y=z"]
    {
        let problems = load(&format!("pointcut: {{ server: '{server}' }}")).expect_err(server);
        assert_eq!(paths(&problems), ["/source/pointcut/server"], "{server}");
    }
}

#[test]
fn the_topic_must_be_read_for_resources_with_versions_of_their_own() {
    let server = "pointcut: { server: 'http://localhost/fhir' }";
    for (source, path) in [
        ("topic: changes\n  format: hapi", "/source/pointcut/topic"),
        ("topic: ^fhir[.].*", "/source/pointcut/topic"),
        ("topics: [{ topic: a }, { topic: b }]", "/source/pointcut/topic"),
        ("keyed: false", "/source/keyed"),
    ] {
        let problems = load(&format!("{source}\n  {server}\ndead_letter: {{ topic: letters }}"));
        assert_eq!(paths(&problems.expect_err(source)), [path], "{source}");
    }
    let offset = load(&format!("{server}\ntransform: {{ version: {{ from: offset }} }}"));
    assert_eq!(paths(&offset.expect_err("no offset")), ["/transform/version/from"]);
    let kafka = load(&format!("{server}\n  kafka: {{ bootstrap.servers: 'localhost:9092' }}"));
    assert!(paths(&kafka.expect_err("no topic")).contains(&"/source/topic"));
    let swallowed = load(
        "topic: ^changes.*\n  pointcut: { server: 'http://localhost/fhir', topic: changes }\n\
         dead_letter: { topic: letters }",
    );
    assert_eq!(paths(&swallowed.expect_err("it reads positions")), ["/source/pointcut/topic"]);
}

#[test]
fn secrets_in_the_file_and_on_the_wire_are_warned_of() {
    let warnings = |more: &str| {
        let loaded = load(&format!("pointcut: {{ {more} }}")).expect("it is right");
        loaded.warnings.iter().map(|warning| warning.path.clone()).collect::<Vec<_>>()
    };
    let literal = warnings("server: 'https://f', token: canary-5f1c-9ad0");
    assert_eq!(literal, ["/source/pointcut/token"]);
    let literal = warnings("server: 'https://f', auth: { bearer: canary }");
    assert_eq!(literal, ["/source/pointcut/auth/bearer"]);
    let clear = warnings("server: 'http://f', auth: { bearer: '${SECRET}' }");
    assert_eq!(clear, ["/source/pointcut/server"]);
    let clear =
        warnings("server: 'https://f', public_url: 'http://rowcast.example', token: '${SECRET}'");
    assert_eq!(clear, ["/source/pointcut/public_url"]);
    let clear = warnings("server: 'http://f'");
    assert_eq!(clear, ["/source/pointcut/server"], "patients are to be read, credentials or not");
    assert!(warnings("server: 'https://f', public_url: 'http://localhost:9465'").is_empty());
}
