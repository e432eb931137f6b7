//! `rowcast explain`: what a resource becomes, without writing anything.
//!
//! It prints values of the document, because the user who names a file asked to see them.

use std::path::PathBuf;

use serde_json::json;

use super::table::table;
use super::{Failure, Output};
use crate::application::Application;
use crate::error::{Cause, Refusal, messages};
use crate::model::{
    Catalog, Change, Document, DocumentLimits, Header, Offset, Operation, Record, ResourceRows,
    TopicPartition, Value,
};
use crate::plan::RootStatements;
use crate::source::HEADER_VERSION;
use crate::topology::Setting;
use crate::transform::Transformer as _;
use crate::transform::fhirpath::{Environment, Item, Path};

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The topology file whose rules apply.
    #[arg(long, value_name = "FILE", required_unless_present = "path", env = "ROWCAST_TOPOLOGY")]
    topology: Option<PathBuf>,
    /// Override one setting. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// Print the values that this FHIRPath yields, as a JSON array.
    #[arg(long, value_name = "EXPR", conflicts_with = "output")]
    path: Option<String>,
    /// How to print the rows.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// A FHIR resource, JSON.
    #[arg(value_name = "RESOURCE.json")]
    resource: PathBuf,
}

pub(super) fn explain(arguments: &Arguments) -> Result<(), Failure> {
    let shown = arguments.resource.display();
    let bytes = std::fs::read(&arguments.resource)
        .map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
    if let Some(expression) = &arguments.path {
        let document = Document::parse(&bytes, DocumentLimits::default())
            .map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
        return values(expression, &document);
    }
    let Some(topology) = arguments.topology.clone() else {
        return Err(Failure::usage("give --topology, or --path"));
    };
    let settings = arguments.settings.clone();
    let application = super::open(&super::TopologyArguments { topology, settings })?;
    rows(&application, bytes, arguments.output)
}

fn values(expression: &str, document: &Document) -> Result<(), Failure> {
    let path = Path::compile(expression, document.text("resourceType"))
        .map_err(|error| Failure::configuration(&[messages(&error).join(": ")]))?;
    let root = document.root();
    let focus = Item::resource(root);
    let mut items = Vec::new();
    path.evaluate(Environment::of(root), focus, &mut items)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let values: Vec<String> = items.iter().map(json_of).collect();
    println!("[{}]", values.join(","));
    Ok(())
}

/// An item as JSON text; numbers with their digits.
fn json_of(item: &Item<'_>) -> String {
    match (item.node(), item) {
        (Some(node), _) => sonic_rs::to_string(node).unwrap_or_else(|_| "null".to_owned()),
        (None, Item::Boolean(_) | Item::Integer(_) | Item::Decimal(_)) => {
            item.text().unwrap_or_default().into_owned()
        }
        (None, _) => json!(item.text()).to_string(),
    }
}

/// The changes of the file, read as a record of the ingest topic would be.
fn changes(application: &Application, bytes: Vec<u8>) -> Result<Vec<Change>, Box<Refusal>> {
    let mut record = Record {
        source: TopicPartition::new("explain", 0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(bytes.into()),
        headers: Vec::new(),
    };
    match application.decoder().decode(&record) {
        Err(error) if error.cause() == Cause::MissingVersion => {
            eprintln!("note: the resource has no version; explained as version 1");
            record.headers.push(Header::text(HEADER_VERSION, "1"));
            application.decoder().decode(&record).map_err(|error| Box::new(error.into()))
        }
        decoded => decoded.map_err(|error| Box::new(error.into())),
    }
}

fn rows(application: &Application, bytes: Vec<u8>, output: Output) -> Result<(), Failure> {
    let refused = |refusal: Box<Refusal>| Failure::failed(format!("refused: {refusal}"));
    let mut rows = Vec::new();
    for change in changes(application, bytes).map_err(refused)? {
        match change.operation {
            Operation::Delete { .. } => eprintln!("note: a delete; it removes the resource's rows"),
            Operation::Upsert { .. } => {
                rows.extend(application.rules().transform(&change).map_err(refused)?);
            }
        }
    }
    let catalog = application.catalog();
    let statements = statements(application, &rows);
    match output {
        Output::Json => print_json(catalog, &rows, &statements),
        Output::Table => print_tables(catalog, &rows, &statements),
    }
    Ok(())
}

/// The statements that would write the rows, as they would run after the guard let them through.
fn statements(application: &Application, rows: &[ResourceRows]) -> Vec<String> {
    let mut texts = Vec::new();
    for resource in rows {
        let Some(root) = application.catalog().roots.get(resource.root) else { continue };
        let Some(sets) = &resource.row_sets else { continue };
        let statements = RootStatements::new(application.dialect(), root, |_| None);
        let rows_of = |table: usize| -> usize {
            sets.iter().filter(|set| set.table == table).map(|set| set.rows.len()).sum()
        };
        let Some((root, children)) = statements.tables.split_first() else { continue };
        texts.push(root.write.text(1).to_string());
        texts.extend(children.iter().rev().map(|child| child.delete.text(1).to_string()));
        for (table, child) in (1..).zip(children) {
            if rows_of(table) > 0 {
                texts.push(child.write.text(child.write.run(rows_of(table))).to_string());
            }
        }
        for (table, history) in statements.history.iter().enumerate() {
            if rows_of(table) > 0 {
                texts.push(history.write.text(history.write.run(rows_of(table))).to_string());
            }
        }
    }
    texts
}

fn print_json(catalog: &Catalog, rows: &[ResourceRows], statements: &[String]) {
    let mut tables = serde_json::Map::new();
    for resource in rows {
        let Some(root) = catalog.roots.get(resource.root) else { continue };
        for set in resource.row_sets.iter().flatten() {
            let Some(table) = root.tables.get(set.table) else { continue };
            let rows: Vec<_> = set
                .rows
                .iter()
                .map(|row| {
                    let cells = table.columns.iter().zip(row);
                    let cells = cells.filter(|(column, _)| !column.optional);
                    cells
                        .map(|(column, value)| (column.name.to_string(), to_json(value)))
                        .collect::<serde_json::Map<_, _>>()
                })
                .collect();
            tables.insert(table.name.to_string(), json!(rows));
        }
    }
    println!("{}", json!({ "tables": tables, "sql": statements }));
}

fn print_tables(catalog: &Catalog, rows: &[ResourceRows], statements: &[String]) {
    if rows.is_empty() {
        println!("no transformer takes this resource type: the change would be filtered");
    }
    for resource in rows {
        let Some(root) = catalog.roots.get(resource.root) else { continue };
        let Some(sets) = &resource.row_sets else {
            println!("{}: `where` does not match; the resource has no rows here", root.root().name);
            continue;
        };
        for set in sets {
            let Some(declared) = root.tables.get(set.table) else { continue };
            println!("{}: {} rows", declared.name, set.rows.len());
            for row in &set.rows {
                let lines = declared.columns.iter().zip(row).filter(|(column, _)| !column.optional);
                let lines = lines.map(|(column, value)| {
                    [
                        column.name.to_string(),
                        column.column_type.to_string(),
                        to_text(value),
                        source(&column.source),
                    ]
                });
                println!("{}", table(["column", "type", "value", "from"], lines));
            }
        }
    }
    println!("SQL, in order, in one transaction:");
    for statement in statements {
        println!("  {statement};");
    }
}

fn source(source: &crate::model::ColumnSource) -> String {
    match source {
        crate::model::ColumnSource::Rule { path, .. } => path.to_string(),
        _ => "managed".to_owned(),
    }
}

fn to_text(value: &Value) -> String {
    match to_json(value) {
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => json!(null),
        Value::Text(text) => json!(text),
        Value::Int(number) => json!(number),
        // text, so that no digit is lost on the way through a reader's floats
        Value::Decimal(decimal) => json!(decimal.to_plain_string()),
        Value::Double(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        Value::Date(date) => json!(date.to_string()),
        Value::DateTime(instant) => {
            json!(instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
        }
        Value::Time(time) => json!(time.to_string()),
        Value::Uuid(uuid) => json!(uuid.to_string()),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Value::Binary(bytes) => json!(format!("{} bytes", bytes.len())),
    }
}
