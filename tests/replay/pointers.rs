//! Letters too small for the value they are about: it stays at the origin.

use rowcast::application::Application;
use rowcast::broker::TopicSettings;
use serde_json::{Value, json};

use super::ground::{Ground, mended, two_cities};
use super::replay;
use crate::support::pipeline::{RULES, patient};
use crate::support::{self, Kafka};

/// A patient whose letter has no room for it; none where the services are not.
fn provoke() -> Option<(Kafka, Ground)> {
    let kafka = support::requires_kafka()?;
    let ground = Ground::servers(RULES, "")?;
    let pipeline = &ground.pipeline;
    pipeline.create_tables();
    let application = Application::load(pipeline.path("topology.yaml")).expect("it is valid");
    support::block_on(async {
        let broker = application.broker().await.expect("a broker");
        let small = TopicSettings {
            name: format!("{}.dead-letter", pipeline.topic()),
            partitions: Some(2),
            properties: vec![("max.message.bytes".to_owned(), "10000".to_owned())],
        };
        broker.ensure_topic(&small).await.expect("the topic is made");
    });
    let mut large = two_cities();
    large["language"] = Value::from("x".repeat(100_000));
    pipeline.produce(&[patient("large", 1, &large)]);
    pipeline.run_until_idle();
    assert!(ground.letters().iter().all(|letter| letter.value.is_none()));
    Some((kafka, ground))
}

#[test]
fn a_value_that_is_still_at_its_origin_is_replayed_from_there() {
    for way in [&[][..], &["--to-topic"]] {
        let Some((_, ground)) = provoke() else { return };
        let pipeline = &ground.pipeline;
        let (_, told) = replay(pipeline, &[], 3);
        assert_eq!(told["failed_again"], 1, "{told}");
        pipeline.write_rules(&mended());
        replay(pipeline, way, 0);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients(), ["large"]);
        replay(pipeline, way, 4);
    }
}

#[test]
fn a_value_that_is_gone_from_its_origin_is_told_and_the_letter_stays_open() {
    let Some((kafka, ground)) = provoke() else { return };
    let pipeline = &ground.pipeline;
    pipeline.produce(&[patient("other", 1, &json!({}))]);
    let origin = super::letter(pipeline, |_| true).expect("a letter");
    let partition = origin["partition"].as_i64().and_then(|number| i32::try_from(number).ok());
    let offset = origin["offset"].as_i64().expect("an offset");
    kafka.delete_records_before(pipeline.topic(), partition.expect("a partition"), offset + 1);
    pipeline.write_rules(&mended());
    for _ in 0..2 {
        let (_, told) = replay(pipeline, &[], 3);
        assert_eq!((&told["gone"], &told["written"]), (&json!(1), &json!(0)), "{told}");
    }
    assert_eq!(pipeline.patients(), Vec::<String>::new());
}
