//! Every request that a HAPI FHIR server really sent. The capture is not part of the project: where it
//! is absent the test says so and passes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::ground::Ground;
use super::server::World;

/// What the captured server held at a time of its clock.
fn bring_up_to(world: &mut World, state: &mut usize, time: &str) {
    let patient = |id: &str, version: &str, at: &str| {
        json!({ "resourceType": "Patient", "id": id,
                "meta": { "versionId": version, "lastUpdated": at } })
    };
    type Event = (&'static str, Box<dyn Fn(&mut World)>);
    let events: [Event; 7] = [
        (
            "23:37:25.301",
            Box::new(move |world| {
                world.put_document(&patient("labpat1", "1", "2026-11-22T23:37:25.301Z"))
            }),
        ),
        (
            "23:37:29.503",
            Box::new(move |world| {
                world.put_document(&patient("labpat1", "2", "2026-11-22T23:37:29.503Z"))
            }),
        ),
        (
            "23:37:37.850",
            Box::new(|world| {
                world.delete("Patient/labpat1");
            }),
        ),
        (
            "23:37:45.929",
            Box::new(move |world| {
                world.put_document(&patient("labpat1", "4", "2027-11-22T23:37:45.929Z"))
            }),
        ),
        (
            "23:37:49.967",
            Box::new(move |world| {
                world.put_document(&patient("1007", "1", "2027-11-22T23:37:49.967Z"))
            }),
        ),
        (
            "23:37:54.010",
            Box::new(move |world| {
                world.put_document(&patient("1008", "1", "2027-11-22T23:37:54.010Z"))
            }),
        ),
        (
            "23:37:54.010",
            Box::new(|world| {
                world.put_document(&json!({ "resourceType": "Observation", "id": "1009",
            "meta": { "versionId": "1", "lastUpdated": "2027-11-22T23:37:54.010Z" } }))
            }),
        ),
    ];
    while let Some((_, apply)) = events.get(*state).filter(|(at, _)| *at <= time) {
        apply(world);
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
        let time = text("t").split_once('T').expect("a time").1;
        bring_up_to(&mut ground.server.world(), &mut state, time);
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
