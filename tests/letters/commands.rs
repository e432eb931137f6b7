//! `summary`, `list`, `show`, `discard` and `export`.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{command, expect, id_of, list, object, refused, stderr};
use crate::support::pipeline::{Pipeline, RULES, patient};

#[test]
fn the_summary_counts_by_kind_and_status_and_says_what_to_do_first() {
    let pipeline = refused();
    let id = id_of(&pipeline, "invalid_json");
    expect(&pipeline, &["discard", "--id", &id, "--reason", "a test"]);
    let summary = object(&pipeline, &["summary"]);
    let counts = ["letters", "open", "failed_again", "quarantined", "settled"];
    let counts: Vec<_> = counts.iter().map(|name| summary[name].clone()).collect();
    assert_eq!(counts, [json!(5), json!(4), json!(0), json!(0), json!(1)]);
    let groups = summary["groups"].as_array().expect("groups");
    let cities = groups.iter().find(|group| group["cause"] == "multiple_values").expect("one");
    assert_eq!((&cities["open"], &cities["settled"]), (&json!(2), &json!(0)));
    assert_eq!(
        (&cities["stage"], &cities["resource_type"], &cities["table"], &cities["column"]),
        (&json!("transform"), &json!("Patient"), &json!("patient"), &json!("city"))
    );
    assert!(cities["first_seen"].as_str() <= cities["last_seen"].as_str());
    let json = groups.iter().find(|group| group["cause"] == "invalid_json").expect("one");
    assert_eq!((&json["open"], &json["settled"]), (&json!(0), &json!(1)));
    assert_eq!(summary["most_frequent"]["cause"], "multiple_values");
    assert!(summary["most_frequent"]["remedy"].as_str().is_some_and(|remedy| remedy.len() > 20));
    assert!(summary["next"].as_array().is_some_and(|next| next.iter().any(|command| {
        command.as_str().is_some_and(|command| {
            command.contains("dead-letters test") && command.contains("multiple_values")
        })
    })));
    let table = expect(&pipeline, &["summary"]);
    assert!(table.contains("docs/causes.md#multiple_values"), "{table}");
}

#[test]
fn each_filter_lets_its_letters_through_and_no_other() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    let origin = list(&pipeline, &["--id", &id])[0].clone();
    let exactly = format!("changes:{}:{}", origin["partition"], origin["offset"]);
    let behind = format!("changes:{}:1000-2000", origin["partition"]);
    for (filter, count) in [
        (&["--cause", "multiple_values"][..], 2),
        (&["--stage", "decode"], 2),
        (&["--resource-type", "Patient"], 3),
        (&["--table", "patient"], 3),
        (&["--table", "patient", "--column", "birth_date"], 1),
        (&["--id", &id], 1),
        (&["--status", "open"], 5),
        (&["--status", "discarded", "--status", "stale"], 0),
        (&["--since", "1h"], 5),
        (&["--since", "2100-01-01T00:00:00Z"], 0),
        (&["--until", "1h"], 0),
        (&["--origin", "changes"], 5),
        (&["--origin", "other"], 0),
        (&["--origin", &exactly], 1),
        (&["--origin", &behind], 0),
        (&["--limit", "3"], 3),
    ] {
        assert_eq!(list(&pipeline, filter).len(), count, "{filter:?}");
    }
}

#[test]
fn a_letter_is_shown_by_as_much_of_its_id_as_no_other_has() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    let shown = object(&pipeline, &["show", &id[..12]]);
    assert_eq!(shown["id"], *id);
    assert_eq!(shown["headers"]["rowcast.error.cause"], "type_mismatch");
    assert_eq!(shown["headers"]["__streams.errors.topic"], "changes");
    assert_eq!(shown["column"], "birth_date");
    assert_eq!(shown["page"], "docs/causes.md#type_mismatch");
    assert_eq!(shown["original_headers"], json!([{ "name": "trace" }, { "name": "tenant" }]));
    assert!(shown["messages"].as_array().is_some_and(|messages| messages.len() == 2), "{shown}");
    let text = expect(&pipeline, &["show", &id]);
    for expected in [
        "open, nobody dealt with it yet",
        "Patient.birthDate",
        "docs/causes.md#type_mismatch",
        "headers: trace, tenant",
        "dead-letters test",
        "dead-letters replay",
        "dead-letters edit",
        "dead-letters discard",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // every id begins with nothing
    assert_eq!(command(&pipeline, &["show", ""]).status.code(), Some(2));
}

#[test]
fn letters_are_named_by_beginnings_of_ids_that_no_other_has() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let twice = json!({ "address": [{ "city": "A" }, { "city": "B" }] });
    // more than there are first digits
    let letters: Vec<_> = (0..17).map(|id| patient(&format!("p{id}"), 1, &twice)).collect();
    pipeline.produce(&letters);
    pipeline.run_until_idle();
    let listed = list(&pipeline, &[]);
    let ids: Vec<&str> = listed.iter().filter_map(|letter| letter["id"].as_str()).collect();
    let begin_so = |digit: &str| ids.iter().filter(|id| id.starts_with(digit)).count();
    let shared = ids.iter().map(|id| &id[..1]).find(|digit| begin_so(digit) > 1);
    let shared = shared.expect("two of seventeen ids share their first digit");

    let mut commands = vec![
        vec!["summary"],
        vec!["list"],
        vec!["export"],
        vec!["test"],
        vec!["replay", "--dry-run"],
        vec!["discard", "--reason", "r"],
    ];
    for named in &mut commands {
        let ambiguous = command(&pipeline, &[named.as_slice(), &["--id", shared]].concat());
        assert_eq!(ambiguous.status.code(), Some(2), "{named:?}");
        let count = begin_so(shared);
        assert_eq!(
            stderr(&ambiguous).lines().last(),
            Some(&*format!("error: {count} letters begin with {shared}; give more of the id"))
        );
        assert!(ambiguous.stdout.is_empty());
        assert_eq!(
            command(&pipeline, &[&*named, ["--id", ""].as_slice()].concat()).status.code(),
            Some(2)
        );
    }
    let nobody = ["discard", "--reason", "r", "--id", "no-such-id"];
    assert_eq!(command(&pipeline, &nobody).status.code(), Some(4));
    let two = ["discard", "--reason", "r", "--id", &ids[0][..12], "--id", ids[1]];
    assert_eq!(object(&pipeline, &two), json!({ "discarded": 2 }));
    let left = list(&pipeline, &[]);
    assert!(left.len() == 15 && left.iter().all(|letter| letter["id"] != *ids[0]));
}

#[test]
fn a_discarded_letter_is_settled_with_its_reason() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    let discarded = object(&pipeline, &["discard", "--id", &id, "--reason", "ticket 4711"]);
    assert_eq!(discarded, json!({ "discarded": 1 }));
    assert_eq!(list(&pipeline, &[]).len(), 4);
    let shown = object(&pipeline, &["show", &id]);
    assert_eq!(shown["status"], "discarded");
    assert_eq!(shown["last_status"]["reason"], "ticket 4711");
    assert_eq!(shown["last_status"]["status"], "discarded");
    // it is settled: nothing matches any more
    let again = command(&pipeline, &["discard", "--id", &id, "--reason", "once more"]);
    assert_eq!(again.status.code(), Some(4), "{}", stderr(&again));
}

#[test]
fn letters_are_discarded_only_with_a_reason_and_a_choice() {
    let pipeline = refused();
    for arguments in [
        &["discard", "--all"][..],
        &["discard", "--all", "--reason", " "],
        &["discard", "--reason", "which?"],
    ] {
        assert_eq!(command(&pipeline, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(list(&pipeline, &[]).len(), 5);
    let all = object(&pipeline, &["discard", "--all", "--reason", "the server sends all anew"]);
    assert_eq!(all, json!({ "discarded": 5 }));
    assert_eq!(list(&pipeline, &["--all"]).len(), 5);
}

#[test]
fn nothing_matched_is_an_exit_code_of_its_own() {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = pipeline.path("value.json");
    std::fs::write(&file, "{}").expect("it is written");
    for arguments in [
        &["summary"][..],
        &["list"],
        &["show", "4d60"],
        &["edit", "4d60", "--with", &file],
        &["discard", "--all", "--reason", "none"],
        &["export"],
    ] {
        let output = command(&pipeline, arguments);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", stderr(&output));
        assert_eq!(output.stdout, b"", "{arguments:?}");
    }
}

#[test]
fn an_export_with_payload_holds_the_bytes_that_were_refused() {
    let pipeline = refused();
    let file = pipeline.path("letters.ndjson");
    let arguments = ["export", "--all", "--reveal-payload", "--file", &file];
    expect(&pipeline, &arguments);
    let exported = std::fs::read_to_string(&file).expect("it is there");
    let lines: Vec<Value> =
        exported.lines().map(|line| serde_json::from_str(line).expect("a letter")).collect();
    assert_eq!(lines.len(), 5);
    let one = lines.iter().find(|line| line["cause"] == "invalid_json").expect("one");
    assert_eq!(one["key"], "Patient/canary7f-3");
    assert_eq!(one["value"], "{canary7f");
    let one = lines.iter().find(|line| line["cause"] == "type_mismatch").expect("one");
    assert_eq!(one["original_headers"][0], json!({ "name": "trace", "value": "canary7f-header" }));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(command(&pipeline, &arguments).status.code(), Some(1), "it is not overwritten");
}

#[test]
fn bytes_that_are_no_text_are_exported_as_base64() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let latin_1 = b"{\"resourceType\":\"Patient\",\"gender\":\"weibl\xefch\"}";
    super::edit::append(&pipeline, "changes", None, Some(latin_1));
    pipeline.run_until_idle();
    let exported = expect(&pipeline, &["export", "--reveal-payload"]);
    let line: Value = serde_json::from_str(&exported).expect("a letter");
    let base64 = line["value_base64"].as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).expect("base64");
    assert_eq!(bytes, latin_1);
    assert!(line.get("value").is_none());
}

#[test]
fn a_quarantined_letter_is_discarded_only_if_it_is_named() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    super::edit::append_copy_with_replays(&pipeline, &id, "5");
    assert_eq!(list(&pipeline, &["--status", "quarantined"]).len(), 1);
    let cause = ["discard", "--cause", "type_mismatch", "--reason", "r"];
    assert_eq!(command(&pipeline, &cause).status.code(), Some(4));
    let patient = ["--set", "dead_letter.max_replays=6"];
    assert_eq!(list(&pipeline, &[&["--status", "quarantined"], &patient[..]].concat()).len(), 0);
    let named = [&cause[..], &["--status", "quarantined"]].concat();
    assert_eq!(object(&pipeline, &named), json!({ "discarded": 1 }));
}

#[test]
fn a_command_that_records_something_makes_the_status_topic() {
    let pipeline = refused();
    let id = id_of(&pipeline, "type_mismatch");
    let other = ["--set", "dead_letter.status_topic=other"];
    let discard = [&["discard", "--id", &id, "--reason", "r"], &other[..]].concat();
    let output = command(&pipeline, &discard);
    assert!(stderr(&output).contains("topic other created"), "{}", stderr(&output));
    assert_eq!(list(&pipeline, &other).len(), 4);
    assert_eq!(list(&pipeline, &[]).len(), 5, "the topology's own says nothing of it");
}
