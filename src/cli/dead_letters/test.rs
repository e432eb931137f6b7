//! `rowcast dead-letters test`: whether letters would pass now, with the rules and tables as they are.
//!
//! Each batch is rehearsed: the statements run against the live tables and are rolled back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::table::table;
use super::filter::{Filter, UNSETTLED};
use super::walk::{Chosen, Opened, Pace, sink};
use super::{Failure, Output, TopologyArguments};
use crate::error::{Cause, Refusal, Stage, counted};
use crate::model::Record;
use crate::runtime::{Performance, RefusedDeletes, ReplayError, ReplayStages, Replayed, replay};
use crate::sink::Outcome;

/// Options of `dead-letters test`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    pace: Pace,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// What letters had in common, and have now.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    before: Cause,
    now: Now,
}

/// How letters would end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Now {
    Settled(Outcome),
    Refused {
        stage: Stage,
        cause: Cause,
        table: Option<Arc<str>>,
        column: Option<Arc<str>>,
    },
    /// The value stayed at the origin and is gone from there.
    Gone,
}

impl Now {
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Settled(Outcome::Written) => "written",
            Self::Settled(Outcome::Stale) => "stale",
            Self::Settled(Outcome::Filtered) => "filtered",
            Self::Refused { .. } => "refused",
            Self::Gone => "gone",
        }
    }
}

pub(super) async fn test_letters(arguments: &Arguments) -> Result<(), Failure> {
    let application = &super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let Arguments { filter, pace, .. } = arguments;
    let chosen = Chosen::read(application, &*broker, filter, UNSETTLED, *pace).await?;
    let sink = sink(application, &broker).await?;
    let (decoder, transformer) = (application.decoder(), &**application.transform());
    let stages = ReplayStages { decoder: &decoder, transformer, sink: &sink };
    let mut alike: BTreeMap<Alike, usize> = BTreeMap::new();
    let mut walk = chosen.walk(&*broker, *pace).await?;
    loop {
        let batch = walk.next().await?;
        if batch.is_empty() {
            break;
        }
        let records: Vec<Record> =
            batch.iter().filter_map(|opened| opened.record.clone()).collect();
        application.bring_schemas(&records).await?;
        for (opened, now) in batch.iter().zip(rehearsed(&stages, &batch, &records).await?) {
            let before = opened.letter.summary.cause;
            *alike.entry(Alike { before, now }).or_default() += 1;
        }
    }
    tell(&alike, arguments.output);
    let count = |outcome: &str| -> usize {
        let some = alike.iter().filter(|(alike, _)| alike.now.outcome() == outcome);
        some.map(|(_, count)| count).sum()
    };
    let (refused, gone) = (count("refused"), count("gone"));
    let mut left = Vec::new();
    if refused > 0 {
        left.push(format!("{} would be refused again", counted(refused, "letter")));
    }
    if gone > 0 {
        let gone = counted(gone, "letter");
        left.push(format!("{gone} cannot be replayed: the value is gone from its topic"));
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::partial(left.join("\n"))) }
}

/// `records`: those of the batch that are there.
async fn rehearsed(
    stages: &ReplayStages<'_>,
    batch: &[Opened<'_>],
    records: &[Record],
) -> Result<Vec<Now>, Failure> {
    let replayed = replay(stages, records, Performance::Rehearsal, RefusedDeletes::Stay).await;
    let mut replayed = replayed.map_err(|ReplayError::Sink(error)| error)?.into_iter();
    let now =
        batch.iter().map(|opened| match opened.record.as_ref().and_then(|_| replayed.next()) {
            Some(Replayed::Settled(outcome)) => Now::Settled(outcome),
            Some(Replayed::Refused { refusal, .. }) => {
                let Refusal { stage, cause, place, .. } = *refusal;
                Now::Refused { stage, cause, table: place.table, column: place.column }
            }
            None => Now::Gone,
        });
    Ok(now.collect())
}

fn tell(alike: &BTreeMap<Alike, usize>, output: Output) {
    match output {
        Output::Json => {
            for (Alike { before, now }, letters) in alike {
                let mut told = json!({
                    "before": before.as_str(), "outcome": now.outcome(), "letters": letters,
                });
                if let Now::Refused { stage, cause, table, column } = now {
                    told["now"] = json!(cause.as_str());
                    told["stage"] = json!(stage.as_str());
                    told["table"] = json!(table.as_deref());
                    told["column"] = json!(column.as_deref());
                }
                println!("{told}");
            }
        }
        Output::Table => {
            let rows = alike.iter().map(|(Alike { before, now }, letters)| {
                let (cause, place) = match now {
                    Now::Refused { cause, table, column, .. } => {
                        let place: Vec<&str> =
                            [table, column].into_iter().flatten().map(|name| &**name).collect();
                        (cause.as_str(), place.join("."))
                    }
                    Now::Settled(_) | Now::Gone => ("-", String::new()),
                };
                let outcome = now.outcome().to_owned();
                [before.to_string(), outcome, cause.to_owned(), place, letters.to_string()]
            });
            println!(
                "{}",
                table(["cause before", "outcome now", "cause now", "column", "letters"], rows)
            );
        }
    }
}
