//! The subscriptions at the server: put, looked after, taken away.

use rowcast::pointcut::{Done, Subscribed, Subscriptions, subscriptions};
use rowcast::telemetry::health::Check;
use serde_json::json;

use super::ground::{Ground, TOKEN};

const PATIENT: &str = "Subscription/rowcast-clinical-Patient";

fn ours(ground: &Ground) -> Subscriptions {
    let types = ["Observation", "Patient"].map(Into::into).into();
    subscriptions("clinical", ground.settings(), types).expect("a client")
}

fn done(subscribed: &[Subscribed]) -> Vec<(&str, Done)> {
    subscribed.iter().map(|one| (&*one.resource_type, one.done)).collect()
}

async fn wait_until_active(ground: &Ground) {
    ground
        .until("both are active", async |ground| {
            ground.count("rowcast_pointcut_subscriptions", &[("state", "active")]) == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_is_subscribed_to_with_its_own_address_and_the_token() {
    let ground = Ground::running("", "").await;
    wait_until_active(&ground).await;
    assert!(ground.is_well(Check::Subscriptions));
    let subscription = ground.server.world().subscriptions[PATIENT].clone();
    let endpoint = format!("http://127.0.0.1:{}/Patient", ground.port());
    assert_eq!(subscription["channel"]["endpoint"], endpoint);
    assert_eq!(subscription["channel"]["header"][0], format!("Authorization: Bearer {TOKEN}"));
    assert_eq!(subscription["criteria"], "Patient?");
    assert_eq!(ground.server.world().subscriptions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_subscription_was_active_is_caught_up_with() {
    let mut ground = Ground::new("", "").await;
    ground.server.world().failing = Some(("Subscription", 503));
    ground.start().await;
    ground.caught_up().await;
    ground.until("it is told", async |ground| !ground.is_well(Check::Subscriptions)).await;
    // the interval is an hour, and no hook comes
    ground.server.world().put("Patient/1", &json!({}));
    ground.server.world().failing = None;
    wait_until_active(&ground).await;
    ground
        .until("it is there", async |ground| !ground.versions("Patient/1").await.is_empty())
        .await;
    assert!(ground.is_well(Check::Subscriptions));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_the_server_lost_or_switched_off_is_put_back() {
    let mut ground = Ground::new("", "").await.every("1s");
    ground.start().await;
    wait_until_active(&ground).await;
    for status in ["off", "error"] {
        ground.server.world().subscriptions.get_mut(PATIENT).expect("it")["status"] = json!(status);
        ground
            .until("it is put back", async |ground| {
                let world = ground.server.world();
                world.subscriptions[PATIENT]["status"] != status
            })
            .await;
    }
    ground.server.world().subscriptions.remove(PATIENT);
    ground
        .until("it is put again", async |ground| {
            ground.server.world().subscriptions.contains_key(PATIENT)
        })
        .await;
    wait_until_active(&ground).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn installing_says_what_it_did_and_uninstalling_takes_ours_alone_away() {
    let ground = Ground::new("", "").await;
    let ours = ours(&ground);
    let all = |what| [("Observation", what), ("Patient", what)];
    assert_eq!(done(&ours.install().await.expect("it is there")), all(Done::Created));
    assert_eq!(done(&ours.install().await.expect("it is there")), all(Done::Unchanged));
    {
        let mut world = ground.server.world();
        world.subscriptions.get_mut(PATIENT).expect("it")["channel"]["endpoint"] =
            json!("http://old");
        let other = json!({ "resourceType": "Subscription", "id": "other", "status": "active" });
        for id in ["other", "rowcast-clinical-2-Patient", "rowcast-clinical"] {
            let mut other = other.clone();
            other["id"] = json!(id);
            world.subscriptions.insert(format!("Subscription/{id}"), other);
        }
        // of a type that the rules used once
        let mut claim = other.clone();
        claim["id"] = json!("rowcast-clinical-Claim");
        world.subscriptions.insert("Subscription/rowcast-clinical-Claim".into(), claim);
    }
    let again = ours.install().await.expect("it is there");
    assert_eq!(done(&again), [("Observation", Done::Unchanged), ("Patient", Done::Updated)]);
    let removed = ours.uninstall().await.expect("it is there");
    let types: Vec<_> = removed.iter().map(|one| &*one.resource_type).collect();
    assert_eq!(types, ["Claim", "Observation", "Patient"]);
    let left: Vec<_> = ground.server.world().subscriptions.keys().cloned().collect();
    let others = ["other", "rowcast-clinical", "rowcast-clinical-2-Patient"];
    assert_eq!(left, others.map(|id| format!("Subscription/{id}")));
    assert!(ours.uninstall().await.expect("it is there").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_r5_server_gets_topics_too_and_loses_them() {
    let ground = Ground::new("", "").await;
    ground.server.world().fhir_version = Some("5.0.0");
    let ours = ours(&ground);
    ours.install().await.expect("it is there");
    let topic = "SubscriptionTopic/rowcast-clinical-Patient";
    let world = ground.server.world().subscriptions.clone();
    assert_eq!(world[topic]["resourceTrigger"][0]["resource"], "Patient");
    assert_eq!(world[PATIENT]["topic"], world[topic]["url"]);
    ours.uninstall().await.expect("it is there");
    assert!(ground.server.world().subscriptions.is_empty());
}
