//! What the hook endpoint refuses, and that each refusal is counted.

use serde_json::json;

use super::ground::{Ground, TOKEN};
use super::hook::{Sender, path, patient};
use crate::fhir_server::Settings;

#[test]
fn what_nobody_should_send_is_refused_and_counted() {
    let ground = Ground::embedded_with(Settings::default(), |_| "catch_up: 1h".to_owned(), LIMIT);
    let run = ground.run();
    let counted = |answer: &str| {
        let labels = [("answer", answer)];
        ground.pipeline.metric("rowcast_pointcut_requests_total", &labels).expect("a metric")
    };
    let sender = Sender::to(ground.hooks);
    let good = patient("a", 1, 10);
    let refused = [
        ("unauthorized", 401, Sender::with_token(ground.hooks, None), good.clone()),
        ("unauthorized", 401, Sender::with_token(ground.hooks, Some("another")), good.clone()),
        ("unauthorized", 401, Sender::with_token(ground.hooks, Some(&TOKEN[1..])), good.clone()),
        ("too_large", 413, sender.clone(), patient("a", 1, 70_000)),
        ("malformed", 400, sender.clone(), good[..good.len() - 1].to_owned()),
        ("malformed", 400, sender.clone(), json!({ "resourceType": "Patient" }).to_string()),
        ("malformed", 400, sender.clone(), patient("b", 1, 10)),
    ];
    for (answer, status, sender, body) in refused {
        let before = counted(answer);
        let said = sender.send_now("PUT", &path("a"), &body);
        assert_eq!(said, Some(status), "{answer}");
        assert!((counted(answer) - before - 1.0).abs() < 0.5, "{answer} is not counted once");
    }
    assert_eq!(sender.send_now("PUT", "Patient/Nothing/a", &good), Some(404));
    assert_eq!(sender.send_now("PUT", "Patient/Patient/a%20b", &good), Some(404));
    assert_eq!(sender.send_now("GET", &path("a"), ""), Some(405));
    assert_eq!(sender.send_now("PUT", &path("a"), &good), Some(200));
    assert!((counted("accepted") - 1.0).abs() < 0.5);
    assert_eq!(super::acknowledged::topic(&ground), [("Patient/a".to_owned(), 1)].into());
    assert!(!run.messages().contains("F1"), "it tells what it was sent");
}

/// A record may be this large.
const LIMIT: &str = "max_record_bytes: 64KiB";
