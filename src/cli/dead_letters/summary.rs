//! `rowcast dead-letters summary`: how many letters of which kind, and what to do first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use comfy_table::Table;
use serde_json::{Value, json};

use super::super::table::table;
use super::filter::Filter;
use super::{Failure, Output, TopologyArguments, print, render, warn};
use crate::application::Application;
use crate::dead_letter::{Ledger, LetterSummary, Status};
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
    let groups = groups(&application, &arguments.filter).await?;
    if groups.is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    let first = most_frequent(&groups);
    let commands = first.map(|(cause, _)| next(&arguments.topology, cause)).unwrap_or_default();
    match arguments.output {
        Output::Json => print::line(as_json(&groups, first, &commands))?,
        Output::Table => {
            print::line(as_table(&groups))?;
            let Some((cause, count)) = first else {
                print::line("\nNothing is left to be done: all letters are settled.")?;
                return Ok(());
            };
            print::line(format_args!(
                "\nMost of the open letters: {cause} ({count}). {}",
                cause.meaning()
            ))?;
            print::line(format_args!("To mend it: {} ({})", cause.remedy(), render::page(cause)))?;
            print::line("\nNext:")?;
            for command in &commands {
                print::line(format_args!("  {command}"))?;
            }
        }
    }
    Ok(())
}

/// The same table alone, of all letters.
pub(in crate::cli) async fn by_cause(application: &Application) -> Result<Table, Failure> {
    Ok(as_table(&groups(application, &Filter::default()).await?))
}

/// What letters of one kind have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Kind {
    cause: Cause,
    stage: Stage,
    resource_type: Option<Arc<str>>,
    table: Option<Arc<str>>,
    column: Option<Arc<str>>,
}

/// Letters of one kind, counted.
#[derive(Debug)]
struct Group {
    counts: Counts,
    /// Milliseconds since the epoch.
    first_seen: i64,
    last_seen: i64,
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

    const fn unsettled(self) -> u64 {
        self.open + self.failed_again + self.quarantined
    }
}

/// What is taken down of a letter.
struct Seen {
    /// Number of its kind.
    kind: usize,
    status: Status,
    first_failed_at: i64,
    last_failed_at: i64,
}

async fn groups(
    application: &Application,
    filter: &Filter,
) -> Result<BTreeMap<Kind, Group>, Failure> {
    let broker = application.broker().await?;
    let topics = application.ledger_topics();
    let filter = filter.with_whole_ids(&*broker, &topics).await?;
    let mut kinds: HashMap<Kind, usize> = HashMap::new();
    let note = |letter: &LetterSummary, status| {
        if !filter.wants(letter, status, &Status::ALL) {
            return None;
        }
        let place = &letter.place;
        let kind = Kind {
            cause: letter.cause,
            stage: letter.stage,
            resource_type: place.resource_type.clone(),
            table: place.table.clone(),
            column: place.column.clone(),
        };
        let number = kinds.len();
        let kind = *kinds.entry(kind).or_insert(number);
        let LetterSummary { first_failed_at, last_failed_at, .. } = *letter;
        Some(Seen { kind, status, first_failed_at, last_failed_at })
    };
    let tally = Ledger::tally(&*broker, &topics, note).await?;
    warn(&topics, tally.foreign, tally.beyond);
    let mut by_number: HashMap<usize, Group> = HashMap::new();
    for seen in tally.notes {
        let Seen { first_failed_at, last_failed_at, .. } = seen;
        let group = by_number.entry(seen.kind).or_insert_with(|| Group {
            counts: Counts::default(),
            first_seen: first_failed_at,
            last_seen: last_failed_at,
        });
        group.counts.add(seen.status);
        group.first_seen = group.first_seen.min(first_failed_at);
        group.last_seen = group.last_seen.max(last_failed_at);
    }
    // a kind of earlier copies only has no group
    let found = kinds
        .into_iter()
        .filter_map(|(kind, number)| by_number.remove(&number).map(|group| (kind, group)));
    Ok(found.collect())
}

/// The cause of most letters that are not settled, and how many.
fn most_frequent(groups: &BTreeMap<Kind, Group>) -> Option<(Cause, u64)> {
    let mut counts: BTreeMap<Cause, u64> = BTreeMap::new();
    for (kind, group) in groups {
        *counts.entry(kind.cause).or_default() += group.counts.unsettled();
    }
    counts.retain(|_, count| *count > 0);
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
    groups: &BTreeMap<Kind, Group>,
    first: Option<(Cause, u64)>,
    commands: &[String],
) -> Value {
    let all =
        |count: fn(&Counts) -> u64| groups.values().map(|one| count(&one.counts)).sum::<u64>();
    let open = all(|counts| counts.open);
    let failed_again = all(|counts| counts.failed_again);
    let quarantined = all(|counts| counts.quarantined);
    let settled = all(|counts| counts.settled);
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
            "first_seen": render::instant(group.first_seen),
            "last_seen": render::instant(group.last_seen),
        })
    });
    json!({
        "letters": open + failed_again + quarantined + settled,
        "open": open,
        "failed_again": failed_again,
        "quarantined": quarantined,
        "settled": settled,
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
        let seen = |at: i64| render::instant(at).unwrap_or_else(|| "-".into());
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
