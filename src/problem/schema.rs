//! The shape of a file against its JSON Schema: every fault, not the first.
//!
//! In: a parsed file. Out: a problem for each unknown or missing key and each value of the wrong
//! kind, and the tree mended, so that the rest of the file can still be judged in the same run.
//! Messages name keys, kinds, bounds and what is accepted (the nearest of it first, for a misspelt
//! key or value), never values that were found.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::derive::{resolve, schema_of};
use super::stand_in::stand_in;
use super::{Problem, advice, pointer};

/// The shape of a file, made from the type that it is read into.
pub struct Schema {
    document: Value,
    validator: Validator,
}

/// One fault of a tree, and what mends it.
struct Fault {
    path: String,
    message: String,
    /// What fits there; `None`: nothing does.
    stand_in: Option<Value>,
}

impl Schema {
    /// The shape of `T`. What is optional may be left out but not be null: a key without a value
    /// is more often a slip than a wish.
    ///
    /// # Panics
    /// If what is derived for `T` is no JSON Schema; the first test that uses `T` would show it.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        let document = schema_of::<T>();
        let validator =
            jsonschema::validator_for(&document).expect("a derived schema is a valid schema");
        Self { document, validator }
    }

    /// The JSON Schema itself (draft 2020-12), for editors.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// All that is wrong with the shape of `value`, which is mended: an unknown key is taken out,
    /// anything else that is faulty or missing gets a stand-in. `mended` takes the pointers of
    /// these places: whatever else is found there is a consequence. Places that it names already
    /// have their problem and are only mended.
    pub fn check(
        &self,
        file: &str,
        value: &mut Value,
        mended: &mut BTreeSet<String>,
    ) -> Vec<Problem> {
        keep_whole(value, &self.document, &self.document);
        let told = mended.clone();
        let mut problems = Vec::new();
        for fault in self.faults(value) {
            mend(value, &fault);
            let is_new = !told.iter().any(|broken| pointer::is_within(&fault.path, broken));
            if mended.insert(fault.path.clone()) && is_new {
                problems.push(Problem::new(file, fault.path, fault.message));
            }
        }
        problems
    }

    /// The pointers of values that are of another kind than their place wants.
    #[must_use]
    pub fn mistyped(&self, value: &Value) -> Vec<String> {
        self.validator
            .iter_errors(value)
            .filter(|error| matches!(error.kind(), ValidationErrorKind::Type { .. }))
            .map(|error| error.instance_path().as_str().to_owned())
            .collect()
    }

    fn faults(&self, value: &Value) -> Vec<Fault> {
        let mut faults = Vec::new();
        for error in self.validator.iter_errors(value) {
            let at = error.instance_path().as_str();
            let judge = self.judge(&error);
            match error.kind() {
                ValidationErrorKind::AdditionalProperties { unexpected } => {
                    let known = known_keys(judge);
                    faults.extend(unexpected.iter().map(|key| Fault {
                        path: pointer::join(at, key),
                        message: format!("unknown key{}", advice(key, &known)),
                        stand_in: None,
                    }));
                }
                ValidationErrorKind::Required { property } => {
                    let key = property.as_str().unwrap_or_default();
                    let schema = judge.get("properties").and_then(|keys| keys.get(key));
                    faults.push(Fault {
                        path: pointer::join(at, key),
                        message: "is required".to_owned(),
                        stand_in: schema.map(|schema| stand_in(&self.document, schema)),
                    });
                }
                _ => faults.push(Fault {
                    path: at.to_owned(),
                    message: message(&error, judge),
                    stand_in: Some(stand_in(&self.document, judge)),
                }),
            }
        }
        faults
    }

    /// The schema whose keyword failed.
    fn judge(&self, error: &ValidationError<'_>) -> &Value {
        pointer::split(error.schema_path().as_str())
            .and_then(|(parent, _)| self.document.pointer(parent))
            .unwrap_or(&Value::Null)
    }
}

/// Makes what it is read into of a tree that was checked.
///
/// # Errors
/// Only through a hole in the schema. The error does not say where: it would quote the value.
pub fn read<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value)
        .map_err(|_| Problem::new(file, "", "does not have the shape that its schema describes"))
}

/// `4.0` and `1e3` are whole numbers to JSON Schema, but not to our types.
fn keep_whole(value: &mut Value, schema: &Value, root: &Value) {
    let schema = resolve(root, schema);
    let below = |keyword: &str| schema.get(keyword).unwrap_or(&Value::Null);
    match value {
        Value::Number(number) if number.is_f64() && names(below("type"), "integer") => {
            // `{}` of a whole float has no point; beyond i64 the digits are not exact anyway
            if let Some(Ok(whole)) = number.as_f64().map(|float| float.to_string().parse::<i64>()) {
                *number = whole.into();
            }
        }
        Value::Array(elements) => {
            for element in elements {
                keep_whole(element, below("items"), root);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let other = below("additionalProperties");
                keep_whole(member, below("properties").get(key).unwrap_or(other), root);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether `type` of a schema names a type, alone or among others.
fn names(types: &Value, wanted: &str) -> bool {
    types == wanted || types.as_array().is_some_and(|types| types.iter().any(|name| name == wanted))
}

/// Makes the place harmless.
fn mend(root: &mut Value, fault: &Fault) {
    let Some((parent, key)) = pointer::split(&fault.path) else {
        *root = fault.stand_in.clone().unwrap_or_default();
        return;
    };
    match (root.pointer_mut(parent), &fault.stand_in) {
        (Some(Value::Object(members)), Some(stand_in)) => {
            members.insert(key, stand_in.clone());
        }
        (Some(Value::Object(members)), None) => {
            members.shift_remove(&key);
        }
        (Some(Value::Array(elements)), Some(stand_in)) => {
            if let Some(element) = key.parse::<usize>().ok().and_then(|at| elements.get_mut(at)) {
                *element = stand_in.clone();
            }
        }
        _ => {}
    }
}

fn known_keys(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let keys = properties.into_iter().flat_map(|properties| properties.keys());
    keys.map(String::as_str).filter(|key| !key.starts_with('$')).collect()
}

/// `judge`: the schema whose keyword failed.
fn message(error: &ValidationError<'_>, judge: &Value) -> String {
    let found = error.instance();
    match error.kind() {
        ValidationErrorKind::Type { kind } => {
            let expected: Vec<&str> = match kind {
                TypeKind::Single(kind) => vec![kind_name(kind.as_str())],
                TypeKind::Multiple(kinds) => {
                    kinds.iter().map(|kind| kind_name(kind.as_str())).collect()
                }
            };
            let expected = expected.join(" or ");
            let example = judge.pointer("/examples/0").map(|example| {
                let text = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
                format!(" such as `{text}`")
            });
            format!("must be {expected}{}, not {}", example.unwrap_or_default(), kind_found(found))
        }
        ValidationErrorKind::Enum { options } => {
            let accepted = options.as_array().into_iter().flatten();
            let accepted: Vec<&str> = accepted.filter_map(Value::as_str).collect();
            match found.as_str() {
                Some(found) => format!("unknown value{}", advice(found, &accepted)),
                None => format!(
                    "must be text, not {} (accepted: {})",
                    kind_found(found),
                    accepted.join(", ")
                ),
            }
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

fn kind_found(value: &Value) -> &'static str {
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// A house.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct House {
        /// Street name.
        street: String,
        /// Colour.
        colour: Option<Colour>,
        /// Rooms.
        #[serde(default)]
        rooms: Vec<Room>,
        /// Anything.
        note: Option<Value>,
    }

    /// A room.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct Room {
        /// Windows.
        #[schemars(range(min = 1))]
        windows: u32,
        /// Rooms that are reached through it.
        #[serde(default)]
        beyond: Vec<Room>,
    }

    /// A colour.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        /// Like snow.
        White,
        /// Like grass.
        Green,
    }

    fn check(mut house: Value) -> (Value, Vec<String>) {
        let problems = Schema::of::<House>().check("house.yaml", &mut house, &mut BTreeSet::new());
        let mut said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        said.sort();
        (house, said)
    }

    #[test]
    fn every_fault_is_told_with_its_path_and_what_is_accepted() {
        let (_, said) = check(json!({"stret": "Elm", "colour": "gren", "rooms": [
            {"windows": "two"}, 3, {"windows": 2, "beyond": [{"window": 1}]}
        ]}));
        assert_eq!(
            said,
            [
                "house.yaml#/colour: unknown value; did you mean `green`? (accepted: white, green)",
                "house.yaml#/rooms/0/windows: must be a whole number, not text",
                "house.yaml#/rooms/1: must be a mapping, not a number",
                "house.yaml#/rooms/2/beyond/0/window: unknown key; did you mean `windows`? \
                 (accepted: windows, beyond)",
                "house.yaml#/rooms/2/beyond/0/windows: is required",
                "house.yaml#/street: is required",
                "house.yaml#/stret: unknown key; did you mean `street`? (accepted: street, colour, \
                 rooms, note)",
            ]
        );
    }

    #[test]
    fn no_fault_is_told_with_the_value_that_was_found() {
        for found in [json!("canary"), json!(["canary"]), json!({"x": "canary"}), json!(-0.1504)] {
            for key in ["street", "colour", "rooms"] {
                let (_, said) = check(json!({"street": found, key: found, "rooms": [found]}));
                assert!(!said.is_empty());
                let said = said.join("\n");
                assert!(!said.contains("canary") && !said.contains("1504"), "{said}");
            }
        }
    }

    #[test]
    fn a_key_without_a_value_is_a_fault() {
        let (_, said) = check(json!({"street": "Elm", "colour": null}));
        assert_eq!(said, ["house.yaml#/colour: must be text, not empty (accepted: white, green)"]);
    }

    #[test]
    fn what_was_mended_can_be_read_and_keeps_its_places() {
        let (mended, _) = check(json!({"colour": "gren", "garden": true, "rooms": [
            7, {"windows": 0}, {"windows": 2, "beyond": [{}]}
        ]}));
        assert_eq!(
            mended,
            json!({"colour": "white", "street": "stand-in", "rooms": [
                {"windows": 1}, {"windows": 1}, {"windows": 2, "beyond": [{"windows": 1}]}
            ]})
        );
        assert!(read::<House>("house.yaml", mended).is_ok());
        for house in [json!(null), json!([]), json!({"rooms": 7})] {
            let (mended, said) = check(house);
            assert!(!said.is_empty());
            assert!(read::<House>("house.yaml", mended).is_ok());
        }
    }

    #[test]
    fn a_place_that_is_known_to_be_broken_is_mended_and_not_told_again() {
        let mut house = json!({"street": 7, "rooms": [{"windows": ""}]});
        let mut mended = BTreeSet::from(["/rooms/0".to_owned()]);
        let problems = Schema::of::<House>().check("h", &mut house, &mut mended);
        assert_eq!(problems, [Problem::new("h", "/street", "must be text, not a number")]);
        assert_eq!(house, json!({"street": "stand-in", "rooms": [{"windows": 1}]}));
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_fraction_and_others_keep_their_digits() {
        let (house, said) = check(json!({"street": "Elm", "note": 4.0, "rooms": [
            {"windows": 4.0, "beyond": [{"windows": 1e3}]}
        ]}));
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(house["note"].to_string(), "4.0");
        assert_eq!(house["rooms"], json!([{"windows": 4, "beyond": [{"windows": 1000}]}]));
        assert!(read::<House>("h", house).is_ok());
    }
}
