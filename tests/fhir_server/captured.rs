//! The same requests that a HAPI FHIR 8.8.0 server was sent, and what it answered and sent itself:
//! this server does the same. The captures are not part of the project: where they are absent the
//! test says so and passes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::recorder::{Recorder, Request};
use super::{FhirServer, Settings};
use crate::support::{block_on, wait_for};

/// A request that the captured server was sent, and its answer.
struct Exchange {
    method: String,
    path: String,
    body: String,
    status: u16,
    headers: Vec<(String, String)>,
    answer: String,
}

const SOON: Duration = Duration::from_secs(20);

/// Headers of an answer that say the same.
const COMPARED: [&str; 5] =
    ["etag", "content-location", "location", "content-type", "transfer-encoding"];

#[test]
fn it_answers_and_calls_as_hapi_did_when_it_was_captured() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hapi-rest-hook");
    let Ok(sent) = fs::read_to_string(folder.join("client-r4.txt")) else {
        eprintln!("skipped: the captured traffic of HAPI FHIR is not at hand");
        return;
    };
    let expected = fs::read_to_string(folder.join("received-r4.jsonl")).expect("it is beside");
    let recorder = Recorder::start();
    let server = FhirServer::start_with(Settings::default());
    for exchange in exchanges(&sent.replace('\r', "")) {
        let body = exchange.body.replace("127.0.0.1:18090", &own(recorder.port));
        let (status, headers, answer) = ask(&server, &exchange.method, &exchange.path, &body);
        let what = format!("{} {}", exchange.method, exchange.path);
        assert_eq!(status, exchange.status, "{what}: {answer}");
        for name in COMPARED {
            let value = |headers: &[(String, String)]| {
                let found = headers.iter().find(|(known, _)| known == name);
                found.map(|(_, value)| masked(value, &server, &recorder).to_lowercase())
            };
            assert_eq!(value(&headers), value(&exchange.headers), "{what}: {name}");
        }
        let masked = |text: &str| lines(&masked(text, &server, &recorder));
        assert_eq!(masked(&answer), masked(&exchange.answer), "{what}");
        if exchange.body.contains("\"Subscription\"") && exchange.body.contains("rest-hook") {
            let id = exchange.path.trim_start_matches("Subscription/").to_owned();
            wait_for("an active subscription", SOON, || {
                server.active_subscriptions().contains(&id).then_some(())
            });
        }
        server.wait_for_hooks();
    }
    let lines = expected.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let expected = lines.map(|line: Value| told(&of_line(&line), &server, &recorder));
    let mut expected: Vec<_> = expected.collect();
    let requests = recorder.requests();
    let mut heard: Vec<_> = requests.iter().map(|it| told(it, &server, &recorder)).collect();
    expected.sort();
    heard.sort();
    assert!(expected.len() > 25, "the captures were read");
    for (heard, expected) in heard.iter().zip(&expected) {
        assert_eq!(heard, expected);
    }
    assert_eq!(heard.len(), expected.len());
}

fn exchanges(text: &str) -> Vec<Exchange> {
    let exchange = |text: &str| {
        let (request, answer) = text.split_once("HTTP/1.1 ").expect("an answer");
        let (line, body) = request.split_once('\n').expect("a line");
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let (head, answer) = answer.split_once("\n\n").expect("a head");
        let mut head = head.lines();
        let status = head.next().and_then(|line| line.trim().parse().ok()).expect("a status");
        let headers = head.filter_map(|line| line.split_once(": "));
        Exchange {
            method: method.to_owned(),
            path: path.trim().to_owned(),
            body: body.trim().to_owned(),
            status,
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            answer: answer.to_owned(),
        }
    };
    text.split("### ").skip(1).map(exchange).collect()
}

type Heard = (u16, Vec<(String, String)>, String);

fn ask(server: &FhirServer, method: &str, path: &str, body: &str) -> Heard {
    let url = format!("{}/{path}", server.url());
    let url = url.trim_end_matches('/').to_owned();
    let (method, body) = (method.parse().expect("a method"), body.to_owned());
    let client = server.shared.client.clone();
    block_on(async move {
        let request = client.request(method, url).header("content-type", "application/fhir+json");
        let answer = request.body(body).send().await.expect("an answer");
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| {
            (name.as_str().to_owned(), value.to_str().expect("text").to_owned())
        });
        let headers = headers.collect();
        (answer.status().as_u16(), headers, answer.text().await.expect("a body"))
    })
}

/// Without what differs from run to run.
fn masked(text: &str, server: &FhirServer, recorder: &Recorder) -> String {
    let text = text.replace(&own(server.port), "127.0.0.1:18080");
    let text = text.replace(&own(recorder.port), "127.0.0.1:18090");
    let masks = [
        (r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "INSTANT"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r" Took \d+ms\.", ""),
    ];
    masks.iter().fold(text, |text, (pattern, mask)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *mask).into_owned()
    })
}

fn own(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The lines in an order of their own: HAPI writes members in the order of FHIR's definitions, and
/// what a search finds in none.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        text.trim().lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
    lines.sort();
    lines
}

fn of_line(line: &Value) -> Request {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let headers = line["headers"].as_array().expect("headers").iter();
    Request {
        method: text(&line["method"]),
        path: text(&line["path"]),
        headers: headers.map(|pair| (text(&pair[0]).to_lowercase(), text(&pair[1]))).collect(),
        body: text(&line["body"]),
    }
}

/// Everything of a request but the connection's own.
fn told(request: &Request, server: &FhirServer, recorder: &Recorder) -> String {
    let connection = |name: &str| matches!(name, "host" | "connection");
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| !connection(name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort();
    let (method, path) = (&request.method, &request.path);
    let told = format!("{path} {method}\n{}\n{}", headers.join("\n"), request.body);
    masked(&told, server, recorder)
}
