//! Loads that are killed and stopped, and gone on with.

use std::collections::BTreeMap;
use std::time::Duration;

use super::files::{gzip, zstd};
use super::{keys, lines, load, states};
use crate::support::pipeline::{Pipeline, RULES, SOON};
use crate::support::{self, Rowcast, wait_for};

/// Records that are sent together.
const PORTION: usize = 1000;

const COUNT: usize = 30_000;
const KILLS: usize = 3;

/// How many records the state file says the broker has.
fn remembered(pipeline: &Pipeline) -> Option<u64> {
    let text = std::fs::read(states(pipeline).first()?).ok()?;
    let state: serde_json::Value = serde_json::from_slice(&text).ok()?;
    state["counts"]["records"].as_u64()
}

/// Waits until some of it is there that was not.
pub(super) fn wait_for_progress(pipeline: &Pipeline, loading: &Rowcast) {
    let before = remembered(pipeline).unwrap_or_default();
    wait_for("progress", SOON, || {
        remembered(pipeline).filter(|now| *now > before).map(drop).or_else(|| {
            assert!(!loading.messages().contains("error"), "{}", loading.messages());
            None
        })
    });
}

/// Kills the load again and again, lets it end, and looks whether all is there, and little twice.
fn nothing_is_lost(pipeline: &Pipeline, file: &str) {
    for _ in 0..KILLS {
        let mut loading = pipeline.start(&["load", file, "--rate", "20000"]);
        wait_for_progress(pipeline, &loading);
        std::thread::sleep(Duration::from_millis(fastrand::u64(..50)));
        loading.kill();
    }
    let (code, summary, said) = load(pipeline, &[file]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("going on behind"), "{said}");
    assert_eq!(summary["records"], COUNT, "each counts once");
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for key in keys(pipeline) {
        *times.entry(key).or_default() += 1;
    }
    assert_eq!(times.len(), COUNT, "nothing is skipped");
    let repeated: usize = times.values().map(|times| times - 1).sum();
    assert!(repeated <= KILLS * PORTION, "{repeated} are there twice");
    assert!(states(pipeline).is_empty());
}

#[test]
fn a_killed_load_of_plain_text_is_gone_on_with() {
    let pipeline = Pipeline::embedded(RULES, "");
    std::fs::write(pipeline.path("all"), lines(COUNT)).expect("written");
    nothing_is_lost(&pipeline, &pipeline.path("all"));
}

#[test]
fn a_killed_load_of_gzip_is_gone_on_with() {
    let pipeline = Pipeline::embedded(RULES, "");
    std::fs::write(pipeline.path("all"), gzip(&lines(COUNT))).expect("written");
    nothing_is_lost(&pipeline, &pipeline.path("all"));
}

#[test]
fn a_killed_load_of_several_zstd_files_is_gone_on_with() {
    let pipeline = Pipeline::embedded(RULES, "");
    let all = lines(COUNT);
    let parts: Vec<&str> = all.split_inclusive('\n').collect();
    // files that end within portions
    for (number, part) in parts.chunks(1700).enumerate() {
        let path = pipeline.path(&format!("all-{number:02}.ndjson"));
        std::fs::write(path, zstd(&part.concat())).expect("written");
    }
    nothing_is_lost(&pipeline, &pipeline.path("all-*.ndjson"));
}

#[test]
fn a_killed_load_into_kafka_is_gone_on_with() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("load", 2), postgres.database("load"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    std::fs::write(pipeline.path("all"), lines(COUNT)).expect("written");
    nothing_is_lost(&pipeline, &pipeline.path("all"));
}

#[test]
fn a_stopped_load_ends_cleanly_and_says_how_to_go_on() {
    let pipeline = Pipeline::embedded(RULES, "");
    std::fs::write(pipeline.path("all"), lines(5000)).expect("written");
    let mut loading = pipeline.start(&["load", &pipeline.path("all"), "--rate", "1000"]);
    wait_for_progress(&pipeline, &loading);
    loading.terminate();
    let status = loading.wait(SOON);
    let said = loading.messages();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the same command goes on where it was"), "{said}");
    let there = keys(&pipeline).len();
    assert_eq!(remembered(&pipeline), Some(there as u64), "nothing was in hand");
    assert_eq!(load(&pipeline, &[&pipeline.path("all")]).0, 0);
    assert_eq!(keys(&pipeline).len(), 5000, "nothing is there twice");
}

#[test]
fn a_state_file_shows_nothing_of_what_was_loaded_and_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let pipeline = Pipeline::embedded(RULES, "");
    std::fs::write(pipeline.path("all"), lines(5000)).expect("written");
    let mut loading = pipeline.start(&["load", &pipeline.path("all"), "--rate", "1000"]);
    wait_for_progress(&pipeline, &loading);
    loading.kill();
    let state = states(&pipeline).remove(0);
    let mode = std::fs::metadata(&state).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(state).expect("it is there");
    assert!(!text.contains("p00"), "{text}");
}
