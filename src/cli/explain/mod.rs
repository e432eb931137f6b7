//! `rowcast explain`: what a resource becomes and why, without writing anything.
//!
//! It prints values of the document, because the user who names a file asked to see them.

use std::path::PathBuf;

use chrono::Utc;
use serde_json::json;

use super::{Failure, Output, print};
use crate::application::Application;
use crate::error::{Cause, Refusal, messages};
use crate::model::{
    Change, Document, DocumentLimits, Header, Offset, Operation, Record, RootTable, TopicPartition,
};
use crate::plan::RootStatements;
use crate::source::HEADER_VERSION;
use crate::transform::RootExplanation;
use crate::transform::fhirpath::{Environment, Item, Path};

mod as_json;
mod as_text;

const EXAMPLES: &str = "\
Examples:
  rowcast explain --topology clinical.yaml patient.json  its rows, and which rule made each cell
  rowcast explain --topology clinical.yaml --sql patient.json
  rowcast explain --path 'Patient.name.where(use = \"official\").family' patient.json";

/// Options of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The topology file whose rules apply.
    #[arg(long, value_name = "FILE", required_unless_present = "path", env = "ROWCAST_TOPOLOGY")]
    topology: Option<PathBuf>,
    /// Override one setting. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<super::SettingText>,
    /// Print the values that this FHIRPath yields, as a JSON array.
    #[arg(long, value_name = "EXPR", conflicts_with_all = ["output", "sql"])]
    path: Option<String>,
    /// Print the SQL that would write the rows as well; `--output json` always has it.
    #[arg(long)]
    sql: bool,
    /// How to print the rows.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// A FHIR resource, JSON.
    #[arg(value_name = "RESOURCE.json")]
    resource: PathBuf,
}

/// A change and what becomes of it.
struct Explained<'a> {
    application: &'a Application,
    change: &'a Change,
    roots: Vec<RootExplanation>,
    /// As they would run, in one transaction, after the guard let the change through; none if it
    /// is refused.
    sql: Vec<String>,
}

impl Explained<'_> {
    /// `written`, `deleted`, `filtered` or `refused`, if nothing newer was there before.
    fn outcome(&self) -> &'static str {
        let roots = &self.application.catalog().roots;
        let takes = |root: &RootTable| root.resource_type == self.change.resource.resource_type;
        match self.change.operation {
            _ if self.roots.iter().any(|root| !root.refusals.is_empty()) => "refused",
            Operation::Delete { .. } if roots.iter().any(takes) => "deleted",
            _ if self.roots.iter().all(RootExplanation::is_filtered) => "filtered",
            Operation::Upsert { .. } | Operation::Delete { .. } => "written",
        }
    }
}

pub(super) async fn explain(arguments: &Arguments) -> Result<(), Failure> {
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
    let record = as_record(bytes);
    application.bring_schemas(std::slice::from_ref(&record)).await?;
    let changes = match changes(&application, record) {
        Ok(changes) => changes,
        Err(refusal) => {
            if arguments.output == Output::Json {
                print::line(as_json::undecoded(&refusal))?;
            }
            return Err(Failure::refused(&[*refusal]));
        }
    };
    let mut refusals = Vec::new();
    for change in &changes {
        let roots = application.transform().explain(change);
        let sql = statements(&application, &roots);
        let mut explained = Explained { application: &application, change, roots, sql };
        match arguments.output {
            Output::Json => print::line(as_json::explained(&explained))?,
            Output::Table => print::text(as_text::explained(&explained, arguments.sql))?,
        }
        refusals.extend(explained.roots.drain(..).flat_map(|root| root.refusals));
    }
    if refusals.is_empty() { Ok(()) } else { Err(Failure::refused(&refusals)) }
}

fn values(expression: &str, document: &Document) -> Result<(), Failure> {
    let path = Path::compile(expression, document.text("resourceType"))
        .map_err(|error| Failure::configuration(&[messages(&error).join(": ")]))?;
    let root = document.root();
    let focus = Item::resource(root);
    let mut items = Vec::new();
    path.evaluate(Environment::of(root).at(Some(Utc::now())), focus, &mut items)
        .map_err(|error| Failure::failed(error.to_string()))?;
    let values: Vec<String> = items.iter().map(json_of).collect();
    print::line(format_args!("[{}]", values.join(",")))?;
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

/// The file as a record of the ingest topic.
fn as_record(bytes: Vec<u8>) -> Record {
    Record {
        source: TopicPartition::new("explain", 0),
        offset: Offset(0),
        timestamp: Some(Utc::now().timestamp_millis()),
        key: None,
        value: Some(bytes.into()),
        headers: Vec::new(),
    }
}

/// The changes of the file.
fn changes(application: &Application, mut record: Record) -> Result<Vec<Change>, Box<Refusal>> {
    match application.decoder().decode(&record) {
        Err(error) if error.cause() == Cause::MissingVersion => {
            print::message("note: the resource has no version; explained as version 1");
            record.headers.push(Header::text(HEADER_VERSION, "1"));
            application.decoder().decode(&record).map_err(|error| Box::new(error.into()))
        }
        decoded => decoded.map_err(|error| Box::new(error.into())),
    }
}

/// The statements that would write the rows, as they would run after the guard let them through.
fn statements(application: &Application, roots: &[RootExplanation]) -> Vec<String> {
    let mut texts = Vec::new();
    if roots.iter().any(|root| !root.refusals.is_empty()) {
        return texts;
    }
    for explained in roots.iter().filter(|explained| !explained.is_filtered()) {
        let Some(root) = application.catalog().roots.get(explained.root) else { continue };
        let statements = RootStatements::new(application.dialect(), root, |_| None);
        let rows_of = |table: usize| explained.tables.get(table).map_or(0, |of| of.rows.len());
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

/// `upsert` or `delete`.
const fn operation(change: &Change) -> &'static str {
    match change.operation {
        Operation::Upsert { .. } => "upsert",
        Operation::Delete { .. } => "delete",
    }
}
