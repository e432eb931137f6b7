//! `rowcast explain`: where values come from, and why rows are absent.

use std::process::Output;

use rowcast::error::Cause;
use rowcast::model::{Offset, Operation, Record, TopicPartition};
use rowcast::source::{DecodeSettings, Decoder, Format, HEADER_VERSION};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::{Value, json};

use crate::support::pipeline::Pipeline;

const RULES: &str = r#"{ "transformers": [
  { "resourceType": "Patient", "tableName": "patient",
    "columns": [
      { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING" },
      { "columnName": "birth_date", "fhirPath": "Patient.birthDate", "columnType": "DATE", "partialDate": "NULL" },
      { "columnName": "given", "fhirPath": "Patient.name.given", "columnType": "STRING",
        "multiplePrimitiveStrategy": "CONCAT", "maximumSize": 5, "overflowStrategy": "TRUNCATE" },
      { "columnName": "family", "fhirPath": "Patient.name.family.first()", "columnType": "STRING",
        "maximumSize": 3, "overflowStrategy": "NULL" },
      { "columnName": "city", "fhirPath": "Patient.address.city", "columnType": "STRING" },
      { "columnName": "site", "constant": "east", "columnType": "STRING" },
      { "columnName": "language", "fhirPath": "Patient.communication.language.text", "columnType": "STRING",
        "default": "en" } ],
    "childTables": [
      { "fhirPath": "Patient.name", "tableName": "patient_name", "where": "use = 'official'", "columns": [
        { "columnName": "family", "fhirPath": "family", "columnType": "STRING" } ] },
      { "fhirPath": "Patient.contact.telecom", "tableName": "patient_contact", "columns": [],
        "childTables": [ { "fhirPath": "extension", "tableName": "patient_contact_extension", "columns": [] } ] } ] },
  { "resourceType": "Patient", "tableName": "deceased", "where": "deceased.exists()", "columns": [] },
  { "resourceType": "Patient", "tableName": "active", "where": "active", "columns": [] },
  { "resourceType": "Encounter", "tableName": "encounter", "columns": [] } ] }"#;

const PATIENT: &str = r#"{ "resourceType": "Patient", "id": "p1", "meta": { "versionId": "3" },
  "birthDate": "1974",
  "name": [ { "use": "official", "family": "Okafor", "given": ["Ada", "Bea"] }, { "use": "usual" }, {} ],
  "address": [ { "city": "Ede" } ], "contact": [ {}, { "gender": "male" } ] }"#;

fn run(resource: &str, arguments: &[&str]) -> Output {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = pipeline.path("resource.json");
    std::fs::write(&file, resource).expect("written");
    let mut all = vec!["explain"];
    all.extend(arguments);
    all.push(&file);
    pipeline.command(&all)
}

/// Explained for people; exit code 0.
fn text(resource: &str) -> String {
    let output = run(resource, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn json(resource: &str) -> Value {
    json_of(&run(resource, &["--output", "json"]))
}

fn table<'j>(explained: &'j Value, name: &str) -> &'j Value {
    let tables = explained["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == name).expect(name)
}

fn has_line(text: &str, parts: &[&str]) -> bool {
    text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn a_tables_rows_stand_below_their_columns() {
    let text = text(PATIENT);
    assert!(has_line(&text, &["| id ", "| birth_date ", "| given ", "| language "]), "{text}");
    assert!(has_line(&text, &["| p1 ", "| Ada B ", "| Ede ", "| east ", "| en "]), "{text}");
    assert!(text.starts_with("Patient, version 3: written\n"), "{text}");
}

#[test]
fn every_column_says_which_expression_and_rule_filled_it() {
    let text = text(PATIENT);
    assert!(text.contains("patient: 1 row, by rules.json#/transformers/0\n"), "{text}");
    let given = [
        "| given ",
        "Patient.name.given; CONCAT by \" \"; TRUNCATE beyond 5 characters",
        "#/transformers/0/columns/2",
    ];
    assert!(has_line(&text, &given), "{text}");
    assert!(has_line(&text, &["| site ", "| constant ", "#/transformers/0/columns/5"]), "{text}");
    assert!(has_line(&text, &["| version ", "| BIGINT ", "| managed "]), "{text}");
    assert!(has_line(&text, &["| language ", "default en"]), "{text}");

    let explained = json(PATIENT);
    let columns = table(&explained, "patient")["columns"].as_array().expect("columns");
    let given = columns.iter().find(|column| column["column"] == "given").expect("given");
    assert_eq!(
        *given,
        json!({ "column": "given", "type": "STRING", "from": "path",
            "expression": "Patient.name.given", "rule": "rules.json#/transformers/0/columns/2",
            "multiple": "CONCAT", "delimiter": " ", "maximum_size": 5, "overflow": "TRUNCATE",
            "default": null, "partial_date": "START" })
    );
}

#[test]
fn a_cell_that_is_null_or_cut_says_why() {
    let text = text(PATIENT);
    assert!(has_line(&text, &["| birth_date ", "NULL: a date without month or day"]), "{text}");
    assert!(has_line(&text, &["| given ", "cut to 5 characters"]), "{text}");
    assert!(has_line(&text, &["| family ", "NULL: longer than 3 characters"]), "{text}");
    assert!(has_line(&text, &["| language ", "default: `Patient.communication` none"]), "{text}");
    let without_city = PATIENT.replace("\"city\"", "\"state\"");
    let explained = json(&without_city);
    let notes = table(&explained, "patient")["notes"].as_array().expect("notes");
    let city = notes.iter().find(|note| note["column"] == "city").expect("a note");
    assert_eq!(city["why"], "no_value");
    assert_eq!(city["trail"][1], json!({ "path": "Patient.address", "items": 1 }));
    assert_eq!(city["trail"][2], json!({ "path": "Patient.address.city", "items": 0 }));
}

#[test]
fn a_child_table_without_rows_says_where_its_path_ran_dry() {
    let text = text(PATIENT);
    assert!(text.contains("`Patient.contact` has 2, `Patient.contact.telecom` none"), "{text}");
    assert!(text.contains("patient_contact_extension: no rows"), "{text}");
    assert!(text.contains("  patient_contact has none\n"), "{text}");
}

#[test]
fn elements_that_where_left_out_are_counted() {
    let text = text(PATIENT);
    assert!(text.contains("2 of 3 elements left out by `where`: use = 'official'"), "{text}");
    assert!(text.contains("false for 1, empty for 1"), "{text}");
    let explained = json(PATIENT);
    let absence = &table(&explained, "patient_name")["absences"][0];
    assert_eq!(
        *absence,
        json!({ "why": "filtered", "rule": "rules.json#/transformers/0/childTables/0/where",
            "expression": "use = 'official'", "elements": 3, "false": 1, "empty": 1 })
    );
}

#[test]
fn a_where_that_does_not_match_is_told_as_false_or_empty() {
    let text = text(PATIENT);
    let was_false = "`where` is false: deceased.exists() (rules.json#/transformers/1/where)";
    assert!(text.contains(was_false), "{text}");
    let was_empty = "`where` is empty: active (rules.json#/transformers/2/where)";
    assert!(text.contains(was_empty), "{text}");
}

#[test]
fn a_type_without_a_transformer_names_those_that_have_one() {
    let device = r#"{"resourceType":"Device","id":"d","meta":{"versionId":"1"}}"#;
    let said = text(device);
    assert!(
        said.contains("no transformer takes Device; there are some for: Encounter, Patient"),
        "{said}"
    );
    let explained = json(device);
    assert_eq!(explained["outcome"], "filtered");
    assert_eq!(
        explained["absences"],
        json!([{ "why": "no_transformer", "types": ["Encounter", "Patient"] }])
    );
}

#[test]
fn a_delete_names_the_tables_that_its_rows_go_from() {
    let message = r#"{"payload":{"operationType":"DELETE","payloadId":"Patient/p1/_history/4"}}"#;
    let output = run(message, &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("Patient, version 4: deleted"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("its rows go from patient, patient_name, patient_contact"), "{said}");
}

/// `explain` shows it beside rule, column and path; a letter has them in headers.
#[test]
fn advice_on_what_a_transformer_refuses_speaks_of_no_headers() {
    for cause in
        [Cause::ExpressionError, Cause::MultipleValues, Cause::TypeMismatch, Cause::ValueTooLong]
    {
        assert!(!cause.remedy().contains("header"), "{cause}: {}", cause.remedy());
    }
}

#[test]
fn a_refusal_has_its_place_and_advice_and_other_rows_are_still_shown() {
    let two = PATIENT.replace(r#"{ "city": "Ede" }"#, r#"{ "city": "Ede" }, { "city": "Epe" }"#);
    let output = run(&two, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(has_line(&said, &["| p1 ", "| (refused) "]), "{said}");
    assert!(has_line(&said, &["| Okafor "]), "the child's row: {said}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "refused: multiple_values: 2 values",
        "table   patient",
        "column  city",
        "rule    rules.json#/transformers/0/columns/4",
        "path    Patient.address.city",
        "advice  Narrow the path",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let output = run(&two, &["--output", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let explained = json_of(&output);
    assert_eq!(explained["outcome"], "refused");
    assert_eq!(explained["refusals"][0]["cause"], "multiple_values");
    assert_eq!(explained["refusals"][0]["column"], "city");
    assert_eq!(explained["sql"], json!([]), "nothing would be written");
}

#[test]
fn sql_is_printed_when_asked_for_and_always_for_programs() {
    let without = text(PATIENT);
    assert!(!without.contains("INSERT"), "{without}");
    let with = String::from_utf8(run(PATIENT, &["--sql"]).stdout).expect("UTF-8");
    assert!(
        with.contains("SQL, in order, in one transaction:") && with.contains("INSERT"),
        "{with}"
    );
    let sql = json(PATIENT)["sql"].as_array().map_or(0, Vec::len);
    assert!(sql > 1, "root and child");
}

#[test]
fn a_view_is_explained_by_its_rows_and_expressions() {
    let view = json!({ "resourceType": "ViewDefinition", "name": "given_names",
        "resource": "Patient", "status": "active", "select": [
            { "column": [{ "name": "patient_id", "path": "getResourceKey()" }] },
            { "forEach": "name.given", "column": [{ "name": "given", "path": "$this" }] } ] });
    let pipeline = Pipeline::embedded(&view.to_string(), "");
    let file = pipeline.path("resource.json");
    std::fs::write(&file, PATIENT).expect("written");
    let explained = pipeline.expect(&["explain", "--output", "json", &file]);
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!(explained["outcome"], "written");
    let tables = explained["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 1, "what guards a view is not shown: {tables:?}");
    let rows = tables[0]["rows"].as_array().expect("rows");
    let given: Vec<_> = rows.iter().map(|row| &row["given"]).collect();
    assert_eq!(given, ["Ada", "Bea"]);
    assert_eq!(tables[0]["parent"], Value::Null);
    let columns = tables[0]["columns"].as_array().expect("columns");
    let given = columns.iter().find(|column| column["column"] == "given").expect("given");
    assert_eq!((&given["from"], &given["expression"]), (&json!("path"), &json!("$this")));
}

/// The absences of a view's only table, as JSON, for [`PATIENT`].
fn absences_of_view(view: &Value) -> Value {
    let pipeline = Pipeline::embedded(&view.to_string(), "");
    let file = pipeline.path("resource.json");
    std::fs::write(&file, PATIENT).expect("written");
    let explained = pipeline.expect(&["explain", "--output", "json", &file]);
    let mut explained: Value = serde_json::from_str(&explained).expect("JSON");
    explained["tables"][0]["absences"].take()
}

#[test]
fn a_view_without_rows_says_which_iteration_found_nothing() {
    let found = absences_of_view(&json!({ "resourceType": "ViewDefinition", "name": "phones",
        "resource": "Patient", "status": "active", "select": [{ "forEach": "name", "select": [
            { "forEachOrNull": "period", "column": [{ "name": "start", "path": "start" }] },
            { "forEach": "suffix", "column": [{ "name": "suffix", "path": "$this" }] } ] }] }));
    let found = found.as_array().expect("absences");
    let [suffix] = found.as_slice() else { panic!("only `forEach` takes rows away: {found:?}") };
    assert_eq!(suffix["why"], "no_elements");
    let rule = suffix["rule"].as_str().unwrap_or_default();
    assert!(rule.ends_with("#/select/0/select/1/forEach"), "{suffix}");
}

#[test]
fn a_view_that_leaves_a_resource_out_says_which_where_did() {
    let found = absences_of_view(&json!({ "resourceType": "ViewDefinition", "name": "dead",
        "resource": "Patient", "status": "active", "where": [{ "path": "name.exists()" },
            { "path": "deceased.ofType(boolean)" }],
        "select": [{ "column": [{ "name": "id", "path": "id" }] }] }));
    assert_eq!(found[0]["why"], "where");
    assert_eq!(found[0]["expression"], "deceased.ofType(boolean)");
    assert_eq!(found[0]["was"], "empty");
}

#[test]
fn what_is_explained_is_what_the_transform_makes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &str| -> Vec<(String, String)> {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let files = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
        files
            .map(|path| (path.display().to_string(), std::fs::read_to_string(path).expect("text")))
            .collect()
    };
    let mut rules = read("topology/rules");
    let more = RULES.replace("\"tableName\": \"", "\"tableName\": \"more_");
    rules.push(("rules.json".to_owned(), more));
    let rules = RuleSet::load(&rules).expect("good rules");
    let mut documents = read("tests/fixtures/hl7");
    documents.retain(|(name, _)| !name.ends_with(".rows.json"));
    documents.push(("patient".to_owned(), PATIENT.to_owned()));
    let settings = DecodeSettings { format: Format::Fhir, ..DecodeSettings::default() };
    let mut compared = 0;
    for (name, text) in documents {
        let record = Record {
            source: TopicPartition::new("explain", 0),
            offset: Offset(0),
            timestamp: None,
            key: None,
            value: Some(text.into()),
            headers: vec![rowcast::model::Header::text(HEADER_VERSION, "1")],
        };
        for change in Decoder::new(settings.clone()).decode(&record).expect("a change") {
            assert!(matches!(change.operation, Operation::Upsert { .. }));
            let made = rules.transform(&change).expect("rows");
            let explained = rules.explain(&change);
            assert_eq!(made.len(), explained.len(), "{name}");
            for (made, explained) in made.iter().zip(&explained) {
                assert_eq!(made.root, explained.root, "{name}");
                assert_eq!(made.row_sets.is_none(), explained.is_filtered(), "{name}");
                assert!(explained.refusals.is_empty(), "{name}");
                for set in made.row_sets.iter().flatten() {
                    assert!(set.rows == explained.tables[set.table].rows, "{name}: {}", set.table);
                    compared += set.rows.len();
                }
            }
        }
    }
    assert!(compared > 50, "{compared} rows");
}
