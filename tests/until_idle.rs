//! `run --until-idle` on an instance that has no partition: it ends when the group is done.

use std::time::Duration;

use serde_json::json;

use crate::ownership::RowLock;
use crate::support::pipeline::{Pipeline, RULES, SOON, patient};
use crate::support::{self, free_port, unique, wait_for};

#[test]
fn an_instance_without_partitions_ends_once_those_of_the_others_are_settled() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("shared", 1), postgres.database("shared"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let mut owner = pipeline.start(&["run"]);
    pipeline.produce(&[patient("p", 1, &json!({}))]);
    pipeline.wait_for_patients(1);

    // the owner cannot write what comes now
    let lock = RowLock::of_patient(pipeline.url(), "p");
    pipeline.produce(&[patient("p", 2, &json!({})), patient("q", 1, &json!({}))]);
    let listen = format!("http.listen=127.0.0.1:{}", free_port());
    let mut job = pipeline.start(&["run", "--until-idle", "1s", "--set", &listen]);
    wait_for("the job to start", SOON, || job.messages().contains("starting").then_some(()));
    // the group takes it in meanwhile
    std::thread::sleep(Duration::from_secs(8));
    assert!(job.ended().is_none(), "{}", job.messages());
    drop(lock);
    assert_eq!(job.wait(SOON).code(), Some(0), "{}", job.messages());
    assert!(!job.messages().contains("partition assigned"), "{}", job.messages());
    assert_eq!(pipeline.patients(), ["p", "q"]);
    owner.terminate();
    assert_eq!(owner.wait(SOON).code(), Some(0), "{}", owner.messages());
}

#[test]
fn a_pattern_that_fits_no_topic_leaves_nothing_to_be_done() {
    let pattern = |broker: &str| {
        let topic = format!("'^{}[.]'", unique("nobody"));
        format!("source: {{ topic: {topic}, {broker} }}")
    };
    let letters = unique("letters");
    let dead_letter = format!("dead_letter: {{ topic: {letters} }}");
    let ends = |pipeline: &Pipeline| {
        pipeline.create_tables();
        let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    };
    let embedded = pattern("embedded: { path: log.db }");
    ends(&Pipeline::embedded_from(&embedded, RULES, &dead_letter));

    let Some(kafka) = support::requires_kafka() else { return };
    let servers = pattern(&format!("kafka: {{ bootstrap.servers: '{}' }}", kafka.servers()));
    ends(&Pipeline::embedded_from(&servers, RULES, &dead_letter));
    kafka.delete(&letters);
    kafka.delete(&format!("{letters}.status"));
}

#[test]
fn a_topic_that_is_not_there_yet_is_waited_for() {
    let Some(kafka) = support::requires_kafka() else { return };
    let (letters, topic) = (unique("letters"), unique("later"));
    let source = format!(
        "source: {{ topic: {topic}, kafka: {{ bootstrap.servers: '{}' }} }}",
        kafka.servers()
    );
    let dead_letter = format!("dead_letter: {{ topic: {letters} }}");
    let pipeline = Pipeline::embedded_from(&source, RULES, &dead_letter);
    pipeline.create_tables();
    let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
    wait_for("the run to look", SOON, || run.messages().contains("starting").then_some(()));
    std::thread::sleep(Duration::from_secs(5));
    assert!(run.ended().is_none(), "{}", run.messages());
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    kafka.delete(&letters);
    kafka.delete(&format!("{letters}.status"));
}
