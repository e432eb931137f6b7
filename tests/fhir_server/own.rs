//! That the test server is what tests take it for, without the captures.

use std::time::Duration;

use serde_json::{Value, json};

use super::recorder::{Recorder, Request};
use super::{Auth, Dialect, Document, Faults, FhirServer, Paging, Refusing, Settings, Topic};
use crate::support::{block_on, wait_for};

const SOON: Duration = Duration::from_secs(20);

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn next(&self) -> Option<String> {
        let links = self.body["link"].as_array()?;
        let next = links.iter().find(|link| link["relation"] == "next")?;
        next["url"].as_str().map(str::to_owned)
    }

    fn versions(&self) -> Vec<String> {
        let entries = self.body["entry"].as_array().cloned().unwrap_or_default();
        let version = |entry: &Value| {
            let method = entry["request"]["method"].as_str().unwrap_or_default();
            format!("{method} {}", entry["request"]["url"].as_str().unwrap_or_default())
        };
        entries.iter().map(version).collect()
    }
}

/// Asks with one header more; the path is below the base, or a whole URL.
fn ask(server: &FhirServer, what: &str, header: (&str, &str), body: &Value) -> Option<Reply> {
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let is_whole = path.starts_with("http");
    let url = if is_whole { path.to_owned() } else { format!("{}/{path}", server.url()) };
    let method: reqwest::Method = method.parse().expect("a method");
    let request = server.shared.client.request(method, url).header(header.0, header.1);
    let request = match body {
        Value::Null => request,
        Value::String(form) => {
            request.header("content-type", "application/x-www-form-urlencoded").body(form.clone())
        }
        resource => request.body(resource.to_string()),
    };
    block_on(async move {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(Reply { status, headers, body })
    })
}

fn get(server: &FhirServer, path: &str) -> Reply {
    ask(server, &format!("GET {path}"), ("accept", "*/*"), &Value::Null).expect("an answer")
}

fn patient(id: &str, family: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "name": [{ "family": family }] })
}

fn subscribe(server: &FhirServer, id: &str, channel: &Value) {
    let subscription = json!({
        "resourceType": "Subscription", "id": id, "status": "requested",
        "criteria": "Patient?", "channel": channel,
    });
    server.put(&format!("Subscription/{id}"), &subscription);
    wait_for("an active subscription", SOON, || {
        server.active_subscriptions().iter().any(|active| active == id).then_some(())
    });
}

fn json_with_deletes(endpoint: &str) -> Value {
    json!({
        "type": "rest-hook", "endpoint": endpoint, "payload": "application/fhir+json",
        "extension": [{
            "url": "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages",
            "valueBoolean": true,
        }],
    })
}

fn told(requests: &[Request]) -> Vec<String> {
    let told = |request: &Request| {
        format!("{} {} {}", request.method, request.path, request.header("if-match").join(""))
    };
    requests.iter().map(|request| told(request).trim().to_owned()).collect()
}

#[test]
fn a_deletion_takes_a_number_and_what_is_undeleted_the_next() {
    let server = FhirServer::start();
    assert_eq!(server.put("Patient/a", &patient("a", "A")), 1);
    assert_eq!(server.put("Patient/a", &patient("a", "B")), 2);
    server.delete("Patient/a");
    assert_eq!(get(&server, "Patient/a").status, 410);
    assert_eq!(server.put("Patient/a", &patient("a", "B")), 4);
    let numbers = ["PUT Patient/a/_history/4", "DELETE Patient/a/_history/3"];
    assert_eq!(get(&server, "Patient/a/_history").versions()[..2], numbers);
    assert_eq!(get(&server, "Patient/a").header("etag"), "W/\"4\"");
}

#[test]
fn the_same_content_again_and_a_second_deletion_are_nothing_new_and_tell_nobody() {
    let (server, recorder) = (FhirServer::start(), Recorder::start());
    subscribe(&server, "s", &json_with_deletes(&recorder.url("hook")));
    for _ in 0..2 {
        assert_eq!(server.put("Patient/a", &patient("a", "A")), 1);
        server.wait_for_hooks();
    }
    for _ in 0..2 {
        server.delete("Patient/a");
        server.wait_for_hooks();
    }
    let heard = ["PUT /hook/Patient/a W/\"1\"", "DELETE /hook/Patient/a"];
    assert_eq!(told(&recorder.requests()), heard);
}

#[test]
fn a_version_that_is_not_the_current_one_is_refused() {
    let server = FhirServer::start();
    server.put("Patient/a", &patient("a", "A"));
    let put = |version: &str, family: &str| {
        let body = patient("a", family);
        ask(&server, "PUT Patient/a", ("if-match", version), &body).expect("an answer").status
    };
    assert_eq!(put("W/\"1\"", "B"), 200);
    assert_eq!(put("W/\"1\"", "C"), 409);
    assert_eq!(server.current()[&("Patient".to_owned(), "a".to_owned())].version, 2);
}

#[test]
fn numbers_keep_their_digits() {
    let server = FhirServer::start();
    let text =
        r#"{ "resourceType": "Observation", "id": "o", "valueQuantity": { "value": 72.50 } }"#;
    let document = Document::parse(text).expect("an object");
    let key = ("Observation".to_owned(), "o".to_owned());
    server.shared.put(&key, &document, None).expect("it is written");
    let url = format!("{}/Observation/o", server.url());
    let client = server.shared.client.clone();
    let answer = block_on(async move { client.get(url).send().await?.text().await });
    assert!(answer.expect("an answer").contains("\"value\": 72.50\n"));
}

#[test]
fn a_history_is_paged_to_its_end_whatever_the_links_look_like() {
    for paging in [Paging::Offset, Paging::Snapshot] {
        let server = FhirServer::start_with(Settings { paging, ..Settings::default() });
        for n in 0..7 {
            server.put("Patient/a", &patient("a", &format!("F{n}")));
        }
        let mut page = get(&server, "_history?_count=3");
        let mut heard = page.versions();
        while let Some(next) = page.next() {
            assert_eq!(next.contains("_getpages="), paging == Paging::Snapshot, "{next}");
            page = get(&server, &next);
            heard.extend(page.versions());
        }
        assert_eq!((heard.len(), page.body["total"].as_u64()), (7, Some(7)));
        assert_eq!(heard[6], "POST Patient/a/_history/1");
    }
}

#[test]
fn a_history_since_an_instant_has_what_was_written_then_and_later() {
    let server = FhirServer::start();
    server.put("Patient/a", &patient("a", "A"));
    std::thread::sleep(Duration::from_millis(3));
    server.put("Patient/b", &patient("b", "B"));
    let second = get(&server, "Patient/b").body["meta"]["lastUpdated"].clone();
    let since = second.as_str().expect("an instant").replace('+', "%2B");
    let heard = get(&server, &format!("_history?_since={since}")).versions();
    assert_eq!(heard, ["POST Patient/b/_history/1"]);
    assert_eq!(get(&server, &format!("Patient?_lastUpdated=lt{since}")).body["total"], 1);
    assert_eq!(get(&server, "_history?_since=yesterday").status, 400);
}

#[test]
fn what_a_transaction_writes_may_be_older_than_when_it_is_seen() {
    let server = FhirServer::start();
    server.put("Patient/late", &patient("late", "L"));
    server.faults(|faults| faults.backdated = Duration::from_secs(3));
    let entry = |path: &str, resource: Value| json!({ "resource": resource, "request": { "method": "PUT", "url": path } });
    let deletion = json!({ "request": { "method": "DELETE", "url": "Patient/late" } });
    server.transaction(&[entry("Patient/a", patient("a", "A")), deletion]);
    let oldest = ["DELETE Patient/late/_history/2", "POST Patient/a/_history/1"];
    assert_eq!(get(&server, "_history").versions()[1..], oldest);
}

#[test]
fn a_broken_transaction_writes_nothing() {
    let server = FhirServer::start();
    let good = json!({ "resource": patient("a", "A"), "request": { "method": "PUT", "url": "Patient/a" } });
    let bad = json!({ "request": { "method": "DELETE", "url": "Patient/never" } });
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [good, bad] });
    let answer = ask(&server, "POST ", ("accept", "*/*"), &bundle).expect("an answer");
    assert_eq!((answer.status, server.current().len()), (404, 0));
}

#[test]
fn hooks_are_lost_doubled_and_reordered_as_told() {
    let (server, recorder) = (FhirServer::start(), Recorder::start());
    subscribe(&server, "s", &json_with_deletes(&recorder.url("hook")));
    let write = |change: fn(&mut Faults)| {
        let before = recorder.requests().len();
        server.faults(|faults| *faults = Faults::default());
        server.faults(change);
        for n in 0..20 {
            server.put("Patient/a", &patient("a", &format!("{before}-{n}")));
        }
        server.wait_for_hooks();
        recorder.requests()[before..].to_vec()
    };
    assert_eq!(write(|faults| faults.lose = 1.0).len(), 0);
    assert_eq!(write(|faults| faults.double = 1.0).len(), 40);
    let mixed = write(|faults| faults.delay = Duration::ZERO..Duration::from_millis(100));
    let versions: Vec<_> = mixed.iter().map(|hook| hook.header("if-match").join("")).collect();
    let mut sorted = versions.clone();
    sorted.sort_by_key(|version| (version.len(), version.clone()));
    assert_eq!(versions.len(), 20);
    assert_ne!(versions, sorted, "they came in another order");
    assert_eq!((server.hooks().lost, server.hooks().doubled), (20, 20));
}

#[test]
fn a_refused_hook_is_given_up_unless_told_otherwise() {
    let (server, recorder) = (FhirServer::start(), Recorder::start());
    subscribe(&server, "s", &json_with_deletes(&recorder.url("hook")));
    recorder.answer(503, "");
    server.put("Patient/a", &patient("a", "A"));
    server.wait_for_hooks();
    assert_eq!(recorder.requests().len(), 1);
    server.faults(|faults| faults.retries = 2);
    server.put("Patient/a", &patient("a", "B"));
    server.wait_for_hooks();
    assert_eq!((recorder.requests().len(), server.hooks().failed), (4, 4));
}

#[test]
fn it_comes_back_with_all_it_had_and_its_hooks_of_before_are_lost() {
    let (server, recorder) = (FhirServer::start(), Recorder::start());
    subscribe(&server, "s", &json_with_deletes(&recorder.url("hook")));
    server.faults(|faults| faults.delay = SOON..SOON);
    server.put("Patient/a", &patient("a", "A"));
    server.go_away();
    assert!(ask(&server, "GET Patient/a", ("accept", "*/*"), &Value::Null).is_none());
    server.put("Patient/b", &patient("b", "B"));
    assert_eq!(server.hooks().lost, 2);
    server.faults(|faults| *faults = Faults::default());
    server.come_back();
    assert_eq!(get(&server, "Patient/a").status, 200);
    server.put("Patient/a", &patient("a", "C"));
    server.wait_for_hooks();
    assert_eq!(told(&recorder.requests()), ["PUT /hook/Patient/a W/\"2\""]);
}

#[test]
fn it_refuses_everything_when_told_to() {
    let server = FhirServer::start();
    let refusing = Refusing { status: 429, retry_after: Some(1), share: 1.0 };
    server.faults(|faults| faults.refusing = Some(refusing));
    let answer = get(&server, "metadata");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
}

#[test]
fn nobody_is_let_in_without_what_the_server_asks_for() {
    let (user, password) = ("u".to_owned(), "p".to_owned());
    let (id, secret) = ("c".to_owned(), "s".to_owned());
    let basic = FhirServer::start_with(Settings {
        auth: Auth::Basic { user, password },
        ..Settings::default()
    });
    let bearer = FhirServer::start_with(Settings {
        auth: Auth::Bearer { token: "t".to_owned() },
        ..Settings::default()
    });
    let oauth = FhirServer::start_with(Settings {
        auth: Auth::ClientCredentials { id, secret },
        ..Settings::default()
    });
    let status = |server: &FhirServer, shown: &str| {
        let what = "GET Patient";
        ask(server, what, ("authorization", shown), &Value::Null).expect("an answer").status
    };
    assert_eq!((status(&basic, "Basic dTpw"), status(&basic, "Basic dTpx")), (200, 401));
    assert_eq!((status(&bearer, "Bearer t"), status(&bearer, "Bearer x")), (200, 401));
    assert_eq!(get(&bearer, "metadata").status, 200);
    let token = |form: &str| {
        let what = format!("POST {}", oauth.token_url());
        ask(&oauth, &what, ("accept", "*/*"), &Value::from(form)).expect("an answer")
    };
    assert_eq!(token("grant_type=client_credentials&client_id=c&client_secret=x").status, 401);
    let given = token("grant_type=client_credentials&client_id=c&client_secret=s").body;
    let shown = format!("Bearer {}", given["access_token"].as_str().expect("a token"));
    assert_eq!(status(&oauth, &shown), 200);
    oauth.forget_tokens();
    assert_eq!(status(&oauth, &shown), 401);
}

#[test]
fn an_export_has_what_is_there_and_since_an_instant_what_is_gone() {
    let server = FhirServer::start_with(Settings { export_lines: 2, ..Settings::default() });
    for id in ["a", "b", "c", "gone"] {
        server.put(&format!("Patient/{id}"), &patient(id, "F"));
    }
    server.delete("Patient/gone");
    let manifest = |what: &str| {
        let kick_off = ask(&server, what, ("prefer", "respond-async"), &Value::Null);
        let kick_off = kick_off.expect("an answer");
        assert_eq!(kick_off.status, 202);
        let place = kick_off.header("content-location").to_owned();
        assert_eq!(get(&server, &place).header("retry-after"), "1");
        wait_for("the manifest", SOON, || {
            let poll = get(&server, &place);
            (poll.status == 200).then_some(poll.body)
        })
    };
    let whole = manifest("GET $export?_type=Patient");
    assert_eq!(whole["deleted"], json!([]));
    let files = whole["output"].as_array().expect("files");
    let lines = |file: &Value| {
        let answer = get(&server, file["url"].as_str().expect("a url"));
        let text = answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
        text.trim().lines().count()
    };
    assert_eq!(files.iter().map(lines).collect::<Vec<_>>(), [2, 1]);
    let since = manifest("GET $export?_since=2020-01-01T00:00:00Z");
    let gone = get(&server, since["deleted"][0]["url"].as_str().expect("a url")).body;
    assert_eq!(
        gone["entry"],
        json!([{ "request": { "method": "DELETE", "url": "Patient/gone" } }])
    );
}

#[test]
fn a_notification_is_sent_again_until_a_bundle_answers() {
    let topic =
        Topic { url: "http://example.org/all".to_owned(), types: vec!["Patient".to_owned()] };
    let recorder = Recorder::start();
    for (dialect, first) in [
        (Dialect::R5, "SubscriptionStatus"),
        (Dialect::R4B, "SubscriptionStatus"),
        (Dialect::R4, "Parameters"),
    ] {
        let topics = vec![topic.clone()];
        let server = FhirServer::start_with(Settings { dialect, topics, ..Settings::default() });
        recorder.answer(200, r#"{ "resourceType": "Bundle" }"#);
        let subscription = match dialect {
            Dialect::R5 => json!({
                "resourceType": "Subscription", "status": "requested", "topic": topic.url,
                "channelType": { "code": "rest-hook" }, "endpoint": recorder.url("hook"),
                "parameter": [{ "name": "X-Own", "value": "yes" }],
                "content": "full-resource",
            }),
            Dialect::R4 | Dialect::R4B => json!({
                "resourceType": "Subscription", "status": "requested", "criteria": topic.url,
                "channel": {
                    "type": "rest-hook", "endpoint": recorder.url("hook"), "header": ["X-Own: yes"],
                    "payload": "application/fhir+json", "_payload": { "extension": [{
                        "url": "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content",
                        "valueCode": "full-resource",
                    }] },
                },
            }),
        };
        server.put("Subscription/s", &subscription);
        let before = recorder.requests().len();
        wait_for("a handshake", SOON, || (server.hooks().accepted == 1).then_some(()));
        recorder.answer(200, "");
        server.put("Patient/a", &patient("a", "A"));
        let refused = before + 3;
        wait_for("tries", SOON, || (recorder.requests().len() >= refused).then_some(()));
        recorder.answer(200, r#"{ "resourceType": "Bundle" }"#);
        server.wait_for_hooks();
        server.delete("Patient/a");
        server.wait_for_hooks();
        let requests = recorder.requests();
        let bundle =
            |at: usize| -> Value { serde_json::from_str(&requests[at].body).expect("JSON") };
        let last = requests.len() - 1;
        assert_eq!(requests[last].header("x-own"), ["yes"]);
        assert_eq!(bundle(last)["entry"][0]["resource"]["resourceType"], first);
        let request = &bundle(last)["entry"][1];
        assert_eq!(request, &json!({ "request": { "method": "DELETE", "url": "Patient/a" } }));
        assert_eq!(bundle(last - 1)["entry"][1]["resource"]["id"], "a");
        assert_eq!(bundle(last - 1), bundle(last - 2), "the same again");
    }
}
