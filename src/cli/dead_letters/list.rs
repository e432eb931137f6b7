//! `rowcast dead-letters list`: the letters, one a line.

use comfy_table::Table;

use super::super::table::table;
use super::filter::Filter;
use super::{Failure, Output, TopologyArguments, letters, print, render};
use crate::dead_letter::Letter;

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters list --topology clinical.yaml
  rowcast dead-letters list --topology clinical.yaml --cause type_mismatch --table patient --since 2h
  rowcast dead-letters list --topology clinical.yaml --origin fhir.changes:3:100-200 --all
  rowcast dead-letters list --topology clinical.yaml --status quarantined --output json

Exit code 4 if no letter matches.";

/// Options of `list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    /// Also those that are settled.
    #[arg(long, conflicts_with = "status")]
    all: bool,
    /// Print at most this many.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// How to print them.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn list(arguments: Arguments) -> Result<(), Failure> {
    let application = super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let usual = arguments.filter.looked_at(arguments.all);
    let ledger = letters(&application, &*broker, &arguments.filter, usual).await?;
    let found = ledger.letters();
    if found.is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    let shown = &found[..found.len().min(arguments.limit.unwrap_or(usize::MAX))];
    match arguments.output {
        Output::Json => {
            for letter in shown {
                print::line(serde_json::Value::Object(render::letter(letter)))?;
            }
        }
        Output::Table => print::line(listing(shown))?,
    }
    if shown.len() < found.len() {
        print::message(format_args!("{} more match", found.len() - shown.len()));
    }
    Ok(())
}

fn listing(letters: &[Letter]) -> Table {
    let rows = letters.iter().map(|Letter { summary, status, .. }| {
        let place = [&summary.place.table, &summary.place.column];
        let place: Vec<&str> = place.into_iter().flatten().map(|name| &**name).collect();
        [
            summary.id.clone(),
            status.to_string(),
            summary.stage.to_string(),
            summary.cause.to_string(),
            summary.place.resource_type.as_deref().unwrap_or("-").to_owned(),
            render::printable(&place.join(".")),
            format!("{}@{}", summary.origin, summary.offset),
            render::printable(&summary.messages.join(": ")),
        ]
    });
    table(["id", "status", "stage", "cause", "type", "column", "origin", "message"], rows)
}
