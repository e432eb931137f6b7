//! A request is never acknowledged before the broker has its record: the process is killed as soon as
//! the first acknowledgements are there, and each of them is in the topic.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowcast::application::Application;

use super::ground::{Ground, on_all};
use super::histories::{self, Scale};
use super::hook::{Sender, path, patient};
use crate::support::{Rowcast, block_on, wait_for};

/// A resource at a version; deletions have the one that they made.
type Told = (String, u64);

/// Hooks that are under way at a time.
const TOGETHER: usize = 16;

#[test]
fn what_was_acknowledged_is_in_the_topic_though_the_process_is_killed_at_once() {
    on_all("catch_up: 1h", |ground| {
        let mut acknowledged = BTreeSet::new();
        for round in 0..Scale::of_environment().kills.max(3) {
            let mut run = ground.run();
            let heard = hooks_until_killed(ground, &mut run, round);
            assert!(!heard.is_empty(), "something was acknowledged");
            acknowledged.extend(heard);
        }
        let there = topic(ground);
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "acknowledged and not in the topic: {lost:?}");
    });
}

#[test]
fn a_deletion_that_was_acknowledged_is_in_the_topic_with_its_version() {
    on_all("catch_up: 1h", |ground| {
        let mut acknowledged = BTreeSet::new();
        for round in 0..3 {
            let id = format!("gone{round}");
            ground.server.put(&format!("Patient/{id}"), &histories::patient(&id, "F", "male"));
            let mut run = ground.run();
            // nobody else tells it
            ground.server.faults(|faults| faults.lose = 1.0);
            ground.server.delete(&format!("Patient/{id}"));
            let status = Sender::to(ground.hooks).send_now("DELETE", &path(&id), "");
            run.kill();
            assert_eq!(status, Some(200));
            acknowledged.insert((format!("Patient/{id}"), 2));
        }
        let there = topic(ground);
        assert!(acknowledged.is_subset(&there), "{acknowledged:?} {there:?}");
    });
}

#[test]
fn what_an_empty_request_hints_at_is_in_the_topic_once_it_is_acknowledged() {
    on_all("catch_up: 1h", |ground| {
        let mut run = ground.run();
        ground.equals_the_server(&run);
        ground.server.faults(|faults| faults.lose = 1.0);
        let mut written = BTreeSet::new();
        for n in 0..20 {
            let path = format!("Patient/silent{n}");
            let id = format!("silent{n}");
            let version = ground.server.put(&path, &histories::patient(&id, "F", "male"));
            written.insert((path, version));
        }
        let status = Sender::to(ground.hooks).send_now("POST", "Patient", "");
        run.kill();
        assert_eq!(status, Some(200));
        let there = topic(ground);
        assert!(written.is_subset(&there), "{there:?}");
    });
}

#[test]
fn while_the_broker_is_away_nothing_is_acknowledged() {
    let Some(ground) = Ground::own_broker(crate::fhir_server::Settings::default(), "catch_up: 1h")
    else {
        return;
    };
    let _run = ground.run();
    let broker = ground.broker.as_ref().expect("one of its own");
    let sender = Sender::to(ground.hooks);
    let put = |version| sender.send_now("PUT", &path("p"), &patient("p", version, 10));
    assert_eq!(put(1), Some(200));
    broker.stop();
    assert_eq!(put(2), Some(503));
    broker.start_again();
    wait_for("an acknowledgement", Duration::from_mins(1), || (put(9) == Some(200)).then_some(()));
    assert!(topic(&ground).contains(&("Patient/p".to_owned(), 9)));
}

/// Sends hooks from many sides until some are acknowledged, and kills at that very moment.
fn hooks_until_killed(ground: &Ground, run: &mut Rowcast, round: usize) -> BTreeSet<Told> {
    let sender = Sender::to(ground.hooks);
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let kept = Arc::clone(&acknowledged);
    let wanted = 1 + round * 7;
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            block_on(async move {
                let mut sides = tokio::task::JoinSet::new();
                for side in 0..TOGETHER {
                    let (sender, kept) = (sender.clone(), Arc::clone(&kept));
                    sides.spawn(async move {
                        for n in 1.. {
                            let id = format!("r{round}-{side}");
                            let body = patient(&id, n, 500);
                            match sender.send("PUT", &path(&id), &body).await {
                                Some(200) => {
                                    let told = (format!("Patient/{id}"), n);
                                    kept.lock().expect("nobody panicked").insert(told);
                                }
                                // it was killed
                                None => return,
                                Some(status) => panic!("answered {status}"),
                            }
                        }
                    });
                }
                while let Some(side) = sides.join_next().await {
                    side.expect("it did not panic");
                }
            });
        });
        while acknowledged.lock().expect("nobody panicked").len() < wanted {
            std::thread::yield_now();
        }
        run.kill();
        sending.join().expect("it did not panic");
    });
    let heard = acknowledged.lock().expect("nobody panicked");
    heard.clone()
}

/// What the ingest topic holds.
pub(super) fn topic(ground: &Ground) -> BTreeSet<Told> {
    let application =
        Application::load(ground.pipeline.path("topology.yaml")).expect("it is valid");
    block_on(async {
        let broker = application.broker().await.expect("a broker");
        let mut reader = broker.reader(ground.pipeline.topic()).await.expect("a reader");
        let mut told = BTreeSet::new();
        while let Some(records) = reader.next().await.expect("records") {
            for record in records {
                let key = record.key.as_deref().expect("a key");
                let key = String::from_utf8(key.to_vec()).expect("a key is text");
                told.insert((key, version(&record)));
            }
        }
        told
    })
}

/// By the header, else by the document.
fn version(record: &rowcast::model::Record) -> u64 {
    let header = record.headers.iter().find(|header| &*header.name == "rowcast.version");
    let version = if let Some(value) = header.and_then(|header| header.value.as_deref()) {
        String::from_utf8(value.to_vec()).expect("a version is text")
    } else {
        let value = record.value.as_deref().expect("a deletion has its version in a header");
        let value: serde_json::Value = serde_json::from_slice(value).expect("a document");
        value["meta"]["versionId"].as_str().expect("a version").to_owned()
    };
    version.parse().expect("a version is a number")
}
