//! Exports, searches and histories of a server.

use std::time::Duration;

use rowcast::fhir_server::{ExportLevel, ExportRequest, Manifest, Scope};
use rowcast::load::{Cursor, Part, Position};
use serde_json::{Value, json};
use url::Url;

use super::files::gzip;
use super::server::{Answer, Server};
use super::{keys, line, lines, load, load_with, records, states};
use crate::support::pipeline::{Pipeline, RULES};

/// Has the server accept an export and complete it when it is asked for the second time.
fn exports(server: &Server, query: &str, manifest: &Value) {
    let job = server.origin() + "/jobs/1";
    let accepted = Answer { headers: vec![("content-location", job)], ..Answer::status(202) };
    server.answers(&format!("GET /fhir/$export{query}"), [accepted]);
    let running = Answer {
        headers: vec![("retry-after", "1".to_owned()), ("x-progress", "SECRET".to_owned())],
        ..Answer::status(202)
    };
    server.answers("GET /jobs/1", [running, Answer::json(manifest)]);
    server.answers("DELETE /jobs/1", [Answer::status(202)]);
}

fn manifest(output: &[&str]) -> Value {
    let files: Vec<Value> =
        output.iter().map(|url| json!({ "type": "Patient", "url": url })).collect();
    json!({ "transactionTime": "2026-11-23T10:00:00Z", "request": "x",
        "requiresAccessToken": false, "output": files, "error": [] })
}

#[test]
fn an_export_is_begun_waited_for_downloaded_and_deleted() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    let mut files = manifest(&[&(server.origin() + "/files/1"), "/files/2"]);
    files["deleted"] = json!([{ "type": "Bundle", "url": "/files/3" }]);
    exports(&server, "?_type=Patient%2CObservation&_since=2026-11-01T00%3A00%3A00.000Z", &files);
    server.answers("GET /files/1", [Answer::bytes(lines(3))]);
    server.answers("GET /files/2", [Answer::bytes(gzip(&line("packed", 7)))]);
    let deletes = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "request": { "method": "DELETE", "url": "Patient/gone" } } ] });
    server.answers("GET /files/3", [Answer::bytes(deletes.to_string())]);
    // the export does not say at which version it was deleted; the server does
    let history = json!({ "resourceType": "Bundle", "type": "history", "entry": [
        { "request": { "method": "DELETE", "url": "Patient/gone/_history/9" },
          "response": { "etag": "W/\"9\"" } } ] });
    server.answers("GET /fhir/Patient/gone/_history?_count=1", [Answer::json(&history)]);
    let arguments = ["--export", "--type", "Patient,Observation", "--since", "2026-11-01"];
    let base = server.base();
    let (code, summary, said) = load(&pipeline, &[&arguments[..], &["--server", &base]].concat());
    assert_eq!(code, 0, "{said}");
    assert_eq!((&summary["records"], &summary["deletes"]), (&json!(5), &json!(1)));
    let gone = records(&pipeline).into_iter().find(|record| super::key(record) == "Patient/gone");
    let gone = gone.expect("it is there");
    assert_eq!((gone.header("rowcast.version"), gone.value.is_none()), (Some("9"), true));
    let asked = server.asked();
    assert_eq!(asked[0].prefer.as_deref(), Some("respond-async"));
    assert_eq!(asked[0].accept, "application/fhir+json");
    assert!(asked.iter().any(|asked| asked.accept == "application/fhir+ndjson"));
    assert_eq!(asked.last().expect("some").what, "DELETE /jobs/1");
    assert!(!said.contains("SECRET"), "{said}");
}

#[test]
fn what_the_server_could_not_export_is_counted() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    let mut files = manifest(&["/files/1"]);
    files["error"] = json!([{ "type": "OperationOutcome", "url": "/files/e" }]);
    exports(&server, "", &files);
    server.answers("GET /files/1", [Answer::bytes(lines(2))]);
    server.answers("GET /files/e", [Answer::bytes("{\"SECRET\":1}\n\n{\"SECRET\":2}\n")]);
    let (code, summary, said) = load(&pipeline, &["--export", "--server", &server.base()]);
    assert_eq!((code, &summary["server_errors"]), (3, &json!(2)), "{said}");
    assert!(said.contains("2 errors of its export") && !said.contains("SECRET"), "{said}");
    assert_eq!(keys(&pipeline).len(), 2);
}

#[test]
fn an_export_that_is_killed_goes_on_and_is_not_begun_again() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    exports(&server, "", &manifest(&["/files/1", "/files/2"]));
    let slow = Answer { pause: Some(Duration::from_millis(1)), ..Answer::bytes(lines(5000)) };
    server.answers("GET /files/1", [slow]);
    let second: String = (0..500).map(|n| line(&format!("q{n}"), 1) + "\n").collect();
    server.answers("GET /files/2", [Answer::bytes(second)]);
    let base = server.base();
    let arguments = ["load", "--export", "--server", &base];
    let mut loading = pipeline.start(&arguments);
    super::killed::wait_for_progress(&pipeline, &loading);
    loading.kill();
    let (code, summary, said) = load(&pipeline, &arguments[1..]);
    assert_eq!((code, &summary["records"]), (0, &json!(5500)), "{said}");
    let mut keys = keys(&pipeline);
    assert!(keys.len() <= 5500 + 1000, "{}", keys.len());
    keys.dedup();
    assert_eq!(keys.len(), 5500);
    assert_eq!(server.times("GET /fhir/$export"), 1);
    assert!(states(&pipeline).is_empty());
}

#[test]
fn an_export_whose_files_are_others_is_not_gone_on_with() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    exports(&server, "", &manifest(&["/files/1"]));
    let slow = Answer { pause: Some(Duration::from_millis(1)), ..Answer::bytes(lines(5000)) };
    server.answers("GET /files/1", [slow]);
    let base = server.base();
    let arguments = ["load", "--export", "--server", &base];
    let mut loading = pipeline.start(&arguments);
    super::killed::wait_for_progress(&pipeline, &loading);
    loading.kill();
    let mut other = manifest(&["/files/1"]);
    other["transactionTime"] = json!("2026-11-23T11:00:00Z");
    server.answers("GET /jobs/1", [Answer::json(&other)]);
    let (code, _, said) = load(&pipeline, &arguments[1..]);
    assert_eq!(code, 1, "{said}");
    server.answers("GET /jobs/1", []);
    let (code, _, said) = load(&pipeline, &arguments[1..]);
    assert!(code == 1 && said.contains("no longer at the server"), "{said}");
}

#[test]
fn a_download_that_breaks_off_is_gone_on_with() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    exports(&server, "", &manifest(&["/files/1"]));
    let whole = Answer::bytes(gzip(&lines(3000)));
    let half = whole.body.len() / 2;
    let broken = Answer { breaks_at: Some(half), ..whole.clone() };
    let busy = Answer { headers: vec![("retry-after", "1".to_owned())], ..Answer::status(503) };
    server.answers("GET /files/1", [broken, busy, whole]);
    let (code, summary, said) = load(&pipeline, &["--export", "--server", &server.base()]);
    assert_eq!((code, &summary["records"]), (0, &json!(3000)), "{said}");
    let mut keys = keys(&pipeline);
    assert_eq!(keys.len(), 3000, "nothing is sent twice");
    keys.dedup();
    assert_eq!(keys.len(), 3000);
}

#[test]
fn files_of_another_server_are_fetched_only_if_it_is_named_and_without_our_token() {
    let (pipeline, server, other) =
        (Pipeline::embedded(RULES, ""), Server::start(), Server::start());
    exports(&server, "", &manifest(&[&(other.origin() + "/bucket/1?signature=SECRET")]));
    other.answers("GET /bucket/1?signature=SECRET", [Answer::bytes(lines(1))]);
    let (base, elsewhere) = (server.base(), other.origin());
    let environment = [("FHIR_TOKEN", "hush-hush")];
    let arguments = ["--export", "--server", &base, "--bearer", "${FHIR_TOKEN}"];
    let (code, _, said) = load_with(&pipeline, &arguments, &environment);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("--file-server") && !said.contains("SECRET"), "{said}");
    assert!(other.asked().is_empty());
    let arguments = [&arguments[..], &["--file-server", &elsewhere]].concat();
    let (code, _, said) = load_with(&pipeline, &arguments, &environment);
    assert_eq!(code, 0, "{said}");
    assert_eq!(other.asked()[0].authorization, None);
    let shown =
        |asked: &super::server::Asked| asked.authorization.as_deref() == Some("Bearer hush-hush");
    assert!(server.asked().iter().all(shown));
}

/// Pages of a search or history with these patients, two a page.
fn pages(server: &Server, path: &str, ids: &[&str]) {
    let chunks: Vec<_> = ids.chunks(2).collect();
    for (number, ids) in chunks.iter().enumerate() {
        let entries: Vec<Value> = ids
            .iter()
            .map(|id| {
                let resource: Value = serde_json::from_str(&line(id, 1)).expect("JSON");
                json!({ "resource": resource, "search": { "mode": "match" } })
            })
            .collect();
        let mut bundle = json!({ "resourceType": "Bundle", "total": 5, "entry": entries });
        if number + 1 < chunks.len() {
            let next = format!("{}?page={}", server.base(), number + 1);
            bundle["link"] = json!([{ "relation": "next", "url": next }]);
        }
        let what = if number == 0 { path.to_owned() } else { format!("/fhir?page={number}") };
        server.answers(&format!("GET {what}"), [Answer::json(&bundle)]);
    }
}

#[test]
fn a_search_is_read_page_by_page() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    pages(&server, "/fhir/Patient?active=true&_count=2", &["a", "b", "c", "d", "e"]);
    let base = server.base();
    let arguments = ["--search", "Patient?active=true", "--page-size", "2", "--server", &base];
    let (code, summary, said) = load(&pipeline, &arguments);
    assert_eq!((code, &summary["records"]), (0, &json!(5)), "{said}");
    assert_eq!(keys(&pipeline).len(), 5);
}

#[test]
fn a_search_goes_on_at_the_page_where_it_was() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    pages(&server, "/fhir/Patient?_count=2", &["a", "b", "c", "d", "e"]);
    let base = server.base();
    let arguments = ["--search", "Patient", "--page-size", "2", "--server", &base];
    // the second page is refused once
    let bundle = json!({ "resourceType": "Bundle", "entry": [
        { "resource": serde_json::from_str::<Value>(&line("c", 1)).expect("JSON") } ] });
    server.answers("GET /fhir?page=1", [Answer::status(403), Answer::json(&bundle)]);
    let (code, _, said) = load(&pipeline, &arguments);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("goes on where it was"), "{said}");
    let (code, _, said) = load(&pipeline, &arguments);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.times("GET /fhir/Patient?_count=2"), 1);
    assert_eq!(keys(&pipeline), ["Patient/a", "Patient/b", "Patient/c"]);
}

#[test]
fn a_page_that_the_server_forgot_is_said_to_be_gone() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    pages(&server, "/fhir/Patient?_count=2", &["a", "b", "c", "d", "e"]);
    server.answers("GET /fhir?page=1", [Answer::status(403), Answer::status(410)]);
    let base = server.base();
    let arguments = ["--search", "Patient", "--page-size", "2", "--server", &base];
    assert_eq!(load(&pipeline, &arguments).0, 1);
    let (code, _, said) = load(&pipeline, &arguments);
    assert_eq!(code, 1);
    assert!(said.contains("no longer at the server"), "{said}");
}

#[test]
fn a_history_brings_deletes_with_their_versions() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    let resource: Value = serde_json::from_str(&line("a", 1)).expect("JSON");
    let history = json!({ "resourceType": "Bundle", "type": "history", "entry": [
        { "request": { "method": "DELETE", "url": "Patient/a/_history/2" },
          "response": { "etag": "W/\"2\"" } },
        { "resource": resource, "request": { "method": "PUT", "url": "Patient/a" },
          "response": { "etag": "W/\"1\"" } } ] });
    let empty = json!({ "resourceType": "Bundle", "type": "history" });
    server.answers("GET /fhir/Patient/_history?_count=500", [Answer::json(&history)]);
    server.answers("GET /fhir/Observation/_history?_count=500", [Answer::json(&empty)]);
    let base = server.base();
    let arguments = ["--history", "--type", "Patient,Observation", "--server", &base];
    let (code, summary, said) = load(&pipeline, &arguments);
    assert_eq!((code, &summary["deletes"]), (0, &json!(1)), "{said}");
    pipeline.create_tables();
    pipeline.run_until_idle();
    assert!(pipeline.patients().is_empty(), "newest first, and yet deleted");
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    let busy = Answer { headers: vec![("retry-after", "1".to_owned())], ..Answer::status(429) };
    let empty = json!({ "resourceType": "Bundle", "type": "history" });
    server.answers(
        "GET /fhir/_history?_count=500",
        [busy, Answer::status(503), Answer::json(&empty)],
    );
    let (code, _, said) = load(&pipeline, &["--history", "--server", &server.base()]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_shown() {
    let (pipeline, server) = (Pipeline::embedded(RULES, ""), Server::start());
    let base = server.base();
    for wrong in ["hush-hush", "x${HOME}", "${file:/hush-hush-absent}", "${ABSENT_VARIABLE}"] {
        let arguments = ["--history", "--server", &base, "--bearer", wrong];
        let (code, _, said) = load(&pipeline, &arguments);
        assert_eq!(code, 2, "{said}");
        assert!(!said.contains("hush-hush\""), "{said}");
        assert!(wrong != "hush-hush" || !said.contains("hush"), "{said}");
    }
    let with_password = base.replace("://", "://me:hush@");
    let (code, _, said) = load(&pipeline, &["--history", "--server", &with_password]);
    assert!(code == 2 && !said.contains("hush"), "{said}");
    assert!(server.asked().is_empty());
}

#[test]
fn the_server_of_pointcut_is_asked_with_its_credentials_and_no_other_server_gets_them() {
    let (server, other) = (Server::start(), Server::start());
    let source = format!(
        "source: {{ topic: changes, embedded: {{ path: log.db }}, pointcut: {{ server: '{}', auth: {{ bearer: '${{FHIR_TOKEN}}' }} }} }}",
        server.base()
    );
    let pipeline = Pipeline::embedded_from(&source, RULES, "");
    let empty = json!({ "resourceType": "Bundle", "type": "history" });
    for server in [&server, &other] {
        server.answers("GET /fhir/_history?_count=500", [Answer::json(&empty)]);
    }
    let environment = [("FHIR_TOKEN", "hush-hush")];
    let (code, _, said) = load_with(&pipeline, &["--history"], &environment);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.asked()[0].authorization.as_deref(), Some("Bearer hush-hush"));
    let elsewhere = other.base();
    let (code, _, said) =
        load_with(&pipeline, &["--history", "--server", &elsewhere], &environment);
    assert_eq!(code, 0, "{said}");
    assert_eq!(other.asked()[0].authorization, None);
}

#[test]
fn what_a_load_is_known_by_stays_the_same_and_is_no_debug_output() {
    let since = "2026-11-01T00:00:00Z".parse().ok();
    let search = Part::Search("Patient".into(), vec![("family".into(), "canary-3e".into())]);
    assert_eq!(search.identity(), ["search", "Patient", "1", "family", "canary-3e"]);
    let history = Part::History(Scope::Type("Patient".into()), since);
    assert_eq!(history.identity(), ["history", "Patient", "2026-11-01T00:00:00+00:00"]);
    let request = ExportRequest {
        level: ExportLevel::Group("canary-3e".into()),
        types: vec!["Patient".into()],
        since: None,
        type_filters: vec!["Patient?family=canary-3e".into()],
    };
    assert_eq!(
        request.identity(),
        ["export", "group", "canary-3e", "", "1", "Patient", "Patient?family=canary-3e"]
    );
    let signed = "https://files.example/1?signature=canary-3e";
    let files: Manifest = serde_json::from_value(manifest(&[signed])).expect("a manifest");
    let next = Url::parse(signed).ok();
    let page = Position::Page { part: 0, next: next.clone() };
    let job = next.expect("a URL");
    let export = Position::Export { job, transaction_time: None, cursor: Cursor::default() };
    for shown in [
        format!("{search:?}"),
        format!("{request:?}"),
        format!("{files:?}"),
        format!("{page:?} {export:?}"),
    ] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}
