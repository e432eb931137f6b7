//! The retry tier, through the binary: a real foreign key between two root tables, whose rows come in
//! any order. Embedded broker and SQLite always; Kafka with PostgreSQL and with MariaDB where they
//! are.

use std::time::Duration;

use bytes::Bytes;
use rowcast::broker::Broker as _;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::dead_letter::{DeadLetter, Letterhead, letter};
use rowcast::error::{Cause, Place, Refusal, Stage};
use rowcast::model::{Offset, Record, TopicPartition};
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, Ready, SOON, deleted, patient};
use crate::support::{self, wait_for};

const RULES: &str = r#"{ "transformers": [
  { "resourceType": "Patient", "tableName": "patient", "columns": [
    { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING", "maximumSize": 64 } ] },
  { "resourceType": "Observation", "tableName": "observation", "columns": [
    { "columnName": "id", "fhirPath": "Observation.id", "columnType": "STRING", "maximumSize": 64 },
    { "columnName": "patient_id", "fhirPath": "Observation.subject.reference.substring(8)", "columnType": "STRING", "maximumSize": 64 } ] } ] }"#;

/// Retries so often and so soon that a test sees several, and never gives up.
const OFTEN: &str = "retry: { maximum_attempts: 1000, delay: 50ms, strategy: constant }";

/// Embedded broker and SQLite, with `observation.patient_id` a foreign key to `patient`.
fn embedded(more: &str) -> Pipeline {
    let pipeline = Pipeline::embedded(RULES, more);
    let ddl = pipeline.expect(&["schema"]);
    let keyed = ddl.replace("\"patient_id\" TEXT", "\"patient_id\" TEXT REFERENCES patient (id)");
    assert_ne!(keyed, ddl);
    pipeline.execute(&keyed);
    pipeline
}

/// The same behaviour on each ground, with the same foreign key.
fn on_each(more: &str, behaves: impl Fn(&Pipeline)) {
    let pipeline = embedded(more);
    behaves(&pipeline);
    let Some(kafka) = support::requires_kafka() else { return };
    let postgres = support::requires_postgres().map(|server| server.database("retry"));
    let mariadb = support::requires_mariadb().map(|server| server.database("retry"));
    for database in [postgres, mariadb].into_iter().flatten() {
        let topic = kafka.topic("retry", 1);
        let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, more);
        pipeline.create_tables();
        pipeline.execute(
            "ALTER TABLE observation ADD FOREIGN KEY (patient_id) REFERENCES patient (id)",
        );
        behaves(&pipeline);
    }
}

fn observation(id: &str, version: i64, of: &str) -> String {
    let observation = json!({
        "resourceType": "Observation", "id": id, "meta": { "versionId": version.to_string() },
        "subject": { "reference": format!("Patient/{of}") },
    });
    json!({ "key": format!("Observation/{id}"), "value": observation }).to_string()
}

fn some_patient(id: &str) -> String {
    patient(id, 1, &json!({}))
}

/// Id, version and patient of each observation.
fn observations(pipeline: &Pipeline) -> Vec<String> {
    let query =
        "SELECT id, trim(CAST(version AS char(9))), patient_id FROM observation ORDER BY id";
    pipeline.query(query).into_iter().map(|row| row.join(" ")).collect()
}

fn settled(pipeline: &Pipeline, outcome: &str) -> f64 {
    pipeline.metric("rowcast_records_settled_total", &[("outcome", outcome)]).unwrap_or_default()
}

fn tried(pipeline: &Pipeline, outcome: &str) -> f64 {
    pipeline.metric("rowcast_retry_attempts_total", &[("outcome", outcome)]).unwrap_or_default()
}

fn wait_for_more(what: &str, count: impl Fn() -> f64, than: f64) {
    wait_for(what, SOON, || (count() > than).then_some(()));
}

fn of_letters<'l>(letters: &'l [Value], name: &str) -> Vec<&'l Value> {
    letters.iter().map(|letter| &letter[name]).collect()
}

#[test]
fn a_child_that_comes_before_its_parent_is_written_once_the_parent_is_there() {
    on_each(OFTEN, |pipeline| {
        pipeline.produce(&[observation("o", 1, "p")]);
        let mut run = pipeline.start(&["run"]);
        wait_for_more("retries", || tried(pipeline, "retried"), 2.0);
        assert_eq!(vec![settled(pipeline, "retried")], [1.0], "it is retried from there, not here");
        assert_eq!(observations(pipeline), [""; 0]);
        pipeline.produce(&[some_patient("p")]);
        wait_for_more("the row", || tried(pipeline, "written"), 0.0);
        assert_eq!(observations(pipeline), ["o 1 p"]);
        wait_for("nothing to wait", SOON, || {
            pipeline.metric("rowcast_retry_waiting_records", &[]).filter(|waiting| *waiting < 0.5)
        });
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(pipeline.letters().len(), 0);
        assert_eq!(pipeline.query("SELECT id FROM observation").len(), 1);
    });
}

#[test]
fn a_child_whose_parent_never_comes_is_one_letter_after_the_last_attempt() {
    let more = "retry: { maximum_attempts: 3, delay: 500ms, maximum_delay: 1s }";
    on_each(more, |pipeline| {
        pipeline.produce(&[observation("o", 1, "p"), some_patient("other")]);
        // which takes longer than it must be idle: nothing is idle while a record waits
        pipeline.run_until_idle();
        let letters = pipeline.letters();
        assert_eq!(of_letters(&letters, "cause"), ["constraint_foreign_key"]);
        assert_eq!(of_letters(&letters, "attempts"), [4], "the first time and three retries");
        assert_eq!(of_letters(&letters, "replays"), [0]);
        assert_eq!(of_letters(&letters, "topic"), [pipeline.topic()]);
        assert_eq!(of_letters(&letters, "offset"), [0]);
        let at = |name: &str| {
            let text = letters[0][name].as_str().expect("an instant");
            chrono::DateTime::parse_from_rfc3339(text).expect("an instant")
        };
        let waited = (at("last_failed_at") - at("first_failed_at")).num_milliseconds();
        assert!(waited >= 2500, "half a second, one and one, not {waited} ms");
        assert_eq!(pipeline.patients(), ["other"]);
        // a replay finds it as it was
        pipeline.produce(&[some_patient("p")]);
        pipeline.run_until_idle();
        pipeline.expect(&["dead-letters", "replay"]);
        assert_eq!(observations(pipeline), ["o 1 p"]);
    });
}

#[test]
fn its_neighbours_are_written_while_a_record_waits() {
    on_each("retry: { delay: 1h, maximum_delay: 1h }", |pipeline| {
        let mut lines = vec![observation("waits", 1, "nobody"), some_patient("p")];
        lines.extend((10..30).map(|n| observation(&format!("o{n}"), 1, "p")));
        pipeline.produce(&lines);
        let mut run = pipeline.start(&["run"]);
        wait_for("its neighbours", SOON, || (observations(pipeline).len() == 20).then_some(()));
        let lag = || pipeline.metric("rowcast_consumer_lag_records", &[]).filter(|lag| *lag < 0.5);
        wait_for("all to be committed", SOON, lag);
        wait_for("one that waits", SOON, || {
            let waiting = pipeline.metric("rowcast_retry_waiting_records", &[]);
            waiting.filter(|waiting| (waiting - 1.0).abs() < 0.5)
        });
        let (received, ended) = ("rowcast_records_received_total", "rowcast_records_in_flight");
        let received = pipeline.metric(received, &[("topic", pipeline.topic())]);
        assert_eq!((received, pipeline.metric(ended, &[])), (Some(22.0), Some(0.0)));
        assert_eq!((settled(pipeline, "written"), settled(pipeline, "retried")), (21.0, 1.0));
        pipeline.wait_until_ready(Ready::Yes);
        let begun = std::time::Instant::now();
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert!(begun.elapsed() < Duration::from_secs(15), "a stop waits for nothing that waits");
        // a shorter delay holds for what waits already
        pipeline.produce(&[some_patient("nobody")]);
        let sooner = ["--set", "retry.maximum_delay=50ms", "--set", "retry.delay=50ms"];
        let mut run = pipeline.start(&[&["run", "--until-idle", "1s"], &sooner[..]].concat());
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(observations(pipeline).len(), 21);
        assert_eq!(pipeline.letters().len(), 0);
    });
}

#[test]
fn what_was_overtaken_while_it_waited_is_stale() {
    on_each(OFTEN, |pipeline| {
        let waiting = ["changed", "deleted", "gone"].map(|id| observation(id, 1, "late"));
        pipeline.produce(&waiting);
        let mut run = pipeline.start(&["run"]);
        wait_for_more("all to wait", || settled(pipeline, "retried"), 2.5);
        pipeline.produce(&[some_patient("here")]);
        wait_for_more("the parent", || settled(pipeline, "written"), 0.5);
        pipeline.produce(&[
            observation("changed", 2, "here"),
            deleted("x", 2).replace("Patient/x", "Observation/deleted"),
            json!({ "key": "Observation/gone", "value": null }).to_string(),
        ]);
        wait_for_more("what overtakes them", || settled(pipeline, "written"), 3.5);
        pipeline.produce(&[some_patient("late")]);
        wait_for_more("all to be stale", || tried(pipeline, "stale"), 2.5);
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(observations(pipeline), ["changed 2 here"]);
        assert_eq!(pipeline.letters().len(), 0);
    });
}

#[test]
fn a_parent_that_is_deleted_before_its_child_goes_once_the_child_is_gone() {
    on_each(OFTEN, |pipeline| {
        pipeline.produce(&[some_patient("p")]);
        let mut run = pipeline.start(&["run"]);
        wait_for_more("the parent", || settled(pipeline, "written"), 0.5);
        pipeline.produce(&[observation("o", 1, "p")]);
        wait_for_more("the child", || settled(pipeline, "written"), 1.5);
        pipeline.produce(&[deleted("p", 2)]);
        wait_for_more("the delete to wait", || tried(pipeline, "retried"), 1.5);
        assert_eq!(pipeline.patients(), ["p"]);
        pipeline.produce(&[deleted("x", 2).replace("Patient/x", "Observation/o")]);
        wait_for_more("the delete", || tried(pipeline, "written"), 0.5);
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(pipeline.patients(), [""; 0]);
        assert_eq!(observations(pipeline), [""; 0]);
        assert_eq!(pipeline.letters().len(), 0);
    });
}

#[test]
fn killed_again_and_again_while_records_wait_nothing_is_lost_and_nothing_doubled() {
    on_each(OFTEN, |pipeline| {
        let patients: Vec<_> = (0..3).map(|n| some_patient(&format!("p{n}"))).collect();
        let waiting: Vec<_> =
            (10..40).map(|n| observation(&format!("o{n}"), 1, &format!("p{}", n % 3))).collect();
        pipeline.produce(&waiting);
        for kill in 0..4 {
            let mut run = pipeline.start(&["run"]);
            let seen = |outcome: &str| tried(pipeline, outcome) > 0.0;
            wait_for("retries", SOON, || (seen("retried") || seen("written")).then_some(()));
            std::thread::sleep(Duration::from_millis(37 * kill));
            if let Some(patient) = patients.get(usize::try_from(kill).unwrap().wrapping_sub(1)) {
                pipeline.produce(std::slice::from_ref(patient));
            }
            run.kill();
        }
        pipeline.run_until_idle();
        let expected: Vec<_> = (10..40).map(|n| format!("o{n} 1 p{}", n % 3)).collect();
        assert_eq!(observations(pipeline), expected);
        assert_eq!(pipeline.letters().len(), 0);
    });
}

#[test]
fn a_systemic_fault_does_not_drain_what_waits_into_the_dead_letter_topic() {
    let more = "retry: { maximum_attempts: 1, delay: 50ms }";
    on_each(more, |pipeline| {
        let waiting: Vec<_> = (10..60).map(|n| observation(&format!("o{n}"), 1, "p")).collect();
        pipeline.produce(&waiting);
        let mut run = pipeline.start(&["run"]);
        let said = pipeline.wait_until_ready(Ready::No);
        let said = if said.contains("given up") {
            said
        } else {
            wait_for("an open circuit", SOON, || {
                let answer = support::http::get(pipeline.port(), "/readyz")?;
                answer.body.contains("given up").then_some(answer.body)
            })
        };
        assert!(said.contains("constraint_foreign_key"), "{said}");
        std::thread::sleep(Duration::from_secs(1));
        // live traffic goes on meanwhile, and mends it
        pipeline.produce(&[some_patient("p")]);
        pipeline.wait_until_ready(Ready::Yes);
        let settled = || observations(pipeline).len() + pipeline.letters().len();
        wait_for("rows and letters", SOON, || (settled() == 50).then_some(()));
        let letters = pipeline.letters().len();
        assert!(letters < 20, "{letters}: up to 19 alike may be chance, from any partition");
        let open = pipeline.metric("rowcast_circuit_open", &[("component", "rules")]);
        assert_eq!(open, Some(0.0));
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    });
}

#[test]
fn a_few_orphans_among_many_good_records_open_no_circuit() {
    on_each("retry: { maximum_attempts: 2, delay: 50ms }", |pipeline| {
        let mut lines = vec![some_patient("p")];
        lines
            .extend((1000..1300).map(|n| {
                observation(&format!("o{n}"), 1, if n % 6 == 0 { "nobody" } else { "p" })
            }));
        pipeline.produce(&lines);
        pipeline.run_until_idle();
        assert_eq!(observations(pipeline).len(), 250);
        let letters = pipeline.letters();
        assert_eq!(letters.len(), 50);
        assert!(letters.iter().all(|letter| letter["attempts"] == 3));
    });
}

#[test]
fn without_the_section_or_with_no_attempts_a_refusal_is_a_letter_at_once() {
    for more in ["", "retry: { maximum_attempts: 0 }", "retry: { causes: [constraint_unique] }"] {
        let pipeline = embedded(more);
        pipeline.produce(&[observation("o", 1, "p")]);
        pipeline.run_until_idle();
        assert_eq!(of_letters(&pipeline.letters(), "attempts"), [1]);
    }
}

#[test]
fn what_waits_is_tried_a_last_time_once_retries_are_turned_off() {
    let pipeline = embedded("retry: { delay: 1h, maximum_delay: 1h }");
    pipeline.produce(&[observation("heals", 1, "p"), observation("stays", 1, "nobody")]);
    let mut run = pipeline.start(&["run"]);
    wait_for_more("both to wait", || settled(&pipeline, "retried"), 1.0);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    pipeline.produce(&[some_patient("p")]);
    let off = ["retry.maximum_attempts=0", "retry.delay=50ms", "retry.maximum_delay=50ms"];
    let off: Vec<&str> = off.iter().flat_map(|setting| ["--set", setting]).collect();
    let mut run = pipeline.start(&[&["run", "--until-idle", "1s"], &off[..]].concat());
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    assert_eq!(observations(&pipeline), ["heals 1 p"]);
    assert_eq!(of_letters(&pipeline.letters(), "attempts"), [2]);
}

#[test]
fn two_instances_share_what_waits_and_one_takes_over_from_the_other() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("retry_shared", 4), postgres.database("retry_shared"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, OFTEN);
    pipeline.create_tables();
    pipeline
        .execute("ALTER TABLE observation ADD FOREIGN KEY (patient_id) REFERENCES patient (id)");
    let waiting: Vec<_> = (100..200).map(|n| observation(&format!("o{n}"), 1, "p")).collect();
    pipeline.produce(&waiting);
    let mut first = pipeline.start(&["run"]);
    wait_for_more("retries", || tried(&pipeline, "retried"), 100.0);
    let mut second = pipeline.start(&["run", "--set", "http.listen=127.0.0.1:0"]);
    wait_for("a partition to leave", SOON, || {
        first.messages().contains("retry partition leaves").then_some(())
    });
    first.kill();
    pipeline.produce(&[some_patient("p")]);
    wait_for("all rows", SOON, || (observations(&pipeline).len() == 100).then_some(()));
    second.terminate();
    assert_eq!(second.wait(SOON).code(), Some(0), "{}", second.messages());
    assert_eq!(pipeline.letters().len(), 0);
}

#[test]
fn letters_that_expired_while_they_waited_are_counted() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("retry_expired", 1), postgres.database("retry_expired"));
    let more = "retry: { delay: 1h, maximum_delay: 1h }";
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, more);
    pipeline.create_tables();
    pipeline
        .execute("ALTER TABLE observation ADD FOREIGN KEY (patient_id) REFERENCES patient (id)");
    let waiting: Vec<_> = (10..15).map(|n| observation(&format!("o{n}"), 1, "p")).collect();
    pipeline.produce(&waiting);
    let mut run = pipeline.start(&["run"]);
    let all_wait = |waiting: &f64| (waiting - 5.0).abs() < 0.5;
    wait_for("all to wait", SOON, || {
        pipeline.metric("rowcast_retry_waiting_records", &[]).filter(all_wait)
    });
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    let retry_topic = format!("{}.retry", pipeline.topic());
    kafka.delete_records_before(&retry_topic, 0, 3);
    let mut run = pipeline.start(&["run"]);
    wait_for("what is gone to be told", SOON, || {
        let expired = pipeline.metric("rowcast_offsets_expired_total", &[("topic", &retry_topic)]);
        expired.filter(|expired| (expired - 3.0).abs() < 0.5)
    });
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
}

#[test]
fn no_value_id_or_key_is_in_logs_metrics_or_health() {
    let more = "retry: { maximum_attempts: 3, delay: 50ms }";
    on_each(more, |pipeline| {
        let waiting: Vec<_> =
            (10..40).map(|n| observation(&format!("CANARY-{n}"), 1, "CANARY-p")).collect();
        pipeline.produce(&waiting);
        let mut run = support::Rowcast::start_with(
            &["run", "--topology", &pipeline.path("topology.yaml")],
            &[("RUST_LOG", "trace,librdkafka=trace")],
        );
        // all three ways of a retry: waits on, held by the circuit or given up, written
        wait_for_more("retries", || tried(pipeline, "retried"), 40.0);
        let ready = pipeline.wait_until_ready(Ready::No);
        pipeline.produce(&[some_patient("CANARY-p")]);
        wait_for_more("rows", || tried(pipeline, "written"), 0.5);
        let metrics = support::http::get(pipeline.port(), "/metrics").expect("metrics").body;
        run.terminate();
        run.wait(SOON);
        for text in [run.messages(), metrics, ready] {
            assert_eq!(text.lines().find(|line| line.contains("CANARY")), None);
        }
    });
}

#[test]
fn in_the_retry_topic_only_key_and_value_hold_what_the_record_held() {
    let pipeline = embedded("retry: { delay: 1h, maximum_delay: 1h }");
    pipeline.produce(&[observation("CANARY", 1, "CANARY")]);
    let mut run = pipeline.start(&["run"]);
    wait_for_more("it to wait", || settled(&pipeline, "retried"), 0.5);
    run.terminate();
    run.wait(SOON);
    let records = support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let mut reader = broker.reader("changes.retry").await.expect("a reader");
        reader.next().await.expect("it is read").expect("a record")
    });
    let [record] = &records[..] else { panic!("{} records", records.len()) };
    assert_eq!(record.key.as_deref(), Some(&b"Observation/CANARY"[..]));
    assert!(record.header("rowcast.retry.due").is_some());
    assert_eq!(record.header("rowcast.error.attempts"), Some("1"));
    assert_eq!(record.header("__streams.errors.topic"), Some("changes"));
    for header in &record.headers {
        let value = String::from_utf8_lossy(header.value.as_deref().unwrap_or_default());
        assert!(!value.contains("CANARY"), "{}", header.name);
    }
}

#[test]
fn a_letter_of_another_release_is_handed_on_as_it_is() {
    let pipeline = embedded(OFTEN);
    let head = Letterhead {
        topic: "changes.retry".into(),
        topology: pipeline.name().into(),
        config_hash: "of another release".into(),
    };
    let record = Record {
        source: TopicPartition::new("changes", 1),
        offset: Offset(7),
        timestamp: Some(1_700_000_000_000),
        key: Some(Bytes::from_static(b"Patient/p")),
        value: Some(Bytes::from(some_patient("p"))),
        headers: Vec::new(),
    };
    let place = Place::default();
    let refusal =
        Refusal::new(Stage::Sink, Cause::ConstraintCheck, &std::fmt::Error, "Error", place);
    let dead = DeadLetter { record, refusal, changes_refused: 1, attempts: 2, failed_at: 0 };
    let mut of_tomorrow = letter(&head, &dead);
    for header in of_tomorrow.headers.iter_mut().filter(|header| header.name == CAUSE) {
        header.value = Some(Bytes::from_static(b"cause_of_tomorrow"));
    }
    // the topics are there after the first start
    pipeline.run_until_idle();
    let sent = of_tomorrow.clone();
    support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let sent = broker.producer().expect("a producer").send(vec![sent]).await;
        assert!(sent.iter().all(Result::is_ok));
    });
    let mut run = pipeline.start(&["run"]);
    wait_for_more("it to be handed on", || tried(&pipeline, "dead_lettered"), 0.5);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    let letters = support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let mut reader = broker.reader("changes.dead-letter").await.expect("a reader");
        reader.next().await.expect("it is read").unwrap_or_default()
    });
    let [found] = &letters[..] else { panic!("{} letters", letters.len()) };
    assert_eq!((&found.key, &found.value), (&of_tomorrow.key, &of_tomorrow.value));
    assert_eq!(found.headers, of_tomorrow.headers);
}

/// The header that names the cause.
const CAUSE: &str = "rowcast.error.cause";
