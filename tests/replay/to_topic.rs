//! Letters given back to the ingest topic, for the running pipeline.

use serde_json::json;

use super::ground::{Ground, counts, mended, on_all, two_cities};
use super::replay;
use crate::support::pipeline::{RULES, patient};

#[test]
fn a_letter_given_back_is_written_by_the_pipeline_and_an_overtaken_one_is_stale() {
    on_all(RULES, "", |ground| {
        super::provoke(ground);
        let pipeline = &ground.pipeline;
        pipeline.write_rules(&mended());
        let rows = ground.rows();
        let (_, told) = replay(pipeline, &["--to-topic", "--cause", "multiple_values"], 0);
        assert_eq!((&told["sent"], &told["how"]), (&json!(4), &json!("to_topic")), "{told}");
        assert_eq!(ground.rows(), rows, "it is the pipeline that writes");
        replay(pipeline, &["--to-topic", "--cause", "multiple_values"], 4);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients(), ["alone", "overtaken"]);
        let letters = ground.letters().len();
        assert_eq!(letters, 5, "nothing was refused anew");
    });
}

#[test]
fn one_that_is_refused_once_more_is_the_same_letter_and_open_again() {
    on_all(RULES, "", |ground| {
        let pipeline = &ground.pipeline;
        pipeline.create_tables();
        pipeline.produce(&[patient("again", 1, &two_cities())]);
        pipeline.run_until_idle();
        let first = super::letter(pipeline, |_| true).expect("a letter");
        for replays in 1..=2 {
            let (_, told) = replay(pipeline, &["--to-topic"], 0);
            assert_eq!(told["sent"], 1, "{told}");
            pipeline.run_until_idle();
            let letters = pipeline.letters();
            assert_eq!(letters.len(), 1, "{letters:?}");
            assert_eq!(letters[0]["replays"], replays);
            for same in ["id", "offset", "partition", "first_failed_at"] {
                assert_eq!(letters[0][same], first[same], "{same}");
            }
        }
        pipeline.write_rules(&mended());
        let (_, told) = replay(pipeline, &[], 0);
        assert_eq!(told["written"], 1, "{told}");
        for record in ground.letters() {
            let mut names: Vec<_> = record.headers.iter().map(|header| &header.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "headers are replaced, not appended");
        }
    });
}

#[test]
fn an_old_delete_without_version_that_comes_back_does_not_remove_what_is_newer() {
    on_all(RULES, "", |ground| {
        let pipeline = &ground.pipeline;
        pipeline.create_tables();
        let mut deep = json!({});
        for _ in 0..10 {
            deep = json!({ "extension": [deep] });
        }
        let value = json!({ "resourceType": "Patient", "id": "p", "contained": [deep] });
        // the key does not name the resource, so the value is read, and it is too deep
        let delete =
            json!({ "value": value, "headers": { "rowcast.operation": "delete" }, "partition": 0 });
        let later = json!({ "key": "Patient/p", "value": null, "partition": 0 });
        let mut again = patient("p", 1, &json!({}));
        again.insert_str(1, "\"partition\":0,");
        pipeline.produce(&[delete.to_string(), later.to_string(), again]);
        let shallow = ["run", "--until-idle", "1s", "--set", "source.max_depth=8"];
        let output = pipeline.command(&shallow);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(pipeline.patients(), ["p"]);
        assert_eq!(pipeline.letters().len(), 1);
        replay(pipeline, &["--to-topic"], 0);
        pipeline.run_until_idle();
        assert_eq!(pipeline.patients(), ["p"]);
        assert_eq!(ground.letters().len(), 1, "it passed");
    });
}

#[test]
fn a_letter_of_a_topic_that_is_not_read_any_more_is_not_given_back() {
    let ground = Ground::embedded(RULES, "");
    let pipeline = &ground.pipeline;
    pipeline.create_tables();
    pipeline.produce(&[patient("p", 1, &two_cities())]);
    pipeline.run_until_idle();
    let topics = ground.topics();
    let elsewhere = [
        "--set",
        "source.topic=elsewhere",
        "--set",
        "dead_letter.topic=changes.dead-letter",
        "--to-topic",
    ];
    let (_, told) = replay(pipeline, &elsewhere, 3);
    assert_eq!((&told["unsendable"], &told["sent"]), (&json!(1), &json!(0)), "{told}");
    assert_eq!(ground.topics(), topics);
    pipeline.write_rules(&mended());
    counts(&pipeline.command(&["dead-letters", "replay"]), 0);
    assert_eq!(pipeline.patients(), ["p"]);
}
