//! What single metrics count while a topology runs, and what they leave out.

use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, deleted, patient};
use crate::support::{http, wait_for};

/// Two cities, where the rules take one.
fn poison(id: &str) -> String {
    patient(id, 1, &json!({ "address": [{ "city": "A" }, { "city": "B" }] }))
}

/// Two names: two rows of the child table.
fn named(id: &str, version: i64) -> String {
    patient(id, version, &json!({ "name": [{ "family": "a" }, { "family": "b" }] }))
}

/// A pipeline that runs, with its series of the first scrape.
fn pipeline(more: &str) -> Pipeline {
    let pipeline = Pipeline::embedded(RULES, more);
    pipeline.create_tables();
    pipeline
}

fn wait_until_settled(pipeline: &Pipeline, count: f64) {
    wait_for("the records to be settled", SOON, || {
        let settled = pipeline.metric("rowcast_records_settled_total", &[])?;
        (settled > count - 0.5).then_some(())
    });
}

#[test]
fn rows_and_their_age_are_told_by_table_from_0_on_and_only_of_what_is_written() {
    let pipeline = pipeline("");
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let rows = |operation, table| {
        let labels = [("operation", operation), ("table", table)];
        pipeline.metric("rowcast_db_rows_total", &labels)
    };
    let timed =
        || pipeline.metric("rowcast_end_to_end_latency_seconds_count", &[("table", "patient")]);
    for (operation, table) in [
        ("upsert", "patient"),
        ("delete", "patient"),
        ("insert", "patient_name"),
        ("delete", "patient_name"),
    ] {
        assert_eq!(rows(operation, table), Some(0.0), "{operation} {table}");
    }
    assert_eq!(timed(), Some(0.0));

    let other = json!({ "key": "Basic/1", "value": { "resourceType": "Basic", "id": "1", "meta": { "versionId": "1" } } });
    let records = [named("a", 2), named("b", 1), poison("p"), other.to_string(), deleted("b", 2)];
    pipeline.produce(&records);
    wait_until_settled(&pipeline, 5.0);
    let before = timed();
    // stale
    pipeline.produce(&[named("a", 1), named("a", 2)]);
    wait_until_settled(&pipeline, 7.0);
    // b's first version is folded away where both come in one batch
    assert!(before >= Some(2.0) && before <= Some(3.0), "a and b's end: {before:?}");
    assert_eq!(timed(), before, "what is stale, filtered or refused is nowhere to be seen");
    assert!(rows("upsert", "patient") >= Some(1.0));
    assert!(rows("insert", "patient_name") >= Some(2.0));
    let age = pipeline.metric("rowcast_end_to_end_latency_seconds_sum", &[]).expect("a sum");
    assert!((0.0..SOON.as_secs_f64()).contains(&age), "{age}");
}

#[test]
fn the_age_of_what_waits_grows_while_nothing_can_be_written_and_ends_with_the_commit() {
    let pipeline = pipeline("");
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let age = || pipeline.metric("rowcast_consumer_lag_seconds", &[]);
    wait_for("an age", SOON, age);
    assert_eq!(age(), Some(0.0), "nothing waits");
    pipeline.execute("ALTER TABLE patient RENAME TO elsewhere");
    pipeline.produce(&[named("a", 1)]);
    let young = wait_for("a record that waits", SOON, || age().filter(|age| *age > 0.0));
    let old = wait_for("it to grow", SOON, || age().filter(|age| *age > young + 1.0));
    assert!(old < SOON.as_secs_f64() * 2.0, "since the record was written: {old}");
    let state = http::get(pipeline.port(), "/api/v1/state").expect("the state").body;
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert!(state["lag_seconds"].as_f64() >= Some(old), "{state}");
    let partitions = state["partitions"].as_array().expect("partitions");
    assert!(partitions.iter().any(|of| of["lag_seconds"] == state["lag_seconds"]), "{state}");
    // what comes later is not older
    pipeline.produce(&[named("b", 1)]);
    assert!(age() >= Some(old));
    pipeline.execute("ALTER TABLE elsewhere RENAME TO patient");
    pipeline.wait_for_patients(2);
    wait_for("nothing to wait", SOON, || age().filter(|age| *age == 0.0));
}

#[test]
fn what_becomes_of_letters_that_are_sent_again_is_counted_and_of_no_other_record() {
    let pipeline = pipeline("");
    let replays = || {
        let of = |outcome| {
            let labels = [("outcome", outcome)];
            pipeline.metric("rowcast_dead_letter_replays_total", &labels)
        };
        [of("written"), of("dead_lettered"), of("stale")]
    };
    let run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    assert_eq!(replays(), [Some(0.0); 3], "from 0 on");
    pipeline.produce(&[named("a", 1), poison("p")]);
    wait_until_settled(&pipeline, 2.0);
    assert_eq!(replays(), [Some(0.0); 3]);
    pipeline.expect(&["dead-letters", "replay", "--to-topic"]);
    wait_until_settled(&pipeline, 3.0);
    assert_eq!(replays(), [Some(0.0), Some(1.0), Some(0.0)], "it is refused again");
    wait_for("the commits, or all comes again", SOON, || {
        pipeline.metric("rowcast_consumer_committed_offset", &[]).filter(|all| *all > 2.5)
    });
    drop(run);

    pipeline.write_rules(&RULES.replace("Patient.address.city", "Patient.address.first().city"));
    let _run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    pipeline.expect(&["dead-letters", "replay", "--to-topic"]);
    pipeline.wait_for_patients(2);
    let written = [Some(1.0), Some(0.0), Some(0.0)];
    wait_for("the replay to be counted", SOON, || (replays() == written).then_some(()));
}
