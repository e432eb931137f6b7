//! `rowcast run` with POINTCUT beside it, and `rowcast pointcut`.

use std::time::Duration;

use rowcast::application::CancellationToken;
use serde_json::{Value, json};

use super::server::Server;
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON};
use crate::support::{self, http};

struct Set {
    server: Server,
    pipeline: Pipeline,
    port: u16,
}

fn set(more: &str) -> Set {
    let server = Server::start();
    let port = support::free_port();
    let source = format!(
        "source: {{ topic: changes, embedded: {{ path: log.db }}, pointcut: {{ server: '{}', listen: '127.0.0.1:{port}'{more} }} }}",
        server.base()
    );
    let pipeline = Pipeline::embedded_from(&source, RULES, "");
    pipeline.create_tables();
    Set { server, pipeline, port }
}

#[test]
fn what_the_server_has_is_in_the_tables_once_it_is_idle() {
    let Set { server, pipeline, .. } = set("");
    for id in ["1", "2", "3"] {
        server.world().put(&format!("Patient/{id}"), &json!({ "gender": "female" }));
    }
    server.world().delete("Patient/2");
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["1", "3"]);
    server.world().delete("Patient/1");
    server.world().put("Patient/2", &json!({}));
    let said = pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["2", "3"]);
    assert!(pipeline.letters().is_empty());
    assert!(!said.contains("Patient/"), "no ids in the log: {said}");
}

#[test]
fn it_is_not_idle_before_it_is_caught_up_with() {
    let Set { server, pipeline, .. } = set("");
    server.world().put("Patient/1", &json!({}));
    let gate = CancellationToken::new();
    server.world().gate = Some(gate.clone());
    let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
    support::wait_for("the history is asked for", SOON, || {
        (server.world().times_asked("/Patient/_history") > 0).then_some(())
    });
    std::thread::sleep(Duration::from_secs(4));
    assert!(run.ended().is_none(), "the history is under way: {}", run.messages());
    server.world().gate = None;
    gate.cancel();
    assert!(run.wait(SOON).success(), "{}", run.messages());
    assert_eq!(pipeline.patients(), ["1"]);
}

#[test]
fn hooks_become_rows_while_the_server_is_away_and_the_process_ends_in_order() {
    let Set { server, pipeline, port } = set("");
    server.world().failing = Some(("/fhir", 503));
    let mut run = pipeline.start(&["run"]);
    let ready = pipeline.wait_until_ready(Ready::Yes);
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    support::wait_for("it is told", SOON, || {
        let body = http::get(pipeline.port(), "/readyz")?.body;
        let body: Value = serde_json::from_str(&body).ok()?;
        (body["checks"]["fhir_server"]["ok"] == false).then_some(())
    });
    assert_eq!(ready["ready"], true);
    let body = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}"#;
    let answer = http::request(port, "PUT", "/Patient/Patient/1", None, body).expect("an answer");
    assert_eq!(answer.status, 200);
    pipeline.wait_for_patients(1);
    assert_eq!(
        pipeline.metric("rowcast_pointcut_requests_total", &[("answer", "accepted")]),
        Some(1.0)
    );
    run.terminate();
    assert!(run.wait(SOON).success(), "{}", run.messages());
}

#[test]
fn it_runs_alone_and_fills_the_topic_for_others() {
    let Set { server, pipeline, port } = set(", token: 0123456789abcdef");
    server.world().put("Patient/1", &json!({}));
    let mut alone = pipeline.start(&["pointcut", "run"]);
    pipeline.wait_until_ready(Ready::Yes);
    assert_eq!(http::get(pipeline.port(), "/livez").map(|answer| answer.status), Some(200));
    let body = r#"{"resourceType":"Patient","id":"2","meta":{"versionId":"1"}}"#;
    let refused = http::request(port, "PUT", "/Patient/2", None, body).expect("an answer");
    assert_eq!(refused.status, 401);
    let token = Some("0123456789abcdef");
    let answer = http::request(port, "PUT", "/Patient/2", token, body).expect("an answer");
    assert_eq!(answer.status, 200);
    support::wait_for("it is caught up with", SOON, || {
        let outcome = [("outcome", "completed")];
        pipeline.metric("rowcast_pointcut_catch_ups_total", &outcome).filter(|count| *count > 0.0)
    });
    assert!(pipeline.patients().is_empty(), "it writes no rows");
    alone.terminate();
    assert!(alone.wait(SOON).success(), "{}", alone.messages());
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["1", "2"]);
}

#[test]
fn an_address_that_is_taken_ends_it_with_a_word() {
    let Set { pipeline, port, .. } = set("");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).expect("it is free");
    let output = pipeline.command(&["pointcut", "run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("source.pointcut.listen 127.0.0.1:{port}")), "{said}");
}

#[test]
fn subscriptions_are_installed_and_uninstalled_by_command() {
    let Set { server, pipeline, .. } = set("");
    let line = |text: String| -> Value { serde_json::from_str(&text).expect("a line of JSON") };
    let installed = line(pipeline.expect(&["pointcut", "install", "--output", "json"]));
    assert_eq!(installed["resource_type"], "Patient");
    assert_eq!(
        (installed["done"].as_str(), installed["before"].as_str()),
        (Some("created"), Some("missing"))
    );
    assert_eq!(server.world().subscriptions.len(), 1);
    assert!(pipeline.expect(&["pointcut", "install"]).contains("unchanged"));
    let removed = line(pipeline.expect(&["pointcut", "uninstall", "--output", "json"]));
    assert_eq!(removed["done"], "removed");
    assert!(server.world().subscriptions.is_empty());
    assert_eq!(pipeline.command(&["pointcut", "uninstall"]).status.code(), Some(4));
    server.world().failing = Some(("/fhir", 503));
    assert_eq!(pipeline.command(&["pointcut", "install"]).status.code(), Some(69));
    let bare = Pipeline::embedded(RULES, "");
    let output = bare.command(&["pointcut", "install"]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn nothing_of_a_resource_and_no_token_is_told_anywhere() {
    let Set { server, pipeline, port } = set(", token: canary-0123456789");
    let name = json!({ "name": [{ "family": "canary-name" }] });
    server.world().put("Patient/canary-1", &name);
    // entries and resources that cannot be written
    server.world().put("Patient/canary-2", &json!({ "meta": { "versionId": "canary" } }));
    let mut run = pipeline.start_with(&["run"], &[("RUST_LOG", "trace")]);
    pipeline.wait_until_ready(Ready::Yes);
    let token = Some("canary-0123456789");
    let send = |method: &str, path: &str, body: &str| {
        http::request(port, method, path, token, body).expect("an answer")
    };
    let whole = r#"{"resourceType":"Patient","id":"canary-3","meta":{"versionId":"1"},"name":[{"family":"canary-name"}]}"#;
    let statuses = [
        send("PUT", "/Patient/canary-3", whole),
        send("PUT", "/Patient/canary-4", whole),
        send("PUT", "/Patient/canary-5", "{ canary"),
        send("DELETE", "/Patient/canary-1", ""),
        send("DELETE", "/Patient/canary-2", ""),
        send("POST", "/Patient/canary", "[\"canary\"]"),
    ]
    .map(|answer| (answer.status, answer.body));
    server.world().failing = Some(("Patient", 400));
    let refused = send("DELETE", "/Patient/canary-1", "");
    assert_eq!(refused.status, 503);
    assert_eq!(statuses.each_ref().map(|(status, _)| *status), [200, 400, 400, 200, 200, 400]);
    let ready = http::get(pipeline.port(), "/readyz").expect("an answer").body;
    let metrics = http::get(pipeline.port(), "/metrics").expect("an answer").body;
    run.terminate();
    assert!(run.wait(SOON).success());
    let said = run.messages();
    assert!(said.contains("entries of the history are left out"), "{said}");
    for told in [&said, &ready, &metrics, &format!("{statuses:?} {refused:?}")] {
        assert!(!told.contains("canary"), "{told}");
    }
}
