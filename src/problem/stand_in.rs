//! What stands in for a faulty value, so that the rest of its file can be judged in the same run.
//!
//! In: the schema of the place. Out: a value that fits it. It is never shown and never used:
//! where there is a stand-in, there is a problem.

use serde_json::{Map, Value, json};

use super::derive::resolve;

/// A value that fits `schema`, a part of `root`: its default, or as little as will do.
pub(super) fn stand_in(root: &Value, schema: &Value) -> Value {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    let schema = resolve(root, schema);
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    match schema.get("type").and_then(|name| name.get(0).unwrap_or(name).as_str()) {
        Some("object") => Value::Object(members(root, schema)),
        Some("array") => {
            let element = stand_in(root, schema.get("items").unwrap_or(&Value::Null));
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            (0..count).map(|_| element.clone()).collect()
        }
        Some("string") => json!("stand-in"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(false),
        _ => Value::Null,
    }
}

/// The members that an object must have.
fn members(root: &Value, schema: &Value) -> Map<String, Value> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    required
        .filter_map(Value::as_str)
        .filter_map(|key| {
            Some((key.to_owned(), stand_in(root, schema.get("properties")?.get(key)?)))
        })
        .collect()
}
