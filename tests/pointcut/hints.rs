//! What a hook leaves out is read from the server.

use std::time::Duration;

use rowcast::application::CancellationToken;
use rowcast::telemetry::health::Check;
use serde_json::{Value, json};

use super::ground::Ground;
use super::server::instant;
use super::valve::Flow;

const HISTORY: &str = "/Patient/1/_history";

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_gets_the_version_that_it_made() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().delete("Patient/1");
    assert_eq!(ground.send("DELETE", "/Patient/Patient/1", "").await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [-2]);
    // undeleted before it was read: what it is now counts
    ground.server.world().put("Patient/1", &json!({}));
    assert_eq!(ground.send("DELETE", "/Patient/Patient/1", "").await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [-2, 3]);
    assert_eq!(ground.count("rowcast_pointcut_hints_total", &[("outcome", "written")]), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_gets_its_time_where_that_is_the_version() {
    let rest = "transform: { version: { from: last_updated } }\n";
    let ground = Ground::running("", rest).await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().delete("Patient/1");
    assert_eq!(ground.send("DELETE", "/Patient/1", "").await.status, 200);
    let records = ground.records().await;
    let [deleted] = records.as_slice() else { panic!("{records:?}") };
    let at = chrono::DateTime::parse_from_rfc3339(&instant(2)).expect("an instant");
    assert_eq!(deleted.version, Some(at.timestamp_micros().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_version_or_with_another_than_its_header_is_read_anew() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({ "gender": "female" }));
    ground.server.world().put("Patient/1", &json!({ "gender": "male" }));
    let bare = r#"{"resourceType":"Patient","id":"1"}"#;
    assert_eq!(ground.send("PUT", "/Patient/1", bare).await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [2]);
    let old = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}"#;
    let headers = [("If-Match", "W/\"2\""), ("Content-Type", "application/fhir+json")];
    assert_eq!(ground.send_with("PUT", "/Patient/1", &headers, old).await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_come_while_a_resource_is_read_share_the_next_reading() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    let gate = CancellationToken::new();
    ground.server.world().gate = Some(gate.clone());
    let first = ground.send("DELETE", "/Patient/1", "");
    let others = async {
        // the answer under way is older than this change
        ground
            .until("the first is read", async |ground| {
                ground.server.world().times_asked(HISTORY) == 1
            })
            .await;
        ground.server.world().delete("Patient/1");
        let hints = (0..20).map(|_| ground.send("DELETE", "/Patient/1", ""));
        let open = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ground.server.world().gate = None;
            gate.cancel();
        };
        tokio::join!(futures_util::future::join_all(hints), open).0
    };
    let (first, others) = tokio::join!(first, others);
    assert!(others.iter().all(|answer| answer.status == 200) && first.status == 200);
    assert_eq!(ground.server.world().times_asked(HISTORY), 2, "once for the first, once for all");
    assert_eq!(ground.versions("Patient/1").await, [1, -2], "the newest is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_never_had_is_nothing() {
    let ground = Ground::running("", "").await;
    assert_eq!(ground.send("DELETE", "/Patient/7", "").await.status, 200);
    assert!(ground.records().await.is_empty());
    assert_eq!(ground.count("rowcast_pointcut_hints_total", &[("outcome", "unknown")]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_away_a_hint_is_refused_and_caught_up_with_later() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().delete("Patient/1");
    ground.server.world().failing = Some(("Patient", 503));
    let answer = ground.send("DELETE", "/Patient/1", "").await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("5")));
    assert_eq!(ground.answered("server_away"), 1);
    ground.until("it is told", async |ground| !ground.is_well(Check::FhirServer)).await;
    assert!(ground.health.readiness().ready, "hooks with documents are taken all the same");
    ground.server.world().failing = None;
    ground
        .until("it is caught up with", async |ground| ground.versions("Patient/1").await == [1, -2])
        .await;
    ground.until("it is well", async |ground| ground.is_well(Check::FhirServer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_is_not_acknowledged_while_the_broker_refuses_what_was_read() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.broker.set(Flow::Off);
    assert_eq!(ground.send("DELETE", "/Patient/1", "").await.status, 503);
    assert_eq!(ground.answered("broker_away"), 1);
    ground.broker.set(Flow::On);
    assert_eq!(ground.send("DELETE", "/Patient/1", "").await.status, 200);
    // once by the hint, and perhaps once by catching up
    let mut versions = ground.versions("Patient/1").await;
    versions.dedup();
    assert_eq!(versions, [1]);
}

fn notification(kind: &str, entries: &[Value], focus: &str) -> String {
    let status = json!({ "resource": { "resourceType": "SubscriptionStatus", "type": kind,
        "notificationEvent": [{ "eventNumber": "1", "focus": { "reference": focus } }] } });
    let entries: Vec<_> = std::iter::once(status).chain(entries.iter().cloned()).collect();
    json!({ "resourceType": "Bundle", "type": "subscription-notification", "entry": entries })
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_answered_with_a_bundle_and_its_delete_is_read() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().delete("Patient/1");
    // HAPI: a delete is a request and a focus, nothing more
    let delete = json!({ "request": { "method": "DELETE", "url": "Patient/1" } });
    let put = json!({ "request": { "method": "PUT", "url": "Patient/2" },
        "resource": { "resourceType": "Patient", "id": "2", "meta": { "versionId": "5" }, "x": 72.50 } });
    let body = notification("event-notification", &[delete, put], "Patient/1");
    let body = body.replace("72.5}", "72.50}");
    let answer = ground.send("POST", "/Patient", &body).await;
    assert_eq!(answer.status, 200);
    let reply: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(reply["resourceType"], "Bundle");
    assert_eq!(ground.versions("Patient/1").await, [-2]);
    let records = ground.records().await;
    let put = records.iter().find(|seen| seen.key == "Patient/2").expect("it is there");
    assert!(put.value.as_deref().is_some_and(|value| value.contains("72.50")), "digits stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_and_heartbeats_are_answered_and_tell_nothing() {
    let ground = Ground::running("", "").await;
    for kind in ["handshake", "heartbeat"] {
        let answer = ground.send("POST", "/Patient", &notification(kind, &[], "Patient/1")).await;
        assert_eq!(answer.status, 200, "{kind}");
        assert!(answer.body.contains("\"Bundle\""), "{kind}");
    }
    assert_eq!(ground.answered("ignored"), 2);
    assert!(ground.records().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_post_is_answered_once_its_type_is_caught_up_with() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().put("Observation/1", &json!({}));
    assert_eq!(ground.send("POST", "/Patient", "").await.status, 200);
    assert_eq!(ground.versions("Patient/1").await, [1]);
    assert!(ground.versions("Observation/1").await.is_empty(), "another type's was not told");
    assert_eq!(ground.send("POST", "/", "").await.status, 200);
    assert_eq!(ground.versions("Observation/1").await, [1]);
}
