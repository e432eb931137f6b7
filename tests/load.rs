//! `rowcast load`: from files, an export, a search or a history into the ingest topic.

mod files;
mod killed;
mod remote;
mod server;

use std::process::Output;

use rowcast::Application;
use rowcast::model::Record;
use serde_json::{Value, json};

use crate::support;
use crate::support::pipeline::Pipeline;

/// A patient as a line of a file.
fn line(id: &str, version: i64) -> String {
    json!({ "resourceType": "Patient", "id": id, "meta": { "versionId": version.to_string() },
        "name": [{ "family": format!("F{version}") }] })
    .to_string()
}

/// Patients of version 1, numbered; a line each.
fn lines(count: usize) -> String {
    (0..count).map(|n| line(&format!("p{n:06}"), 1) + "\n").collect()
}

/// Everything in the ingest topic, in the order of partitions.
fn records(pipeline: &Pipeline) -> Vec<Record> {
    support::block_on(async {
        let application = Application::load(pipeline.path("topology.yaml")).expect("it loads");
        let broker = application.broker().await.expect("a broker");
        let mut reader = broker.reader(pipeline.topic()).await.expect("a reader");
        let mut all = Vec::new();
        while let Some(some) = reader.next().await.expect("records") {
            all.extend(some);
        }
        all
    })
}

/// The keys in the ingest topic, sorted.
fn keys(pipeline: &Pipeline) -> Vec<String> {
    let mut keys: Vec<String> = records(pipeline).iter().map(key).collect();
    keys.sort();
    keys
}

fn key(record: &Record) -> String {
    String::from_utf8(record.key.as_deref().expect("a key").to_vec()).expect("UTF-8")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Loads, with a summary; exit code, summary, messages.
fn load(pipeline: &Pipeline, arguments: &[&str]) -> (i32, Value, String) {
    load_with(pipeline, arguments, &[])
}

/// The same with more environment.
fn load_with(
    pipeline: &Pipeline,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (i32, Value, String) {
    let all = [&["load", "--output", "json"], arguments].concat();
    let output = pipeline.command_with(&all, environment);
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().expect("it ended by itself"), summary, said(&output))
}

/// The state files beside the topology.
fn states(pipeline: &Pipeline) -> Vec<std::path::PathBuf> {
    glob::glob(&pipeline.path("topology.load-*.json"))
        .expect("a pattern")
        .map(|path| path.expect("it can be read"))
        .collect()
}
