//! The official tests of SQL on FHIR v2.
//!
//! They are read from the folder `ROWCAST_SUITES` names, or `../shared/suites`; where there is
//! none, the test says so and passes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bigdecimal::BigDecimal;
use rowcast::model::{
    Change, ColumnSource, Document, DocumentLimits, Offset, Operation, Origin, ResourceKey,
    TopicPartition, Value, Version,
};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::{Value as Json, json};

/// How many official tests have an expectation: a file that went missing would go unnoticed.
const TESTS: usize = 134;

/// Official tests that fail because they contradict the specification, and where: file, title,
/// reason. Each is checked to fail still.
const CONTRADICTIONS: [(&str, &str, &str); 0] = [];

fn suite() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites");
    std::env::var_os("ROWCAST_SUITES").map_or_else(default, PathBuf::from).join("sql-on-fhir-v2")
}

#[test]
fn the_official_tests_of_views_pass() {
    let Ok(entries) = std::fs::read_dir(suite()) else {
        println!("skipped: there is no folder {}", suite().display());
        return;
    };
    let mut excepted: BTreeSet<String> =
        CONTRADICTIONS.iter().map(|(file, title, _)| format!("{file}: {title}")).collect();
    let (mut passed, mut total, mut wrong) = (0, 0, Vec::new());
    for entry in entries {
        let path = entry.expect("an entry").path();
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_none_or(|end| end != "json") || file == "tests.schema" {
            continue;
        }
        let content = std::fs::read_to_string(&path).expect("text");
        let group: Json = serde_json::from_str(&content).expect("JSON");
        // numbers keep their digits only in the text itself
        let resources = resources(&content);
        for test in group["tests"].as_array().expect("a list of tests") {
            let title = test["title"].as_str().expect("a title");
            let expects = ["expect", "expectCount", "expectError", "expectColumns"];
            if !expects.iter().any(|key| !test[key].is_null()) {
                continue;
            }
            total += 1;
            let verdict = verdict(test, &resources);
            let name = format!("{file}: {title}");
            let is_excepted = excepted.remove(&name);
            match verdict {
                Ok(()) if is_excepted => {
                    wrong.push(format!("{name}: passes, take it off the list"));
                }
                Ok(()) => passed += 1,
                Err(_) if is_excepted => {}
                Err(why) => wrong.push(format!("{name}: {why}")),
            }
        }
    }
    wrong.extend(excepted.iter().map(|test| format!("{test}: no such test")));
    println!("{passed} of {total} pass");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(total, TESTS);
    assert_eq!(passed, TESTS - CONTRADICTIONS.len());
}

/// The resources of a file of tests, each with its digits.
fn resources(text: &str) -> Vec<Document> {
    let group: sonic_rs::Value = sonic_rs::from_str(text).expect("JSON");
    let resources = sonic_rs::JsonValueTrait::get(&group, "resources").expect("resources");
    let resources = sonic_rs::JsonContainerTrait::as_array(resources).expect("a list");
    let documents = resources.iter().map(|resource| {
        let text = sonic_rs::to_string(resource).expect("JSON");
        Document::parse(text.as_bytes(), DocumentLimits::default()).expect("a document")
    });
    documents.collect()
}

/// The tests leave out what a definition needs to be one.
fn complete(view: &Json) -> Json {
    let mut view = view.clone();
    view["resourceType"] = json!("ViewDefinition");
    view["name"] = json!("view");
    view
}

fn verdict(test: &Json, resources: &[Document]) -> Result<(), String> {
    let view = complete(&test["view"]).to_string();
    let is_refused = test["expectError"] == true;
    let rules = match RuleSet::load(&[("view.json".to_owned(), view)]) {
        Ok(rules) => rules,
        Err(_) if is_refused => return Ok(()),
        Err(problems) => return Err(format!("refused at load: {problems:?}")),
    };
    let columns = &rules.catalog().roots[0].tables[1].columns;
    let is_own = |source: &ColumnSource| matches!(source, ColumnSource::Rule { .. });
    let names: Vec<&str> = columns
        .iter()
        .filter(|column| is_own(&column.source))
        .map(|column| &*column.name)
        .collect();
    if let Some(expected) = test["expectColumns"].as_array()
        && expected.iter().map(Json::as_str).ne(names.iter().copied().map(Some))
    {
        return Err(format!("has the columns {names:?}"));
    }
    let mut found = Vec::new();
    for document in resources {
        let rows = match rules.transform(&change(document)) {
            Ok(rows) => rows,
            Err(_) if is_refused => return Ok(()),
            Err(refusal) => return Err(format!("refused: {refusal}")),
        };
        for rows in rows {
            let Some(sets) = rows.row_sets else { continue };
            for row in &sets[1].rows {
                let cells = columns.iter().zip(row).filter(|(column, _)| is_own(&column.source));
                let cells = cells.map(|(column, value)| (column.name.to_string(), shown(value)));
                found.push(cells.collect::<serde_json::Map<_, _>>());
            }
        }
    }
    if is_refused {
        return Err(format!("should be refused, and makes {} rows", found.len()));
    }
    if let Some(count) = test["expectCount"].as_u64() {
        return if found.len() as u64 == count { Ok(()) } else { Err(format!("{found:?}")) };
    }
    // the order of rows is not specified
    let mut open = found.clone();
    for expected in test["expect"].as_array().expect("rows") {
        let at = open.iter().position(|row| is_same(&Json::Object(row.clone()), expected));
        match at {
            Some(at) => open.swap_remove(at),
            None => return Err(format!("lacks {expected}, has {found:?}")),
        };
    }
    if open.is_empty() { Ok(()) } else { Err(format!("has besides {open:?}")) }
}

fn change(document: &Document) -> Change {
    let resource_type = document.text("resourceType").expect("a resource").into();
    // some of the resources have no id; a change has
    let id = document.text("id").unwrap_or("none").into();
    Change {
        timestamp: None,
        resource: ResourceKey { resource_type, id },
        operation: Operation::Upsert {
            version: Version::new(1).expect("positive"),
            document: document.clone(),
        },
        origin: Origin { source: TopicPartition::new("changes", 0), offset: Offset(0), index: 0 },
    }
}

fn shown(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Text(text) => json!(text.as_str()),
        Value::Int(number) => json!(number),
        Value::Decimal(decimal) => {
            serde_json::from_str(&decimal.to_plain_string()).expect("a number")
        }
        Value::Boolean(truth) => json!(truth),
        Value::Json(text) => serde_json::from_str(text).expect("JSON"),
        other => panic!("no test has a {}", other.kind()),
    }
}

/// A row has the columns that are expected, whatever their order; numbers are equal by value.
fn is_same(found: &Json, expected: &Json) -> bool {
    match (found, expected) {
        (Json::Number(found), Json::Number(expected)) => {
            let number = |number: &serde_json::Number| number.to_string().parse::<BigDecimal>();
            number(found).expect("a number") == number(expected).expect("a number")
        }
        (Json::Array(found), Json::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| is_same(found, expected))
        }
        (Json::Object(found), Json::Object(expected)) => {
            found.len() == expected.len()
                && found.iter().all(|(name, found)| {
                    expected.get(name).is_some_and(|expected| is_same(found, expected))
                })
        }
        _ => found == expected,
    }
}
