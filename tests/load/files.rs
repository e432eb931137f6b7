//! Files: what they are, what is refused, and beside live traffic.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{key, keys, line, lines, load, records, states};
use crate::support::pipeline::{Pipeline, RULES, deleted, patient};
use crate::support::{Rowcast, block_on};

/// Packs a text.
pub(super) fn gzip(text: &str) -> Vec<u8> {
    block_on(async {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(text.as_bytes()).await.expect("packed");
        encoder.shutdown().await.expect("packed");
        encoder.into_inner()
    })
}

/// Packs a text.
pub(super) fn zstd(text: &str) -> Vec<u8> {
    block_on(async {
        let mut encoder = ZstdEncoder::new(Vec::new());
        encoder.write_all(text.as_bytes()).await.expect("packed");
        encoder.shutdown().await.expect("packed");
        encoder.into_inner()
    })
}

fn write(pipeline: &Pipeline, name: &str, contents: &[u8]) -> String {
    let path = pipeline.path(name);
    std::fs::write(&path, contents).expect("it is written");
    path
}

#[test]
fn what_a_file_is_packed_with_is_told_by_its_contents() {
    let pipeline = Pipeline::embedded(RULES, "");
    let plain = write(&pipeline, "a.gz", line("plain", 1).as_bytes());
    // as parallel packers write: several members
    let members = [gzip(&(line("g1", 1) + "\n")), gzip(&(line("g2", 1) + "\n"))].concat();
    write(&pipeline, "b1.ndjson", &members);
    write(
        &pipeline,
        "b2.ndjson",
        &[zstd(&(line("z1", 1) + "\n\n")), zstd(&line("z2", 1))].concat(),
    );
    let pattern = pipeline.path("b*.ndjson");
    let (code, summary, said) = load(&pipeline, &[&plain, &pattern]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(summary["records"], 5);
    let expected: Vec<String> =
        ["g1", "g2", "plain", "z1", "z2"].iter().map(|id| format!("Patient/{id}")).collect();
    assert_eq!(keys(&pipeline), expected);
    assert!(states(&pipeline).is_empty(), "it is complete");
}

#[test]
fn what_is_no_versioned_resource_is_told_by_its_place_and_never_sent() {
    let pipeline = Pipeline::embedded_from(
        "source: { topic: changes, embedded: { path: log.db }, max_record_bytes: 2kB }",
        RULES,
        "",
    );
    let long = json!({ "resourceType": "Patient", "id": "long", "SECRET": "x".repeat(3000) });
    let bad = [
        line("good", 1),
        r#"{"resourceType":"Patient","id":"SECRET","meta":{"versionId":"1"}"#.to_owned(),
        r#"{"resourceType":"Patient","SECRET":1}"#.to_owned(),
        r#"{"resourceType":"Patient","id":"SECRET"}"#.to_owned(),
        r#"{"resourceType":"SECRET","id":"1"}"#.to_owned(),
        long.to_string(),
        line("better", 2),
    ];
    let file = write(&pipeline, "bad.ndjson", (bad.join("\n") + "\n").as_bytes());
    let (code, summary, said) = load(&pipeline, &[&file]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(
        summary["refused"],
        json!({ "invalid_json": 1, "missing_id": 1, "missing_version": 1,
            "unknown_resource_type": 1, "too_large": 1 })
    );
    for place in ["2: invalid_json", "3: missing_id", "4: missing_version", "6: too_large"] {
        assert!(said.contains(&format!("bad.ndjson:{place}")), "{place}: {said}");
    }
    assert!(said.contains("--version N"), "{said}");
    assert!(!said.contains("SECRET"), "{said}");
    assert_eq!(keys(&pipeline), ["Patient/better", "Patient/good"]);
}

#[test]
fn a_version_can_be_stated_for_all() {
    let pipeline = Pipeline::embedded(RULES, "");
    let bare = r#"{"resourceType":"Patient","id":"synthetic"}"#;
    let file = write(&pipeline, "synthea.ndjson", bare.as_bytes());
    let (code, _, said) = load(&pipeline, &["--version", "4", &file]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(records(&pipeline)[0].header("rowcast.version"), Some("4"));
    pipeline.create_tables();
    pipeline.run_until_idle();
    assert_eq!(pipeline.query("SELECT CAST(version AS TEXT) FROM patient"), [["4"]]);
}

#[test]
fn stdin_is_loaded_and_cannot_be_gone_on_with() {
    let pipeline = Pipeline::embedded(RULES, "");
    let topology = pipeline.path("topology.yaml");
    let mut command = Rowcast::command(&["load", "--topology", &topology, "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let packed = zstd(&lines(3));
    child.stdin.take().expect("a pipe").write_all(&packed).expect("it reads");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(keys(&pipeline).len(), 3);
    let (code, _, said) = load(&pipeline, &["-", "--resume", &pipeline.path("state.json")]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn a_changed_file_is_not_gone_on_with() {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = write(&pipeline, "all.ndjson", lines(5000).as_bytes());
    let mut loading = pipeline.start(&["load", &file, "--rate", "1000"]);
    super::killed::wait_for_progress(&pipeline, &loading);
    loading.kill();
    write(&pipeline, "all.ndjson", (lines(5000) + &line("more", 1)).as_bytes());
    let (code, _, said) = load(&pipeline, &[&file]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("all.ndjson before it was changed"), "{said}");
    for state in states(&pipeline) {
        std::fs::remove_file(state).expect("it is there");
    }
    let (code, summary, said) = load(&pipeline, &[&file]);
    assert_eq!((code, &summary["records"]), (0, &json!(5001)), "{said}");
}

#[test]
fn what_is_older_than_the_tables_is_stale() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    pipeline.produce(&[patient("newer", 5, &json!({})), deleted("gone", 3)]);
    pipeline.run_until_idle();
    let old = [line("newer", 4), line("gone", 2), line("other", 1)].join("\n");
    let file = write(&pipeline, "old.ndjson", old.as_bytes());
    assert_eq!(load(&pipeline, &[&file]).0, 0);
    pipeline.run_until_idle();
    let rows = pipeline.query("SELECT id, CAST(version AS TEXT) FROM patient ORDER BY id");
    assert_eq!(rows, [["newer", "5"], ["other", "1"]]);
    // and what is newer than the tables is not
    let file =
        write(&pipeline, "new.ndjson", [line("newer", 6), line("gone", 4)].join("\n").as_bytes());
    assert_eq!(load(&pipeline, &[&file]).0, 0);
    pipeline.run_until_idle();
    let rows = pipeline.query("SELECT id, CAST(version AS TEXT) FROM patient ORDER BY id");
    assert_eq!(rows, [["gone", "4"], ["newer", "6"], ["other", "1"]]);
}

#[test]
fn a_rate_is_kept() {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = write(&pipeline, "all.ndjson", lines(300).as_bytes());
    let begun = Instant::now();
    assert_eq!(load(&pipeline, &[&file, "--rate", "100"]).0, 0);
    assert!(begun.elapsed() > Duration::from_millis(2500), "{:?}", begun.elapsed());
}

#[test]
fn a_topic_of_another_format_is_refused() {
    let source = "source: { topic: changes, format: hapi, embedded: { path: log.db } }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    let file = write(&pipeline, "all.ndjson", lines(1).as_bytes());
    let (code, _, said) = load(&pipeline, &[&file]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("hapi"), "{said}");
}

#[test]
fn a_topic_whose_versions_are_offsets_takes_no_history_and_warns_of_the_rest() {
    let source = "source: { topic: changes, embedded: { path: log.db } }";
    let pipeline = Pipeline::embedded_from(source, RULES, "");
    let offsets = ["--set", "transform.version.from=offset"];
    let history = [&offsets[..], &["--history", "--server", "http://127.0.0.1:1/fhir"]].concat();
    let (code, _, said) = load(&pipeline, &history);
    assert!(code == 2 && said.contains("newest first"), "{said}");
    let file = write(&pipeline, "all.ndjson", lines(1).as_bytes());
    let (code, _, said) = load(&pipeline, &[&offsets[..], &[file.as_str()]].concat());
    assert!(code == 0 && said.contains("wins over what is there"), "{said}");
}

#[test]
fn a_resource_that_the_topic_does_not_take_is_counted_and_its_neighbours_are_there() {
    let Some(kafka) = crate::support::requires_kafka() else { return };
    let Some(postgres) = crate::support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("load", 1), postgres.database("load"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    let large = json!({ "resourceType": "Patient", "id": "large", "meta": { "versionId": "1" },
        "text": "x".repeat(3 << 20) });
    let all = [line("a", 1), large.to_string(), line("b", 1)].join("\n");
    let file = write(&pipeline, "all.ndjson", all.as_bytes());
    let (code, summary, said) = load(&pipeline, &[&file]);
    assert_eq!((code, &summary["refused"]), (3, &json!({ "too_large": 1 })), "{said}");
    assert!(said.contains("all.ndjson:2: too_large"), "{said}");
    let mut keys: Vec<_> = records(&pipeline).iter().map(key).collect();
    keys.sort();
    assert_eq!(keys, ["Patient/a", "Patient/b"]);
}
