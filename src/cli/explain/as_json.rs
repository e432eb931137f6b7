//! An explanation for programs: one object a change. Its shape is documented in docs/explain.md
//! and changes by addition only.

use serde_json::{Map, Value as Json, json};

use super::{Explained, operation};
use crate::cli::values::to_json;
use crate::error::Refusal;
use crate::model::{Column, ColumnSource, RootTable, Table};
use crate::transform::fhirpath::TrailStep;
use crate::transform::{Absence, Filling, Note, TableExplanation, Why};

/// A record that became no change.
pub(super) fn undecoded(refusal: &Refusal) -> Json {
    json!({
        "resource_type": refusal.place.resource_type.as_deref(),
        "operation": null,
        "version": refusal.place.version,
        "outcome": "refused",
        "tables": [],
        "refusals": [refused(refusal)],
        "sql": [],
    })
}

/// A change and what becomes of it.
pub(super) fn explained(of: &Explained<'_>) -> Json {
    let mut tables = Vec::new();
    let mut refusals = Vec::new();
    for explained in &of.roots {
        let Some(root) = of.application.catalog().roots.get(explained.root) else { continue };
        tables.extend(
            explained
                .tables
                .iter()
                .enumerate()
                .filter_map(|(index, of)| Some(table(root, root.declared_table(index)?, of))),
        );
        refusals.extend(explained.refusals.iter().map(refused));
    }
    let roots = &of.application.catalog().roots;
    let types: std::collections::BTreeSet<&str> =
        roots.iter().map(|root| &*root.resource_type).collect();
    let has_transformer = types.contains(&*of.change.resource.resource_type);
    let mut object = json!({
        "resource_type": &*of.change.resource.resource_type,
        "operation": operation(of.change),
        "version": of.change.version().map(crate::model::Version::get),
        "outcome": of.outcome(),
        "tables": tables,
        "refusals": refusals,
        "sql": of.sql,
    });
    if !has_transformer {
        object["absences"] = json!([{ "why": "no_transformer", "types": types }]);
    }
    object
}

fn table(root: &RootTable, declared: &Table, of: &TableExplanation) -> Json {
    let shown = || declared.columns.iter().enumerate().filter(|(_, column)| !column.optional);
    let rows = of.rows.iter().map(|row| {
        let cells = shown().filter_map(|(place, column)| Some((column, row.get(place)?)));
        cells.map(|(column, value)| (column.name.to_string(), to_json(value))).collect()
    });
    let columns =
        shown().filter_map(|(place, declared)| Some(column(declared, of.columns.get(place)?)));
    let name = |table: usize| root.declared_table(table).map(|table| table.name.to_string());
    json!({
        "table": declared.name.to_string(),
        "parent": declared.parent.and_then(name),
        "rule": &*of.rule,
        "columns": columns.collect::<Vec<_>>(),
        "rows": rows.collect::<Vec<Map<String, Json>>>(),
        "notes": of.notes.iter().map(|noted| note(&declared.columns, noted)).collect::<Vec<_>>(),
        "absences": of.absences.iter().map(|why| absence(why, name)).collect::<Vec<_>>(),
    })
}

fn column(declared: &Column, filling: &Filling) -> Json {
    let (rule, path) = match &declared.source {
        ColumnSource::Rule { rule, path } => (Some(&**rule), Some(&**path)),
        _ => (None, None),
    };
    let mut object = json!({
        "column": &*declared.name,
        "type": declared.column_type.as_str(),
        "from": match filling {
            Filling::Managed => "managed",
            Filling::Constant => "constant",
            Filling::Code => "code",
            Filling::Path { .. } | Filling::Expression(_) => "path",
        },
        "expression": path.filter(|path| !path.is_empty()),
        "rule": rule,
    });
    if let Filling::Path { strategy, delimiter, maximum, default, partial_date, .. } = filling {
        object["multiple"] = json!(strategy.as_str());
        object["delimiter"] = json!(&**delimiter);
        object["maximum_size"] = json!(maximum.map(|(size, _)| size));
        object["overflow"] = json!(maximum.map(|(_, overflow)| overflow.as_str()));
        object["default"] = to_json(default);
        object["partial_date"] = json!(partial_date.as_str());
    }
    object
}

fn note(columns: &[Column], note: &Note) -> Json {
    let column = columns.get(note.column).map(|column| &*column.name);
    let (why, more) = match &note.why {
        Why::NoValue(steps) => ("no_value", Some(("trail", trail(steps)))),
        Why::Default(steps) => ("default", Some(("trail", trail(steps)))),
        Why::TooLong(size) => ("too_long", Some(("maximum_size", json!(size)))),
        Why::Cut(size) => ("cut", Some(("maximum_size", json!(size)))),
        Why::PartialDate => ("partial_date", None),
        Why::Refused(place) => ("refused", Some(("refusal", json!(place)))),
    };
    let mut object = json!({ "row": note.row, "column": column, "why": why });
    if let Some((key, value)) = more {
        object[key] = value;
    }
    object
}

fn absence(absence: &Absence, name: impl Fn(usize) -> Option<String>) -> Json {
    match absence {
        Absence::NotMatched { rule, path, was_false } => json!({
            "why": "where", "rule": &**rule, "expression": path,
            "was": if *was_false { "false" } else { "empty" },
        }),
        Absence::NoElements { rule, trail: steps } => json!({
            "why": "no_elements", "rule": &**rule, "trail": trail(steps),
        }),
        Absence::Filtered { rule, path, elements, were_false, were_empty } => json!({
            "why": "filtered", "rule": &**rule, "expression": path, "elements": elements,
            "false": were_false, "empty": were_empty,
        }),
        Absence::NoParent { parent } => json!({ "why": "no_parent", "parent": name(*parent) }),
        Absence::Refused => json!({ "why": "refused" }),
        Absence::NotMade => json!({ "why": "not_made" }),
    }
}

fn trail(steps: &[TrailStep]) -> Json {
    let step = |step: &TrailStep| json!({ "path": step.path, "items": step.items });
    steps.iter().map(step).collect::<Vec<_>>().into()
}

fn refused(refusal: &Refusal) -> Json {
    let place = &refusal.place;
    json!({
        "stage": refusal.stage.as_str(),
        "cause": refusal.cause.as_str(),
        "table": place.table.as_deref(),
        "column": place.column.as_deref(),
        "rule": place.rule.as_deref(),
        "path": place.path.as_deref(),
        "message": refusal.messages.join(": "),
        "advice": refusal.cause.remedy(),
    })
}
