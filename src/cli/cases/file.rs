//! Case files: a change, and the rows that it must become.
//!
//! In: JSON or YAML that a user wrote. Out: records as the ingest topic would carry them, each
//! with what is expected of it, or every problem with its place. A record's bytes are those of
//! the file, so that no digit is lost.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::Cause;
use crate::model::{Offset, Record, TopicPartition};
use crate::problem::{self, Problem, Schema, advice, pointer};

/// Cases: changes, and the rows that they must become. One case, or a list of them.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "rowcast cases")]
#[expect(dead_code, reason = "only its shape matters")]
enum CaseFile {
    One(Box<Case>),
    Several(Vec<Case>),
}

/// A change, and what becomes of it: one of `rows`, `refused`, `filtered` and `deleted`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Case {
    /// For editors; ignored.
    #[serde(rename = "$schema", default)]
    #[expect(dead_code, reason = "accepted and ignored")]
    schema: Option<String>,
    /// What the case shows; printed with its result.
    #[serde(default)]
    name: Option<String>,
    /// What the ingest topic would carry: a resource, or a record with `key`, `value`, `headers`,
    /// `offset` and `timestamp`.
    change: Map<String, Value>,
    /// The rows of each table, in the order of the document's elements. A row lists the columns
    /// to be compared; tables that are not listed must get no rows.
    #[serde(default)]
    rows: Option<BTreeMap<String, Vec<Map<String, Value>>>>,
    /// The change must be refused.
    #[serde(default)]
    refused: Option<Refused>,
    /// `true`: no transformer may take the change.
    #[serde(default)]
    filtered: Option<bool>,
    /// `true`: the change must be a delete.
    #[serde(default)]
    deleted: Option<bool>,
}

/// How a change must be refused. What is left out may be anything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    /// One of docs/causes.md: `type_mismatch`.
    pub(super) cause: String,
    /// Table that was being filled.
    #[serde(default)]
    pub(super) table: Option<String>,
    /// Column that was being filled.
    #[serde(default)]
    pub(super) column: Option<String>,
    /// The rule: file and JSON path.
    #[serde(default)]
    pub(super) rule: Option<String>,
    /// The rule's expression.
    #[serde(default)]
    pub(super) path: Option<String>,
}

/// A record of the ingest topic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordCase {
    /// `Type/id`.
    #[serde(default)]
    key: Option<String>,
    /// An object (its JSON text), text (taken as it is) or null (a tombstone).
    #[serde(default)]
    value: Value,
    /// Header values; what is no text is sent as JSON, null as null.
    #[serde(default)]
    headers: Map<String, Value>,
    /// Offset in its partition. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    offset: Option<i64>,
    /// Broker timestamp, milliseconds since the epoch.
    #[serde(default)]
    timestamp: Option<i64>,
}

/// The parts of a JSON file whose text counts.
#[derive(Deserialize)]
struct RawCase<'a> {
    #[serde(borrow)]
    change: &'a RawValue,
}

#[derive(Deserialize)]
struct RawRecord<'a> {
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// What is expected of a record.
#[derive(Debug)]
pub(super) enum Expected {
    /// Rows by table.
    Rows(BTreeMap<String, Vec<Map<String, Value>>>),
    Refused(Refused),
    Filtered,
    Deleted,
}

/// A case, ready to be run.
#[derive(Debug)]
pub(super) struct Golden {
    /// File, and place in a list: `cases/patient.json#/2`.
    pub(super) place: String,
    pub(super) name: Option<String>,
    pub(super) record: Record,
    pub(super) expected: Expected,
}

/// The shape of a case file, as JSON Schema for editors.
#[must_use]
pub fn schema() -> Value {
    Schema::of::<CaseFile>().document().clone()
}

/// The cases of a file, named as in messages.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Golden>, Vec<Problem>> {
    let tree = problem::parse(file, text).map_err(|problem| vec![problem])?;
    let is_json = file.to_lowercase().ends_with(".json");
    let (trees, is_list) = match tree {
        Value::Array(trees) => (trees, true),
        one => (vec![one], false),
    };
    // a JSON file was parsed before, so that this finds the same cases, or none of a wrong shape
    let raw: Vec<RawCase<'_>> = match (is_json, is_list) {
        (false, _) => Vec::new(),
        (true, true) => serde_json::from_str(text).unwrap_or_default(),
        (true, false) => serde_json::from_str(text).map(|one| vec![one]).unwrap_or_default(),
    };
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for (index, tree) in trees.into_iter().enumerate() {
        let at = if is_list { format!("/{index}") } else { String::new() };
        let text = raw.get(index).map(|case| case.change.get());
        let mut reader = Reader { file, at, problems: &mut problems };
        cases.extend(reader.case(tree, text));
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

/// Reads one case, and goes on after a problem.
struct Reader<'a> {
    file: &'a str,
    at: String,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn report(&mut self, at: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.file, format!("{}{at}", self.at), message));
    }

    /// Checks a shape; the problems get their place in the file.
    fn check<T: JsonSchema>(&mut self, at: &str, value: &mut Value) -> BTreeSet<String> {
        let mut mended = BTreeSet::new();
        let found = Schema::of::<T>().check(self.file, value, &mut mended);
        for problem in found {
            self.report(&format!("{at}{}", problem.path), problem.message);
        }
        mended
    }

    fn case(&mut self, mut tree: Value, raw: Option<&str>) -> Option<Golden> {
        if !self.check::<Case>("", &mut tree).is_empty() {
            return None;
        }
        let case: Case = match problem::read(self.file, tree) {
            Ok(case) => case,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        let record = self.record(case.change, raw);
        let mut all = Vec::new();
        all.extend(case.rows.map(|rows| ("rows", Expected::Rows(rows))));
        if let Some(refused) = case.refused {
            if Cause::parse(&refused.cause).is_none() {
                let known = Cause::ALL.map(Cause::as_str);
                let message = format!("unknown cause{}", advice(&refused.cause, &known));
                self.report("/refused/cause", message);
            }
            all.push(("refused", Expected::Refused(refused)));
        }
        for (key, given, expected) in [
            ("filtered", case.filtered, Expected::Filtered),
            ("deleted", case.deleted, Expected::Deleted),
        ] {
            if given == Some(false) {
                self.report(&format!("/{key}"), "must be true or left out");
            }
            all.extend(given.map(|_| (key, expected)));
        }
        if let [(_, first), (second, _), ..] =
            all.iter().map(|(key, _)| (*key, *key)).collect::<Vec<_>>()[..]
        {
            self.report(&format!("/{second}"), format!("excludes `{first}`"));
        }
        let Some((_, expected)) = all.pop() else {
            self.report("", "one of `rows`, `refused`, `filtered` and `deleted` is needed");
            return None;
        };
        let place = if self.at.is_empty() {
            self.file.to_owned()
        } else {
            format!("{}#{}", self.file, self.at)
        };
        Some(Golden { place, name: case.name, record: record?, expected })
    }

    /// The record that a change describes; `raw` is its text in a JSON file.
    fn record(&mut self, change: Map<String, Value>, raw: Option<&str>) -> Option<Record> {
        let mut record = Record {
            source: TopicPartition::new("cases", 0),
            offset: Offset(0),
            timestamp: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        if change.contains_key("resourceType") {
            record.value = Some(self.text(&Value::Object(change), raw, "/change"));
            return Some(record);
        }
        let mut tree = Value::Object(change);
        if !self.check::<RecordCase>("/change", &mut tree).is_empty() {
            return None;
        }
        let written: RecordCase =
            problem::read(self.file, tree).map_err(|problem| self.problems.push(problem)).ok()?;
        let raw = raw.and_then(|raw| serde_json::from_str::<RawRecord<'_>>(raw).ok()?.value);
        record.value = match written.value {
            Value::Null => None,
            Value::String(text) => Some(Bytes::from(text)),
            other => Some(self.text(&other, raw.map(RawValue::get), "/change/value")),
        };
        record.key = written.key.map(Bytes::from);
        record.offset = Offset(written.offset.unwrap_or_default());
        record.timestamp = written.timestamp;
        record.headers = written.headers.into_iter().map(crate::cli::feed::header).collect();
        Some(record)
    }

    /// A document's text: as it stands in the file, or, from YAML, written anew.
    fn text(&mut self, value: &Value, raw: Option<&str>, at: &str) -> Bytes {
        if let Some(raw) = raw {
            return Bytes::from(raw.to_owned());
        }
        let mut fractions = Vec::new();
        find_fractions(value, at, &mut fractions);
        for place in fractions {
            self.report(
                &place,
                "YAML keeps no digits of a fraction (72.50 would be 72.5): write the case as \
                 JSON, or the record's `value` as text",
            );
        }
        Bytes::from(value.to_string())
    }
}

fn find_fractions(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(number) if number.is_f64() => found.push(at.to_owned()),
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                find_fractions(element, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                find_fractions(member, &pointer::join(at, key), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
