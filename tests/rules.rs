//! Rules become tables, documents become rows.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use chrono::DateTime;
use proptest::prelude::*;
use rowcast::error::{Cause, Refusal, Stage};
use rowcast::model::{
    Change, ColumnType, Document, DocumentLimits, Offset, Operation, Origin, ResourceKey,
    ResourceRows, Row, TableName, TopicPartition, Value, Version,
};
use rowcast::sink::DatabaseKind;
use rowcast::transform::{RuleSet, Transformer};
use serde_json::json;

/// The structure of Smile CDR's published sample: a root, a named transformer, a child table.
const SMILE_SAMPLE: &str = r#"{
  "retainAllHistory": false,
  "concatenationDelimiter": " - ",
  "overflowStrategy": "TRUNCATE",
  "namedTransformers": {
    "simple-humanname-transformer": {
      "columns": [
        {"columnName": "name_use", "fhirPath": "use", "columnType": "STRING"},
        {"columnName": "given_names", "fhirPath": "given", "columnType": "STRING",
         "multiplePrimitiveStrategy": "CONCAT", "maximumSize": 20},
        {"columnName": "family_name", "fhirPath": "family", "columnType": "STRING"}
      ]
    }
  },
  "transformers": [{
    "resourceType": "Patient",
    "tableName": "rte_patient",
    "columns": [
      {"columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING"},
      {"columnName": "first_name", "fhirPath": "Patient.name.given.first()", "columnType": "STRING"},
      {"columnName": "version", "fhirPath": "Patient.meta.versionId", "columnType": "INT"}
    ],
    "childTables": [
      {"fhirPath": "Patient.name", "tableName": "rte_patient_name",
       "childTransformerName": "simple-humanname-transformer"}
    ]
  }]
}"#;

fn load(text: &str) -> Result<RuleSet, Vec<String>> {
    RuleSet::load(&[("rules/patient.json".to_owned(), text.to_owned())])
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn rules(value: &serde_json::Value) -> RuleSet {
    load(&value.to_string()).expect("good rules")
}

/// One root table of patients with these columns.
fn columns(columns: &serde_json::Value) -> serde_json::Value {
    json!({"transformers": [
        {"resourceType": "Patient", "tableName": "patient", "columns": columns}
    ]})
}

fn change(document: &str) -> Change {
    let document = Document::parse(document.as_bytes(), DocumentLimits::default()).expect("JSON");
    let text = |member| document.text(member).expect("a resource").into();
    Change {
        resource: ResourceKey { resource_type: text("resourceType"), id: text("id") },
        operation: Operation::Upsert { version: Version::new(7).expect("positive"), document },
        origin: Origin { source: TopicPartition::new("changes", 0), offset: Offset(0), index: 0 },
        timestamp: None,
    }
}

fn run(rules: &RuleSet, document: &str) -> Result<Vec<ResourceRows>, Box<Refusal>> {
    rules.transform(&change(document))
}

/// The rows of the only root, by table.
fn tables(rules: &RuleSet, document: &str) -> Vec<Vec<Row>> {
    let mut roots = run(rules, document).expect("rows");
    assert_eq!(roots.len(), 1);
    let sets = roots.remove(0).row_sets.expect("the document matches");
    sets.into_iter().map(|set| set.rows).collect()
}

/// The last column of the only row of a patient with this rule.
fn value(rule: &serde_json::Value, document: &str) -> Result<Value, Box<Refusal>> {
    let rules = rules(&columns(&json!([rule])));
    let mut roots = run(&rules, document)?;
    let mut sets = roots.remove(0).row_sets.expect("the document matches");
    Ok(sets.remove(0).rows.remove(0).pop().expect("a column"))
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

const ANN: &str = r#"{"resourceType":"Patient","id":"123","name":[
  {"use":"official","family":"Doe","given":["Ann","Bernadette","Charlotte"]},
  {"use":"nickname","given":["Annie"]}]}"#;

#[test]
fn smiles_sample_makes_the_rows_its_documentation_describes() {
    let rules = load(SMILE_SAMPLE).expect("the sample is accepted unchanged");
    let tables = tables(&rules, ANN);
    assert_eq!(tables[0], [vec![text("123"), Value::Int(7), text("123"), text("Ann")]]);
    let names: Vec<&[Value]> = tables[1].iter().map(|row| &row[1..]).collect();
    let managed = [Value::Int(7), text("123"), text("123")];
    let official = [text("official"), text("Ann - Bernadette - C"), text("Doe")];
    let nickname = [text("nickname"), text("Annie"), Value::Null];
    assert_eq!(names[0], [&managed[..], &official[..]].concat());
    assert_eq!(names[1], [&managed[..], &nickname[..]].concat());
}

#[test]
fn the_catalog_has_managed_columns_first_and_each_table_after_its_parent() {
    let rules = load(SMILE_SAMPLE).expect("good rules");
    let root = &rules.catalog().roots[0];
    assert_eq!(root.resource_column(), "id");
    assert_eq!(root.tables[1].name, TableName::parse("rte_patient_name"));
    assert_eq!(root.tables[1].parent, Some(0));
    let shape = |table: usize| -> Vec<(&str, ColumnType, bool)> {
        let columns = root.tables[table].columns.iter();
        columns.map(|column| (&*column.name, column.column_type, column.optional)).collect()
    };
    let string = ColumnType::String;
    assert_eq!(
        shape(0),
        [
            ("id", string, false),
            ("version", ColumnType::Int, false),
            ("source_resource_id", string, true),
            ("first_name", string, false),
        ]
    );
    assert_eq!(
        shape(1)[..4],
        [
            ("id", ColumnType::Uuid, false),
            ("version", ColumnType::BigInt, true),
            ("source_resource_id", string, false),
            ("parent_reference", string, false),
        ]
    );
}

#[test]
fn ids_of_rows_are_the_same_in_every_run() {
    let rules = rules(&json!({"transformers": [{
        "resourceType": "Patient", "tableName": "patient",
        "childTables": [{"fhirPath": "name", "tableName": "patient_name", "columns": []}]
    }]}));
    let tables = tables(&rules, ANN);
    let ids: Vec<String> = tables
        .iter()
        .flatten()
        .map(|row| match &row[0] {
            Value::Uuid(id) => id.to_string(),
            other => panic!("{other:?} is no id"),
        })
        .collect();
    assert_eq!(
        ids,
        [
            "eaf562c3-2c9a-54cd-9bcc-86924ef830fb",
            "99d40568-0f33-5ff9-acb9-37eaee6d8c9e",
            "b0a58280-6dbc-5168-bc6f-e10e6a203128",
        ]
    );
    assert_eq!(tables[1][0][3], tables[0][0][0], "a child refers to its parent's id");
}

#[test]
fn children_nest_and_refer_to_their_parents() {
    let rules = rules(&json!({"transformers": [{
        "resourceType": "Claim", "tableName": "claim",
        "childTables": [{
            "fhirPath": "item", "tableName": "claim_item",
            "columns": [{"columnName": "sequence", "fhirPath": "sequence", "columnType": "INT"}],
            "childTables": [{
                "fhirPath": "diagnosisSequence", "tableName": "claim_item_diagnosis",
                "columns": [{"columnName": "sequence", "fhirPath": "$this", "columnType": "INT"}]
            }]
        }]
    }]}));
    let claim = r#"{"resourceType":"Claim","id":"1","item":[
        {"sequence":1,"diagnosisSequence":[4,5]},{"sequence":2},{"sequence":3,"diagnosisSequence":[4]}]}"#;
    let tables = tables(&rules, claim);
    let (items, diagnoses) = (&tables[1], &tables[2]);
    let parents: Vec<(&Value, &Value)> = diagnoses.iter().map(|row| (&row[3], &row[4])).collect();
    let (four, five) = (Value::Int(4), Value::Int(5));
    assert_eq!(parents, [(&items[0][0], &four), (&items[0][0], &five), (&items[2][0], &four)]);
    let root = &rules.catalog().roots[0];
    assert_eq!(root.tables[2].parent, Some(1));
    let mut ids: Vec<String> = tables
        .iter()
        .flatten()
        .map(|row| match &row[0] {
            Value::Uuid(id) => id.to_string(),
            other => panic!("{other:?} is no id"),
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7, "every row has an id of its own");
}

#[test]
fn several_values_are_treated_as_the_strategy_says() {
    let given = |strategy: &str, column_type: &str| {
        json!({"columnName": "given", "fhirPath": "Patient.name.given",
               "columnType": column_type, "multiplePrimitiveStrategy": strategy})
    };
    let of = |strategy, column_type| value(&given(strategy, column_type), ANN).expect("a value");
    assert_eq!(of("CONCAT", "STRING"), text("Ann Bernadette Charlotte Annie"));
    assert_eq!(of("FIRST", "STRING"), text("Ann"));
    assert_eq!(of("LAST", "STRING"), text("Annie"));
    let array = r#"["Ann","Bernadette","Charlotte","Annie"]"#;
    assert_eq!(of("JSON", "STRING"), text(array));
    assert_eq!(of("JSON", "JSON"), Value::Json(array.to_owned()));
    let refusal = value(&given("ERROR", "STRING"), ANN).expect_err("several values");
    assert_eq!(refusal.cause, Cause::MultipleValues);
    let none = r#"{"resourceType":"Patient","id":"1"}"#;
    assert_eq!(value(&given("JSON", "JSON"), none).expect("a value"), Value::Null);
}

#[test]
fn long_values_are_treated_as_the_strategy_says_in_characters() {
    let zoe = r#"{"resourceType":"Patient","id":"1","gender":"Zoë🙂x"}"#;
    let gender = |strategy: &str, size: usize| {
        json!({"columnName": "gender", "fhirPath": "gender", "columnType": "STRING",
               "maximumSize": size, "overflowStrategy": strategy})
    };
    assert_eq!(value(&gender("ERROR", 5), zoe).expect("it fits"), text("Zoë🙂x"));
    assert_eq!(value(&gender("TRUNCATE", 4), zoe).expect("a value"), text("Zoë🙂"));
    assert_eq!(value(&gender("NULL", 4), zoe).expect("a value"), Value::Null);
    let refusal = value(&gender("ERROR", 4), zoe).expect_err("too long");
    assert_eq!(refusal.cause, Cause::ValueTooLong);
}

#[test]
fn constants_and_defaults_have_the_columns_type() {
    let constant = json!({"columnName": "source", "columnType": "INT", "constant": "12"});
    assert_eq!(value(&constant, ANN).expect("a value"), Value::Int(12));
    let default = json!({"columnName": "active", "fhirPath": "active", "columnType": "BOOLEAN",
                         "default": true});
    assert_eq!(value(&default, ANN).expect("a value"), Value::Boolean(true));
    let inactive = r#"{"resourceType":"Patient","id":"1","active":false}"#;
    assert_eq!(value(&default, inactive).expect("a value"), Value::Boolean(false));
}

#[test]
fn partial_dates_are_treated_as_the_rule_says() {
    let born = r#"{"resourceType":"Patient","id":"1","birthDate":"1974-03"}"#;
    let rule = |partial: &str| {
        json!({"columnName": "born", "fhirPath": "birthDate", "columnType": "DATE",
               "partialDate": partial})
    };
    let start = Value::Date("1974-03-01".parse().expect("a date"));
    assert_eq!(value(&rule("START"), born).expect("a value"), start);
    assert_eq!(value(&rule("NULL"), born).expect("a value"), Value::Null);
    let refusal = value(&rule("ERROR"), born).expect_err("partial");
    assert_eq!(refusal.cause, Cause::TypeMismatch);
}

#[test]
fn a_refusal_names_rule_column_and_path_and_never_the_value() {
    let rule = json!({"columnName": "born", "fhirPath": "birthDate", "columnType": "DATE"});
    let secret = r#"{"resourceType":"Patient","id":"secret-id","birthDate":"secret-date"}"#;
    let refusal = value(&rule, secret).expect_err("no date");
    assert_eq!((refusal.stage, refusal.cause), (Stage::Transform, Cause::TypeMismatch));
    let place = &refusal.place;
    assert_eq!(place.table.as_deref(), Some("patient"));
    assert_eq!(place.column.as_deref(), Some("born"));
    assert_eq!(place.rule.as_deref(), Some("rules/patient.json#/transformers/0/columns/0"));
    assert_eq!(place.path.as_deref(), Some("birthDate"));
    assert_eq!((place.resource_type.as_deref(), place.version), (Some("Patient"), Some(7)));
    let said = format!("{refusal:?}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn an_object_in_a_text_column_is_refused_with_advice() {
    let rule = json!({"columnName": "n", "fhirPath": "name.first()", "columnType": "STRING"});
    let refusal = value(&rule, ANN).expect_err("an object");
    assert_eq!(refusal.cause, Cause::TypeMismatch);
    assert!(refusal.messages.join(" ").contains("JSON column"), "{refusal}");
}

#[test]
fn json_columns_keep_the_digits_of_numbers() {
    let rule = json!({"columnName": "w", "fhirPath": "contact", "columnType": "JSON"});
    let patient = r#"{"resourceType":"Patient","id":"1","contact":{"weight":72.50,"big":123456789012345678901234567890}}"#;
    let kept = r#"{"weight":72.50,"big":123456789012345678901234567890}"#;
    assert_eq!(value(&rule, patient).expect("a value"), Value::Json(kept.to_owned()));
}

#[test]
fn an_id_that_would_become_anothers_in_its_column_is_refused() {
    let rules = rules(&columns(&json!([
        {"columnName": "id", "fhirPath": "id", "columnType": "BIGINT"}
    ])));
    let seven = tables(&rules, r#"{"resourceType":"Patient","id":"7"}"#);
    assert_eq!(seven[0][0][0], Value::Int(7));
    for id in ["007", "abc"] {
        let document = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        let refusal = run(&rules, &document).expect_err("another id");
        assert_eq!(refusal.cause, Cause::TypeMismatch, "{id}");
        assert_eq!(refusal.place.column.as_deref(), Some("id"));
    }
}

#[test]
fn a_resource_that_where_does_not_match_has_no_rows() {
    let rules = rules(&json!({"transformers": [
        {"resourceType": "Patient", "tableName": "active_patient", "where": "active"},
        {"resourceType": "Patient", "tableName": "patient"}
    ]}));
    let of = |active: bool| {
        let document = format!(r#"{{"resourceType":"Patient","id":"1","active":{active}}}"#);
        let roots = run(&rules, &document).expect("rows");
        roots.iter().map(|rows| rows.row_sets.is_some()).collect::<Vec<bool>>()
    };
    assert_eq!(of(true), [true, true]);
    assert_eq!(of(false), [false, true]);
}

#[test]
fn an_element_that_where_does_not_match_has_no_row_and_its_neighbours_keep_their_ids() {
    let with = |condition: serde_json::Value| {
        let mut child = json!({"fhirPath": "link", "tableName": "link", "columns": []});
        if !condition.is_null() {
            child["where"] = condition;
        }
        let rules = rules(&json!({"transformers": [
            {"resourceType": "Patient", "tableName": "patient", "childTables": [child]}
        ]}));
        let document = r#"{"resourceType":"Patient","id":"1","link":[{},{"type":"seealso"}]}"#;
        tables(&rules, document).remove(1)
    };
    let (all, some) = (with(json!(null)), with(json!("type.exists()")));
    assert_eq!(all.len(), 2);
    assert_eq!(some, all[1..]);
}

/// Rules that put this column into a row for each name of a patient.
fn for_each_name(column: &serde_json::Value) -> RuleSet {
    rules(&json!({"transformers": [{"resourceType": "Patient", "tableName": "patient",
        "childTables": [{"fhirPath": "Patient.name", "tableName": "name", "columns": [column]}]}]}))
}

/// A patient with this language, as JSON, and so many small names.
fn long_patient(language: &str, names: usize) -> String {
    let names = vec![r#"{"family":"x"}"#; names].join(",");
    format!(r#"{{"resourceType":"Patient","id":"1","language":{language},"name":[{names}]}}"#)
}

#[test]
fn the_text_that_one_document_makes_of_all_its_rows_is_bounded() {
    let column = |rest: serde_json::Value| {
        let mut column = json!({"columnName": "c", "fhirPath": "%resource.language",
            "columnType": "STRING"});
        column.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        column
    };
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let number = "7".repeat(1 << 20);
    let gathered = "%resource.name.select(%resource.language)";
    for (column, value) in [
        (column(json!({})), &long),
        (column(json!({"columnType": "JSON"})), &long),
        (column(json!({"maximumSize": 9, "overflowStrategy": "TRUNCATE"})), &number),
        (column(json!({"fhirPath": gathered, "multiplePrimitiveStrategy": "CONCAT"})), &long),
        (column(json!({"fhirPath": gathered, "multiplePrimitiveStrategy": "JSON"})), &long),
    ] {
        let rules = for_each_name(&column);
        let few = tables(&rules, &long_patient(value, 3));
        assert_eq!(few[1].len(), 3, "{column}");
        let refusal = run(&rules, &long_patient(value, 400)).expect_err("refused");
        assert_eq!(refusal.cause, Cause::ExpressionError, "{column}");
        assert!(refusal.to_string().contains("more than 268435456 bytes"), "{refusal}");
    }
}

#[test]
fn cut_text_is_not_held_beyond_its_end() {
    let column = json!({"columnName": "c", "fhirPath": "%resource.language", "columnType": "STRING",
        "maximumSize": 30, "overflowStrategy": "TRUNCATE"});
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let rows = tables(&for_each_name(&column), &long_patient(&long, 400)).remove(1);
    assert_eq!(rows.len(), 400);
    for row in rows {
        let Some(Value::Text(text)) = row.last() else { panic!("a text") };
        assert_eq!(text.len(), 30);
        assert!(text.capacity() < 64, "{}", text.capacity());
    }
}

#[test]
fn the_work_that_all_rows_of_one_document_take_together_is_bounded() {
    // text is work by its length, and quickly done
    let column = json!({"columnName": "c", "columnType": "BOOLEAN",
        "fhirPath": "(%resource.language + 'x').exists()"});
    let rules = for_each_name(&column);
    let long = format!("\"{}\"", "x".repeat(1_000_000));
    assert_eq!(tables(&rules, &long_patient(&long, 50))[1].len(), 50);
    let refusal = run(&rules, &long_patient(&long, 4_000)).expect_err("refused");
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert_eq!(refusal.place.column.as_deref(), Some("c"));
    assert!(refusal.to_string().contains("all rows together"), "{refusal}");
}

#[test]
fn a_resource_of_very_many_members_is_not_gone_through_for_each_row_for_ever() {
    let child = json!({"fhirPath": "%resource", "tableName": "again", "columns": [
        {"columnName": "c", "fhirPath": "language", "columnType": "STRING"}]});
    let rules = rules(&json!({"transformers": [{"resourceType": "Patient", "tableName": "patient",
        "childTables": [{"fhirPath": "Patient.name", "tableName": "name", "columns": [],
            "childTables": [child]}]}]}));
    let patient = |members: usize| {
        let mut patient: serde_json::Value =
            serde_json::from_str(&long_patient("\"de\"", 10_000)).unwrap();
        for number in 0..members {
            patient[format!("x{number}")] = json!(0);
        }
        patient.to_string()
    };
    assert_eq!(tables(&rules, &patient(0))[2].len(), 10_000);
    assert!(run(&rules, &patient(100_000)).is_err());
}

#[test]
fn a_column_that_is_given_twice_has_its_other_problems_told_too() {
    let twice = columns(&json!([
        {"columnName": "c", "fhirPath": "gender", "columnType": "STRING"},
        {"columnName": "c", "fhirPath": "gender.", "columnType": "STRING"},
    ]));
    let problems = load(&twice.to_string()).expect_err("problems");
    let [given, syntax] = problems.as_slice() else { panic!("{problems:#?}") };
    assert!(given.contains("columns/1/columnName: the column is given twice"), "{given}");
    assert!(syntax.contains("columns/1/fhirPath: "), "{syntax}");
}

#[test]
fn deletes_and_types_without_a_transformer_make_no_rows() {
    let rules = load(SMILE_SAMPLE).expect("good rules");
    assert_eq!(run(&rules, r#"{"resourceType":"Group","id":"1"}"#).expect("no rows"), []);
    let mut delete = change(ANN);
    delete.operation = Operation::Delete { version: None };
    assert_eq!(rules.transform(&delete).expect("no rows"), []);
}

#[test]
fn yaml_rules_are_read_too() {
    let yaml = "transformers:\n  - resourceType: Patient\n    tableName: patient\n    columns:\n      \
                - {columnName: born, fhirPath: birthDate, columnType: DATE}\n";
    let rules = RuleSet::load(&[("rules/patient.yaml".to_owned(), yaml.to_owned())]);
    assert_eq!(rules.expect("good rules").catalog().roots[0].root().columns.len(), 4);
    let broken = RuleSet::load(&[("rules/patient.yaml".to_owned(), "a: [".to_owned())]);
    assert!(broken.expect_err("no YAML")[0].to_string().starts_with("rules/patient.yaml: "));
}

#[test]
fn all_mistakes_of_all_files_are_named_at_once_with_file_and_path() {
    let first = r#"{"overflowStrategy": "TRUNCAT", "transformers": [
        {"resourceType": "Patient", "tableName": "patient", "columns": [
            {"columnName": "a", "fhirPat": "active", "columnType": "BOOLEAN"},
            {"columnName": "b", "fhirPath": "birtDate", "columnType": "DAET"},
            {"columnName": "c", "fhirPath": "name.(", "columnType": "STRING"},
            {"fhirPath": "gender"}],
         "childTables": [{"fhirPath": "name", "tableName": "n", "childTransformerName": "nam"}]}],
        "namedTransformers": {"name": {"columns": []}}}"#;
    let second = r#"{"transformers": [{"resourceType": "Patent", "tableName": "Patient"}]}"#;
    let files = [("a.json", first), ("b.json", second), ("c.json", "{")]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
    let problems = RuleSet::load(&files).expect_err("many problems");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for expected in [
        "a.json#/overflowStrategy: unknown value; did you mean `TRUNCATE`? (accepted: TRUNCATE, ",
        "a.json#/transformers/0/columns/0/fhirPat: unknown key; did you mean `fhirPath`? (accepted: ",
        "a.json#/transformers/0/columns/1/columnType: unknown value; did you mean `DATE`? (accepted: ",
        "a.json#/transformers/0/columns/1/fhirPath: ",
        "a.json#/transformers/0/columns/2/fhirPath: ",
        "a.json#/transformers/0/columns/3/columnName: is required",
        "a.json#/transformers/0/columns/3/columnType: is required",
        "a.json#/transformers/0/childTables/0/childTransformerName: no named transformer is called \
         `nam`; did you mean `name`?",
        "b.json#/transformers/0/resourceType: `Patent` is no resource type of FHIR R4; did you \
         mean `Patient`?",
        "b.json#/transformers/0/tableName: the table is filled by a.json#/transformers/0 already",
        "c.json: cannot be read: EOF",
    ] {
        assert!(said.iter().any(|line| line.starts_with(expected)), "{expected}\n{said:#?}");
    }
    assert!(said[1].contains("(accepted: "), "what is accepted is listed: {}", said[1]);
}

#[test]
fn what_follows_from_a_wrong_shape_is_not_told() {
    let rules = r#"{"transformers": [
        {"resourceType": 7, "tableName": "patient", "columns": [
            3,
            {"columnName": ["canary"], "fhirPath": {"canary": 1}, "columnType": "canary"},
            {"columnName": "version", "fhirPath": "meta.versionId"}],
         "childTables": [
            {"fhirPath": "name", "tableName": "name", "columns": "canary"},
            {"fhirPath": "name", "tableName": "alias", "childTransformerName": null},
            {"fhirPath": "name", "tableName": "other", "childTransformerName": "shared"}]},
        {"resourceType": "Patient"},
        {"resourceType": "Patient"},
        {"tableName": "person", "columns": [
            {"columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING"},
            {"columnName": "version", "fhirPath": "Patient.id", "columnType": "INT"}]}],
        "namedTransformers": {"shared": 5}}"#;
    let mut said = load(rules).expect_err("many problems");
    said.sort();
    let places: Vec<&str> =
        said.iter().filter_map(|line| line.split("json#/").nth(1)?.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "namedTransformers/shared",
            "transformers/0/childTables/0/columns",
            "transformers/0/childTables/1/childTransformerName",
            "transformers/0/columns/0",
            "transformers/0/columns/1/columnName",
            "transformers/0/columns/1/columnType",
            "transformers/0/columns/1/fhirPath",
            "transformers/0/columns/2/columnType",
            "transformers/0/resourceType",
            "transformers/1/tableName",
            "transformers/2/tableName",
            "transformers/3/columns/1/fhirPath",
            "transformers/3/resourceType",
        ],
        "{said:#?}"
    );
    for never in ["canary", "stand-in"] {
        assert!(
            !said.join("").contains(never),
            "only what was written is told, and no value: {said:#?}"
        );
    }
}

#[test]
fn a_rules_file_may_name_its_schema_for_editors() {
    let mut rules = columns(&json!([]));
    rules["$schema"] = json!("../rules.schema.json");
    assert!(load(&rules.to_string()).is_ok());
}

#[test]
fn mistakes_of_meaning_are_named() {
    let child = |child: serde_json::Value| {
        json!({"transformers": [{"resourceType": "Patient", "tableName": "patient",
               "childTables": [child]}]})
    };
    let column = |column: serde_json::Value| columns(&json!([column]));
    for (rules, expected) in [
        (json!({}), "no transformers"),
        (
            column(
                json!({"columnName": "id", "fhirPath": "identifier.value", "columnType": "STRING"}),
            ),
            "may only be mapped from",
        ),
        (
            column(json!({"columnName": "version", "fhirPath": "id", "columnType": "INT"})),
            "may only be mapped from",
        ),
        (
            column(
                json!({"columnName": "version", "fhirPath": "meta.versionId", "columnType": "DATE"}),
            ),
            "a version is no DATE",
        ),
        (
            column(
                json!({"columnName": "source_resource_id", "fhirPath": "id", "columnType": "STRING"}),
            ),
            "map `id`",
        ),
        (
            column(json!({"columnName": "ID", "fhirPath": "id", "columnType": "STRING"})),
            "write `id`",
        ),
        (column(json!({"columnName": "", "fhirPath": "id", "columnType": "STRING"})), "empty"),
        (
            column(json!({"columnName": "x".repeat(64), "fhirPath": "id", "columnType": "STRING"})),
            "64 bytes",
        ),
        (
            column(json!({"columnName": "x", "columnType": "INT"})),
            "either `fhirPath` or `constant`",
        ),
        (
            column(json!({"columnName": "x", "columnType": "INT", "constant": "twelve"})),
            "does not convert to INT",
        ),
        (
            column(json!({"columnName": "x", "fhirPath": "active", "columnType": "BOOLEAN",
                          "multiplePrimitiveStrategy": "CONCAT"})),
            "CONCAT makes a STRING",
        ),
        (
            column(json!({"columnName": "x", "fhirPath": "active", "columnType": "BOOLEAN",
                          "maximumSize": 3})),
            "only a STRING has a size",
        ),
        (
            columns(&json!([
                {"columnName": "a", "fhirPath": "active", "columnType": "BOOLEAN"},
                {"columnName": "A", "fhirPath": "active", "columnType": "BOOLEAN"}])),
            "given twice",
        ),
        (child(json!({"fhirPath": "name", "tableName": "n"})), "is needed"),
        (
            child(json!({"fhirPath": "name", "tableName": "n", "columns": [
                {"columnName": "parent_reference", "fhirPath": "use", "columnType": "STRING"}]})),
            "rowcast fills `parent_reference`",
        ),
        (
            child(json!({"fhirPath": "name", "tableName": "patient", "columns": []})),
            "exactly one transformer",
        ),
        (
            child(json!({"fhirPath": "name", "tableName": "rowcast_task", "columns": []})),
            "its own books",
        ),
        (
            json!({"retainAllHistory": true, "transformers": [
                {"resourceType": "Patient", "tableName": "patient"},
                {"resourceType": "Patient", "tableName": "patient_history"}]}),
            "exactly one transformer",
        ),
        (
            json!({"namedTransformers": {
                       "a": {"childTables": [{"fhirPath": "extension", "tableName": "t1", "childTransformerName": "b"}]},
                       "b": {"childTables": [{"fhirPath": "extension", "tableName": "t2", "childTransformerName": "a"}]}},
                   "transformers": [{"resourceType": "Patient", "tableName": "patient",
                       "childTables": [{"fhirPath": "name", "tableName": "t3", "childTransformerName": "a"}]}]}),
            "contains itself: `a` -> `b` -> `a`",
        ),
    ] {
        let problems = load(&rules.to_string()).expect_err(expected);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains(expected), "{expected}: {problems:?}");
    }
}

#[test]
fn rowcasts_own_tables_are_nobodys_to_fill() {
    for (name, _) in rowcast::plan::bookkeeping_ddl(DatabaseKind::Mysql.dialect()) {
        let rules = json!({"transformers": [{"resourceType": "Patient", "tableName": name}]});
        let problems = load(&rules.to_string()).expect_err(name);
        assert!(problems[0].contains("its own books"), "{problems:?}");
    }
}

#[test]
fn a_named_transformer_that_nobody_uses_is_no_mistake() {
    let mut rules = columns(&json!([]));
    rules["namedTransformers"] = json!({"unused": {"columns": []}});
    assert!(load(&rules.to_string()).is_ok());
}

/// JSON that looks like a patient often enough to reach the columns.
fn documents() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        "[0-9T:+Z.-]{0,30}".prop_map(|value| json!(value)),
        ".{0,20}".prop_map(|value| json!(value)),
    ];
    let node = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|list| json!(list)),
            proptest::collection::btree_map("(use|given|family|period)", inner, 0..4)
                .prop_map(|map| json!(map)),
        ]
    });
    proptest::collection::btree_map("(active|birthDate|name|gender|photo|contact)", node, 0..6)
        .prop_map(|members| {
            let mut document = json!({"resourceType": "Patient", "id": "1"});
            for (name, value) in members {
                document[name] = value;
            }
            document
        })
}

proptest! {
    #[test]
    fn any_document_is_transformed_the_same_way_twice_and_never_panics(document in documents()) {
        let types = ["STRING", "INT", "BIGINT", "DECIMAL", "DOUBLE", "BOOLEAN", "DATE",
                     "DATETIME", "TIME", "UUID", "JSON", "BINARY"];
        for column_type in types {
            let rules = rules(&json!({"transformers": [{
                "resourceType": "Patient", "tableName": "patient",
                "columns": [
                    {"columnName": "a", "fhirPath": "active", "columnType": column_type,
                     "multiplePrimitiveStrategy": "FIRST"}],
                "childTables": [{"fhirPath": "name", "tableName": "name", "columns": [
                    {"columnName": "g", "fhirPath": "given", "columnType": column_type,
                     "multiplePrimitiveStrategy": "LAST"}]}]
            }]}));
            let text = document.to_string();
            let (once, again) = (run(&rules, &text), run(&rules, &text));
            prop_assert_eq!(once, again);
        }
    }
}

#[test]
fn an_expression_that_fails_on_a_document_is_refused_with_its_place() {
    let rules = rules(&json!({"transformers": [
        {"resourceType": "Patient", "tableName": "patient", "where": "name.given"}
    ]}));
    let refusal = run(&rules, ANN).expect_err("several names are no condition");
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert_eq!(refusal.place.rule.as_deref(), Some("rules/patient.json#/transformers/0/where"));
    assert_eq!(refusal.place.path.as_deref(), Some("name.given"));
    assert!(refusal.messages.len() > 1, "the evaluator's own message follows: {refusal}");
}

#[test]
fn rules_that_multiply_a_document_are_stopped() {
    let rules = rules(&json!({"transformers": [{
        "resourceType": "Patient", "tableName": "patient",
        "childTables": [{"fhirPath": "name", "tableName": "a", "columns": [],
            "childTables": [{"fhirPath": "%resource.name", "tableName": "b", "columns": []}]}]
    }]}));
    let patient = |names: usize| {
        json!({"resourceType": "Patient", "id": "1", "name": vec![json!({}); names]}).to_string()
    };
    assert!(run(&rules, &patient(100)).is_ok());
    let refusal = run(&rules, &patient(400)).expect_err("160,000 rows");
    assert_eq!(refusal.cause, Cause::ExpressionError);
}

#[test]
fn child_tables_that_nest_without_end_are_a_mistake() {
    let mut child = json!({"fhirPath": "extension", "tableName": "t0", "columns": []});
    for level in 1..30 {
        child = json!({"fhirPath": "extension", "tableName": format!("t{level}"),
                       "childTables": [child]});
    }
    let rules = json!({"transformers": [
        {"resourceType": "Patient", "tableName": "patient", "childTables": [child]}
    ]});
    let problems = load(&rules.to_string()).expect_err("too deep");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("nested deeper than 16"), "{problems:?}");
}

/// The rules that come with rowcast, as the topology reads them.
fn shipped_rules() -> RuleSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topology/rules");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the folder is part of the project")
        .map(|entry| {
            let path = entry.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).expect("text"))
        })
        .collect();
    files.sort();
    RuleSet::load(&files).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

#[test]
fn the_shipped_rules_type_what_a_patient_says() {
    let rules = shipped_rules();
    let patient = r#"{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1974-03-02",
        "deceasedDateTime":"2020-01-02T03:04:05.678+01:00",
        "name":[{"use":"official","family":"Doe","given":["Ann","B"]}],
        "identifier":[{"type":{"coding":[{"code":"MR"}]},"value":"77"}],
        "address":[{"line":["1 Way"],"extension":[{
            "url":"http://hl7.org/fhir/StructureDefinition/geolocation",
            "extension":[{"url":"latitude","valueDecimal":41.760}]}]}]}"#;
    let tables = tables(&rules, patient);
    let roots = &rules.catalog().roots;
    let root = roots.iter().find(|root| &*root.resource_type == "Patient").expect("a root");
    let cell = |table: usize, column: &str| {
        let position = root.tables[table].position(column).expect(column);
        tables[table][0][position].clone()
    };
    assert_eq!(cell(0, "id"), text("p1"));
    assert_eq!(cell(0, "birth_date"), Value::Date("1974-03-02".parse().expect("a date")));
    assert_eq!(cell(0, "deceased"), Value::Boolean(true));
    let died = "2020-01-02T02:04:05.678Z".parse().expect("an instant");
    assert_eq!(cell(0, "deceased_at"), Value::DateTime(died));
    assert_eq!(cell(0, "given_names"), text("Ann B"));
    assert_eq!(cell(0, "medical_record_number"), text("77"));
    let address = root.tables.iter().position(|table| &*table.name.name == "patient_address");
    let latitude = cell(address.expect("a table"), "latitude");
    assert_eq!(latitude, Value::Decimal("41.760".parse().expect("a decimal")));
}

#[test]
fn the_shipped_rules_take_every_synthetic_resource() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/synthea");
    if !folder.is_dir() {
        eprintln!("skipped: the synthetic resources are not at hand");
        return;
    }
    let rules = shipped_rules();
    for resource_type in ["Patient", "Encounter", "Observation", "Condition", "Claim"] {
        let file = std::fs::File::open(folder.join(format!("{resource_type}.ndjson.gz")));
        let lines = BufReader::new(flate2::read::GzDecoder::new(file.expect("a file"))).lines();
        let root = rules.catalog().roots.iter();
        let root = root.clone().find(|root| &*root.resource_type == resource_type).expect("a root");
        let mut filled = vec![0_usize; root.tables.len()];
        let mut count = 0;
        for line in lines {
            let rows = run(&rules, &line.expect("text")).expect("no resource is refused");
            let sets = rows.into_iter().next().and_then(|rows| rows.row_sets).expect("rows");
            for set in sets {
                filled[set.table] += set.rows.len();
            }
            count += 1;
        }
        assert_eq!(filled[0], count, "one root row for each {resource_type}");
    }
}

#[test]
fn now_is_the_time_of_the_changes_record_whenever_the_rows_are_made() {
    let rules = rules(&columns(&json!([
        {"columnName": "seen", "fhirPath": "now()", "columnType": "DATETIME"},
        {"columnName": "day", "fhirPath": "today()", "columnType": "DATE"},
    ])));
    let mut change = change(r#"{"resourceType":"Patient","id":"p1"}"#);
    let refusal = rules.transform(&change).expect_err("no timestamp");
    assert_eq!(refusal.cause, Cause::ExpressionError);
    assert!(refusal.messages.iter().any(|message| message.contains("no timestamp")));
    change.timestamp = Some(1_700_000_000_123);
    let made = || {
        let mut roots = rules.transform(&change).expect("rows");
        let mut sets = roots.remove(0).row_sets.expect("the document matches");
        sets.remove(0).rows.remove(0)
    };
    let row = made();
    let instant = DateTime::from_timestamp_millis(1_700_000_000_123).expect("a time");
    assert!(row.contains(&Value::DateTime(instant)));
    assert!(row.contains(&Value::Date(instant.date_naive())));
    assert_eq!(row, made());
}
