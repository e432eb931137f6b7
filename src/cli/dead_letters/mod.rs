//! `rowcast dead-letters`: what was refused, why, and another try.

mod list;
mod replay;

use std::sync::Arc;

pub(super) use list::by_cause;

use super::{Failure, Output, TopologyArguments};
use crate::application::Application;
use crate::broker::Broker;
use crate::dead_letter::{Ledger, LetterSummary};
use crate::error::{Cause, Stage};

/// Letters of one listing or replay: far above what anybody reads, and still only some hundred
/// megabytes of headers.
const MOST_LETTERS: usize = 1_000_000;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the letters, each once: its latest refusal.
    List {
        #[command(flatten)]
        topology: TopologyArguments,
        #[command(flatten)]
        filter: Filter,
        /// How to print them.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Run letters through the same stages again, straight to the database.
    ///
    /// The ingest topic is untouched and letters stay in their topic; the version guard makes a
    /// letter that was overtaken stale. Exit code 3 if some were refused again, 4 if none matched.
    Replay {
        #[command(flatten)]
        topology: TopologyArguments,
        #[command(flatten)]
        filter: Filter,
        /// Also apply deletes without version that were refused before, over anything newer.
        #[arg(long)]
        force: bool,
        /// How to print the result.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
}

/// Which letters.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Only this cause, e.g. type_mismatch.
    #[arg(long, value_parser = parse_cause)]
    cause: Option<Cause>,
    /// Only refused by this stage: decode, transform, plan or sink.
    #[arg(long, value_parser = parse_stage)]
    stage: Option<Stage>,
    /// Only of this resource type.
    #[arg(long)]
    resource_type: Option<String>,
    /// Only for this table.
    #[arg(long)]
    table: Option<String>,
    /// Only this letter. May be repeated.
    #[arg(long)]
    id: Vec<String>,
}

impl Filter {
    fn wants(&self, letter: &LetterSummary) -> bool {
        let same = |wanted: &Option<String>, found: &Option<Arc<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        self.cause.is_none_or(|cause| cause == letter.cause)
            && self.stage.is_none_or(|stage| stage == letter.stage)
            && same(&self.resource_type, &letter.place.resource_type)
            && same(&self.table, &letter.place.table)
            && (self.id.is_empty() || self.id.contains(&letter.id))
    }
}

fn parse_cause(name: &str) -> Result<Cause, String> {
    Cause::parse(name).ok_or_else(|| {
        let known: Vec<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        format!("no such cause; there are: {}", known.join(", "))
    })
}

fn parse_stage(name: &str) -> Result<Stage, String> {
    let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
    known.ok_or_else(|| "no such stage; there are: decode, transform, plan, sink".to_owned())
}

pub(super) async fn dead_letters(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { topology, filter, output } => {
            let application = super::open(&topology)?;
            list::list(&application, &filter, output).await
        }
        Command::Replay { topology, filter, force, output } => {
            let application = super::open(&topology)?;
            replay::replay_letters(&application, &filter, force, output).await
        }
    }
}

/// The letters that a filter wants, oldest refusal first.
async fn letters(
    application: &Application,
    broker: &dyn Broker,
    filter: &Filter,
) -> Result<Ledger, Failure> {
    let topics = application.ledger_topics();
    let ledger =
        Ledger::open(broker, &topics, MOST_LETTERS, |letter, _| filter.wants(letter)).await?;
    if ledger.foreign() > 0 {
        let topic = &topics.letters;
        eprintln!("warning: {} records of {topic} are no letters of rowcast", ledger.foreign());
    }
    if ledger.beyond() > 0 {
        eprintln!("warning: {} more letters are not listed; narrow the filter", ledger.beyond());
    }
    Ok(ledger)
}
