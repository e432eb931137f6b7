//! `--set key=value`: one setting of the topology file, said on the command line.
//!
//! In: `sink.connections=4`. Out: the same tree as if it stood in the file, placeholders
//! included, so `--set 'sink.url=${file:/run/secrets/url}'` keeps a password out of the process
//! list. Keys are dotted; everything below `source.kafka.` is one key, because librdkafka's own
//! names have dots. The value stays text until something else is needed at its place.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::problem::{Problem, pointer};

/// The "file" that problems of settings name.
pub(super) const FILE: &str = "--set";

/// The section whose keys have dots themselves.
const DOTTED_SECTION: &str = "source.kafka.";

/// One `--set`. Its debug output shows the key only: the value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    key: String,
    value: String,
}

/// Why a `--set` cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, as in sink.connections=4")]
pub struct SettingError;

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (key, value) = text.split_once('=').ok_or(SettingError)?;
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(SettingError);
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Setting({}=…)", self.key)
    }
}

impl Setting {
    fn segments(&self) -> Vec<&str> {
        match self.key.strip_prefix(DOTTED_SECTION) {
            Some(property) => vec!["source", "kafka", property],
            None => self.key.split('.').collect(),
        }
    }
}

/// Puts the settings into the tree, in their order, and returns the pointers of those that took
/// their place. A setting that would have to go through a scalar is a problem.
pub(super) fn apply(
    root: &mut Value,
    settings: &[Setting],
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut placed = Vec::new();
    for setting in settings {
        let segments = setting.segments();
        let path = segments.iter().fold(String::new(), |path, key| pointer::join(&path, key));
        match place(root, &segments) {
            Ok(slot) => {
                *slot = Value::String(setting.value.clone());
                placed.push(path);
            }
            Err(message) => problems.push(Problem::new(FILE, path, message)),
        }
    }
    placed
}

/// The place of a dotted key; mappings on the way are made, elements of lists are not.
fn place<'tree>(root: &'tree mut Value, segments: &[&str]) -> Result<&'tree mut Value, String> {
    let mut at = root;
    for segment in segments {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(members) => members.entry(*segment).or_insert(Value::Null),
            Value::Array(elements) => segment
                .parse::<usize>()
                .ok()
                .and_then(|index| elements.get_mut(index))
                .ok_or_else(|| format!("the list has no element `{segment}`"))?,
            _ => return Err(format!("`{segment}` cannot be set: its parent is no mapping")),
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(mut tree: Value, text: &str) -> (Value, Vec<Problem>) {
        let mut problems = Vec::new();
        apply(&mut tree, &[text.parse().expect("a setting")], &mut problems);
        (tree, problems)
    }

    #[test]
    fn a_setting_replaces_what_stands_in_the_file() {
        let (tree, problems) = set(json!({"sink": {"url": "a", "connections": 2}}), "sink.url=b=c");
        assert_eq!(tree, json!({"sink": {"url": "b=c", "connections": 2}}));
        assert!(problems.is_empty());
    }

    #[test]
    fn a_kafka_property_is_one_key_whatever_its_dots() {
        let (tree, _) = set(json!({"source": null}), "source.kafka.bootstrap.servers=x:9092");
        assert_eq!(tree, json!({"source": {"kafka": {"bootstrap.servers": "x:9092"}}}));
    }

    #[test]
    fn an_element_of_a_list_is_named_by_its_index() {
        let rules = json!({"transform": {"rules": ["a.json", "b.json"]}});
        let (tree, _) = set(rules.clone(), "transform.rules.1=c.json");
        assert_eq!(tree, json!({"transform": {"rules": ["a.json", "c.json"]}}));
        let (_, problems) = set(rules, "transform.rules.2=c.json");
        assert_eq!(
            problems,
            [Problem::new("--set", "/transform/rules/2", "the list has no element `2`")]
        );
    }

    #[test]
    fn a_setting_below_a_scalar_is_a_problem() {
        let (tree, problems) = set(json!({"name": "a"}), "name.x=canary");
        assert_eq!(tree, json!({"name": "a"}));
        assert_eq!(
            problems[0].to_string(),
            "--set#/name/x: `x` cannot be set: its parent is no mapping"
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_without_its_text() {
        for text in ["canary", "=canary", "a..b=canary"] {
            let error = text.parse::<Setting>().expect_err("no setting");
            assert!(!error.to_string().contains("canary"));
        }
        assert!(!format!("{:?}", "sink.url=canary".parse::<Setting>()).contains("canary"));
    }
}
