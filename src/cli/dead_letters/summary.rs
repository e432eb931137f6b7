//! `rowcast dead-letters summary`: how many letters of which kind, and what to do first.

use std::collections::BTreeMap;
use std::sync::Arc;

use comfy_table::Table;
use serde_json::{Value, json};

use super::super::table::table;
use super::filter::Filter;
use super::{Failure, Output, TopologyArguments, letters, render};
use crate::application::Application;
use crate::dead_letter::{Ledger, Letter, LetterSummary, Status};
use crate::error::{Cause, Stage};

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters summary --topology clinical.yaml
  rowcast dead-letters summary --topology clinical.yaml --since 24h --output json

Exit code 4 if no letter matches.";

/// Options of `summary`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn summary(arguments: Arguments) -> Result<(), Failure> {
    let application = super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let ledger = letters(&application, &*broker, &arguments.filter, &Status::ALL).await?;
    if ledger.letters().is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    let groups = groups(&ledger);
    let first = most_frequent(ledger.letters());
    let commands = first.map(|(cause, _)| next(&arguments.topology, cause)).unwrap_or_default();
    match arguments.output {
        Output::Json => println!("{}", as_json(ledger.letters(), &groups, first, &commands)),
        Output::Table => {
            println!("{}", as_table(&groups));
            let Some((cause, count)) = first else {
                println!("\nNothing is left to be done: all letters are settled.");
                return Ok(());
            };
            println!("\nMost of the open letters: {cause} ({count}). {}", cause.meaning());
            println!("To mend it: {} ({})", cause.remedy(), render::page(cause));
            println!("\nNext:");
            for command in &commands {
                println!("  {command}");
            }
        }
    }
    Ok(())
}

/// The same table alone, of all letters.
pub(in crate::cli) async fn by_cause(application: &Application) -> Result<Table, Failure> {
    let broker = application.broker().await?;
    let ledger = letters(application, &*broker, &Filter::default(), &Status::ALL).await?;
    Ok(as_table(&groups(&ledger)))
}

/// What letters of one kind have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    cause: Cause,
    stage: Stage,
    resource_type: Option<Arc<str>>,
    table: Option<Arc<str>>,
    column: Option<Arc<str>>,
}

/// Letters of one kind, counted.
#[derive(Debug, Default)]
struct Group {
    counts: Counts,
    /// Milliseconds since the epoch.
    first_seen: Option<i64>,
    last_seen: Option<i64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    open: u64,
    failed_again: u64,
    quarantined: u64,
    settled: u64,
}

impl Counts {
    const fn add(&mut self, status: Status) {
        match status {
            Status::Open => self.open += 1,
            Status::FailedAgain => self.failed_again += 1,
            Status::Quarantined => self.quarantined += 1,
            Status::Replayed | Status::Stale | Status::Filtered | Status::Discarded => {
                self.settled += 1;
            }
        }
    }
}

fn groups(ledger: &Ledger) -> BTreeMap<Kind, Group> {
    let mut groups: BTreeMap<Kind, Group> = BTreeMap::new();
    for Letter { summary, status, .. } in ledger.letters() {
        let LetterSummary { place, first_failed_at, last_failed_at, .. } = summary;
        let kind = Kind {
            cause: summary.cause,
            stage: summary.stage,
            resource_type: place.resource_type.clone(),
            table: place.table.clone(),
            column: place.column.clone(),
        };
        let group = groups.entry(kind).or_default();
        group.counts.add(*status);
        group.first_seen =
            Some(group.first_seen.map_or(*first_failed_at, |seen| seen.min(*first_failed_at)));
        group.last_seen =
            Some(group.last_seen.map_or(*last_failed_at, |seen| seen.max(*last_failed_at)));
    }
    groups
}

/// The cause of most letters that are not settled, and how many.
fn most_frequent(letters: &[Letter]) -> Option<(Cause, usize)> {
    let mut counts: BTreeMap<Cause, usize> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| !letter.status.is_settled()) {
        *counts.entry(letter.summary.cause).or_default() += 1;
    }
    // of causes as frequent the first in the order of the documentation
    counts.into_iter().rev().max_by_key(|(_, count)| *count)
}

fn next(topology: &TopologyArguments, cause: Cause) -> Vec<String> {
    let file = topology.topology.display();
    ["list", "test", "replay"]
        .map(|command| format!("rowcast dead-letters {command} --topology {file} --cause {cause}"))
        .to_vec()
}

fn as_json(
    letters: &[Letter],
    groups: &BTreeMap<Kind, Group>,
    first: Option<(Cause, usize)>,
    commands: &[String],
) -> Value {
    let mut all = Counts::default();
    for letter in letters {
        all.add(letter.status);
    }
    let groups = groups.iter().map(|(kind, group)| {
        json!({
            "cause": kind.cause.as_str(),
            "stage": kind.stage.as_str(),
            "resource_type": kind.resource_type.as_deref(),
            "table": kind.table.as_deref(),
            "column": kind.column.as_deref(),
            "open": group.counts.open,
            "failed_again": group.counts.failed_again,
            "quarantined": group.counts.quarantined,
            "settled": group.counts.settled,
            "first_seen": group.first_seen.and_then(render::instant),
            "last_seen": group.last_seen.and_then(render::instant),
        })
    });
    json!({
        "letters": letters.len(),
        "open": all.open,
        "failed_again": all.failed_again,
        "quarantined": all.quarantined,
        "settled": all.settled,
        "groups": groups.collect::<Vec<_>>(),
        "most_frequent": first.map(|(cause, count)| json!({
            "cause": cause.as_str(), "letters": count, "meaning": cause.meaning(),
            "remedy": cause.remedy(), "page": render::page(cause),
        })),
        "next": commands,
    })
}

fn as_table(groups: &BTreeMap<Kind, Group>) -> Table {
    let text = |name: &Option<Arc<str>>| render::printable(name.as_deref().unwrap_or("-"));
    let rows = groups.iter().map(|(kind, group)| {
        let seen = |at: Option<i64>| at.and_then(render::instant).unwrap_or_else(|| "-".into());
        [
            kind.cause.to_string(),
            kind.stage.to_string(),
            text(&kind.resource_type),
            text(&kind.table),
            text(&kind.column),
            group.counts.open.to_string(),
            group.counts.failed_again.to_string(),
            group.counts.quarantined.to_string(),
            group.counts.settled.to_string(),
            seen(group.first_seen),
            seen(group.last_seen),
        ]
    });
    let header = [
        "cause",
        "stage",
        "type",
        "table",
        "column",
        "open",
        "failed again",
        "quarantined",
        "settled",
        "first seen",
        "last seen",
    ];
    table(header, rows)
}
