//! Topics whose producers write in transactions, as Kafka Streams and Kafka Connect do: each ends in a
//! control record, which nobody is given to read.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, SOON, patient};
use crate::support::{self, Kafka, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// A transactional producer of one topic's first partition.
struct Transactional {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
}

impl Transactional {
    fn of(kafka: &Kafka, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.servers());
        config.set("transactional.id", support::unique("writer"));
        // an undecided one waits for the test
        config.set("transaction.timeout.ms", "900000");
        let producer: ThreadedProducer<_> = config.create().expect("a producer");
        producer.init_transactions(LONG).expect("the broker knows it");
        Self { producer, topic: topic.to_owned() }
    }

    /// Appends patients of these names to a transaction that is not decided yet.
    fn begin(&self, names: &[&str]) {
        self.producer.begin_transaction().expect("none is open");
        for name in names {
            let line: Value = serde_json::from_str(&patient(name, 1, &json!({}))).expect("JSON");
            let (key, value) = (line["key"].as_str().expect("a key"), line["value"].to_string());
            let record = BaseRecord::to(&self.topic).partition(0).key(key).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).expect("room");
        }
        self.producer.flush(LONG).expect("the broker has them");
    }

    fn commit(&self) {
        self.producer.commit_transaction(LONG).expect("it is committed");
    }

    fn abort(&self) {
        self.producer.abort_transaction(LONG).expect("it is aborted");
    }
}

fn pipeline(kafka: &Kafka) -> Option<Pipeline> {
    let postgres = support::requires_postgres()?;
    let (topic, database) = (kafka.topic("transactions", 1), postgres.database("transactions"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    Some(pipeline)
}

#[test]
fn a_topic_that_ends_in_control_records_is_settled_to_its_end() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(pipeline) = pipeline(&kafka) else { return };
    let writer = Transactional::of(&kafka, pipeline.topic());
    writer.begin(&["a", "b"]);
    writer.commit();
    writer.begin(&["gone"]);
    writer.abort();

    let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
    assert_eq!(run.wait(SOON * 2).code(), Some(0), "{}", run.messages());
    assert_eq!(pipeline.patients(), ["a", "b"]);
    // two records, a control record, one that was aborted, a control record
    assert_eq!(kafka.committed(&pipeline.name(), pipeline.topic()), [5]);
}

#[test]
fn a_running_instance_is_not_behind_a_control_record() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(pipeline) = pipeline(&kafka) else { return };
    let writer = Transactional::of(&kafka, pipeline.topic());
    let _run = pipeline.start(&["run"]);
    for (count, name) in ["a", "b"].into_iter().enumerate() {
        writer.begin(&[name]);
        writer.commit();
        pipeline.wait_for_patients(count + 1);
        wait_for("a lag of 0", SOON, || {
            let lag = pipeline.metric("rowcast_consumer_lag_records", &[("partition", "0")])?;
            let end = i64::try_from(2 * (count + 1)).expect("few");
            let committed = kafka.committed(&pipeline.name(), pipeline.topic());
            (lag < 0.5 && committed == [end]).then_some(())
        });
    }
}

#[test]
fn what_is_decided_later_is_not_passed_over() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(pipeline) = pipeline(&kafka) else { return };
    let first = Transactional::of(&kafka, pipeline.topic());
    let undecided = Transactional::of(&kafka, pipeline.topic());
    first.begin(&["a"]);
    first.commit();
    undecided.begin(&["late"]);
    // written after it, decided before it: readers get neither as long as it is undecided
    first.begin(&["b"]);
    first.commit();
    let _run = pipeline.start(&["run"]);
    pipeline.wait_for_patients(1);
    wait_for("the control record to be passed", SOON, || {
        (kafka.committed(&pipeline.name(), pipeline.topic()) == [2]).then_some(())
    });
    undecided.commit();
    pipeline.wait_for_patients(3);
    assert_eq!(pipeline.patients(), ["a", "b", "late"]);
    wait_for("all of it", SOON, || {
        (kafka.committed(&pipeline.name(), pipeline.topic()) == [6]).then_some(())
    });
}
