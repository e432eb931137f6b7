//! An explanation for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Explained;
use crate::cli::table::{aligned, table};
use crate::cli::values::to_text;
use crate::error::counted;
use crate::model::{
    Column, ColumnSource, Operation, RootTable, Table, Value, Version, is_resource_type,
};
use crate::transform::fhirpath::TrailStep;
use crate::transform::rules::{MultipleStrategy, PartialDate};
use crate::transform::{Absence, Filling, Note, TableExplanation, Why};

/// Most rows that a note lists by number.
const LISTED_ROWS: usize = 8;

/// A change and what becomes of it.
pub(super) fn explained(of: &Explained<'_>, with_sql: bool) -> String {
    let catalog = of.application.catalog();
    let resource_type = &*of.change.resource.resource_type;
    let version = of.change.version().map(Version::get);
    let version = version.map_or_else(|| "no version".to_owned(), |at| format!("version {at}"));
    let mut text = format!("{resource_type}, {version}: {}\n", of.outcome());
    let roots = || catalog.roots.iter().filter(|root| &*root.resource_type == resource_type);
    if roots().next().is_none() {
        let types: BTreeSet<&str> = catalog.roots.iter().map(|root| &*root.resource_type).collect();
        let types = types.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "no transformer takes {resource_type}; there are some for: {types}");
    } else if matches!(of.change.operation, Operation::Delete { .. }) {
        let tables = roots().flat_map(RootTable::declared_tables);
        let tables: Vec<String> = tables.map(|table| table.name.to_string()).collect();
        let _ = writeln!(text, "its rows go from {}", tables.join(", "));
    }
    for explained in &of.roots {
        let Some(root) = catalog.roots.get(explained.root) else { continue };
        for (index, of) in explained.tables.iter().enumerate() {
            if let Some(declared) = root.declared_table(index) {
                text.push('\n');
                one_table(&mut text, root, declared, of);
            }
        }
    }
    if with_sql && !of.sql.is_empty() {
        text.push_str("\nSQL, in order, in one transaction:\n");
        for statement in &of.sql {
            let _ = writeln!(text, "  {statement};");
        }
    }
    text
}

fn one_table(text: &mut String, root: &RootTable, declared: &Table, of: &TableExplanation) {
    let count = match of.rows.len() {
        0 => "no rows".to_owned(),
        rows => counted(rows, "row"),
    };
    let _ = writeln!(text, "{}: {count}, by {}", declared.name, of.rule);
    for why in &of.absences {
        let _ = writeln!(text, "  {}", absence(why, root));
    }
    if of.rows.is_empty() {
        return;
    }
    let refused = |row: usize, column: usize| {
        let is_it = |note: &&Note| note.row == row && note.column == column;
        of.notes.iter().find(is_it).is_some_and(|note| matches!(note.why, Why::Refused(_)))
    };
    let shown: Vec<(usize, &Column)> =
        declared.columns.iter().enumerate().filter(|(_, column)| !column.optional).collect();
    let names: Vec<&str> = shown.iter().map(|(_, column)| &*column.name).collect();
    let cell = |row: usize, values: &[Value], place: usize| match values.get(place) {
        _ if refused(row, place) => "(refused)".to_owned(),
        Some(value) => to_text(value),
        None => String::new(),
    };
    let rows =
        of.rows.iter().enumerate().map(|(row, values)| {
            shown.iter().map(|(place, _)| cell(row, values, *place)).collect()
        });
    let _ = writeln!(text, "{}\n", aligned(&names, &rows.collect::<Vec<Vec<String>>>()));
    let file = of.rule.split_once('#').map_or(&*of.rule, |(file, _)| file);
    let lines = shown.iter().filter_map(|(place, column)| {
        let (from, rule) = origin(column, of.columns.get(*place)?);
        let rule = rule.strip_prefix(file).unwrap_or(&rule).to_owned();
        let column_type = column.column_type.to_string();
        Some([column.name.to_string(), column_type, from, rule, notes(of, *place)])
    });
    let _ = writeln!(text, "{}", table(["column", "type", "from", "rule", "note"], lines));
}

/// Where a column comes from: the expression and what is not as usual, and the rule.
fn origin(column: &Column, filling: &Filling) -> (String, String) {
    let (rule, path) = match &column.source {
        ColumnSource::Rule { rule, path } => (rule.to_string(), path.to_string()),
        _ => (String::new(), String::new()),
    };
    let from = match filling {
        Filling::Managed if path.is_empty() => "managed".to_owned(),
        Filling::Managed => path,
        Filling::Constant => "constant".to_owned(),
        Filling::Code => "code".to_owned(),
        Filling::Expression(expression) => expression.to_string(),
        Filling::Path { expression, strategy, delimiter, maximum, default, partial_date } => {
            let mut from = expression.clone();
            match strategy {
                MultipleStrategy::Error => {}
                MultipleStrategy::Concat => {
                    let _ = write!(from, "; CONCAT by {delimiter:?}");
                }
                other => {
                    let _ = write!(from, "; {}", other.as_str());
                }
            }
            if let Some((size, overflow)) = maximum {
                let _ = write!(from, "; {} beyond {size} characters", overflow.as_str());
            }
            if *default != Value::Null {
                let _ = write!(from, "; default {}", to_text(default));
            }
            if *partial_date != PartialDate::Start {
                let _ = write!(from, "; partialDate {}", partial_date.as_str());
            }
            from
        }
    };
    (from, rule)
}

/// What there is to say about the cells of a column, alike ones together.
fn notes(of: &TableExplanation, column: usize) -> String {
    let mut said: Vec<(String, Vec<usize>)> = Vec::new();
    for note in of.notes.iter().filter(|note| note.column == column) {
        let why = why(&note.why);
        match said.iter_mut().find(|(known, _)| *known == why) {
            Some((_, rows)) => rows.push(note.row + 1),
            None => said.push((why, vec![note.row + 1])),
        }
    }
    let lines = said.into_iter().map(|(why, rows)| {
        if rows.len() == of.rows.len() {
            return why;
        }
        let listed: Vec<String> = rows.iter().map(ToString::to_string).collect();
        match rows.len() {
            1 => format!("row {}: {why}", listed.concat()),
            count if count <= LISTED_ROWS => format!("rows {}: {why}", listed.join(", ")),
            count => format!("{count} rows: {why}"),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn why(why: &Why) -> String {
    match why {
        Why::NoValue(steps) => format!("NULL: {}", trail(steps)),
        Why::Default(steps) => format!("default: {}", trail(steps)),
        Why::TooLong(size) => format!("NULL: longer than {size} characters"),
        Why::Cut(size) => format!("cut to {size} characters"),
        Why::PartialDate => "NULL: a date without month or day".to_owned(),
        Why::Refused(_) => "refused".to_owned(),
    }
}

fn absence(why: &Absence, root: &RootTable) -> String {
    match why {
        Absence::NotMatched { rule, path, was_false } => {
            let was = if *was_false { "false" } else { "empty" };
            format!("`where` is {was}: {path} ({rule})")
        }
        Absence::NoElements { trail: steps, .. } => trail(steps),
        Absence::Filtered { rule, path, elements, were_false, were_empty } => {
            let left_out = were_false + were_empty;
            let empty = match were_empty {
                0 => String::new(),
                empty => format!(", empty for {empty}"),
            };
            format!(
                "{left_out} of {elements} elements left out by `where`: {path} ({rule}), false \
                 for {were_false}{empty}"
            )
        }
        Absence::NoParent { parent } => {
            let parent = root.tables.get(*parent).map(|table| table.name.to_string());
            format!("{} has none", parent.unwrap_or_default())
        }
        Absence::Refused => "refused".to_owned(),
        Absence::NotMade => "the transformer made none".to_owned(),
    }
}

/// Where a path ran dry: the last step that yields something, and the one that does not.
fn trail(steps: &[TrailStep]) -> String {
    let Some((last, before)) = steps.split_last() else { return String::new() };
    if last.items > 0 {
        return format!("`{}` has {} without a value", last.path, last.items);
    }
    // that there is a resource, or an element, goes without saying
    let obvious = |path: &str| is_resource_type(path) || path == "$this" || path.starts_with('%');
    match before.last().filter(|step| !obvious(&step.path)) {
        Some(step) => format!("`{}` has {}, `{}` none", step.path, step.items, last.path),
        None => format!("`{}` none", last.path),
    }
}
