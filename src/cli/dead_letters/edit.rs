//! `rowcast dead-letters edit`: a corrected copy of a letter.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::{Failure, Output, TopologyArguments, found, print, reason};
use crate::broker::BrokerError;
use crate::dead_letter::{Letter, edit, original};
use crate::error::messages;
use crate::model::{Change, Operation, Record, resource_type_label};
use crate::source::{DecodeError, Decoder};

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters edit 4d60 --topology clinical.yaml --with mended.json --reason \"birth date typed wrong\"
  rowcast dead-letters edit 4d60 --topology clinical.yaml --with - < mended.json

The copy keeps id, key, origin and headers, and is open: test it, then replay it. What was there
stays in the topic. The version guard decides as ever: a copy of an old version is stale.
Exit code 4 if there is no such letter.";

/// Options of `edit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// Id of the letter, or as much of its beginning as no other has.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    topology: TopologyArguments,
    /// File with the value that takes the place of the letter's; `-`: stdin.
    #[arg(long, value_name = "FILE")]
    with: PathBuf,
    /// Why, for whoever looks at the letter later: no patient data.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// Also a value that cannot be read, or is of another resource.
    #[arg(long)]
    force: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn edit_letter(arguments: Arguments) -> Result<(), Failure> {
    let application = super::super::open(&arguments.topology)?;
    let most = application.topology().limits.bytes;
    let value = read_value(&arguments.with, most)?;
    let broker = application.broker().await?;
    let (letter, record) = found(&application, &*broker, &arguments.id).await?;
    let now = chrono::Utc::now().timestamp_millis();
    let edited = edit(&record, value, now, arguments.reason)
        .expect("what was found is a letter, and no pointer with a value");
    let before = original(&record).and_then(|opened| opened.record);
    let both: Vec<Record> = [edited.record.clone()].into_iter().chain(before).collect();
    match application.bring_schemas(&both).await {
        // what cannot be read without them is objected to
        Err(error) if arguments.force => {
            print::message(format_args!("warning: {}", messages(&error).join(": ")));
        }
        brought => brought?,
    }
    if let Err(objection) = judge(&application.decoder(), &letter, &record, &edited.record) {
        if !arguments.force {
            return Err(Failure::failed(format!("{objection}; --force writes it all the same")));
        }
        print::message(format_args!("warning: {objection}"));
    }
    let sent = broker.producer()?.send(vec![edited.outgoing]).await.into_iter().next();
    let position = match sent {
        Some(Ok((partition, offset))) => (partition, offset),
        Some(Err(BrokerError::RecordTooLarge)) => {
            return Err(Failure::failed(
                "the copy is larger than the dead-letter topic takes; raise its max.message.bytes",
            ));
        }
        Some(Err(error)) => return Err(error.into()),
        None => return Err(Failure::unavailable("the broker gave no answer")),
    };
    let (partition, offset) = position;
    let id = &letter.summary.id;
    match arguments.output {
        Output::Json => print::line(json!({
            "id": id,
            "dead_letter": { "partition": partition.partition, "offset": offset.0 },
            "status": "open",
            "previous_status": letter.status.as_str(),
        }))?,
        Output::Table => {
            let file = arguments.topology.topology.display();
            print::line(format_args!(
                "{id} is open; its corrected copy is {partition}@{offset}. Next:"
            ))?;
            print::line(format_args!("  rowcast dead-letters test --topology {file} --id {id}"))?;
            print::line(format_args!("  rowcast dead-letters replay --topology {file} --id {id}"))?;
        }
    }
    Ok(())
}

/// The file's bytes, one more than is allowed at most.
fn read_value(file: &Path, most: usize) -> Result<Bytes, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
    let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut value = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().take(most).read_to_end(&mut value).map_err(failed)?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(most).read_to_end(&mut value))
            .map_err(failed)?;
    }
    if value.is_empty() {
        return Err(Failure::failed(format!("{} is empty", file.display())));
    }
    Ok(Bytes::from(value))
}

/// Whether the copy says something, and about the same resource as before as far as that is known.
/// The decoder compares with the key.
fn judge(
    decoder: &Decoder,
    letter: &Letter,
    before: &Record,
    edited: &Record,
) -> Result<(), String> {
    let changes = decoder.decode(edited).map_err(|error| told(&error))?;
    let place = &letter.summary.place;
    for change in &changes {
        let label = resource_type_label(&change.resource.resource_type);
        if place.resource_type.as_deref().is_some_and(|known| known != label) {
            return Err("the value is of another resource type than the letter".to_owned());
        }
    }
    let Some(record) = original(before).and_then(|opened| opened.record) else { return Ok(()) };
    if record.value.is_none() {
        return Err("the letter is a delete; a value would make it an upsert".to_owned());
    }
    // a value that could not be read names nothing
    let Ok(known) = decoder.decode(&record) else { return Ok(()) };
    let named = |changes: &[Change]| -> Vec<_> {
        changes.iter().map(|change| change.resource.clone()).collect()
    };
    if named(&known) != named(&changes) {
        return Err("the value is of another resource than the letter".to_owned());
    }
    let deletes = |changes: &[Change]| {
        changes.iter().filter(|change| matches!(change.operation, Operation::Delete { .. })).count()
    };
    if deletes(&known) != deletes(&changes) {
        return Err("the value deletes where the letter did not, or the other way".to_owned());
    }
    Ok(())
}

fn told(error: &DecodeError) -> String {
    format!("the value cannot be read: {}", messages(error).join(": "))
}
