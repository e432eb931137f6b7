//! `rowcast dead-letters`: what was refused, why, and another try.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use comfy_table::Table;
use serde_json::json;

use super::table::table;
use super::{Failure, Output, TopologyArguments, check};
use crate::application::Application;
use crate::broker::Broker;
use crate::dead_letter::{LetterSummary, browse, original};
use crate::error::{Cause, Stage};
use crate::runtime::{ReplayStages, Replayed, replay};
use crate::sink::Outcome;

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
            let broker = application.broker().await?;
            let letters = letters(&application, &*broker, &filter).await?;
            match output {
                Output::Json => letters.iter().for_each(|letter| println!("{}", to_json(letter))),
                Output::Table => println!("{}", listing(&letters)),
            }
            Ok(())
        }
        Command::Replay { topology, filter, force, output } => {
            let application = super::open(&topology)?;
            replay_letters(&application, &filter, force, output).await
        }
    }
}

/// The letters that a filter wants, oldest refusal first.
async fn letters(
    application: &Application,
    broker: &dyn Broker,
    filter: &Filter,
) -> Result<Vec<LetterSummary>, Failure> {
    let topic = &application.topology().dead_letter.topic;
    let listing = browse::list(broker, topic, MOST_LETTERS, |letter| filter.wants(letter)).await?;
    if listing.foreign > 0 {
        eprintln!("warning: {} records of {topic} are no letters of rowcast", listing.foreign);
    }
    if listing.beyond > 0 {
        eprintln!("warning: {} more letters are not listed; narrow the filter", listing.beyond);
    }
    Ok(listing.letters)
}

/// Letters counted by stage, cause, table and column, as a table.
pub(super) async fn by_cause(application: &Application) -> Result<Table, Failure> {
    let broker = application.broker().await?;
    let letters = letters(application, &*broker, &Filter::default()).await?;
    let mut counts: BTreeMap<[String; 4], usize> = BTreeMap::new();
    for letter in &letters {
        let text = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("-").to_owned();
        let key = [
            letter.stage.to_string(),
            letter.cause.to_string(),
            text(&letter.place.table),
            text(&letter.place.column),
        ];
        *counts.entry(key).or_default() += 1;
    }
    let rows = counts.into_iter().map(|([stage, cause, table, column], count)| {
        [stage, cause, table, column, count.to_string()]
    });
    Ok(table(["stage", "cause", "table", "column", "letters"], rows))
}

async fn replay_letters(
    application: &Application,
    filter: &Filter,
    force: bool,
    output: Output,
) -> Result<(), Failure> {
    let broker = application.broker().await?;
    let latest: HashMap<String, i64> = letters(application, &*broker, filter)
        .await?
        .into_iter()
        .map(|letter| (letter.id, letter.last_failed_at))
        .collect();
    if latest.is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    let sink = application.sink(&broker.cluster_id().await?).await?;
    check::refuse(&sink.check_schema().await?)?;
    let claims = sink.claims(&application.rules_hashes()).await?;
    check::refuse_taken(&claims, &application.topology().name)?;
    let decoder = application.decoder();
    let stages =
        ReplayStages { decoder: &decoder, transformer: &**application.transform(), sink: &sink };

    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut waiting = latest;
    let mut reader = broker.reader(&application.topology().dead_letter.topic).await?;
    while let Some(records) = reader.next().await? {
        for record in &records {
            let Some(letter) = original(record) else { continue };
            // each letter once: the latest of its copies
            if waiting.get(&letter.summary.id) != Some(&letter.summary.last_failed_at) {
                continue;
            }
            waiting.remove(&letter.summary.id);
            let outcome = match letter.record {
                None => "pointer",
                Some(record) => {
                    application.bring_schemas(std::slice::from_ref(&record)).await?;
                    let replayed = replay(&stages, &record, force).await;
                    match replayed.map_err(|error| {
                        Failure::unavailable(crate::error::messages(&error).join(": "))
                    })? {
                        Replayed::Settled(Outcome::Written) => "written",
                        Replayed::Settled(Outcome::Stale) => "stale",
                        Replayed::Settled(Outcome::Filtered) => "filtered",
                        Replayed::Refused(_) => "refused",
                    }
                }
            };
            *counts.entry(outcome).or_default() += 1;
        }
    }
    match output {
        Output::Json => println!("{}", json!(counts)),
        Output::Table => {
            let rows =
                counts.iter().map(|(outcome, count)| [(*outcome).to_owned(), count.to_string()]);
            println!("{}", table(["outcome", "letters"], rows));
        }
    }
    let again =
        counts.get("refused").copied().unwrap_or(0) + counts.get("pointer").copied().unwrap_or(0);
    if again > 0 {
        return Err(Failure::partial(format!(
            "{again} letters could not be replayed; see dead-letters list"
        )));
    }
    Ok(())
}

/// Fields named like the headers without their prefix.
fn to_json(letter: &LetterSummary) -> serde_json::Value {
    json!({
        "id": letter.id,
        "stage": letter.stage.as_str(),
        "cause": letter.cause.as_str(),
        "topic": &*letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.offset.0,
        "resource_type": letter.place.resource_type.as_deref(),
        "version": letter.place.version,
        "table": letter.place.table.as_deref(),
        "column": letter.place.column.as_deref(),
        "rule": letter.place.rule.as_deref(),
        "path": letter.place.path.as_deref(),
        "sqlstate": letter.place.sqlstate.as_deref(),
        "message": letter.messages.join(": "),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "first_failed_at": instant(letter.first_failed_at),
        "last_failed_at": instant(letter.last_failed_at),
    })
}

fn instant(millis: i64) -> Option<String> {
    let instant = chrono::DateTime::from_timestamp_millis(millis)?;
    Some(instant.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

fn listing(letters: &[LetterSummary]) -> Table {
    let rows = letters.iter().map(|letter| {
        let place = [&letter.place.table, &letter.place.column];
        let place: Vec<&str> = place.into_iter().flatten().map(|name| &**name).collect();
        [
            letter.id.clone(),
            letter.stage.to_string(),
            letter.cause.to_string(),
            letter.place.resource_type.as_deref().unwrap_or("-").to_owned(),
            place.join("."),
            format!("{}@{}", letter.origin, letter.offset),
            letter.messages.join(": "),
        ]
    });
    table(["id", "stage", "cause", "type", "column", "origin", "message"], rows)
}
