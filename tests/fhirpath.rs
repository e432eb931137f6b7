//! The official FHIRPath tests for R4, and what must hold for any expression and document.
//!
//! The official tests are read from the folder `ROWCAST_SUITES` names, or `../shared/suites`;
//! where there is none, that test says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bigdecimal::BigDecimal;
use rowcast::model::{Document, DocumentLimits};
use rowcast::transform::fhirpath::{Item, Path, PathProblem, convert_to_boolean};
use serde_json::Value;

/// How many official tests must pass. It only grows.
const LEAST_PASSED: usize = 800;

/// Official tests that compile and have another answer here, and why.
const OTHER_ANSWERS: [(&str, &str); 3] = [
    ("testDollarOrderNotAllowed", "children have an order here, that of their type"),
    ("testNEquality24", "there is no UCUM, so units that do not convert are not told apart"),
    ("testPlusDate19", "a fraction of a second is added, as the specification says"),
];

#[derive(Debug, PartialEq)]
enum Verdict {
    Passed,
    /// Refused when it was compiled, though it is valid.
    Refused,
    Wrong(String),
}

fn suites() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    std::env::var_os("ROWCAST_SUITES").map_or_else(default, PathBuf::from)
}

fn document(text: &[u8]) -> Document {
    Document::parse(text, DocumentLimits::default()).expect("a valid document")
}

#[test]
fn the_official_tests_have_no_wrong_answer() {
    let folder = suites().join("hl7-fhirpath-r4");
    let Ok(tests) = std::fs::read(folder.join("tests-r4.json")) else {
        println!("skipped: no hl7-fhirpath-r4/tests-r4.json in {}", suites().display());
        return;
    };
    let tests: Vec<Value> = serde_json::from_slice(&tests).expect("a list of tests");
    let mut documents = BTreeMap::new();
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    for test in &tests {
        let name = test["name"].as_str().expect("a name");
        let input = test["input"].as_str().unwrap_or_default();
        let document = documents.entry(input).or_insert_with(|| {
            match std::fs::read(folder.join("input-json").join(input)) {
                Ok(bytes) => document(&bytes),
                Err(_) => document(b"{}"),
            }
        });
        match verdict(test, document) {
            Verdict::Passed => passed += 1,
            Verdict::Refused => refused += 1,
            Verdict::Wrong(_) if OTHER_ANSWERS.iter().any(|(known, _)| *known == name) => {}
            Verdict::Wrong(why) => {
                wrong.push(format!("{name}: {} {why}", test["expr"].as_str().unwrap_or_default()));
            }
        }
    }
    println!("{passed} passed, {refused} refused, of {}", tests.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed >= LEAST_PASSED, "{passed} passed, {LEAST_PASSED} did before");
}

fn verdict(test: &Value, document: &Document) -> Verdict {
    let expression = test["expr"].as_str().expect("an expression");
    let is_invalid = !test["invalid"].is_null();
    let path = match Path::compile(expression, document.text("resourceType")) {
        Ok(path) => path,
        Err(error) if matches!(error.problem, PathProblem::Unsupported { .. }) => {
            return Verdict::Refused;
        }
        Err(_) if is_invalid => return Verdict::Passed,
        Err(error) => {
            if std::env::var_os("ROWCAST_SHOW_REFUSED").is_some() {
                println!("refused: {error} {}", error.problem);
            }
            return Verdict::Refused;
        }
    };
    let mut items = Vec::new();
    let outcome = path.evaluate(document.root(), Item::resource(document.root()), &mut items);
    match outcome {
        Err(_) if is_invalid => return Verdict::Passed,
        Err(error) => return Verdict::Wrong(format!("failed: {error}")),
        Ok(()) if is_invalid => return Verdict::Wrong("should fail".to_owned()),
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
    if same { Verdict::Passed } else { Verdict::Wrong(format!("found {found:?}")) }
}

fn is_same(found: &str, expected: &Value) -> bool {
    let value = expected["value"].as_str().unwrap_or_default();
    let value = match expected["type"].as_str() {
        Some("date" | "dateTime" | "time") => value.trim_start_matches(['@', 'T']),
        Some("decimal") => {
            let number = |text: &str| text.parse::<BigDecimal>().ok();
            return number(found) == number(value);
        }
        _ => value,
    };
    found == value
}
