//! The shape of the file against its JSON Schema: every mistake, not the first.
//!
//! In: the tree after interpolation. Out: a problem for each unknown or missing key and each value
//! of the wrong kind, and the tree mended (the faulty value taken out, or a stand-in put where one
//! is required), so that the rest of the file can still be judged in the same run. Messages name
//! keys, kinds and bounds, never values.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};

use super::load::parse_yaml;
use super::pointer;
use crate::problem::Problem;

/// How alike (0 to 1) a known key must be to be suggested for an unknown one.
const ALIKE: f64 = 0.7;

/// Scalars that came as text and may be read again as what their place needs.
pub(super) struct Retypable<'a> {
    /// Exactly one placeholder: a number or a boolean.
    pub(super) placeholders: &'a BTreeSet<String>,
    /// Values of `--set`: anything that YAML can say, `[a.json, b.json]` and `null` too.
    pub(super) settings: &'a [String],
}

/// Checks the tree, mends it, and returns the pointers that were mended: whatever else is found
/// there is a consequence. `mended` holds those that already are known to be broken.
pub(super) fn check(
    root: &mut Value,
    schema: &Value,
    file: &str,
    retypable: &Retypable<'_>,
    mut mended: BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> BTreeSet<String> {
    let validator = jsonschema::validator_for(schema)
        .expect("the schema generated from our own types is valid");
    for pointer in &mended {
        mend(root, pointer);
    }
    read_again(root, &validator, retypable);
    keep_whole(root);

    let known: BTreeSet<String> = mended.clone();
    for (path, message) in faults(root, schema, &validator) {
        if known.iter().any(|broken| pointer::is_within(&path, broken)) {
            continue;
        }
        if mended.insert(path.clone()) {
            problems.push(Problem::new(file, path, message));
        }
    }
    for pointer in &mended {
        mend(root, pointer);
    }
    mended
}

/// Reads texts again where the schema wants something else.
fn read_again(root: &mut Value, validator: &Validator, retypable: &Retypable<'_>) {
    let mistyped: Vec<String> = validator
        .iter_errors(root)
        .filter(|error| matches!(error.kind(), ValidationErrorKind::Type { .. }))
        .map(|error| error.instance_path().as_str().to_owned())
        .collect();
    for path in mistyped {
        let from_setting = retypable.settings.contains(&path);
        if !from_setting && !retypable.placeholders.contains(&path) {
            continue;
        }
        let Some(slot) = root.pointer_mut(&path) else { continue };
        let Some(Ok(value)) = slot.as_str().map(parse_yaml) else { continue };
        if from_setting || value.is_number() || value.is_boolean() {
            *slot = value;
        }
    }
}

/// `4.0` and `1e3` are whole numbers to JSON Schema, but not to our types.
fn keep_whole(node: &mut Value) {
    match node {
        Value::Number(number) if number.is_f64() => {
            // `{}` of a whole float has no point; beyond i64 the digits are not exact anyway
            if let Some(Ok(whole)) = number.as_f64().map(|float| float.to_string().parse::<i64>()) {
                *number = whole.into();
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(keep_whole),
        Value::Object(members) => members.values_mut().for_each(keep_whole),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn faults(root: &Value, schema: &Value, validator: &Validator) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    for error in validator.iter_errors(root) {
        let at = error.instance_path().as_str();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = known_keys(schema, &error);
                for key in unexpected {
                    faults.push((pointer::join(at, key), unknown_key(key, &known)));
                }
            }
            ValidationErrorKind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                faults.push((pointer::join(at, key), "is required".to_owned()));
            }
            _ => faults.push((at.to_owned(), message(schema, &error))),
        }
    }
    faults
}

/// The schema object whose keyword failed.
fn judge<'schema>(schema: &'schema Value, error: &ValidationError<'_>) -> Option<&'schema Value> {
    let (parent, _) = pointer::split(error.schema_path().as_str())?;
    schema.pointer(parent)
}

fn known_keys<'schema>(schema: &'schema Value, error: &ValidationError<'_>) -> Vec<&'schema str> {
    judge(schema, error)
        .and_then(|section| section.get("properties")?.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn unknown_key(key: &str, known: &[&str]) -> String {
    let closest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((_, candidate)) => format!("unknown key; did you mean `{candidate}`?"),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

fn message(schema: &Value, error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected: Vec<&str> = match kind {
                TypeKind::Single(kind) => vec![kind_name(kind.as_str())],
                TypeKind::Multiple(kinds) => kinds
                    .iter()
                    .filter(|kind| kind.as_str() != "null")
                    .map(|kind| kind_name(kind.as_str()))
                    .collect(),
            };
            format!("must be {}, not {}", expected.join(" or "), found(error.instance()))
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::Enum { .. } => {
            format!("must be one of {}", choices(schema, error).join(", "))
        }
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be above {limit}"),
        ValidationErrorKind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::MinItems { limit } => {
            format!("must have at least {limit} element{}", if *limit == 1 { "" } else { "s" })
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("must match the regular expression {pattern}")
        }
        other => format!("does not fit the schema's `{}`", other.keyword()),
    }
}

fn choices<'schema>(schema: &'schema Value, error: &ValidationError<'_>) -> Vec<&'schema str> {
    judge(schema, error)
        .and_then(|section| section.get("oneOf")?.as_array())
        .map(|options| options.iter().filter_map(|option| option.get("const")?.as_str()).collect())
        .unwrap_or_default()
}

fn kind_name(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "object" => "a mapping",
        "array" => "a list",
        other => other,
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// Makes the place harmless: an element is replaced so that the indices of the others stand, a
/// required value gets a stand-in, anything else goes and its default counts.
fn mend(root: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer::split(pointer) {
        match root.pointer_mut(parent) {
            Some(Value::Array(elements)) => {
                if let Some(element) = key.parse::<usize>().ok().and_then(|at| elements.get_mut(at))
                {
                    *element = json!("stand-in");
                }
            }
            Some(Value::Object(members)) => {
                match stand_in().pointer(pointer) {
                    Some(value) => members.insert(key, value.clone()),
                    None => members.shift_remove(&key),
                };
            }
            _ => {}
        }
    }
}

/// What is required, and nothing else.
fn stand_in() -> Value {
    json!({
        "name": "stand-in",
        "source": { "topic": "stand-in" },
        "transform": { "rules": ["stand-in"] },
        "sink": { "url": "sqlite://stand-in" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::file::json_schema;

    fn check_all(mut tree: Value) -> (Value, Vec<String>) {
        let mut problems = Vec::new();
        let none = Retypable { placeholders: &BTreeSet::new(), settings: &[] };
        let schema = json_schema();
        check(&mut tree, &schema, "t", &none, BTreeSet::new(), &mut problems);
        (tree, problems.iter().map(ToString::to_string).collect())
    }

    fn with(section: &str, value: Value) -> Value {
        let mut tree = stand_in();
        tree[section] = value;
        tree
    }

    #[test]
    fn a_misspelt_key_is_named_with_the_one_that_was_meant() {
        let (_, problems) = check_all(with("batch", json!({"row": 5, "zzz": 1})));
        assert_eq!(
            problems,
            [
                "t#/batch/row: unknown key; did you mean `rows`?",
                "t#/batch/zzz: unknown key; known here: rows, bytes, linger",
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_by_its_kind() {
        let (_, problems) = check_all(with("batch", json!({"rows": "canary", "linger": 5})));
        assert_eq!(
            problems,
            [
                "t#/batch/rows: must be a whole number, not text",
                "t#/batch/linger: must be text, not a number"
            ]
        );
        let (_, problems) = check_all(with("log", json!({"format": "canary"})));
        assert_eq!(problems, ["t#/log/format: must be one of auto, human, json"]);
        let (_, problems) = check_all(with("sink", json!({"url": ["canary"], "connections": 0})));
        assert_eq!(
            problems,
            ["t#/sink/url: must be text, not a list", "t#/sink/connections: must be at least 1"]
        );
    }

    #[test]
    fn whatever_is_broken_the_mended_tree_fits_the_schema() {
        let schema = json_schema();
        let validator = jsonschema::validator_for(&schema).expect("valid");
        for tree in [
            json!({}),
            with("sink", json!(7)),
            with("source", json!({"kafka": {"a": [], "b": 1}, "embedded": {"pat": 1}})),
            with("transform", json!({"rules": [1, "a"], "version": null})),
            with("dead_letter", json!({"topic": 3, "max_ratio": 0})),
        ] {
            let (mended, problems) = check_all(tree);
            assert!(validator.is_valid(&mended), "{mended}");
            assert!(!problems.is_empty());
        }
    }
}
