//! The shape of the topology file, once its placeholders are filled.
//!
//! In: the tree after interpolation. Out: a problem for each fault of its shape, and the tree
//! mended. What was brought in as text is read again first where its place needs something else:
//! that is the topology's own; the rest is [`Schema`]'s.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::problem::{Problem, Schema, pointer, yaml};

/// Scalars that came as text and may be read again as what their place needs.
pub(super) struct Retypable<'a> {
    /// Exactly one placeholder: a number or a boolean.
    pub(super) placeholders: &'a BTreeSet<String>,
    /// Values of `--set`: anything that YAML can say, `[a.json, b.json]` too. `null` takes the
    /// key away.
    pub(super) settings: &'a [String],
}

/// Checks the tree and mends it. `mended` holds the places that already are known to be broken
/// and takes those that are found: whatever else is found there is a consequence.
pub(super) fn check(
    root: &mut Value,
    schema: &Schema,
    file: &str,
    retypable: &Retypable<'_>,
    mended: &mut BTreeSet<String>,
) -> Vec<Problem> {
    for broken in mended.iter() {
        // half of a value must not be judged: `^${ABSENT}` is no topic pattern
        if let Some(place) = root.pointer_mut(broken) {
            *place = json!("stand-in");
        }
    }
    for path in schema.mistyped(root) {
        read_again(root, &path, retypable);
    }
    schema.check(file, root, mended)
}

/// Reads a text again whose place wants something else.
fn read_again(root: &mut Value, path: &str, retypable: &Retypable<'_>) {
    let from_setting = retypable.settings.iter().any(|setting| setting == path);
    if !from_setting && !retypable.placeholders.contains(path) {
        return;
    }
    let Some(slot) = root.pointer_mut(path) else { return };
    let Some(Ok(value)) = slot.as_str().map(yaml) else { return };
    if from_setting && value.is_null() {
        if let Some((parent, key)) = pointer::split(path)
            && let Some(Value::Object(members)) = root.pointer_mut(parent)
        {
            members.shift_remove(&key);
        }
    } else if from_setting || value.is_number() || value.is_boolean() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::file::TopologyFile;

    fn check_all(mut tree: Value) -> (Value, Vec<String>) {
        let none = Retypable { placeholders: &BTreeSet::new(), settings: &[] };
        let schema = Schema::of::<TopologyFile>();
        let problems = check(&mut tree, &schema, "t", &none, &mut BTreeSet::new());
        (tree, problems.iter().map(ToString::to_string).collect())
    }

    fn with(section: &str, value: Value) -> Value {
        let mut tree = json!({
            "name": "clinical",
            "source": { "topic": "changes" },
            "transform": { "rules": ["rules.json"] },
            "sink": { "url": "sqlite://clinical.db" },
        });
        tree[section] = value;
        tree
    }

    #[test]
    fn a_misspelt_key_is_named_with_the_one_that_was_meant() {
        let (_, problems) = check_all(with("batch", json!({"row": 5, "zzz": 1})));
        assert_eq!(
            problems,
            [
                "t#/batch/row: unknown key; did you mean `rows`? (accepted: rows, bytes, linger)",
                "t#/batch/zzz: unknown key (accepted: rows, bytes, linger)",
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
                "t#/batch/linger: must be text such as `50ms`, not a number"
            ]
        );
        let (_, problems) = check_all(with("log", json!({"format": "canary"})));
        assert_eq!(problems, ["t#/log/format: unknown value (accepted: auto, human, json)"]);
        let (_, problems) = check_all(with("sink", json!({"url": ["canary"], "connections": 0})));
        assert_eq!(
            problems,
            ["t#/sink/url: must be text, not a list", "t#/sink/connections: must be at least 1"]
        );
    }

    #[test]
    fn whatever_is_broken_the_mended_tree_fits_the_schema() {
        for tree in [
            json!({}),
            json!([]),
            with("sink", json!(7)),
            with("source", json!({"kafka": {"a": [], "b": 1}, "embedded": {"pat": 1}})),
            with("source", json!({"kafka": 7, "max_depth": 7, "max_record_bytes": 0})),
            with("transform", json!({"rules": [1, "a"], "version": null})),
            with("transform", json!({"rules": [""]})),
            with("dead_letter", json!({"topic": 3, "max_ratio": 0})),
            with("name", json!("")),
        ] {
            let (mended, problems) = check_all(tree);
            assert!(!problems.is_empty());
            let (_, problems) = check_all(mended);
            assert!(problems.is_empty(), "{problems:?}");
        }
    }
}
