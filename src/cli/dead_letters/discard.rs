//! `rowcast dead-letters discard`: letters given up, with a reason.

use chrono::Utc;
use serde_json::json;

use super::filter::{Filter, UNSETTLED, WORKABLE};
use super::{Failure, Output, TopologyArguments, ensure_topics, letters, reason};
use crate::dead_letter::{Letter, Recorded, StatusRecord, StatusWriter};
use crate::error::counted;

/// Status records sent together.
const TOGETHER: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters discard --topology clinical.yaml --id 4d60f5c959e473584b7a4101e64bf314 --reason \"test patient\"
  rowcast dead-letters discard --topology clinical.yaml --cause unknown_resource_type --reason \"ticket 4711\"
  rowcast dead-letters discard --topology clinical.yaml --status quarantined --reason \"sent anew by the server\"

Nothing is deleted: letters stay in their topic, settled as discarded. Replay them all the same
with --status discarded. Exit code 4 if no letter matches.";

/// Options of `discard`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    /// All open letters; without, a filter is needed. Quarantined ones are named by --status or --id.
    #[arg(long)]
    all: bool,
    /// Why, for whoever asks later: no patient data.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn discard(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { topology, filter, all, reason, output } = arguments;
    if filter.is_empty() && !all {
        return Err(Failure::usage("which letters? Give a filter, --id, or --all"));
    }
    let application = super::super::open(&topology)?;
    let broker = application.broker().await?;
    let usual = if filter.names_letters() { UNSETTLED } else { WORKABLE };
    let ledger = letters(&application, &*broker, &filter, usual).await?;
    if ledger.letters().is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    ensure_topics(&application, &*broker).await?;
    let statuses = StatusWriter::new(
        application.topology().dead_letter.status_topic.as_str(),
        broker.producer()?,
    );
    for some in ledger.letters().chunks(TOGETHER) {
        let records: Vec<_> = some.iter().map(|letter| discarded(letter, &reason)).collect();
        statuses.append(&records).await?;
    }
    let count = ledger.letters().len();
    match output {
        Output::Json => println!("{}", json!({ "discarded": count })),
        Output::Table => println!("{} discarded", counted(count, "letter")),
    }
    Ok(())
}

fn discarded(letter: &Letter, reason: &str) -> StatusRecord {
    StatusRecord {
        id: letter.summary.id.clone(),
        status: Recorded::Discarded,
        at: Utc::now(),
        position: letter.position,
        replays: letter.summary.replays,
        how: None,
        reason: Some(reason.to_owned()),
    }
}
