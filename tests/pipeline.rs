//! The whole way, through the binary: what ends where when input, schema, database or broker are
//! not as they should be. Embedded broker and SQLite always; Kafka and PostgreSQL where they are.

use bytes::Bytes;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker as _, OutgoingRecord};
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, deleted, patient};
use crate::support::{self, Postgres, wait_for};

/// The same behaviour on both grounds.
fn on_both(rules: &str, more: &str, behaves: impl Fn(&Pipeline)) {
    behaves(&Pipeline::embedded(rules, more));
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("pipeline", 2), postgres.database("pipeline"));
    behaves(&Pipeline::servers(kafka.servers(), topic, database, rules, more));
}

fn raw(key: &str, value: &str) -> String {
    json!({ "key": key, "value": value }).to_string()
}

fn causes(letters: &[Value]) -> Vec<String> {
    let mut causes: Vec<_> =
        letters.iter().filter_map(|letter| letter["cause"].as_str().map(str::to_owned)).collect();
    causes.sort();
    causes
}

#[test]
fn each_kind_of_bad_input_has_a_cause_of_its_own_and_its_neighbours_are_written() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        let nested = format!("{{\"resourceType\":\"Patient\",\"a\":{}", "[".repeat(100_000));
        let bad = [
            raw("Patient/b1", "{\"resourceType\":\"Patient\","),
            raw("Patient/b2", r#"{"resourceType":"Receipt","id":"b2","meta":{"versionId":"1"}}"#),
            raw("Patient/b3", r#"{"resourceType":"Patient","meta":{"versionId":"1"}}"#),
            raw("Patient/b4", r#"{"resourceType":"Patient","id":"b4"}"#),
            raw("Patient/b5", &nested),
            patient("b6", 1, &json!({ "birthDate": "last spring" })),
            patient("b7", 1, &json!({ "address": [{ "city": "A" }, { "city": "B" }] })),
            raw(
                "Patient/other",
                r#"{"resourceType":"Patient","id":"b8","meta":{"versionId":"1"}}"#,
            ),
        ];
        let mut lines = vec![];
        for (number, bad) in bad.iter().enumerate() {
            lines.push(patient(&format!("good{number}"), 1, &json!({})));
            lines.push(bad.clone());
        }
        pipeline.produce(&lines);
        pipeline.run_until_idle();
        let good: Vec<_> = (0..bad.len()).map(|number| format!("good{number}")).collect();
        assert_eq!(pipeline.patients(), good);
        let expected = [
            "invalid_json",
            "key_mismatch",
            "missing_id",
            "missing_version",
            "multiple_values",
            "too_deep",
            "type_mismatch",
            "unknown_resource_type",
        ];
        assert_eq!(causes(&pipeline.letters()), expected);
    });
}

#[test]
fn what_the_database_refuses_is_isolated_and_named_by_table_and_column() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        pipeline.execute("DROP TABLE patient_name");
        pipeline.execute("DROP TABLE patient");
        let text = if pipeline.topic() == "changes" { "text" } else { "varchar(9)" };
        pipeline.execute(&format!(
            "CREATE TABLE patient (id varchar(64) PRIMARY KEY, version bigint NOT NULL, birth_date {date} , gender {text} NOT NULL, city {text} CHECK (city <> 'Nowhere'))",
            date = if pipeline.topic() == "changes" { "text" } else { "date" },
        ));
        let ddl = pipeline.expect(&["schema"]);
        let child = ddl
            .split(";\n")
            .filter(|ddl| ddl.contains("patient_name"))
            .collect::<Vec<_>>()
            .join(";\n");
        pipeline.execute(&child);
        let with = |id: &str, gender: Value, city: &str| {
            patient(id, 1, &json!({ "gender": gender, "address": [{ "city": city }] }))
        };
        let mut lines: Vec<_> =
            (0..50).map(|n| with(&format!("good{n:02}"), json!("female"), "Here")).collect();
        lines.insert(10, patient("none", 1, &json!({})));
        lines.insert(20, with("check", json!("male"), "Nowhere"));
        if pipeline.topic() != "changes" {
            lines.insert(30, with("long", json!("male"), "Llanfairpwll"));
            lines.insert(40, with("nul", json!("male"), "a\u{0}b"));
        }
        pipeline.produce(&lines);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients().len(), 50);
        let letters = pipeline.letters();
        let found = |cause: &str| {
            letters.iter().find(|letter| letter["cause"] == cause).cloned().unwrap_or_default()
        };
        assert_eq!(found("constraint_not_null")["column"], "gender");
        assert_eq!(found("constraint_not_null")["table"], "patient");
        assert_eq!(found("constraint_check")["table"], "patient");
        if pipeline.topic() != "changes" {
            assert_eq!(found("value_too_long")["column"], "city");
            assert_eq!(found("data_exception")["column"], "city");
        }
        assert_eq!(letters.len(), if pipeline.topic() == "changes" { 2 } else { 4 });
    });
}

#[test]
fn a_value_beyond_the_limit_and_bytes_that_are_no_text_are_refused_and_the_rest_is_written() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let large = format!("{{\"resourceType\":\"Patient\",\"text\":\"{}\"}}", "x".repeat(50_000_000));
    pipeline.produce(&[raw("Patient/large", &large), patient("small", 1, &json!({}))]);
    let latin_1 = b"{\"resourceType\":\"Patient\",\"id\":\"1\",\"gender\":\"weibl\xefch\"}";
    support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let record = OutgoingRecord {
            topic: pipeline.topic().into(),
            partition: None,
            key: None,
            value: Some(Bytes::from_static(latin_1)),
            headers: Vec::new(),
        };
        let sent = broker.producer().expect("a producer").send(vec![record]).await;
        assert!(sent.iter().all(Result::is_ok));
    });
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["small"]);
    assert_eq!(causes(&pipeline.letters()), ["invalid_utf8", "too_large"]);
}

#[test]
fn mended_letters_are_replayed_and_overtaken_ones_are_stale() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        let two_cities = json!({ "address": [{ "city": "A" }, { "city": "B" }] });
        pipeline.produce(&[
            patient("mended", 1, &two_cities),
            patient("overtaken", 1, &two_cities),
            patient("overtaken", 2, &json!({})),
            patient("gone", 1, &two_cities),
            deleted("gone", 2),
        ]);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients(), ["overtaken"]);
        let again = pipeline.command(&["dead-letters", "replay"]);
        assert_eq!(again.status.code(), Some(3), "nothing was mended yet");
        pipeline
            .write_rules(&RULES.replace("Patient.address.city", "Patient.address.first().city"));
        let replayed = pipeline.expect(&["dead-letters", "replay", "--output", "json"]);
        let counts: Value = serde_json::from_str(&replayed).expect("counts are JSON");
        assert_eq!((&counts["written"], &counts["stale"]), (&json!(1), &json!(2)), "{counts}");
        assert_eq!(pipeline.patients(), ["mended", "overtaken"]);
        let none = pipeline.command(&["dead-letters", "replay", "--cause", "too_deep"]);
        assert_eq!(none.status.code(), Some(4));
    });
}

#[test]
fn a_missing_column_or_table_stops_before_the_first_record_with_the_ddl_that_mends_it() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        pipeline.execute("ALTER TABLE patient DROP COLUMN gender");
        pipeline.produce(&[patient("p", 1, &json!({}))]);
        for command in [["check"].as_slice(), &["run", "--until-idle", "1s"]] {
            let output = pipeline.command(command);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains("ADD COLUMN") && said.contains("gender"), "{said}");
        }
        assert_eq!(pipeline.patients(), Vec::<String>::new());
        assert_eq!(pipeline.letters().len(), 0);
        pipeline.execute("DROP TABLE patient_name");
        let output = pipeline.command(&["run", "--until-idle", "1s"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("CREATE TABLE") && said.contains("patient_name"), "{said}");
    });
}

#[test]
fn three_mistakes_in_a_rules_file_are_all_named_with_file_and_path() {
    let rules = RULES
        .replace("\"DATE\"", "\"DAY\"")
        .replace("Patient.gender", "Patient.gendre")
        .replace("\"tableName\": \"patient_name\"", "\"tableNme\": \"patient_name\"");
    let pipeline = Pipeline::embedded(&rules, "");
    let output = pipeline.command(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78));
    for named in [
        "rules.json#/transformers/0/columns/1/columnType",
        "rules.json#/transformers/0/columns/2/fhirPath",
        "rules.json#/transformers/0/childTables/0",
        "gender",
    ] {
        assert!(said.contains(named), "{named} is not in: {said}");
    }
}

#[test]
fn a_rule_that_refuses_everything_opens_the_circuit_and_nothing_is_dead_lettered() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        let lines: Vec<_> = (0..100)
            .map(|n| patient(&format!("p{n}"), 1, &json!({ "birthDate": "unknown" })))
            .collect();
        pipeline.produce(&lines);
        let mut run = pipeline.start(&["run", "--until-idle", "1s"]);
        pipeline.wait_until_ready(Ready::No);
        wait_for("an open circuit", SOON, || {
            let open = pipeline.metric("rowcast_circuit_open", &[("component", "rules")]);
            open.filter(|open| *open >= 1.0)
        });
        run.terminate();
        assert!(run.wait(SOON).code().is_some());
        assert_eq!(pipeline.letters().len(), 0, "{}", run.messages());
        let mended = RULES.replace(r#""columnType": "DATE""#, r#""columnType": "STRING""#);
        pipeline.write_rules(&mended);
        let date_as_text = if pipeline.topic() == "changes" {
            "SELECT 1"
        } else {
            "ALTER TABLE patient ALTER birth_date TYPE text"
        };
        pipeline.execute(date_as_text);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients().len(), 100);
    });
}

#[test]
fn everything_received_is_settled_and_counted_once() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        let mut lines: Vec<_> = (0..40).map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect();
        lines.extend((0..10).map(|n| patient(&format!("p{n}"), 1, &json!({}))));
        lines.extend((0..5).map(|n| deleted(&format!("p{n}"), 2)));
        lines.push(raw("Patient/bad", "{"));
        lines.push(raw("Basic/1", r#"{"resourceType":"Basic","id":"1","meta":{"versionId":"1"}}"#));
        pipeline.produce(&lines);
        let mut run = pipeline.start(&["run"]);
        let settled = |outcome: &str| {
            pipeline.metric("rowcast_records_settled_total", &[("outcome", outcome)]).unwrap_or(0.0)
        };
        wait_for("all to be settled", SOON, || {
            let all: f64 = ["written", "stale", "filtered", "dead_lettered"]
                .iter()
                .map(|outcome| settled(outcome))
                .sum();
            (all >= 57.0).then_some(())
        });
        assert_eq!((settled("dead_lettered"), settled("filtered")), (1.0, 1.0));
        let (written, stale) = (settled("written"), settled("stale"));
        assert!((written + stale - 55.0).abs() < 0.5, "{written} written, {stale} stale");
        let received =
            pipeline.metric("rowcast_records_received_total", &[("topic", pipeline.topic())]);
        assert_eq!(received, Some(57.0));
        assert_eq!(pipeline.metric("rowcast_records_in_flight", &[]), Some(0.0));
        let letter = [("stage", "decode"), ("cause", "invalid_json"), ("resource_type", "other")];
        assert_eq!(pipeline.metric("rowcast_dead_letters_total", &letter), Some(1.0));
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(pipeline.patients().len(), 35);
    });
}

#[test]
fn sigterm_settles_what_is_in_hand_and_nothing_is_redelivered() {
    on_both(RULES, "batch: { rows: 100 }", |pipeline| {
        pipeline.create_tables();
        let lines: Vec<_> =
            (0..5000).map(|n| patient(&format!("p{n:05}"), 1, &json!({}))).collect();
        pipeline.produce(&lines);
        let mut run = pipeline.start(&["run"]);
        wait_for("the first rows", SOON, || (!pipeline.patients().is_empty()).then_some(()));
        run.terminate();
        let status = run.wait(std::time::Duration::from_secs(25));
        assert_eq!(status.code(), Some(0), "{}", run.messages());
        let before = pipeline.patients().len();
        let mut run = pipeline.start(&["run"]);
        pipeline.wait_for_patients(5000);
        let stale = pipeline.metric("rowcast_records_settled_total", &[("outcome", "stale")]);
        assert_eq!(stale, Some(0.0), "{before} rows were there before");
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0));
    });
}

#[test]
fn a_database_that_is_away_at_start_and_goes_away_later_is_waited_for_without_dead_letters() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(server) = support::requires_own_postgres() else { return };
    let database = Postgres::at(server.address()).database("away");
    let topic = kafka.topic("away", 2);
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let some = |from: usize| -> Vec<String> {
        (from..from + 300).map(|n| patient(&format!("p{n:05}"), 1, &json!({}))).collect()
    };
    pipeline.produce(&some(0));
    server.stop();
    let mut run = pipeline.start(&["run"]);
    let said = pipeline.wait_until_ready(Ready::No);
    assert!(said.contains("database"), "{said}");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(run.ended().is_none(), "{}", run.messages());
    server.start_again();
    pipeline.wait_for_patients(300);
    pipeline.wait_until_ready(Ready::Yes);
    server.kill();
    pipeline.produce(&some(300));
    pipeline.wait_until_ready(Ready::No);
    server.start_again();
    pipeline.wait_for_patients(600);
    pipeline.wait_until_ready(Ready::Yes);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    assert_eq!(pipeline.letters().len(), 0);
}

#[test]
fn a_stop_while_the_database_is_away_ends_in_time_and_nothing_is_lost() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(server) = support::requires_own_postgres() else { return };
    let database = Postgres::at(server.address()).database("stopped");
    let topic = kafka.topic("stopped", 2);
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let mut run = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    server.stop();
    let lines: Vec<_> = (0..100).map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect();
    pipeline.produce(&lines);
    pipeline.wait_until_ready(Ready::No);
    run.terminate();
    let status = run.wait(std::time::Duration::from_secs(25));
    assert_eq!(status.code(), Some(0), "{}", run.messages());
    server.start_again();
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients().len(), 100);
}

#[test]
fn a_broker_that_is_away_at_start_and_goes_away_later_is_waited_for() {
    let Some(server) = support::requires_own_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let kafka = support::Kafka::at(server.address());
    let pipeline = Pipeline::servers(
        server.address(),
        kafka.topic("away", 2),
        postgres.database("away"),
        RULES,
        "",
    );
    pipeline.create_tables();
    pipeline.produce(&[patient("first", 1, &json!({}))]);
    server.stop();
    let mut run = pipeline.start(&["run"]);
    let said = pipeline.wait_until_ready(Ready::No);
    assert!(said.contains("broker"), "{said}");
    server.start_again();
    pipeline.wait_for_patients(1);
    server.kill();
    pipeline.wait_until_ready(Ready::No);
    server.start_again();
    pipeline.produce(&[patient("second", 1, &json!({}))]);
    pipeline.wait_for_patients(2);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
}

#[test]
fn a_second_instance_shares_the_partitions_and_takes_over_when_the_first_is_killed() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("shared", 4), postgres.database("shared"));
    let pipeline =
        Pipeline::servers(kafka.servers(), topic, database, RULES, "batch: { rows: 50 }");
    pipeline.create_tables();
    let lines: Vec<_> = (0..3000)
        .map(|n| patient(&format!("p{:04}", n % 1000), 1 + n / 1000, &json!({})))
        .collect();
    let mut first = pipeline.start(&["run"]);
    let mut second = pipeline.start(&["run", "--set", "http.listen=127.0.0.1:0"]);
    pipeline.produce(&lines[..1500]);
    wait_for("some rows", SOON, || (pipeline.patients().len() > 100).then_some(()));
    first.kill();
    pipeline.produce(&lines[1500..]);
    let newest = "SELECT id FROM patient WHERE version = 3";
    wait_for("the newest versions", SOON, || (pipeline.query(newest).len() == 1000).then_some(()));
    let family = "SELECT DISTINCT family FROM patient_name";
    assert_eq!(pipeline.query(family), [["F3"]]);
    assert_eq!(pipeline.query("SELECT id::text FROM patient_name").len(), 1000);
    second.terminate();
    assert_eq!(second.wait(SOON).code(), Some(0), "{}", second.messages());
}

#[test]
fn an_instance_that_got_no_partition_is_ready() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("spare", 1), postgres.database("spare"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let _first = pipeline.start(&["run"]);
    pipeline.wait_until_ready(Ready::Yes);
    let port = support::free_port();
    let _second = pipeline.start(&["run", "--set", &format!("http.listen=127.0.0.1:{port}")]);
    support::http::wait_for_status(port, "/readyz", 200, SOON);
    pipeline.wait_until_ready(Ready::Yes);
}

#[test]
fn no_value_id_or_key_is_in_logs_metrics_or_listings() {
    on_both(RULES, "", |pipeline| {
        pipeline.create_tables();
        let canary =
            json!({ "birthDate": "CANARY", "gender": "CANARY", "name": [{ "family": "CANARY" }] });
        pipeline.produce(&[
            patient("CANARY-1", 1, &canary),
            raw("Patient/CANARY-2", "{\"CANARY\":"),
            patient("CANARY-3", 1, &json!({ "gender": "a\u{0}CANARY" })),
            deleted("CANARY-4", 3),
            raw("CANARY", r#"{"resourceType":"CANARY","id":"CANARY"}"#),
        ]);
        let mut run = support::Rowcast::start_with(
            &["run", "--topology", &pipeline.path("topology.yaml")],
            &[("RUST_LOG", "trace,librdkafka=trace")],
        );
        let read = || support::http::get(pipeline.port(), "/metrics").map(|answer| answer.body);
        wait_for("all to be settled", SOON, || {
            let all: f64 = ["written", "stale", "filtered", "dead_lettered"]
                .iter()
                .filter_map(|outcome| {
                    pipeline.metric("rowcast_records_settled_total", &[("outcome", outcome)])
                })
                .sum();
            (all >= 5.0).then_some(())
        });
        let metrics = read().expect("metrics answer");
        run.terminate();
        run.wait(SOON);
        let listed = pipeline.command(&["dead-letters", "list"]);
        let replayed = pipeline.command(&["dead-letters", "replay"]);
        let texts = [
            run.messages(),
            metrics,
            String::from_utf8_lossy(&listed.stdout).into_owned(),
            String::from_utf8_lossy(&replayed.stderr).into_owned(),
            pipeline.letters().iter().map(ToString::to_string).collect(),
        ];
        for text in texts {
            let line = text.lines().find(|line| line.contains("CANARY"));
            assert_eq!(line, None);
        }
    });
}

#[test]
fn records_deleted_before_they_were_read_are_counted() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("expired", 1), postgres.database("expired"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    pipeline.produce(&[patient("first", 1, &json!({}))]);
    pipeline.run_until_idle();
    let lines: Vec<_> = (0..9).map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect();
    pipeline.produce(&lines);
    kafka.delete_records_before(pipeline.topic(), 0, 8);
    let mut run = pipeline.start(&["run"]);
    pipeline.wait_for_patients(3);
    let expired = pipeline.metric("rowcast_offsets_expired_total", &[("topic", pipeline.topic())]);
    assert_eq!(expired, Some(7.0), "{}", run.messages());
    run.terminate();
    run.wait(SOON);
}
