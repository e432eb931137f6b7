//! The dead-letter topic of a real Kafka takes no letters: the partition pauses, its rows are there,
//! nothing is committed or skipped, `/readyz`, metrics and log say so without a word of data, and it
//! goes on by itself once the topic takes letters again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::support::http;
use crate::support::kip_1034;
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::{self, Kafka, wait_for};

/// Part of every id and of every value that is refused.
const CANARY: &str = "canary-5f1c";
/// Kafka's client gives a letter up after this; everything it says is to be heard.
const PROPERTIES: &str = ", delivery.timeout.ms: 3000, debug: 'broker,topic,msg'";

/// One good and one bad record of each of these numbers.
fn pairs(numbers: std::ops::Range<usize>) -> Vec<String> {
    let pair = |n| {
        let bad = json!({ "birthDate": CANARY, "gender": CANARY });
        [
            patient(&format!("{CANARY}-good-{n}"), 1, &json!({ "gender": CANARY })),
            patient(&format!("{CANARY}-bad-{n}"), 1, &bad),
        ]
    };
    numbers.flat_map(pair).collect()
}

struct Fixture {
    kafka: Kafka,
    pipeline: Pipeline,
}

impl Fixture {
    fn on(kafka: Kafka) -> Option<Self> {
        let postgres = support::requires_postgres()?;
        let (topic, database) = (kafka.topic("unwritable", 1), postgres.database("unwritable"));
        let servers = (kafka.servers(), PROPERTIES);
        let pipeline = Pipeline::servers_with(servers, topic, database, RULES, "");
        pipeline.create_tables();
        Some(Self { kafka, pipeline })
    }

    fn letters(&self) -> String {
        format!("{}.dead-letter", self.pipeline.topic())
    }

    fn committed(&self) -> Vec<i64> {
        self.kafka.committed(&self.pipeline.name(), self.pipeline.topic())
    }

    /// Offsets whose letters are in the topic, each counted once.
    fn refused(&self) -> BTreeSet<i64> {
        let letters = kip_1034::failed(self.kafka.servers(), &self.letters());
        letters.into_iter().map(|letter| letter.origin.2).collect()
    }

    /// `left`: offsets whose letters must be there in the end.
    fn pauses_and_goes_on(&self, breaks: impl Fn(), mends: impl Fn(), left: &[i64]) {
        let pipeline = &self.pipeline;
        pipeline.produce(&pairs(0..1));
        let mut run = pipeline.start_with(&["run"], &[("RUST_LOG", "trace")]);
        pipeline.wait_for_patients(1);
        wait_for("the first commit", SOON, || (self.committed() == [2]).then_some(()));
        assert_eq!(self.refused(), BTreeSet::from([1]));

        breaks();
        pipeline.produce(&pairs(1..3));
        pipeline.wait_for_patients(3);
        let errors = || pipeline.metric("rowcast_dead_letter_write_errors_total", &[]);
        wait_for("a letter that is not written", SOON, || errors().filter(|errors| *errors > 0.5));
        let said = pipeline.wait_until_ready(Ready::No);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(said["checks"]["dead_letter_topic"]["ok"], false, "{said}");
        assert_eq!(said["checks"]["database"]["ok"], true, "{said}");
        let metrics = http::get(pipeline.port(), "/metrics").expect("metrics").body;
        // for longer than any try takes
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(self.committed(), [2], "nothing is committed while letters wait");
        let settled =
            |outcome| pipeline.metric("rowcast_records_settled_total", &[("outcome", outcome)]);
        assert_eq!((settled("written"), settled("dead_lettered")), (Some(1.0), Some(1.0)));
        assert_eq!(pipeline.metric("rowcast_records_in_flight", &[]), Some(4.0));
        assert!(run.ended().is_none(), "{}", run.messages());

        mends();
        let all = || (self.committed() == [6]).then_some(());
        wait_for("the last commit", SOON * 2, all);
        pipeline.wait_until_ready(Ready::Yes);
        assert_eq!(self.refused(), left.iter().copied().collect());
        assert_eq!(pipeline.patients().len(), 3);
        assert_eq!(pipeline.letters().len(), left.len());
        assert_eq!((settled("written"), settled("dead_lettered")), (Some(3.0), Some(3.0)));
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        let heard = run.messages();
        assert!(heard.contains("letters cannot be written; the partition waits"), "{heard}");
        for told in [&heard, &metrics, &said.to_string()] {
            let line = told.lines().find(|line| line.contains(CANARY));
            assert_eq!(line, None, "data where it must not be");
        }
    }
}

#[test]
fn too_few_replicas_for_letters_pause_the_partition_until_there_are_enough() {
    let Some(first) = support::requires_own_kafka() else { return };
    let Some(fixture) = Fixture::on(Kafka::at(first.address())) else { return };
    // the group's own topic is made while there is one broker to make it on
    assert_eq!(fixture.committed(), [-1]);
    let Some(second) = support::requires_second_broker_of(&first) else { return };
    fixture.kafka.create_for_two_brokers(&fixture.letters());
    fixture.pauses_and_goes_on(|| second.stop(), || second.start_again(), &[1, 3, 5]);
}

#[test]
fn a_topic_too_narrow_even_for_a_letters_headers_pauses_the_partition_until_it_is_widened() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(fixture) = Fixture::on(kafka) else { return };
    let most = |bytes| {
        let properties = [("max.message.bytes", bytes), ("retention.ms", "-1")];
        fixture.kafka.set_properties(&fixture.letters(), &properties);
    };
    fixture.pauses_and_goes_on(|| most("200"), || most("1048588"), &[1, 3, 5]);
}

#[test]
fn a_deleted_dead_letter_topic_pauses_the_partition_until_it_is_made_again() {
    let options = "auto.create.topics.enable=false";
    let Some(server) = support::requires_own_kafka_with(options) else { return };
    let Some(fixture) = Fixture::on(Kafka::at(server.address())) else { return };
    let letters = fixture.letters();
    let (kafka, topic) = (&fixture.kafka, letters.as_str());
    // the first letter is gone with the topic
    fixture.pauses_and_goes_on(|| kafka.delete(topic), || kafka.create_again(topic, 1), &[3, 5]);
}
