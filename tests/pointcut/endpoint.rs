//! What the hook endpoint takes, refuses, and when it answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rowcast::pointcut::PointcutError;
use rowcast::telemetry::health::Check;
use serde_json::json;

use super::ground::{Ground, TOKEN};
use super::valve::Flow;

fn patient(version: u32) -> String {
    json!({ "resourceType": "Patient", "id": "1", "meta": { "versionId": version.to_string() } })
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_is_acknowledged_only_once_the_broker_has_its_record() {
    let ground = Ground::running("", "").await;
    ground.broker.set(Flow::Held);
    let body = patient(1);
    let mut hook = std::pin::pin!(ground.send("PUT", "/Patient/Patient/1", &body));
    let early = tokio::time::timeout(Duration::from_millis(500), hook.as_mut()).await;
    assert!(early.is_err(), "answered before the broker did: {early:?}");
    assert!(ground.records().await.is_empty());
    ground.broker.set(Flow::On);
    assert_eq!(hook.await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_refuses_hooks_are_told_to_come_again() {
    let ground = Ground::running("", "").await;
    ground.broker.set(Flow::Off);
    let answer = ground.send("PUT", "/Patient/Patient/1", &patient(1)).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("5")));
    assert_eq!(ground.answered("broker_away"), 1);
    assert!(!ground.is_well(Check::Broker));
    ground.broker.set(Flow::On);
    assert_eq!(ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status, 200);
    assert!(ground.is_well(Check::Broker));
    assert_eq!(ground.versions("Patient/1").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_is_not_sent_again_is_caught_up_with_once_the_broker_is_back() {
    let ground = Ground::running("", "").await;
    ground
        .until("both are active, and caught up with for that", async |ground| {
            ground.count("rowcast_pointcut_subscriptions", &[("state", "active")]) == 2
        })
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.broker.set(Flow::Off);
    assert_eq!(ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status, 503);
    ground.broker.set(Flow::On);
    ground.until("it is there", async |ground| ground.versions("Patient/1").await == [1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_answers_does_not_hold_hooks_for_ever() {
    let ground = Ground::running("", "").await;
    ground.broker.set(Flow::Held);
    let begun = Instant::now();
    let answer = ground.send("PUT", "/Patient/Patient/1", &patient(1)).await;
    assert_eq!((answer.status, ground.answered("broker_away")), (503, 1));
    assert!(begun.elapsed() < Duration::from_secs(10), "HAPI waits no longer");
    ground.broker.set(Flow::On);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_topic_is_there_nothing_is_taken() {
    let mut ground = Ground::new("", "").await;
    ground.broker.set(Flow::Off);
    ground.start().await;
    assert_eq!(ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status, 503);
    assert!(!ground.health.readiness().ready);
    ground.broker.set(Flow::On);
    ground.caught_up().await;
    assert!(ground.health.readiness().ready);
    assert_eq!(ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_come_together_are_given_to_the_broker_together() {
    let ground = Ground::running("", "").await;
    let before = ground.broker.sends();
    ground.broker.set(Flow::Held);
    let bodies: Vec<String> = (1..=100).map(patient).collect();
    let hooks = bodies.iter().map(|body| ground.send("PUT", "/Patient/Patient/1", body));
    let hooks = futures_util::future::join_all(hooks);
    let release = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ground.broker.set(Flow::On);
    };
    let (answers, ()) = tokio::join!(hooks, release);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(ground.versions("Patient/1").await, (1..=100).collect::<Vec<i64>>());
    assert!(ground.broker.sends() - before < 20, "{} sends", ground.broker.sends() - before);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_token_nothing_is_taken() {
    let ground = Ground::running("", "").await;
    let right = format!("Bearer {TOKEN}");
    let wrong =
        ["", "Bearer", "Bearer wrong", TOKEN, &format!("{right}x"), &right[..right.len() - 1]];
    for given in wrong {
        let headers = [("Authorization", given)];
        for method in ["PUT", "POST", "DELETE", "GET"] {
            let answer = ground.send_with(method, "/Patient/Patient/1", &headers, "").await;
            assert_eq!(answer.status, 401, "{method} {given:?}");
        }
    }
    assert_eq!(ground.answered("unauthorized"), wrong.len() * 4);
    assert!(ground.records().await.is_empty());
    assert_eq!(ground.server.world().times_asked("/Patient/1/"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_no_page_in_a_browser_and_nobody_from_elsewhere_is_taken() {
    let mut ground = Ground::new("", "").await.without_token();
    ground.start().await;
    ground.caught_up().await;
    let refused = [
        [("Origin", "https://page.example")],
        [("Origin", "null")],
        [("Origin", "http://127.0.0.1:3000")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-origin")],
        [("Host", "page.example")],
        [("Host", "page.example:9465")],
        [("Host", "127.0.0.1.page.example")],
        [("Host", "10.0.0.1")],
    ];
    for headers in &refused {
        // as `fetch` sends it without asking first: no type of content
        let answer = ground.send_with("POST", "/Patient", headers, &patient(1)).await;
        assert_eq!((answer.status, answer.body.as_str()), (403, ""), "{headers:?}");
        for (method, body) in [("PUT", patient(1)), ("DELETE", String::new())] {
            let answer = ground.send_with(method, "/Patient/Patient/1", headers, &body).await;
            assert_eq!(answer.status, 403, "{method} {headers:?}");
        }
    }
    assert_eq!(ground.answered("forbidden"), refused.len() * 3);
    assert!(ground.records().await.is_empty());
    assert_eq!(ground.server.world().times_asked("/Patient/1/"), 0);
    for (version, host) in (1..).zip(["127.0.0.1:9465", "localhost", "LOCALHOST:80", "[::1]:9465"])
    {
        let headers = [("Host", host)];
        let body = patient(version);
        let answer = ground.send_with("PUT", "/Patient/Patient/1", &headers, &body).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    assert_eq!(ground.versions("Patient/1").await, [1, 2, 3, 4]);
}

/// Method, path, headers and body; status, and how it is counted.
type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)], &'c str, u16, &'c str);

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_should_send_again_is_refused_and_counted() {
    let ground = Ground::running("", "").await;
    let json = [("Content-Type", "application/fhir+json")];
    let cases: [Case<'_>; 9] = [
        ("PUT", "/Patient/1", &json, "{\"resourceType\":", 400, "malformed"),
        (
            "PUT",
            "/Patient/1",
            &json,
            r#"{"resourceType":"Patient","id":"2","meta":{"versionId":"1"}}"#,
            400,
            "malformed",
        ),
        ("POST", "/Patient", &json, "[1]", 400, "malformed"),
        ("PUT", "/Nothing/1", &json, "{}", 404, "not_found"),
        ("PUT", "/Patient/a_b", &json, "{}", 404, "not_found"),
        ("DELETE", "/Patient", &json, "", 404, "not_found"),
        ("GET", "/Patient/1", &[], "", 405, "wrong_method"),
        ("PUT", "/Patient/1", &[("Content-Type", "text/plain")], "hello", 415, "unsupported"),
        (
            "POST",
            "/Patient",
            &[("Content-Type", "application/fhir+xml")],
            "<Bundle/>",
            415,
            "unsupported",
        ),
    ];
    for (method, path, headers, body, status, counted) in cases {
        let before = ground.answered(counted);
        let answer = ground.send_with(method, path, headers, body).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{method} {path} {body}");
        assert_eq!(ground.answered(counted), before + 1, "{method} {path} {body}");
    }
    assert!(ground.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_the_rules_do_not_use_are_passed_over() {
    let ground = Ground::running("", "").await;
    let device = r#"{"resourceType":"Device","id":"1","meta":{"versionId":"1"}}"#;
    assert_eq!(ground.send("PUT", "/Device/1", device).await.status, 200);
    assert_eq!(ground.send("DELETE", "/Device/1", "").await.status, 200);
    assert_eq!(ground.send("POST", "/Device", "").await.status, 200);
    assert_eq!(ground.answered("ignored"), 3);
    assert!(ground.records().await.is_empty());
    assert_eq!(ground.server.world().times_asked("Device"), 0);
}

/// Sends what begins so and reads the beginning of what comes back; what follows is not waited for.
fn begin(port: u16, line: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).expect("it is sent");
    let mut answer = [0; 64];
    let count = stream.read(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let ground = Ground::running("", "").await;
    let headers = "Content-Type: application/json\r\nContent-Length: 16777217\r\n";
    let announced = begin(ground.port(), "PUT /Patient/1", headers, "");
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    assert_eq!(ground.answered("too_large"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_turns_out_too_large_is_refused() {
    let ground = Ground::running("", "").await;
    let chunk = format!("1000001\r\n{}", " ".repeat(16_777_217));
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let port = ground.port();
    let sent = tokio::task::spawn_blocking(move || begin(port, "PUT /Patient/1", headers, &chunk));
    let answer = sent.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_held_at_a_time_is_told_to_come_again() {
    let ground = Ground::running("", "").await;
    // four bodies of 16 MiB are announced and do not come
    let headers = "Content-Type: application/json\r\nContent-Length: 16777216\r\n";
    let head = format!(
        "PUT /Patient/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n"
    );
    let _open: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", ground.port())).expect("it listens");
            stream.write_all(head.as_bytes()).expect("it is sent");
            stream
        })
        .collect();
    ground
        .until("the memory is given away", async |ground| {
            ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status == 503
        })
        .await;
    assert!(ground.answered("busy") > 0);
    ground
        .until("those who say nothing lose it", async |ground| {
            ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status == 200
        })
        .await;
    assert_eq!(ground.answered("too_slow"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_part_ends_it_and_acknowledges_nothing() {
    let mut ground = Ground::running("", "").await;
    ground.broker.set(Flow::Panics);
    assert_eq!(ground.send("PUT", "/Patient/Patient/1", &patient(1)).await.status, 503);
    let ended = ground.ended().await;
    assert!(matches!(ended, Err(PointcutError::Panicked)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_under_way_is_answered_before_the_end() {
    let mut ground = Ground::running("", "").await;
    ground.broker.set(Flow::Held);
    let (port, body) = (ground.port(), patient(1));
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let hook = tokio::task::spawn_blocking(move || begin(port, "PUT /Patient/1", &headers, &body));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let broker = std::sync::Arc::clone(&ground.broker);
    let opened = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broker.set(Flow::On);
    };
    tokio::join!(ground.stop(), opened);
    let answer = hook.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(ground.versions("Patient/1").await, [1]);
}
