//! What a case expects against what the change becomes.
//!
//! In: a case and the stages that need no connection. Out: the differences, none if it holds.
//! They hold values, because the cases are the user's own test data.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::file::{Expected, Golden, Refused};
use crate::application::Application;
use crate::cli::values::to_json;
use crate::error::{Refusal, counted};
use crate::model::{Change, Operation, RootTable, Row, RowSet, Table, Value};
use crate::problem::advice;

/// What becomes of a change.
enum Found<'a> {
    /// The rows of every table that takes its type.
    Rows(BTreeMap<String, (&'a Table, Vec<Row>)>),
    Refused(Box<Refusal>),
    Filtered,
    Deleted,
}

/// Every difference, in words.
pub(super) fn differences(application: &Application, golden: &Golden) -> Vec<String> {
    match (&golden.expected, become_of(application, golden)) {
        (Expected::Filtered, Found::Filtered) | (Expected::Deleted, Found::Deleted) => Vec::new(),
        (Expected::Refused(expected), Found::Refused(found)) => refused(expected, &found),
        (Expected::Rows(expected), Found::Rows(found)) => rows(expected, &found),
        (expected, found) => {
            let expected = match expected {
                Expected::Rows(_) => "rows",
                Expected::Refused(_) => "refused",
                Expected::Filtered => "filtered",
                Expected::Deleted => "deleted",
            };
            vec![format!("expected: {expected}, found: {}", said(&found))]
        }
    }
}

fn said(found: &Found<'_>) -> String {
    match found {
        Found::Rows(tables) => {
            let tables = tables.iter().filter(|(_, (_, rows))| !rows.is_empty());
            let tables: Vec<String> =
                tables.map(|(name, (_, rows))| format!("{} in {name}", rows.len())).collect();
            format!("rows ({})", tables.join(", "))
        }
        Found::Refused(refusal) => format!("refused, {refusal}{}", place(refusal)),
        Found::Filtered => "filtered".to_owned(),
        Found::Deleted => "deleted".to_owned(),
    }
}

fn place(refusal: &Refusal) -> String {
    let names = [&refusal.place.table, &refusal.place.column].into_iter().flatten();
    let names: Vec<&str> = names.map(|name| &**name).collect();
    if names.is_empty() { String::new() } else { format!(" at {}", names.join(".")) }
}

fn become_of<'a>(application: &'a Application, golden: &Golden) -> Found<'a> {
    let changes = match application.decoder().decode(&golden.record) {
        Ok(changes) => changes,
        Err(error) => return Found::Refused(Box::new(error.into())),
    };
    let roots = &application.catalog().roots;
    let takes =
        |root: &RootTable, change: &Change| root.resource_type == change.resource.resource_type;
    let mut tables: BTreeMap<String, (&Table, Vec<Row>)> = BTreeMap::new();
    let (mut is_made, mut is_deleted) = (false, false);
    for change in &changes {
        for root in roots.iter().filter(|root| takes(root, change)) {
            is_deleted |= matches!(change.operation, Operation::Delete { .. });
            for table in root.declared_tables() {
                tables.entry(table.name.to_string()).or_insert((table, Vec::new()));
            }
        }
        let made = match application.transform().transform(change) {
            Ok(made) => made,
            Err(refusal) => return Found::Refused(refusal),
        };
        for made in made {
            let Some(root) = roots.get(made.root) else { continue };
            is_made |= made.row_sets.is_some();
            for RowSet { table, rows } in made.row_sets.into_iter().flatten() {
                let name = root.tables.get(table).map(|table| table.name.to_string());
                if let Some((_, known)) = name.and_then(|name| tables.get_mut(&name)) {
                    known.extend(rows);
                }
            }
        }
    }
    match (is_made, is_deleted) {
        (true, _) => Found::Rows(tables),
        (false, true) => Found::Deleted,
        (false, false) => Found::Filtered,
    }
}

fn refused(expected: &Refused, found: &Refusal) -> Vec<String> {
    let place = &found.place;
    let pairs = [
        ("cause", Some(expected.cause.as_str()), Some(found.cause.as_str())),
        ("table", expected.table.as_deref(), place.table.as_deref()),
        ("column", expected.column.as_deref(), place.column.as_deref()),
        ("rule", expected.rule.as_deref(), place.rule.as_deref()),
        ("path", expected.path.as_deref(), place.path.as_deref()),
    ];
    let differ = pairs.iter().filter(|(_, wanted, found)| wanted.is_some() && wanted != found);
    differ
        .map(|(key, wanted, found)| {
            let (wanted, found) = (wanted.unwrap_or("none"), found.unwrap_or("none"));
            format!("refused, {key}: expected {wanted}, found {found}")
        })
        .collect()
}

fn rows(
    expected: &BTreeMap<String, Vec<Map<String, Json>>>,
    found: &BTreeMap<String, (&Table, Vec<Row>)>,
) -> Vec<String> {
    let mut differences = Vec::new();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        differences
            .push(format!("{name}: no such table for this resource{}", advice(name, &names)));
    }
    for (name, (table, found)) in found {
        let expected = expected.get(name).map_or(&[][..], Vec::as_slice);
        if expected.len() != found.len() {
            let (wanted, found) = (expected.len(), found.len());
            differences.push(format!("{name}: expected {}, found {found}", counted(wanted, "row")));
        }
        for (place, (expected, found)) in (1..).zip(expected.iter().zip(found)) {
            one_row(&format!("{name}, row {place}"), table, expected, found, &mut differences);
        }
        for missing in expected.iter().skip(found.len()) {
            differences.push(format!("{name}: missing {}", Json::from(missing.clone())));
        }
        for unexpected in found.iter().skip(expected.len()) {
            differences.push(format!("{name}: unexpected {}", shown(table, unexpected)));
        }
    }
    differences
}

fn one_row(
    at: &str,
    table: &Table,
    expected: &Map<String, Json>,
    found: &Row,
    differences: &mut Vec<String>,
) {
    for (column, wanted) in expected {
        let Some(value) = table.position(column).and_then(|place| found.get(place)) else {
            let known: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
            differences.push(format!("{at}: no column `{column}`{}", advice(column, &known)));
            continue;
        };
        if !is_same(wanted, value) {
            let hint = match value {
                Value::Decimal(_) if wanted.is_number() => " (a DECIMAL is written as text)",
                _ => "",
            };
            let value = to_json(value);
            differences.push(format!("{at}, {column}: expected {wanted}{hint}, found {value}"));
        }
    }
}

fn is_same(wanted: &Json, found: &Value) -> bool {
    match found {
        Value::Double(found) => {
            wanted.as_f64().is_some_and(|wanted| wanted.total_cmp(found).is_eq())
        }
        // as text it is compared with its digits and white space
        Value::Json(text) if wanted.as_str() == Some(text) => true,
        found => *wanted == to_json(found),
    }
}

/// A row without its NULLs.
fn shown(table: &Table, row: &Row) -> Json {
    let cells = table.columns.iter().zip(row).filter(|(_, value)| **value != Value::Null);
    let cells = cells.map(|(column, value)| (column.name.to_string(), to_json(value)));
    cells.collect::<Map<_, _>>().into()
}
