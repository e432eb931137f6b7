//! A JSON Schema from the type that a file is read into.
//!
//! In: a type. Out: its schema, draft 2020-12, in the few keywords that the structural check can
//! explain. Nothing here looks at a document.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The schema of what `T` is read from. What is optional may be left out but not be null.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    schema
}

/// The schema that a reference leads to, or the schema itself.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema.get("$ref").and_then(Value::as_str);
    target.and_then(|target| root.pointer(target.strip_prefix('#')?)).unwrap_or(schema)
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
