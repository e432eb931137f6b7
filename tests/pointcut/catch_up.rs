//! What no hook told is read from the server's history, and how far is remembered.

use rowcast::broker::Broker as _;
use rowcast::telemetry::health::Check;
use serde_json::{Value, json};

use super::ground::Ground;
use super::server::instant;
use super::valve::Flow;

/// The position of a type that is remembered, as its instant.
async fn position(ground: &Ground, resource_type: &str) -> Option<String> {
    let records = ground.read("changes.pointcut").await;
    let of_type = |record: &&rowcast::model::Record| {
        let key: Value =
            serde_json::from_slice(record.key.as_deref().expect("a key")).expect("JSON");
        assert_eq!(key["server"], ground.server.base());
        key["type"] == resource_type
    };
    let last = records.iter().filter(of_type).last()?;
    let value: Value = serde_json::from_slice(last.value.as_deref()?).expect("JSON");
    Some(value["last_updated"].as_str().unwrap_or_default().replace('Z', ".000Z"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_reads_the_whole_history_page_by_page() {
    let mut ground = Ground::new("", "").await;
    ground.server.world().page = 3;
    for number in 0..10 {
        ground.server.world().put(&format!("Patient/{number}"), &json!({}));
    }
    ground.server.world().delete("Patient/3");
    ground.start().await;
    ground.caught_up().await;
    assert_eq!(ground.records().await.len(), 11);
    assert_eq!(ground.versions("Patient/3").await, [1, -2]);
    assert_eq!(position(&ground, "Patient").await, Some(instant(11)));
    let written = [("outcome", "written")];
    assert_eq!(ground.count("rowcast_pointcut_catch_up_entries_total", &written), 11);
    let completed = [("outcome", "completed")];
    assert!(ground.count("rowcast_pointcut_catch_ups_total", &completed) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_goes_on_where_it_was_with_an_overlap() {
    let mut ground = Ground::new("", "").await;
    ground.server.world().put("Patient/old", &json!({}));
    ground.server.world().wait(1000);
    ground.server.world().put("Patient/1", &json!({}));
    ground.start().await;
    ground.caught_up().await;
    ground.stop().await;
    // nobody listens to the hooks of these
    ground.server.world().put("Patient/2", &json!({}));
    ground.server.world().delete("Patient/1");
    // begun before what was seen last, and committed after it
    ground.server.world().put_late("Patient/late", 800);
    ground.start().await;
    ground.caught_up().await;
    ground.until("all is there", async |ground| ground.versions("Patient/late").await == [1]).await;
    assert_eq!(ground.versions("Patient/1").await, [1, 1, -2], "once more by the overlap");
    assert_eq!(ground.versions("Patient/2").await, [1]);
    assert_eq!(
        ground.versions("Patient/old").await,
        [1],
        "beyond the overlap nothing is read again"
    );
    assert_eq!(position(&ground, "Patient").await, Some(instant(1004)));
    let since = format!("_since={}", instant(1002 - 300).replace(':', "%3A"));
    assert!(ground.server.world().times_asked(&since) > 0, "{:?}", ground.server.world().asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_not_read_to_its_end_leaves_the_position_where_it_was() {
    let mut ground = Ground::new("", "").await;
    for number in 0..4 {
        ground.server.world().put(&format!("Patient/{number}"), &json!({}));
    }
    ground.server.world().page = 2;
    // the second page is lost for good
    ground.server.world().failing = Some(("_offset=2", 404));
    ground.start().await;
    ground
        .until("it failed", async |ground| {
            ground.count("rowcast_pointcut_catch_ups_total", &[("outcome", "failed")]) > 0
        })
        .await;
    assert_eq!(position(&ground, "Patient").await, None);
    assert!(!ground.is_well(Check::FhirServer));
    ground.server.world().failing = None;
    ground.caught_up().await;
    assert_eq!(position(&ground, "Patient").await, Some(instant(4)));
    assert!(!ground.versions("Patient/0").await.is_empty(), "the oldest is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_cannot_be_had_for_a_while_is_asked_for_again() {
    let mut ground = Ground::new("", "").await;
    for number in 0..4 {
        ground.server.world().put(&format!("Patient/{number}"), &json!({}));
    }
    ground.server.world().page = 2;
    ground.server.world().failing = Some(("_offset=2", 503));
    ground.start().await;
    ground.until("it waits", async |ground| !ground.is_well(Check::FhirServer)).await;
    // the others are not held up
    ground
        .until("another type is read", async |ground| {
            position(ground, "Observation").await.is_some()
        })
        .await;
    ground.server.world().failing = None;
    ground.caught_up().await;
    assert_eq!(ground.count("rowcast_pointcut_catch_ups_total", &[("outcome", "failed")]), 0);
    assert!(ground.records().await.len() >= 4);
    assert!(ground.is_well(Check::FhirServer));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_position_waits_for_the_broker_to_have_all_of_it() {
    let mut ground = Ground::new("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    // the topics are made, then records are held
    let topics = ["changes", "changes.pointcut"].map(str::to_owned);
    for name in topics {
        let topic =
            rowcast::broker::TopicSettings { name, partitions: Some(1), properties: Vec::new() };
        ground.broker.ensure_topic(&topic).await.expect("it is made");
    }
    ground.broker.set(Flow::Held);
    ground.start().await;
    ground
        .until("the history is read", async |ground| {
            ground.server.world().times_asked("/Patient/_history") > 0
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(position(&ground, "Patient").await, None);
    ground.broker.set(Flow::On);
    ground.caught_up().await;
    assert_eq!(position(&ground, "Patient").await, Some(instant(1)));
    assert_eq!(ground.versions("Patient/1").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_now_leaves_out_what_was_and_nothing_that_comes() {
    let mut ground = Ground::new(", begin: now", "").await;
    ground.server.world().put("Patient/old", &json!({}));
    ground.server.world().wait(1000);
    ground.server.world().put("Patient/recent", &json!({}));
    ground.start().await;
    ground.caught_up().await;
    assert!(ground.records().await.is_empty());
    assert_eq!(position(&ground, "Patient").await, Some(instant(1002)));
    assert_eq!(position(&ground, "Observation").await, Some(String::new()), "there was none");
    ground.stop().await;
    ground.server.world().put("Patient/new", &json!({}));
    ground.server.world().put("Observation/first", &json!({}));
    ground.start().await;
    ground.caught_up().await;
    assert_eq!(ground.versions("Patient/new").await, [1]);
    assert_eq!(
        ground.versions("Observation/first").await,
        [1],
        "none is lost where there was none"
    );
    assert!(ground.versions("Patient/old").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_without_a_version_are_left_out_and_counted() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({ "meta": { "lastUpdated": instant(1) } }));
    ground.server.world().put("Patient/2", &json!({ "meta": { "versionId": "a1" } }));
    ground.server.world().put("Patient/3", &json!({}));
    assert_eq!(ground.send("POST", "/Patient", "").await.status, 200);
    let refused = [("outcome", "refused")];
    assert_eq!(ground.count("rowcast_pointcut_catch_up_entries_total", &refused), 1);
    let keys: Vec<_> = ground.records().await.into_iter().map(|seen| seen.key).collect();
    assert!(keys.contains(&"Patient/1".to_owned()), "the entity tag has it");
    assert!(keys.contains(&"Patient/3".to_owned()) && !keys.contains(&"Patient/2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topic_never_takes_is_left_out_and_holds_nothing_up() {
    let ground = Ground::running("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.broker.set(Flow::TooLarge);
    let body = r#"{"resourceType":"Patient","id":"2","meta":{"versionId":"1"}}"#;
    assert_eq!(ground.send("PUT", "/Patient/2", body).await.status, 413);
    let asked = ground.send("POST", "/Patient", "");
    let opened = async {
        ground
            .until("it was refused", async |ground| {
                ground.count("rowcast_pointcut_catch_up_entries_total", &[("outcome", "refused")])
                    == 1
            })
            .await;
        ground.broker.set(Flow::On);
    };
    let (asked, ()) = tokio::join!(asked, opened);
    assert_eq!(asked.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_caught_up_with_every_so_often_without_any_hook() {
    let mut ground = Ground::new("", "").await;
    ground = ground.every("1s");
    ground.start().await;
    ground.caught_up().await;
    ground.server.world().put("Patient/1", &json!({}));
    ground
        .until("it is there", async |ground| !ground.versions("Patient/1").await.is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_hides_nothing_that_comes_later() {
    let mut ground = Ground::new("", "").await;
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().put_document(&json!({ "resourceType": "Patient", "id": "ahead",
        "meta": { "versionId": "1", "lastUpdated": instant(100_000) } }));
    ground.start().await;
    ground.caught_up().await;
    ground.server.world().put("Patient/2", &json!({}));
    assert_eq!(ground.send("POST", "/Patient", "").await.status, 200);
    assert_eq!(ground.versions("Patient/2").await, [1]);
}
