//! Golden cases: those that are checked in, and what a user's own are told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::Rowcast;
use crate::support::pipeline::{Pipeline, RULES};

fn topology(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("topology").join(name)
}

fn check(name: &str) -> Vec<Value> {
    let file = topology(name).display().to_string();
    let arguments = ["check", "--topology", &file, "--offline", "--cases", "--output", "json"]
        .map(str::to_owned);
    let output = Rowcast::command(&arguments).output().expect("rowcast runs");
    let results = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{results}{}", String::from_utf8_lossy(&output.stderr));
    results.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Runs cases against the rules that most tests use.
fn run(cases: &Value, arguments: &[&str]) -> Output {
    run_text("cases.json", &cases.to_string(), arguments)
}

fn run_text(name: &str, cases: &str, arguments: &[&str]) -> Output {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = pipeline.path(name);
    std::fs::write(&file, cases).expect("written");
    let mut all = vec!["check", "--offline", "--cases", &file];
    all.extend(arguments);
    pipeline.command(&all)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn patient(members: Value) -> Value {
    let mut patient = json!({ "resourceType": "Patient", "id": "1", "meta": { "versionId": "3" } });
    if let (Some(patient), Value::Object(members)) = (patient.as_object_mut(), members) {
        patient.extend(members);
    }
    patient
}

#[test]
fn the_checked_in_cases_hold_and_every_rules_file_has_some() {
    let results = check("demo.yaml");
    let files: BTreeSet<String> = results
        .iter()
        .filter_map(|result| {
            Path::new(result["case"].as_str()?.split('#').next()?).file_stem()?.to_str()
        })
        .map(str::to_owned)
        .collect();
    for rules in std::fs::read_dir(topology("rules")).expect("rules") {
        let rules = rules.expect("a file").path();
        let stem = rules.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8").to_owned();
        assert!(files.contains(&stem), "{stem} has no cases");
    }
    check("example/topology.yaml");
}

#[test]
fn the_example_of_the_documentation_is_the_one_whose_cases_hold() {
    let page = std::fs::read_to_string(topology("../docs/rules.md")).expect("the page");
    let mut blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
    let rules = std::fs::read_to_string(topology("example/rules.json")).expect("rules");
    let cases = std::fs::read_to_string(topology("example/cases/claim.json")).expect("cases");
    assert_eq!(parse(blocks.next().expect("rules")), parse(&rules));
    assert_eq!(parse(blocks.next().expect("a claim")), parse(&cases)[0]["change"]);
}

#[test]
fn a_value_that_differs_is_shown_with_its_row_and_column() {
    let change = patient(json!({ "birthDate": "1974-03", "name": [{ "family": "Ng" }] }));
    let cases = json!({ "change": change, "rows": {
        "patient": [{ "id": "1", "birth_date": "1974-03-15" }],
        "patient_name": [{ "family": "Ng" }] } });
    let output = run(&cases, &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(said.starts_with("FAILED"), "{said}");
    let difference = "patient, row 1, birth_date: expected \"1974-03-15\", found \"1974-03-01\"";
    assert!(said.contains(difference), "{said}");
    assert_eq!(said.lines().count(), 2, "what holds is not told: {said}");
    assert!(stderr(&output).contains("1 case, 1 failed"), "{}", stderr(&output));
}

#[test]
fn rows_of_a_table_that_a_case_does_not_list_are_unexpected() {
    let change = patient(json!({ "name": [{ "family": "Ng" }, { "family": "Okafor" }] }));
    let output = run(&json!({ "change": change, "rows": { "patient": [{}] } }), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stdout(&output);
    assert!(said.contains("patient_name: expected 0 rows, found 2"), "{said}");
    assert!(said.contains("patient_name: unexpected {") && said.contains("Okafor"), "{said}");
}

#[test]
fn rows_that_are_missing_are_shown() {
    let cases = json!({ "change": patient(json!({})), "rows": {
        "patient": [{}], "patient_name": [{ "family": "Ng" }] } });
    let said = stdout(&run(&cases, &[]));
    assert!(said.contains("patient_name: missing {\"family\":\"Ng\"}"), "{said}");
}

#[test]
fn a_change_that_ends_otherwise_than_expected_fails_its_case() {
    let fails = |case: Value, found: &str| {
        let output = run(&case, &[]);
        let said = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(found), "{said}");
    };
    let city = json!([{ "city": "a" }, { "city": "b" }]);
    let refused = patient(json!({ "address": city }));
    fails(json!({ "change": refused, "rows": {} }), "refused, 2 values");
    fails(json!({ "change": patient(json!({})), "filtered": true }), "found: rows (1 in patient)");
    fails(json!({ "change": { "key": "Patient/1" }, "rows": {} }), "found: deleted");
    fails(
        json!({ "change": refused, "refused": { "cause": "multiple_values", "column": "gender" } }),
        "refused, column: expected gender, found city",
    );
    let device = json!({ "resourceType": "Device", "id": "1", "meta": { "versionId": "1" } });
    fails(json!({ "change": device, "deleted": true }), "found: filtered");
}

#[test]
fn a_table_or_column_that_is_not_there_fails_with_the_nearest_names() {
    let cases = json!({ "change": patient(json!({})), "rows": {
        "patient": [{ "gendr": "male" }], "patients": [] } });
    let said = stdout(&run(&cases, &[]));
    assert!(said.contains("no column `gendr`; did you mean `gender`?"), "{said}");
    assert!(
        said.contains("patients: no such table for this resource; did you mean `patient`?"),
        "{said}"
    );
}

#[test]
fn a_case_of_the_wrong_shape_is_told_with_its_place() {
    let cases = json!([
        { "change": { "key": "Patient/1", "valeu": null }, "deleted": true },
        { "change": patient(json!({})), "row": {} },
        { "change": patient(json!({})), "refused": { "cause": "type_mismatsh" } },
        { "change": patient(json!({})), "filtered": true, "rows": {} },
        { "change": patient(json!({})), "deleted": false },
    ]);
    let output = run(&cases, &[]);
    assert_eq!(output.status.code(), Some(78));
    let said = stderr(&output);
    for part in [
        "#/0/change/valeu: unknown key; did you mean `value`?",
        "#/1/row: unknown key; did you mean `rows`?",
        "#/2/refused/cause: unknown cause; did you mean `type_mismatch`?",
        "#/3/filtered: excludes `rows`",
        "#/4/deleted: must be true or left out",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn digits_are_kept_in_json_and_asked_for_in_yaml() {
    let rules = RULES.replace(
        "{ \"columnName\": \"gender\", \"fhirPath\": \"Patient.gender\", \"columnType\": \"STRING\" }",
        "{ \"columnName\": \"gender\", \"fhirPath\": \"Patient.extension.value.ofType(decimal)\", \
         \"columnType\": \"DECIMAL\" }",
    );
    let pipeline = Pipeline::embedded(&rules, "");
    let run = |name: &str, text: &str| {
        let file = pipeline.path(name);
        std::fs::write(&file, text).expect("written");
        pipeline.command(&["check", "--offline", "--cases", &file])
    };
    let change = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1"},"extension":[{"url":"u","valueDecimal":72.50}]}"#;
    let case = |found: &str| {
        format!(r#"{{"change":{change},"rows":{{"patient":[{{"gender":{found}}}]}}}}"#)
    };
    let kept = run("digits.json", &case("\"72.50\""));
    assert!(kept.status.success(), "{}", stdout(&kept));
    let number = run("number.json", &case("72.5"));
    assert!(stdout(&number).contains("a DECIMAL is written as text"), "{}", stdout(&number));
    let yaml = run("digits.yaml", &case("'72.50'"));
    assert_eq!(yaml.status.code(), Some(78));
    let said = stderr(&yaml);
    assert!(said.contains("#/change/extension/0/valueDecimal: YAML keeps no digits"), "{said}");
    let text =
        format!("change: {{ value: '{change}' }}\nrows: {{ patient: [{{ gender: '72.50' }}] }}\n");
    let text = run("text.yaml", &text);
    assert!(text.status.success(), "{}{}", stdout(&text), stderr(&text));
}

#[test]
fn a_case_of_a_view_lists_its_rows() {
    let view = json!({ "resourceType": "ViewDefinition", "name": "families",
        "resource": "Patient", "status": "active",
        "select": [{ "forEach": "name", "column": [{ "name": "family", "path": "family" }] }] });
    let pipeline = Pipeline::embedded(&view.to_string(), "");
    let file = pipeline.path("cases.json");
    let change = patient(json!({ "name": [{ "family": "Ng" }, { "family": "Okafor" }] }));
    let cases = json!([
        { "change": change, "rows": { "families": [{ "family": "Ng" }, { "family": "Okafor" }] } },
        { "change": patient(json!({})), "rows": {} },
    ]);
    std::fs::write(&file, cases.to_string()).expect("written");
    pipeline.expect(&["check", "--offline", "--cases", &file]);
    let fewer = json!({ "change": change, "rows": { "families": [{ "family": "Ng" }] } });
    std::fs::write(&file, fewer.to_string()).expect("written");
    let output = pipeline.command(&["check", "--offline", "--cases", &file]);
    assert!(stdout(&output).contains("families: expected 1 row, found 2"), "{}", stdout(&output));
}

#[test]
fn results_for_programs_are_an_object_a_line() {
    let cases = json!([
        { "name": "good", "change": { "key": "Patient/1" }, "deleted": true },
        { "change": { "key": "Patient/1" }, "filtered": true },
    ]);
    let output = run(&cases, &["--output", "json"]);
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["name"], &lines[0]["ok"]), (&json!("good"), &json!(true)));
    assert_eq!(lines[0]["differences"], json!([]));
    assert_eq!(lines[1]["ok"], json!(false));
    assert_eq!(lines[1]["differences"], json!(["expected: filtered, found: deleted"]));
}

#[test]
fn cases_need_neither_broker_nor_database() {
    let pipeline = Pipeline::embedded(RULES, "");
    let file = pipeline.path("cases.json");
    let case = json!({ "change": { "key": "Patient/1" }, "deleted": true });
    std::fs::write(&file, case.to_string()).expect("written");
    pipeline.expect(&["check", "--offline", "--cases", &file]);
    for made in ["log.db", "rows.db"] {
        assert!(!Path::new(&pipeline.path(made)).exists(), "{made} was made");
    }
}

#[test]
fn a_folder_without_cases_is_a_problem() {
    let pipeline = Pipeline::embedded(RULES, "");
    let beside = pipeline.command(&["check", "--offline", "--cases"]);
    assert_eq!(beside.status.code(), Some(78));
    assert!(stderr(&beside).contains("cases: cannot be read"), "{}", stderr(&beside));
    std::fs::create_dir(pipeline.path("cases")).expect("made");
    let empty = pipeline.command(&["check", "--offline", "--cases"]);
    assert_eq!(empty.status.code(), Some(78));
    assert!(stderr(&empty).contains("holds no case"), "{}", stderr(&empty));
}

#[test]
fn the_case_in_the_documentation_holds() {
    let page = std::fs::read_to_string(topology("../docs/cases.md")).expect("the page");
    let case = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.json");
    std::fs::write(&file, case.expect("a case")).expect("written");
    let topology = topology("example/topology.yaml");
    let mut command = Rowcast::command(&["check", "--offline", "--topology"]);
    let output = command.arg(topology).arg("--cases").arg(file).output().expect("rowcast runs");
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}
