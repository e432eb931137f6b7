//! Every request that a HAPI FHIR server really sent. The capture is not part of the project: where it
//! is absent the test says so and passes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ground::Ground;
use super::server::World;

/// What happened at the captured server: when, and the version that it made; 0: deleted.
const EVENTS: [(&str, &str, u32); 7] = [
    ("2026-11-22T23:37:25.301Z", "Patient/labpat1", 1),
    ("2026-11-22T23:37:29.503Z", "Patient/labpat1", 2),
    ("2026-11-22T23:37:37.850Z", "Patient/labpat1", 0),
    ("2026-11-22T23:37:45.929Z", "Patient/labpat1", 4),
    ("2026-11-22T23:37:49.967Z", "Patient/1007", 1),
    ("2026-11-22T23:37:54.010Z", "Patient/1008", 1),
    ("2026-11-22T23:37:54.010Z", "Observation/1009", 1),
];

/// Brings a server to where the captured one was at a time. `state`: events that it has already.
fn bring_up_to(world: &mut World, state: &mut usize, time: &str) {
    while let Some((at, name, version)) = EVENTS.get(*state).filter(|(at, ..)| *at <= time) {
        if *version == 0 {
            world.delete_at(name, at);
        } else {
            let (resource_type, id) = name.split_once('/').expect("Type/id");
            world.put_document(&json!({ "resourceType": resource_type, "id": id,
                "meta": { "versionId": version.to_string(), "lastUpdated": at } }));
        }
        *state += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_captured_request_becomes_the_right_record_or_reads_the_right_resource() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/hapi-rest-hook/received-r4.jsonl");
    let Ok(lines) = fs::read_to_string(&path) else {
        eprintln!("skipped: the captured hapi-rest-hook/received-r4.jsonl is not at hand");
        return;
    };
    let ground = Ground::running("", "").await;
    let (mut state, mut requests) = (0, 0);
    for line in lines.lines() {
        let request: Value = serde_json::from_str(line).expect("a line is JSON");
        let text = |member: &str| request[member].as_str().expect(member);
        bring_up_to(&mut ground.server.world(), &mut state, text("t"));
        let headers: Vec<(&str, &str)> = request["headers"]
            .as_array()
            .expect("headers")
            .iter()
            .filter_map(|header| Some((header[0].as_str()?, header[1].as_str()?)))
            .filter(|(name, _)| !matches!(*name, "Host" | "Connection" | "Content-Length"))
            .collect();
        let before = ground.records().await;
        let answer = ground.send_with(text("method"), text("path"), &headers, text("body")).await;
        assert_eq!(answer.status, 200, "{line}");
        let mut added = ground.records().await;
        for seen in &before {
            let at = added.iter().position(|it| it == seen).expect("nothing goes away");
            added.swap_remove(at);
        }
        let key = text("path").rsplitn(3, '/').take(2).collect::<Vec<_>>();
        let key = key.into_iter().rev().collect::<Vec<_>>().join("/");
        let kind = (text("method"), text("body").starts_with('{'));
        match kind {
            ("PUT", true) => {
                let [seen] = added.as_slice() else { panic!("{added:?}") };
                assert_eq!(seen.key, key);
                assert_eq!(seen.value.as_deref(), Some(text("body")), "as it was sent");
            }
            ("PUT", false) => {
                let [seen] = added.as_slice() else { panic!("{added:?}") };
                let value = seen.value.as_deref().expect("a document");
                assert_eq!(seen.key, key);
                let told = headers.iter().find(|(name, _)| *name == "If-Match").expect("it").1;
                let document: Value = serde_json::from_str(value).expect("JSON, not XML");
                let own = document["meta"]["versionId"].as_str().expect("a version");
                let told = told.trim_start_matches("W/").trim_matches('"');
                assert!(own >= told, "{own} was read, {told} was told");
            }
            ("DELETE", _) => {
                let [seen] = added.as_slice() else { panic!("{added:?}") };
                assert_eq!((seen.key.as_str(), seen.value.as_deref()), (key.as_str(), None));
                assert_eq!(seen.version.as_deref(), Some("3"), "the version that the delete made");
            }
            _ => assert!(!added.is_empty(), "an empty POST is caught up with"),
        }
        requests += 1;
    }
    assert_eq!(requests, 30);
    assert_eq!(ground.answered("accepted"), 30);
    assert_eq!(ground.versions("Patient/labpat1").await.iter().max(), Some(&4));
}
