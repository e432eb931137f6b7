//! HL7's tests of FHIRPath for R4, read from the folder `ROWCAST_SUITES` names, or
//! `../shared/suites`; where there is none, the test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bigdecimal::BigDecimal;
use chrono::DateTime;
use rowcast::model::Document;
use rowcast::transform::fhirpath::{Environment, Item, Path, convert_to_boolean};
use serde_json::Value;

use super::document;

/// An official test that is not passed, and why.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    pub(crate) test: String,
    /// Whether the test is one for R4, JSON and this mode at all.
    pub(crate) applies: bool,
    pub(crate) reason: String,
}

/// The official tests that are not passed; checked both ways.
pub(crate) fn exceptions() -> Vec<Exception> {
    serde_json::from_str(include_str!("../fixtures/fhirpath-exceptions.json")).expect("exceptions")
}

fn suites() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    std::env::var_os("ROWCAST_SUITES").map_or_else(default, PathBuf::from)
}

#[test]
fn the_official_tests_pass_but_for_the_listed_exceptions() {
    let folder = suites().join("hl7-fhirpath-r4");
    let Ok(tests) = std::fs::read(folder.join("tests-r4.json")) else {
        println!("skipped: no hl7-fhirpath-r4/tests-r4.json in {}", suites().display());
        return;
    };
    let tests: Vec<Value> = serde_json::from_slice(&tests).expect("a list of tests");
    let mut listed: BTreeMap<String, Exception> =
        exceptions().into_iter().map(|exception| (exception.test.clone(), exception)).collect();
    let mut documents = BTreeMap::new();
    let (mut passed, mut applicable, mut faults) = (0, 0, Vec::new());
    for test in &tests {
        let name = test["name"].as_str().expect("a name");
        let input = test["input"].as_str().unwrap_or_default();
        let document = documents.entry(input).or_insert_with(|| {
            match std::fs::read(folder.join("input-json").join(input)) {
                Ok(bytes) => document(&bytes),
                Err(_) => document(b"{}"),
            }
        });
        let exception = listed.remove(name);
        applicable += usize::from(exception.as_ref().is_none_or(|exception| exception.applies));
        match (outcome(test, document), exception) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(_)) => faults.push(format!("{name}: passes, take it off the list")),
            (Err(_), Some(_)) => {}
            (Err(why), None) => {
                faults.push(format!("{name}: {} {why}", test["expr"].as_str().unwrap_or_default()));
            }
        }
    }
    faults.extend(listed.keys().map(|name| format!("{name}: there is no such test")));
    println!("{passed} of the {applicable} that apply passed, of {}", tests.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(passed * 100 >= applicable * 99, "{passed} of {applicable}");
}

/// Why an official test does not pass.
fn outcome(test: &Value, document: &Document) -> Result<(), String> {
    let expression = test["expr"].as_str().expect("an expression");
    let is_invalid = !test["invalid"].is_null();
    let path = match Path::compile(expression, document.text("resourceType")) {
        Ok(path) => path,
        Err(_) if is_invalid => return Ok(()),
        Err(error) => return Err(format!("is refused: {}", error.problem)),
    };
    let mut items = Vec::new();
    let environment =
        Environment::of(document.root()).at(DateTime::from_timestamp(1_700_000_000, 0));
    match path.evaluate(environment, Item::resource(document.root()), &mut items) {
        Err(_) if is_invalid => return Ok(()),
        Err(error) => return Err(format!("failed: {error}")),
        Ok(()) if is_invalid => return Err("should fail".to_owned()),
        Ok(()) => {}
    }
    let found: Vec<String> = if test["predicate"] == true {
        let truth = convert_to_boolean(&items).expect("one item");
        truth.iter().map(ToString::to_string).collect()
    } else {
        items.iter().map(|item| item.text().unwrap_or_default().into_owned()).collect()
    };
    let expected = test["out"].as_array().expect("a list of results");
    let mut open: Vec<&Value> = expected.iter().collect();
    let unordered = test["ordered"] == "false";
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(text, value)| {
            if unordered {
                let at = open.iter().position(|other| is_same(text, other));
                at.map(|at| open.swap_remove(at)).is_some()
            } else {
                is_same(text, value)
            }
        });
    if same { Ok(()) } else { Err(format!("found {found:?}")) }
}

fn is_same(found: &str, expected: &Value) -> bool {
    let value = expected["value"].as_str().unwrap_or_default();
    let value = match expected["type"].as_str() {
        Some("date" | "dateTime" | "time") | None => value.trim_start_matches(['@', 'T']),
        Some("decimal") => {
            let number = |text: &str| text.parse::<BigDecimal>().ok();
            return number(found) == number(value);
        }
        _ => value,
    };
    found == value
}
