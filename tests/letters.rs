//! Dead letters and the commands on them: found, understood, mended, given up.

mod commands;
mod edit;
mod kafka;
mod ledger;
mod privacy;

use std::process::Output;

use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES, patient};

/// In values, keys, ids and headers of the records: nowhere else may it be seen.
const CANARY: &str = "canary7f";

/// A pipeline that refused five records of six: two of one kind, and one each of three.
fn refused() -> Pipeline {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let two_cities = json!({ "address": [{ "city": "A" }, { "city": CANARY }] });
    let date = patient(&format!("{CANARY}-date"), 3, &json!({ "birthDate": CANARY }));
    let mut date: Value = serde_json::from_str(&date).expect("a record");
    date["headers"] = json!({ "trace": format!("{CANARY}-header"), "tenant": "7" });
    pipeline.produce(&[
        patient("good", 1, &json!({})),
        date.to_string(),
        patient(&format!("{CANARY}-1"), 1, &two_cities),
        patient(&format!("{CANARY}-2"), 1, &two_cities),
        json!({ "key": format!("Patient/{CANARY}-3"), "value": format!("{{{CANARY}") }).to_string(),
        json!({ "key": null, "value": null, "headers": { "tenant": CANARY } }).to_string(),
    ]);
    pipeline.run_until_idle();
    pipeline
}

/// A `dead-letters` command that ends well; its stdout.
fn expect(pipeline: &Pipeline, arguments: &[&str]) -> String {
    pipeline.expect(&[&["dead-letters"], arguments].concat())
}

/// The same, however it ends.
fn command(pipeline: &Pipeline, arguments: &[&str]) -> Output {
    pipeline.command(&[&["dead-letters"], arguments].concat())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The same with `--output json`, which is one object.
fn object(pipeline: &Pipeline, arguments: &[&str]) -> Value {
    let printed = expect(pipeline, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&printed).expect("an object")
}

/// The letters that `list` finds, as JSON; none if it says so.
fn list(pipeline: &Pipeline, arguments: &[&str]) -> Vec<Value> {
    let listed = command(pipeline, &[&["list", "--output", "json"], arguments].concat());
    assert!(matches!(listed.status.code(), Some(0 | 4)), "{}", stderr(&listed));
    let printed = String::from_utf8(listed.stdout).expect("stdout is UTF-8");
    printed.lines().map(|line| serde_json::from_str(line).expect("a letter")).collect()
}

/// The id of the one letter of this cause.
fn id_of(pipeline: &Pipeline, cause: &str) -> String {
    let found = list(pipeline, &["--cause", cause, "--all"]);
    assert_eq!(found.len(), 1, "{cause}");
    found[0]["id"].as_str().expect("an id").to_owned()
}
