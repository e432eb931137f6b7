//! What decides the rows of a root table and its children, as a short text.
//!
//! In: what declares a root. Out: a hash that changes if other rows may come of the same resources, and
//! does not for comments, the order of keys, columns or child tables, the names of files and of named
//! transformers, or a default that is written out.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::rules::{ChildTable, ColumnRule, RulesDocument};
use crate::model::{ColumnSource, ColumnType, RootTable};

/// Counted up when the same rules make other rows than they did.
const GENERATION: &str = "rowcast rules 1";

/// Deepest nesting that is looked at; the compiler refuses less.
const MAX_DEPTH: usize = 32;

/// Members that mean nothing to a view's rows, at any level of its `select`, `where` and `constant`.
const MUTE: [&str; 3] = ["id", "extension", "description"];

/// Of a transformer that is not made of rules only its tables are known.
pub(super) fn of_tables(root: &RootTable) -> String {
    let tables = root.declared_tables().iter().map(|table| {
        let columns = table.columns.iter().map(|column| {
            let filled = match column.source {
                ColumnSource::Rule { .. } => "rule",
                ColumnSource::Id => "id",
                ColumnSource::Version => "version",
                ColumnSource::SourceResourceId => "source_resource_id",
                ColumnSource::ParentReference => "parent_reference",
            };
            json!([&*column.name, column.column_type.as_str(), column.maximum_size, filled])
        });
        json!({ "table": table.name.to_string(), "columns": sorted(columns), "parent": table.parent })
    });
    let tables: Vec<_> = tables.collect();
    hash(&json!({ "type": &*root.resource_type, "tables": tables, "history": root.history }))
}

/// Of a transformer of a rules document, by its place.
pub(super) fn of_rules(document: &RulesDocument, place: usize) -> String {
    let Some(root) = document.transformers.get(place) else { return hash(&Value::Null) };
    hash(&json!({
        "type": root.resource_type,
        "table": root.table_name,
        "where": root.condition.as_deref().map(str::trim),
        "history": document.retain_all_history,
        "columns": columns(document, &root.columns),
        "children": children(document, &root.child_tables, 0),
    }))
}

/// Of a view, as it is written.
pub(super) fn of_view(view: &Value) -> String {
    let members = ["resource", "name", "constant", "select", "where"];
    let kept = members.iter().filter_map(|name| Some(((*name).to_owned(), view.get(name)?)));
    hash(&Value::Object(kept.map(|(name, value)| (name, said(value))).collect()))
}

fn columns(document: &RulesDocument, rules: &[ColumnRule]) -> Value {
    sorted(rules.iter().map(|rule| {
        let strategy = rule.multiple_primitive_strategy.unwrap_or_default().as_str();
        let delimiter = document.concatenation_delimiter.as_deref().unwrap_or(" ");
        let overflow = rule.overflow_strategy.or(document.overflow_strategy).unwrap_or_default();
        json!({
            "name": rule.column_name,
            "path": rule.fhir_path.as_deref().map(str::trim),
            "type": ColumnType::from(rule.column_type).as_str(),
            "several": strategy,
            "delimiter": (strategy == "CONCAT").then_some(delimiter),
            "size": rule.maximum_size,
            "overflow": rule.maximum_size.map(|_| overflow.as_str()),
            "constant": rule.constant,
            "default": rule.default,
            "partial": rule.partial_date.unwrap_or_default().as_str(),
        })
    }))
}

fn children(document: &RulesDocument, tables: &[ChildTable], depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    sorted(tables.iter().map(|child| {
        let named = child.child_transformer_name.as_ref();
        let named = named.and_then(|name| document.named_transformers.get(name));
        let (own_columns, own_children) = match named {
            Some(named) => (named.columns.as_slice(), named.child_tables.as_slice()),
            None => (
                child.columns.as_deref().unwrap_or_default(),
                child.child_tables.as_deref().unwrap_or_default(),
            ),
        };
        json!({
            "table": child.table_name,
            "path": child.fhir_path.trim(),
            "where": child.condition.as_deref().map(str::trim),
            "columns": columns(document, own_columns),
            "children": children(document, own_children, depth + 1),
        })
    }))
}

/// A view's value without what means nothing: mute members, `false`, null and empty lists.
fn said(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(said).collect(),
        Value::Object(members) => {
            let means = |(name, value): &(&String, &Value)| {
                !MUTE.contains(&name.as_str())
                    && !matches!(value, Value::Null | Value::Bool(false))
                    && value.as_array().is_none_or(|values| !values.is_empty())
            };
            let kept = members.iter().filter(means);
            Value::Object(kept.map(|(name, value)| (name.clone(), said(value))).collect())
        }
        other => other.clone(),
    }
}

/// In the order of their texts.
fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.map(|value| in_order(&value)).collect();
    values.sort_by_cached_key(Value::to_string);
    Value::Array(values)
}

/// The same with the members of all objects in order.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(in_order).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            let members = members.into_iter().map(|(name, value)| (name.clone(), in_order(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// 32 hexadecimal digits.
fn hash(value: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(GENERATION);
    hash.update(in_order(value).to_string());
    hash.finalize().iter().take(16).fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes whatever is written");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::super::{RuleSet, Transformer as _};

    const RULES: &str = r#"{ "namedTransformers": { "n": { "columns": [
        { "columnName": "family", "fhirPath": "family", "columnType": "STRING" } ] } },
      "transformers": [{ "resourceType": "Patient", "tableName": "patient",
        "where": "active", "columns": [
        { "columnName": "a", "fhirPath": "Patient.gender", "columnType": "STRING" },
        { "columnName": "b", "fhirPath": "Patient.birthDate", "columnType": "DATE" } ],
        "childTables": [
        { "fhirPath": "Patient.name", "tableName": "names", "childTransformerName": "n" } ] }] }"#;

    fn hash_of(file: &str, text: &str) -> String {
        let files = [(file.to_owned(), text.to_owned())];
        RuleSet::load(&files).expect("good rules").rules_hash(0)
    }

    #[test]
    fn comments_order_names_of_files_and_defaults_do_not_change_the_hash() {
        let hash = hash_of("rules.json", RULES);
        let same = "# a comment\ntransformers:\n- tableName: patient\n  where: ' active '\n  \
            resourceType: Patient\n  childTables:\n  - tableName: names\n    \
            fhirPath: Patient.name\n    columns:\n    - columnName: family\n      \
            columnType: TEXT\n      fhirPath: family\n  columns:\n  - columnName: b\n    \
            fhirPath: Patient.birthDate\n    columnType: DATE\n    partialDate: START\n  - \
            columnName: a\n    columnType: STRING\n    multiplePrimitiveStrategy: ERROR\n    \
            fhirPath: Patient.gender\noverflowStrategy: TRUNCATE\n";
        assert_eq!(hash_of("other/name.yaml", same), hash);
        assert_eq!(hash.len(), 32);
    }

    #[test]
    fn whatever_decides_a_row_changes_the_hash() {
        let hash = hash_of("rules.json", RULES);
        for (old, new) in [
            ("active", "active = false"),
            ("Patient.gender", "Patient.gender.upper()"),
            ("\"family\", \"fhirPath\": \"family\"", "\"family\", \"fhirPath\": \"text\""),
            ("\"DATE\"", "\"DATE\", \"partialDate\": \"NULL\""),
            ("\"names\"", "\"other_names\""),
            ("Patient.name\"", "Patient.name.where(use = 'official')\""),
            ("{ \"named", "{ \"retainAllHistory\": true, \"named"),
        ] {
            let edited = RULES.replace(old, new);
            assert_ne!(edited, RULES, "{old}");
            assert_ne!(hash_of("rules.json", &edited), hash, "{old} became {new}");
        }
    }

    #[test]
    fn of_a_view_only_what_makes_rows_counts() {
        let view = r#"{ "resourceType": "ViewDefinition", "resource": "Patient", "name": "v",
            "status": "draft", "select": [{ "column": [{ "name": "id", "path": "id" }] }] }"#;
        let hash = hash_of("view.json", view);
        let told = view.replace("draft", "active").replace(
            "\"path\": \"id\"",
            "\"path\": \"id\", \"description\": \"the id\", \"collection\": false",
        );
        assert_eq!(hash_of("v.json", &told), hash);
        let where_active = view.replace("\"status\"", r#""where": [{"path":"active"}], "status""#);
        assert_ne!(hash_of("view.json", &where_active), hash);
        let other = view.replace("\"path\": \"id\"", "\"path\": \"gender\"");
        assert_ne!(hash_of("view.json", &other), hash);
    }
}
