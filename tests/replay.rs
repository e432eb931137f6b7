//! Letters put through again, through the binary: what is written, what is left alone, what is told.
//! Embedded broker and SQLite always; MariaDB, and Kafka with PostgreSQL, where they are.

mod ground;
mod killed;
mod pointers;
mod to_topic;

use ground::{Ground, counts, mended, on_all, two_cities};
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, SOON, deleted, patient};
use crate::support::wait_for;

/// Patients that a newer version, a delete with and one without version overtook, one that is not,
/// and one that nothing mends.
fn provoke(ground: &Ground) {
    let pipeline = &ground.pipeline;
    pipeline.create_tables();
    let gone = json!({ "key": "Patient/gone", "value": null }).to_string();
    pipeline.produce(&[
        patient("alone", 1, &two_cities()),
        patient("overtaken", 1, &two_cities()),
        patient("overtaken", 2, &json!({})),
        patient("deleted", 1, &two_cities()),
        deleted("deleted", 2),
        patient("gone", 1, &two_cities()),
        gone,
        patient("never", 1, &json!({ "birthDate": "last spring" })),
    ]);
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["overtaken"]);
}

#[test]
fn an_old_version_after_a_newer_one_or_a_delete_is_stale_and_changes_nothing() {
    on_all(RULES, "", |ground| {
        let pipeline = &ground.pipeline;
        provoke(ground);
        pipeline.write_rules(&mended());
        // the letter that is not overtaken, first
        let alone = letter(pipeline, |letter| letter["offset"] == 0 && letter["cause"] != "x");
        assert!(alone.is_some());
        replay(pipeline, &[], 3);
        let before = ground.rows();
        let statuses = ["--status", "replayed", "--status", "stale"];
        let (code, told) = replay(pipeline, &statuses, 0);
        assert_eq!((code, &told["stale"], &told["written"]), (0, &json!(4), &json!(0)), "{told}");
        assert_eq!(ground.rows(), before);
    });
}

#[test]
fn what_was_overtaken_is_stale_what_was_not_is_written_and_twice_is_the_same_as_once() {
    on_all(RULES, "", |ground| {
        let pipeline = &ground.pipeline;
        provoke(ground);
        pipeline.write_rules(&mended());
        let (_, told) = replay(pipeline, &["--cause", "multiple_values"], 0);
        assert_eq!((&told["stale"], &told["written"]), (&json!(3), &json!(1)), "{told}");
        assert_eq!(pipeline.patients(), ["alone", "overtaken"]);
        let (rows, topics) = (ground.rows(), ground.topics());
        replay(pipeline, &["--cause", "multiple_values"], 4);
        assert_eq!(ground.rows(), rows);
        assert_eq!(ground.topics(), topics);
    });
}

#[test]
fn a_dry_run_and_a_test_change_neither_rows_nor_topics_and_tell_what_a_replay_then_does() {
    on_all(RULES, "", |ground| {
        let pipeline = &ground.pipeline;
        provoke(ground);
        pipeline.write_rules(&mended());
        let (rows, topics) = (ground.rows(), ground.topics());
        let (_, mut foretold) = replay(pipeline, &["--dry-run"], 3);
        let tested = pipeline.command(&["dead-letters", "test", "--output", "json"]);
        assert_eq!(tested.status.code(), Some(3), "{}", String::from_utf8_lossy(&tested.stderr));
        assert_eq!(ground.rows(), rows);
        assert_eq!(ground.topics(), topics);

        let tested = String::from_utf8(tested.stdout).expect("stdout is UTF-8");
        let tested: Vec<Value> =
            tested.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |outcome: &str| tested.iter().find(|told| told["outcome"] == outcome);
        assert_eq!(of("written").map(|told| &told["letters"]), Some(&json!(1)), "{tested:?}");
        assert_eq!(of("stale").map(|told| &told["before"]), Some(&json!("multiple_values")));
        let refused = of("refused").expect("one is refused");
        assert_eq!(
            (&refused["now"], &refused["column"]),
            (&json!("type_mismatch"), &json!("birth_date"))
        );

        let (_, told) = replay(pipeline, &[], 3);
        foretold["dry_run"] = json!(false);
        assert_eq!(told, foretold);
        assert_ne!(ground.rows(), rows);
    });
}

#[test]
fn a_letter_refused_again_is_the_same_letter_until_it_is_quarantined() {
    on_all(RULES, "dead_letter: { max_replays: 2 }", |ground| {
        let pipeline = &ground.pipeline;
        pipeline.create_tables();
        pipeline.produce(&[patient("never", 1, &two_cities())]);
        pipeline.run_until_idle();
        let first = letter(pipeline, |_| true).expect("a letter");
        for replays in 1..=2 {
            let (_, told) = replay(pipeline, &[], 3);
            assert_eq!(told["failed_again"], 1, "{told}");
            let letter = letter(pipeline, |_| true).expect("a letter");
            assert_eq!((&letter["id"], &letter["replays"]), (&first["id"], &json!(replays)));
            assert_eq!(letter["first_failed_at"], first["first_failed_at"]);
        }
        for record in ground.letters() {
            let mut names: Vec<_> = record.headers.iter().map(|header| &header.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "headers are replaced, not appended");
        }
        let topics = ground.topics();
        let output = pipeline.command(&["dead-letters", "replay"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("1 quarantined"), "{said}");
        assert_eq!(ground.topics(), topics);
        pipeline.write_rules(&mended());
        let (_, told) = replay(pipeline, &["--status", "quarantined"], 0);
        assert_eq!(told["written"], 1, "{told}");
        assert_eq!(pipeline.patients(), ["never"]);
        replay(pipeline, &["--status", "quarantined"], 4);
    });
}

#[test]
fn no_more_are_replayed_than_asked_for_and_no_faster() {
    let ground = Ground::embedded(RULES, "");
    let pipeline = &ground.pipeline;
    pipeline.create_tables();
    let lines: Vec<_> = (0..12).map(|n| patient(&format!("p{n}"), 1, &two_cities())).collect();
    pipeline.produce(&lines);
    pipeline.run_until_idle();
    pipeline.write_rules(&mended());
    let started = std::time::Instant::now();
    let (_, told) = replay(pipeline, &["--max", "9", "--rate", "4/s"], 0);
    assert_eq!(told["written"], 9, "{told}");
    // the ninth begins after eight quarters of a second
    assert!(started.elapsed().as_millis() >= 2000, "{:?}", started.elapsed());
    let (_, told) = replay(pipeline, &[], 0);
    assert_eq!(told["written"], 3, "{told}");
}

#[test]
fn letters_are_replayed_beside_the_running_pipeline() {
    on_all(RULES, "batch: { rows: 20 }\ndead_letter: { max_ratio: 1 }", |ground| {
        let pipeline = &ground.pipeline;
        pipeline.create_tables();
        let id = |n: usize| format!("p{n:03}");
        let bad: Vec<_> = (0..200).map(|n| patient(&id(n), 1, &two_cities())).collect();
        pipeline.produce(&bad);
        pipeline.run_until_idle();
        pipeline.write_rules(&mended());
        let mut run = pipeline.start(&["run"]);
        wait_for("the pipeline", SOON, || {
            crate::support::http::get(pipeline.port(), "/readyz")
                .filter(|answer| answer.status == 200)
        });
        let newer: Vec<_> = (0..200).step_by(2).map(|n| patient(&id(n), 2, &json!({}))).collect();
        let mut replaying = pipeline.start(&["dead-letters", "replay", "--rate", "200"]);
        pipeline.produce(&newer);
        let status = replaying.wait(SOON);
        assert!(status.success(), "{}", replaying.messages());
        pipeline.wait_for_patients(200);
        let newest = "SELECT id FROM patient WHERE version = 2";
        wait_for("the newer ones", SOON, || (pipeline.query(newest).len() == 100).then_some(()));
        run.terminate();
        assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
        assert_eq!(pipeline.query("SELECT DISTINCT family FROM patient_name ORDER BY 1").len(), 2);
        let rows = ground.rows();
        replay(pipeline, &[], 4);
        assert_eq!(ground.rows(), rows);
    });
}

/// Replays; the exit code, which must be this, and what was told.
fn replay(pipeline: &Pipeline, options: &[&str], code: i32) -> (i32, Value) {
    let arguments = [&["dead-letters", "replay", "--output", "json"], options].concat();
    counts(&pipeline.command(&arguments), code)
}

fn letter(pipeline: &Pipeline, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    pipeline.letters().into_iter().find(wanted)
}
