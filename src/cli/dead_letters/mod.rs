//! `rowcast dead-letters`: what was refused, why, and another try.
//!
//! In: the dead-letter topic and its status topic. Out: what is in them, and what an operator
//! decided appended to them. Keys, values and ids of resources are printed only if asked for.

mod discard;
mod edit;
mod export;
mod filter;
mod list;
mod render;
mod replay;
mod show;
mod summary;
mod test;
mod walk;

pub(super) use summary::by_cause;

use super::{Failure, Output, TopologyArguments};
use crate::application::Application;
use crate::broker::Broker;
use crate::dead_letter::{Found, Ledger, LedgerTopics, Letter, Status};
use crate::error::counted;
use crate::model::Record;
use filter::Filter;

/// Letters of one listing or replay: far above what anybody reads, and at one to two kilobytes each
/// still below a gigabyte. `summary` counts more.
const MOST_LETTERS: usize = 500_000;
/// Longest reason, in characters: a sentence or two, and far below what a header may hold.
const REASON_LENGTH: usize = 500;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Count the letters by cause, stage, resource type, table and column; say what to do first.
    Summary(summary::Arguments),
    /// List the letters, each once: its latest refusal. Open ones, unless told otherwise.
    List(list::Arguments),
    /// Show everything about one letter, and what to do with it.
    Show(show::Arguments),
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
    /// Append a corrected copy of a letter, to be replayed.
    Edit(edit::Arguments),
    /// Give letters up, with a reason. Nothing is deleted.
    Discard(discard::Arguments),
    /// Write letters as NDJSON.
    Export(export::Arguments),
}

pub(super) async fn dead_letters(command: Command) -> Result<(), Failure> {
    match command {
        Command::Summary(arguments) => summary::summary(arguments).await,
        Command::List(arguments) => list::list(arguments).await,
        Command::Show(arguments) => show::show(arguments).await,
        Command::Test(arguments) => test::test_letters(&arguments).await,
        Command::Replay(arguments) => replay::replay_letters(&arguments).await,
        Command::Edit(arguments) => edit::edit_letter(arguments).await,
        Command::Discard(arguments) => discard::discard(arguments).await,
        Command::Export(arguments) => export::export(arguments).await,
    }
}

/// The letters that a filter wants, oldest refusal first. `usual`: the statuses that are meant if
/// the filter names none.
async fn letters(
    application: &Application,
    broker: &dyn Broker,
    filter: &Filter,
    usual: &[Status],
) -> Result<Ledger, Failure> {
    let topics = application.ledger_topics();
    let wanted = |letter: &_, status| filter.wants(letter, status, usual);
    let ledger = Ledger::open(broker, &topics, MOST_LETTERS, wanted).await?;
    warn(&topics, ledger.foreign(), ledger.beyond());
    Ok(ledger)
}

/// Says what of the topic is not in the answer.
fn warn(topics: &LedgerTopics, foreign: u64, beyond: u64) {
    if foreign > 0 {
        let foreign = counted(foreign, "record");
        eprintln!("warning: {foreign} of {} left out: not letters of rowcast", topics.letters);
    }
    if beyond > 0 {
        eprintln!("warning: {} left out; narrow the filter", counted(beyond, "more letter"));
    }
}

/// The one letter whose id begins so, with its record.
async fn found(
    application: &Application,
    broker: &dyn Broker,
    id: &str,
) -> Result<(Letter, Record), Failure> {
    match Ledger::find(broker, &application.ledger_topics(), id).await? {
        Found::One(letter, record) => Ok((*letter, record)),
        Found::None => {
            let topic = &application.ledger_topics().letters;
            let message = format!("no letter in {topic} has an id that begins with `{id}`");
            Err(Failure::nothing_matched(message))
        }
        Found::Several(count) => {
            Err(Failure::usage(format!("{count} letters begin so; give more of the id")))
        }
    }
}

/// Sees to it that what a command records can be written.
async fn ensure_topics(application: &Application, broker: &dyn Broker) -> Result<(), Failure> {
    for topic in application.ensure_dead_letter_topics(broker).await? {
        eprintln!("topic {topic} created");
    }
    Ok(())
}

/// An operator's own words: a line that says something.
fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_LENGTH || text.contains(char::is_control) {
        return Err(format!("must be a line of 1 to {REASON_LENGTH} characters"));
    }
    Ok(text.to_owned())
}
