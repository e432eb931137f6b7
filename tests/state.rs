//! The state page and its JSON: what they say while a topology runs, and what they never say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::http::{self, Answer};
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::wait_for;

/// What a browser would run if it were taken for markup.
const MARKUP: &str = "<img src=x onerror=alert(1)>";

fn state(pipeline: &Pipeline) -> Option<Value> {
    let answer = http::get(pipeline.port(), "/api/v1/state")?;
    serde_json::from_str(&answer.body).ok()
}

/// Waits until the state has this condition.
fn wait_for_condition(pipeline: &Pipeline, condition: &str) -> Value {
    wait_for(&format!("condition {condition}"), SOON, || {
        state(pipeline).filter(|state| state["condition"] == condition)
    })
}

fn page(pipeline: &Pipeline) -> String {
    http::get(pipeline.port(), "/").expect("the page").body
}

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value[what].as_str().unwrap_or_else(|| panic!("no {what} in {value}"))
}

/// A patient that `city` refuses: it has two.
fn two_cities(id: &str) -> String {
    patient(id, 1, &json!({ "address": [{ "city": "A" }, { "city": "B" }] }))
}

/// Asks with a header of authorization.
fn ask(pipeline: &Pipeline, path: &str, authorization: &str) -> Answer {
    http::request_with(
        pipeline.port(),
        "GET",
        path,
        &format!("Authorization: {authorization}\r\n"),
        "",
    )
    .expect("an answer")
}

#[test]
fn the_state_is_good_until_something_is_refused_and_then_names_the_cause_and_the_command() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let good: Vec<_> = (0..50).map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect();
    pipeline.produce(&good);
    pipeline.wait_for_patients(50);
    let up_to_date = wait_for_condition(&pipeline, "up_to_date");
    assert_eq!(up_to_date["next"], Value::Null);
    assert_eq!(up_to_date["records"]["settled"]["written"], 50);
    assert!(page(&pipeline).contains("Nothing to do."));

    pipeline.produce(&[two_cities("poison")]);
    let refused = wait_for_condition(&pipeline, "refused");
    assert!(text(&refused, "sentence").contains("1 record was refused"), "{refused}");
    assert!(text(&refused, "sentence").contains("multiple_values"), "{refused}");
    let next = text(&refused, "next");
    let topology = pipeline.path("topology.yaml");
    assert_eq!(next, format!("rowcast dead-letters summary --topology {topology}"));
    assert_eq!(
        refused["dead_letters"],
        json!([{ "stage": "transform", "cause": "multiple_values", "letters": 1 }])
    );
    let page = page(&pipeline);
    for shown in [next, "multiple_values", "docs/causes.md#multiple_values", "51 received"] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    // the command is the right one: it finds what the page is about
    let summary = pipeline.expect(&["dead-letters", "summary"]);
    assert!(summary.contains("multiple_values"), "{summary}");
}

#[test]
fn a_missing_table_pauses_and_the_page_says_so_until_it_is_there_again() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    pipeline.execute("ALTER TABLE patient RENAME TO elsewhere");
    pipeline.produce(&[patient("p", 1, &json!({}))]);
    let paused = wait_for_condition(&pipeline, "paused");
    assert!(text(&paused, "next").starts_with("rowcast check --topology "), "{paused}");
    assert!(page(&pipeline).contains("nothing is committed or skipped"));
    pipeline.execute("ALTER TABLE elsewhere RENAME TO patient");
    wait_for_condition(&pipeline, "up_to_date");
}

#[test]
fn the_status_command_tells_the_state_and_ends_with_0_only_if_the_instance_is_ready() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let away = pipeline.command(&["status"]);
    assert_eq!(away.status.code(), Some(69), "nobody runs");
    assert_eq!(pipeline.command(&["status", "--live"]).status.code(), Some(69));
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    assert!(pipeline.expect(&["status"]).starts_with("Up to date"));
    let state: Value =
        serde_json::from_str(&pipeline.expect(&["status", "--output", "json"])).expect("JSON");
    assert_eq!(state["condition"], "up_to_date");

    pipeline.execute("ALTER TABLE patient RENAME TO elsewhere");
    pipeline.produce(&[patient("p", 1, &json!({}))]);
    wait_for_condition(&pipeline, "paused");
    let paused = pipeline.command(&["status"]);
    assert_eq!(paused.status.code(), Some(1));
    let said = String::from_utf8(paused.stdout).expect("text");
    assert!(said.contains("the table is missing") || said.contains("does not fit"), "{said}");
    assert!(said.contains("next: rowcast check --topology "), "{said}");
    assert_eq!(pipeline.expect(&["status", "--live"]), "", "what is waited for restarts nothing");
}

#[test]
fn a_backlog_is_told_with_its_pace_and_the_time_that_is_left() {
    let pipeline = Pipeline::embedded(RULES, "batch: { rows: 1 }");
    pipeline.create_tables();
    let backlog: Vec<_> = (0..6000).map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect();
    pipeline.produce(&backlog);
    let _run = pipeline.start(&["run"]);
    let behind = wait_for("a backlog with a pace", SOON, || {
        state(&pipeline).filter(|state| {
            state["condition"] == "catching_up"
                && state["records"]["settled_per_second"].as_f64() > Some(0.0)
        })
    });
    let sentence = text(&behind, "sentence");
    assert!(sentence.contains("records behind at") && sentence.contains("to go"), "{sentence}");
    assert!(behind["lag"].as_u64() > Some(0), "{behind}");
    wait_for_condition(&pipeline, "up_to_date");
}

#[test]
fn an_id_that_looks_like_markup_stays_out_of_the_page_and_a_name_that_does_stays_text() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let rules = format!("{MARKUP}.json");
    std::fs::write(pipeline.path(&rules), RULES).expect("rules of that name");
    let _run = pipeline.start(&["run", "--set", &format!("transform.rules=[\"{rules}\"]")]);
    pipeline.wait_until_ready(Ready::Yes);
    let id = json!({ "gender": MARKUP });
    pipeline.produce(&[two_cities("poison"), two_cities(MARKUP), patient("p", 1, &id)]);
    let refused = wait_for_condition(&pipeline, "refused");
    assert!(refused["topology"].to_string().contains(MARKUP), "{refused}");
    let page = page(&pipeline);
    assert!(!page.contains("<img"), "{page}");
    assert_eq!(page.matches("&lt;img src=x").count(), 1, "the file's name, and no id: {page}");
}

#[test]
fn only_who_shows_the_token_sees_more_than_the_probes_and_a_browser_may_ask_for_it() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run", "--set", "http.token=open-sesame-1001"]);
    pipeline.wait_until_ready(Ready::Yes);
    let basic = |credentials: &str| format!("Basic {}", STANDARD.encode(credentials));
    for path in ["/", "/api/v1/state", "/version", "/metrics", "/log"] {
        assert_eq!(http::get(pipeline.port(), path).expect("an answer").status, 401, "{path}");
        for wrong in [
            "Bearer open-sesame-1002",
            "Bearer ",
            "open-sesame-1001",
            &basic("open-sesame-1001"),
            &basic(":x"),
        ] {
            assert_eq!(ask(&pipeline, path, wrong).status, 401, "{path} {wrong}");
        }
        for right in [
            "Bearer open-sesame-1001",
            &basic("anybody:open-sesame-1001"),
            &basic(":open-sesame-1001"),
        ] {
            assert_eq!(ask(&pipeline, path, right).status, 200, "{path} {right}");
        }
    }
    for probe in ["/livez", "/readyz"] {
        assert_eq!(http::get(pipeline.port(), probe).expect("an answer").status, 200, "{probe}");
    }
    assert_eq!(http::get(pipeline.port(), "/nothing").expect("an answer").status, 404);
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let page = page(&pipeline);
    for absent in ["<script", "<link", "src=", "href=", "url(", "http://", "https://"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    let version = http::get(pipeline.port(), "/version").expect("an answer").body;
    let version: Value = serde_json::from_str(&version).expect("JSON");
    let (name, number) = (pipeline.name(), env!("CARGO_PKG_VERSION"));
    assert_eq!(version, json!({ "name": "rowcast", "version": number, "topology": name }));
}

#[test]
fn an_instance_of_another_topology_is_neither_asked_nor_changed() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let before = pipeline.expect(&["log"]);
    let other = Pipeline::embedded(RULES, "");
    let at = format!("127.0.0.1:{}", pipeline.port());
    for command in [&["status", "--at", &at][..], &["log", "--at", &at, "warn"]] {
        let ended = other.command(command);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        let names = format!("topology `{}`, not `{}`", pipeline.name(), other.name());
        assert!(said.contains(&names) && ended.stdout.is_empty(), "{said}");
    }
    assert_eq!(pipeline.expect(&["log"]), before);
}
