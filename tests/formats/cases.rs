//! The cases in tests/fixtures/formats.

use std::fs;
use std::path::Path;

use rowcast::model::Record;
use rowcast::source::{DecodeSettings, Format, VersionFrom};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{columns, record, said};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    debezium: Value,
    cases: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    version_from: VersionFrom,
    debezium: Option<Value>,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    headers: Map<String, Value>,
    value: Value,
    expects: Vec<String>,
}

/// A case: its name, how its topic is read, the record and what it says.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) settings: DecodeSettings,
    pub(super) record: Record,
    pub(super) expects: Vec<String>,
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the fixtures are there")
        .map(|file| file.expect("it is listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files.iter().flat_map(|path| of(path)).collect()
}

fn of(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).expect("the file is read");
    let file: File =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let case = |written: Written| {
        let key = match &written.key {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let headers: Vec<_> = written
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("headers are text")))
            .collect();
        let debezium = written.debezium.as_ref().unwrap_or(&file.debezium);
        Case {
            name: format!("{stem}: {}", written.name),
            settings: DecodeSettings {
                format: written.format,
                version_from: written.version_from,
                debezium: columns(debezium),
                ..DecodeSettings::default()
            },
            record: record(key, &texts(written.value), &headers),
            expects: written.expects,
        }
    };
    file.cases.into_iter().map(case).collect()
}

/// Replaces each `{text: ..}` by its JSON in a string.
fn texts(value: Value) -> Value {
    match value {
        Value::Object(members) if members.len() == 1 && members.contains_key("text") => {
            Value::String(members.into_values().map(|inner| texts(inner).to_string()).collect())
        }
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, texts(value))).collect()
        }
        Value::Array(elements) => elements.into_iter().map(texts).collect(),
        other => other,
    }
}

#[test]
fn every_case_says_what_it_should() {
    let cases = all();
    assert!(cases.len() > 90, "cases are missing: {}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let said = said(&case.settings, &case.record);
            (said != case.expects).then(|| {
                format!("{}\n  expected {:?}\n  said     {said:?}", case.name, case.expects)
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_format_that_is_set_says_the_same_as_auto_of_its_own_records() {
    for case in all().iter().filter(|case| case.settings.format == Format::Auto) {
        let format = match case.name.split(':').next() {
            Some("hapi") => Format::Hapi,
            Some("linuxforhealth") => Format::LinuxForHealth,
            Some("debezium") => Format::Debezium,
            _ => continue,
        };
        // what auto refuses for being two formats is one where one is set
        if case.name.contains("two envelopes") {
            continue;
        }
        let settings = DecodeSettings { format, ..case.settings.clone() };
        assert_eq!(said(&settings, &case.record), case.expects, "{}", case.name);
    }
}

#[test]
fn bundles_of_too_many_entries_are_refused_as_a_whole() {
    let entry =
        serde_json::json!({ "request": { "method": "DELETE", "url": "Patient/1/_history/2" } });
    let bundle = |count: usize| {
        serde_json::json!(
            { "resourceType": "Bundle", "type": "history", "entry": vec![entry.clone(); count] }
        )
    };
    let said = |count| said(&DecodeSettings::default(), &record(None, &bundle(count), &[]));
    assert_eq!(said(10_000).len(), 10_000);
    let over = said(10_001);
    assert_eq!((over.len(), over[0].as_str()), (1, "refused too_large"));
}

#[test]
fn refusals_repeat_nothing_of_the_record() {
    let canary = "canary-7d";
    let values = [
        format!(r#"{{"payload":{{"operationType":"UPDATE","payloadId":"Patient/{canary}"}}}}"#),
        format!(r#"{{"operationType":"update","location":"Patient/{canary}/_history/1"}}"#),
        format!(r#"{{"operationType":"{canary}","location":"{canary}"}}"#),
        format!(r#"{{"op":"{canary}","after":{{"{canary}":1}}}}"#),
        format!(r#"{{"specversion":"{canary}","data":"{canary}"}}"#),
        format!(
            r#"{{"resourceType":"Bundle","type":"history","entry":[{{"request":{{"method":"{canary}","url":"{canary}"}}}}]}}"#
        ),
        format!(r#"{{"{canary}":"{canary}"}}"#),
    ];
    for value in values {
        let record = record(None, &Value::String(value), &[]);
        let settings = DecodeSettings {
            debezium: columns(&serde_json::json!({ "document": canary })),
            ..DecodeSettings::default()
        };
        rowcast::source::Decoder::new(settings).decode_each(&record, |change| {
            let refusal = rowcast::error::Refusal::from(change.expect_err("refused"));
            let told = format!("{refusal:?} {refusal}");
            assert!(!told.contains(canary), "{told}");
        });
    }
}
