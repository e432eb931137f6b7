//! `rowcast dead-letters`: what was refused, why, and another try.

mod list;
mod replay;
mod test;
mod walk;

use std::sync::Arc;

pub(super) use list::by_cause;

use super::{Failure, Output, TopologyArguments};
use crate::application::Application;
use crate::broker::Broker;
use crate::dead_letter::{Ledger, LetterSummary, Status};
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
    /// Tell which letters would pass now, with the rules and tables as they are; changes nothing.
    ///
    /// Their batches run against the live tables and are rolled back. Exit code 3 if some would be
    /// refused, 4 if none matched.
    Test(test::Arguments),
    /// Run letters through the same stages again, or give them back to their topic.
    ///
    /// Letters stay in their topic, and a status says what became of each; the version guard makes a
    /// letter that was overtaken stale. Killed at any moment, run it again. Exit code 3 if some were
    /// refused again, 4 if none matched.
    Replay(replay::Arguments),
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
    /// Only with this status. May be repeated.
    #[arg(long, value_parser = parse_status)]
    status: Vec<Status>,
}

/// Statuses of letters that still are to be dealt with.
const UNSETTLED: &[Status] = &[Status::Open, Status::FailedAgain, Status::Quarantined];
/// Statuses of letters that commands deal with unless told otherwise.
const WORKABLE: &[Status] = &[Status::Open, Status::FailedAgain];

fn parse_status(name: &str) -> Result<Status, String> {
    Status::parse(name).ok_or_else(|| "no such status".to_owned())
}

impl Filter {
    fn wants(&self, letter: &LetterSummary, status: Status, usual: &[Status]) -> bool {
        let statuses = if self.status.is_empty() { usual } else { &self.status };
        let same = |wanted: &Option<String>, found: &Option<Arc<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        statuses.contains(&status)
            && self.cause.is_none_or(|cause| cause == letter.cause)
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
        Command::Test(arguments) => test::test_letters(&arguments).await,
        Command::Replay(arguments) => replay::replay_letters(&arguments).await,
    }
}

/// The letters that a filter wants, oldest refusal first.
async fn letters(
    application: &Application,
    broker: &dyn Broker,
    filter: &Filter,
) -> Result<Ledger, Failure> {
    let topics = application.ledger_topics();
    let ledger = Ledger::open(broker, &topics, MOST_LETTERS, |letter, status| {
        filter.wants(letter, status, UNSETTLED)
    })
    .await?;
    if ledger.foreign() > 0 {
        let topic = &topics.letters;
        eprintln!("warning: {} records of {topic} are no letters of rowcast", ledger.foreign());
    }
    if ledger.beyond() > 0 {
        eprintln!("warning: {} more letters are not listed; narrow the filter", ledger.beyond());
    }
    Ok(ledger)
}
