//! Ten of HL7's official examples, one per type that `topology/rules` has rules for, and the rows
//! that they must become. All of them: `make proof-examples`.

use std::fs;
use std::path::{Path, PathBuf};

use rowcast::model::{
    ColumnSource, Header, Offset, Record, ResourceRows, RootTable, TopicPartition, Value,
};
use rowcast::source::{DecodeSettings, Decoder, Format, HEADER_VERSION};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::{Map, json};

#[test]
fn ten_official_examples_become_the_rows_that_are_written_down() {
    let rules = rules();
    let mut types = Vec::new();
    for example in files("tests/fixtures/hl7", ".json") {
        let name = example.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rows.json") {
            continue;
        }
        types.extend(name.split_once('-').map(|(kind, _)| kind.to_owned()));
        let found = rows(&rules, &fs::read(&example).expect("an example"));
        let written = example.with_extension("rows.json");
        if std::env::var_os("ROWCAST_BLESS").is_some() {
            fs::write(&written, format!("{found:#}\n")).expect("the rows are written");
        }
        let expected = fs::read_to_string(&written).unwrap_or_default();
        assert_eq!(format!("{found:#}\n"), expected, "{name}; see tests/fixtures/hl7/README.md");
    }
    let roots = rules.catalog().roots.iter();
    let mut covered: Vec<_> = roots.map(|root| root.resource_type.to_string()).collect();
    covered.sort();
    assert_eq!(types, covered, "one example per type that has rules");
}

#[test]
fn an_example_without_rules_has_no_rows() {
    let device = br#"{"resourceType":"Device","id":"f001"}"#;
    assert_eq!(rows(&rules(), device), json!({}));
}

fn rules() -> RuleSet {
    let files: Vec<_> = files("topology/rules", ".json")
        .into_iter()
        .map(|path| (path.display().to_string(), fs::read_to_string(path).expect("rules")))
        .collect();
    RuleSet::load(&files).expect("the rules are good")
}

/// Files of a folder of the project, by name.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("the folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// Rows by table, the way a record takes.
fn rows(rules: &RuleSet, value: &[u8]) -> serde_json::Value {
    let settings = DecodeSettings { format: Format::Fhir, ..DecodeSettings::default() };
    let record = Record {
        source: TopicPartition::new("examples", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(value.to_vec().into()),
        headers: vec![Header::text(HEADER_VERSION, "1")],
    };
    let mut tables = Map::new();
    for change in Decoder::new(settings).decode(&record).expect("a change") {
        for made in rules.transform(&change).expect("rows") {
            let root = &rules.catalog().roots[made.root];
            tables.extend(root_rows(root, made));
        }
    }
    tables.into()
}

fn root_rows(root: &RootTable, made: ResourceRows) -> Map<String, serde_json::Value> {
    let sets = made.row_sets.expect("no rule has a `where`");
    let mut tables = Map::new();
    for set in sets.iter().filter(|set| !set.rows.is_empty()) {
        let table = &root.tables[set.table];
        let parents = table.parent.map(|parent| {
            let parents = sets.iter().find(|set| set.table == parent).expect("a parent has rows");
            let id = root.tables[parent].position("id").expect("every table has ids");
            parents.rows.iter().map(|row| row[id].clone()).collect::<Vec<_>>()
        });
        let to_json = |row: &Vec<Value>| {
            let mut object = Map::new();
            for (column, value) in table.columns.iter().zip(row) {
                match (&column.source, &parents) {
                    (ColumnSource::ParentReference, Some(parents)) => {
                        let place = parents.iter().position(|id| id == value);
                        object.insert("of".to_owned(), json!(place.expect("no orphans")));
                    }
                    (ColumnSource::Rule { .. }, _) if *value != Value::Null => {
                        object.insert(column.name.to_string(), cell(value));
                    }
                    _ => {}
                }
            }
            serde_json::Value::from(object)
        };
        let rows: Vec<_> = set.rows.iter().map(to_json).collect();
        tables.insert(table.name.to_string(), rows.into());
    }
    tables
}

/// A decimal and what JSON has no type for as text.
fn cell(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => json!(text.as_str()),
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        Value::Decimal(decimal) => json!(decimal.to_string()),
        Value::Date(date) => json!(date.to_string()),
        Value::DateTime(instant) => json!(instant.to_rfc3339()),
        Value::Time(time) => json!(time.to_string()),
        Value::Uuid(uuid) => json!(uuid.to_string()),
        Value::Json(text) => serde_json::from_str(text).expect("a JSON column holds JSON"),
        Value::Binary(bytes) => json!(bytes.len()),
    }
}
