//! What is wrong with a file that an operator wrote.
//!
//! In: the text of a rules or topology file, and the shape it should have. Out: all problems at
//! once, each with file and JSON path and with what is accepted instead. A leaf: it reads no
//! file itself and knows no key of any format.

use std::fmt;

use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use jsonschema::{JsonType, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

mod unique;

use unique::Unique;

/// One thing to mend in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// JSON pointer into it, `/transformers/0/tableName`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a JSON pointer of a file.
    #[must_use]
    pub fn new(
        file: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if !self.path.is_empty() {
            write!(f, "#{}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads JSON (`*.json`) or YAML (any other name). A key given twice is an error in both.
///
/// # Errors
/// One [`Problem`] with the line at which reading stopped.
pub fn parse(file: &str, text: &str) -> Result<Value, Problem> {
    let is_json = file.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("json"));
    if is_json {
        serde_json::from_str(text)
            .map(|Unique(value)| value)
            .map_err(|error| Problem::new(file, "", format!("this cannot be read: {error}")))
    } else {
        serde_saphyr::from_str(text).map(|Unique(value)| value).map_err(|error| {
            let error = error.without_snippet();
            Problem::new(file, "", format!("this cannot be read: {error}"))
        })
    }
}

/// The accepted name that was probably meant.
#[must_use]
pub fn closest<'n>(name: &str, accepted: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = name.to_lowercase();
    accepted
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``; did you mean `x`? accepted are …``: the second half of a message about an unknown name.
#[must_use]
pub fn advice(name: &str, accepted: &[&str]) -> String {
    let guess = closest(name, accepted.iter().copied())
        .map(|guess| format!("; did you mean `{guess}`?"))
        .unwrap_or_default();
    if accepted.is_empty() {
        return guess;
    }
    format!("{guess} (accepted: {})", accepted.join(", "))
}

/// The shape of a file, made from the type that it is read into.
pub struct Schema {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// The shape of `T`. What is optional may be left out but not be null: a key without a value
    /// is more often a slip than a wish.
    ///
    /// # Panics
    /// If what is derived for `T` is no JSON Schema; the first test that uses `T` would show it.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let mut document = generator.into_root_schema_for::<T>().to_value();
        simplify(&mut document);
        let validator =
            jsonschema::validator_for(&document).expect("a derived schema is a valid schema");
        Self { document, validator }
    }

    /// The JSON Schema itself, for editors.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// All that is wrong with the shape of `value`.
    #[must_use]
    pub fn check(&self, file: &str, value: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        for error in self.validator.iter_errors(value) {
            self.explain(file, &error, &mut problems);
        }
        problems
    }

    /// What is left of `value` once everything misshapen is taken out, so that the rest can be
    /// checked in the same run. List elements become null instead, so that paths stay true, and
    /// an unknown value becomes the first that is accepted, so that what stands beside it is
    /// checked too.
    #[must_use]
    pub fn prune(&self, mut value: Value) -> Value {
        loop {
            let repairs: Vec<(String, Option<Value>)> =
                self.validator.iter_errors(&value).flat_map(|error| repairs(&error)).collect();
            let before = value.clone();
            for (path, replacement) in repairs {
                repair(&mut value, &path, replacement);
            }
            if value == before {
                return value;
            }
        }
    }

    fn explain(&self, file: &str, error: &ValidationError<'_>, problems: &mut Vec<Problem>) {
        let path = error.instance_path().as_str();
        let message = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let accepted = self.accepted_keys(error.schema_path().as_str());
                for key in unexpected {
                    let message = format!("unknown key{}", advice(key, &accepted));
                    problems.push(Problem::new(file, format!("{path}/{}", escape(key)), message));
                }
                return;
            }
            ValidationErrorKind::Required { property } => {
                format!("`{}` is missing", property.as_str().unwrap_or_default())
            }
            ValidationErrorKind::Enum { options } => {
                let accepted: Vec<&str> =
                    options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                match error.instance().as_str() {
                    Some(found) => {
                        format!("unknown value `{found}`{}", advice(found, &accepted))
                    }
                    None => format!(
                        "{} is not accepted here (accepted: {})",
                        kind(error.instance()),
                        accepted.join(", ")
                    ),
                }
            }
            ValidationErrorKind::Type { kind: wanted } => {
                let wanted = match wanted {
                    TypeKind::Single(wanted) => article(*wanted).to_owned(),
                    TypeKind::Multiple(wanted) => {
                        let names: Vec<&str> = wanted.iter().map(article).collect();
                        names.join(" or ")
                    }
                };
                format!("{} was found, {wanted} is expected", kind(error.instance()))
            }
            _ => error.masked().to_string(),
        };
        problems.push(Problem::new(file, path, message));
    }

    /// The keys that the object schema knows whose `additionalProperties` refused.
    fn accepted_keys(&self, schema_path: &str) -> Vec<&str> {
        let object = schema_path.strip_suffix("/additionalProperties").unwrap_or(schema_path);
        let properties = self.document.pointer(&format!("{object}/properties"));
        let keys = properties.and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
        keys.map(String::as_str).filter(|key| !key.starts_with('$')).collect()
    }
}

/// Takes null out of what may be left out, and joins lists of constants (which carry one
/// description each) to one `enum`, so that messages can list what is accepted.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(object) => {
            object.values_mut().for_each(simplify);
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            if let Some(Value::Array(choices)) = object.get("oneOf")
                && let Some((constants, meanings)) = constants(choices)
            {
                let description = object.get("description").and_then(Value::as_str);
                let description = [description.unwrap_or_default(), &meanings].join("\n");
                object.remove("oneOf");
                object.insert("description".to_owned(), description.into());
                object.insert("enum".to_owned(), constants);
            }
            if object.contains_key("enum") {
                // What is not listed is one fault, not two.
                object.remove("type");
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The constants that a list of choices accepts, if it accepts nothing else, and what they mean.
fn constants(choices: &[Value]) -> Option<(Value, String)> {
    let mut constants = Vec::new();
    let mut meanings = Vec::new();
    for choice in choices {
        let constant = choice.get("const")?;
        let meaning = choice.get("description").and_then(Value::as_str).unwrap_or_default();
        meanings.push(format!("- `{}`: {meaning}", constant.as_str()?));
        constants.push(constant.clone());
    }
    Some((Value::Array(constants), meanings.join("\n")))
}

/// Where `value` has to change for an error to go away, and into what; `None`: to be taken out.
fn repairs(error: &ValidationError<'_>) -> Vec<(String, Option<Value>)> {
    let path = error.instance_path().as_str();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| (format!("{path}/{}", escape(key)), None)).collect()
        }
        ValidationErrorKind::Enum { options } => {
            vec![(path.to_owned(), options.get(0).cloned())]
        }
        _ => vec![(path.to_owned(), None)],
    }
}

/// Replaces what a JSON pointer names, or takes it out: a member for good, an element by making
/// it null.
fn repair(value: &mut Value, pointer: &str, replacement: Option<Value>) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let key = key.replace("~1", "/").replace("~0", "~");
    match (value.pointer_mut(parent), replacement) {
        (Some(Value::Object(object)), Some(replacement)) => {
            object.insert(key, replacement);
        }
        (Some(Value::Object(object)), None) => {
            object.remove(&key);
        }
        (Some(Value::Array(list)), replacement) => {
            if let Some(element) = key.parse::<usize>().ok().and_then(|index| list.get_mut(index)) {
                *element = replacement.unwrap_or(Value::Null);
            }
        }
        _ => {}
    }
}

/// A key as a segment of a JSON pointer.
#[must_use]
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A JSON type, with its article.
const fn article(name: JsonType) -> &'static str {
    match name {
        JsonType::Null => "nothing",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "an integer",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "a list",
        JsonType::Object => "an object",
    }
}

/// The kind of a JSON value, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
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
        rooms: Vec<Option<Room>>,
    }

    /// A room.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct Room {
        /// Windows.
        windows: u32,
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

    fn said(value: &Value) -> Vec<String> {
        let problems = Schema::of::<House>().check("house.yaml", value);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_path_and_what_is_accepted() {
        let house = json!({"stret": "Elm", "colour": "gren", "rooms": [{"windows": "two"}, 3]});
        let mut said = said(&house);
        said.sort();
        assert_eq!(
            said,
            [
                "house.yaml#/colour: unknown value `gren`; did you mean `green`? (accepted: white, \
                 green)",
                "house.yaml#/rooms/0/windows: a string was found, an integer is expected",
                "house.yaml#/rooms/1: a number was found, an object is expected",
                "house.yaml#/stret: unknown key; did you mean `street`? (accepted: street, colour, \
                 rooms)",
                "house.yaml: `street` is missing",
            ]
        );
    }

    #[test]
    fn a_key_without_a_value_is_a_fault() {
        assert_eq!(said(&json!({"street": "Elm", "colour": null})).len(), 1);
    }

    #[test]
    fn what_is_left_after_pruning_can_be_read_and_keeps_its_places() {
        let house = json!({"street": "Elm", "colour": "gren", "garden": true,
                           "rooms": [{"windows": "two"}, {"windows": 2}]});
        let pruned = Schema::of::<House>().prune(house);
        assert_eq!(
            pruned,
            json!({"street": "Elm", "colour": "white", "rooms": [null, {"windows": 2}]})
        );
        assert!(serde_json::from_value::<House>(pruned).is_ok());
    }

    #[test]
    fn a_key_given_twice_is_a_fault_in_json_and_yaml() {
        for (file, text) in
            [("house.json", "{\"a\": 1,\n \"a\": 2}"), ("house.yaml", "a: 1\na: 2\n")]
        {
            let problem = parse(file, text).expect_err("twice");
            assert!(problem.message.contains("line 2"), "{problem}");
        }
        let read = parse("house.yaml", "a: [1, -2, 1.5, x, true, ~]\nb: {}\n").expect("YAML");
        assert_eq!(read, json!({"a": [1, -2, 1.5, "x", true, null], "b": {}}));
    }

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["fhirPath", "columnName"];
        assert_eq!(closest("fhirpath", names), Some("fhirPath"));
        assert_eq!(closest("fhirPaht", names), Some("fhirPath"));
        assert_eq!(closest("path", names), None);
    }
}
