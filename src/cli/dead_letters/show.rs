//! `rowcast dead-letters show`: everything about one letter.

use super::super::table::aligned;
use super::filter::WORKABLE;
use super::render::{self, Payload, on_terminal, printable};
use super::{Failure, Output, TopologyArguments, found, print};
use crate::dead_letter::{How, Letter, Recorded, StatusRecord, headers};
use crate::model::Record;

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters show --topology clinical.yaml 4d60f5c959e473584b7a4101e64bf314
  rowcast dead-letters show --topology clinical.yaml 4d60                   enough of the id
  rowcast dead-letters show --topology clinical.yaml 4d60 --reveal-payload  key and value too

Exit code 4 if there is no such letter.";

/// Options of `show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    /// Id of the letter, or as much of its beginning as no other has.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    topology: TopologyArguments,
    /// Print key, value and the values of the record's own headers: patient data.
    #[arg(long)]
    reveal_payload: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn show(arguments: Arguments) -> Result<(), Failure> {
    let application = super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let (letter, record) = found(&application, &*broker, &arguments.id).await?;
    let payload = Payload::asked_for(arguments.reveal_payload);
    let commands = next(&arguments.topology, &letter);
    match arguments.output {
        Output::Json => {
            let mut fields = render::whole(&letter, &record, payload);
            let cause = letter.summary.cause;
            fields.insert("messages".into(), letter.summary.messages.clone().into());
            fields.insert("meaning".into(), cause.meaning().into());
            fields.insert("remedy".into(), cause.remedy().into());
            fields.insert("page".into(), render::page(cause).into());
            fields.insert("next".into(), commands.into());
            print::line(serde_json::Value::Object(fields))?;
        }
        Output::Table => {
            print_letter(&letter, &record)?;
            print_headers(&record)?;
            print_payload(&record, payload)?;
            print::line("\nNext:")?;
            for command in &commands {
                print::line(format_args!("  {command}"))?;
            }
        }
    }
    Ok(())
}

fn print_letter(letter: &Letter, record: &Record) -> Result<(), Failure> {
    let Letter { summary, status, position, last_status } = letter;
    print::line(format_args!("{}: {status}, {}", summary.id, status.meaning()))?;
    print::line(format_args!("\nRefused by {} because of {}", summary.stage, summary.cause))?;
    print::line(format_args!("  {}", summary.cause.meaning()))?;
    print::line(format_args!("  To mend it: {}", summary.cause.remedy()))?;
    print::line(format_args!("  {}", render::page(summary.cause)))?;

    print::line(format_args!("\n{}", printable(&summary.exception)))?;
    for (depth, message) in (1..).zip(&summary.messages) {
        print::line(format_args!("{}{}", "  ".repeat(depth), printable(message)))?;
    }

    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![name.to_owned(), printable(&value)]);
        }
    };
    let place = &summary.place;
    let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map(str::to_owned);
    put("rule", text(&place.rule));
    put("path", text(&place.path));
    put("table", text(&place.table));
    put("column", text(&place.column));
    put("sqlstate", text(&place.sqlstate));
    put("resource type", text(&place.resource_type));
    put("version", place.version.map(|version| version.to_string()));
    put("origin", Some(format!("{}@{}", summary.origin, summary.offset)));
    put("record's time", summary.timestamp.and_then(render::instant));
    put("first failed", render::instant(summary.first_failed_at));
    put("last failed", render::instant(summary.last_failed_at));
    put("changes refused", Some(summary.changes_refused.to_string()));
    put("attempts", Some(summary.attempts.to_string()));
    put("replays refused", Some(summary.replays.to_string()));
    put("latest copy", Some(format!("{}@{}", record.source, position.offset)));
    put("last status", last_status.as_ref().map(told));
    put(
        "edited",
        summary.edited.as_ref().map(|edit| {
            let at = render::instant(edit.at).unwrap_or_default();
            edit.reason.as_ref().map_or_else(|| at.clone(), |reason| format!("{at}: {reason}"))
        }),
    );
    put(
        "pointer",
        summary.pointer.as_ref().map(|pointer| {
            format!(
                "the value of {} bytes stayed at the origin: replayed from there while it lasts, else after `edit`",
                pointer.bytes
            )
        }),
    );
    print::line(format_args!("\n{}", aligned(&["what", "is"], &rows)))
}

/// A status record in a line.
fn told(last: &StatusRecord) -> String {
    let at = render::instant(last.at.timestamp_millis()).unwrap_or_default();
    let what = match last.status {
        Recorded::Replayed => "replayed",
        Recorded::Stale => "replayed: stale",
        Recorded::Filtered => "replayed: filtered",
        Recorded::FailedAgain => "replayed: refused again",
        Recorded::Discarded => "discarded",
    };
    let how = match last.how {
        Some(How::Direct) => " directly",
        Some(How::ToTopic) => " to its topic",
        None => "",
    };
    let reason = last.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let position = last.position;
    format!("{what}{how} at {at}, copy {}@{}{reason}", position.partition, position.offset)
}

fn print_headers(record: &Record) -> Result<(), Failure> {
    let ours = record.headers.iter().filter(|header| headers::is_ours(&header.name));
    let rows: Vec<Vec<String>> = ours
        .map(|header| vec![header.name.clone(), on_terminal(header.value.as_deref())])
        .collect();
    print::line(format_args!("\n{}", aligned(&["header", "value"], &rows)))
}

fn print_payload(record: &Record, payload: Payload) -> Result<(), Failure> {
    let original: Vec<_> =
        record.headers.iter().filter(|header| !headers::is_ours(&header.name)).collect();
    match payload {
        Payload::Hidden => {
            let names: Vec<_> = original.iter().map(|header| printable(&header.name)).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            print::line(format_args!("\nThe record's own headers: {names}"))?;
            let length = |bytes: Option<&bytes::Bytes>| {
                bytes.map_or_else(|| "none".to_owned(), |bytes| format!("{} bytes", bytes.len()))
            };
            print::line(format_args!(
                "Key: {}. Value: {}. --reveal-payload prints them.",
                length(record.key.as_ref()),
                length(record.value.as_ref())
            ))
        }
        Payload::Revealed => {
            print::line("\nThe record's own headers:")?;
            for header in original {
                let value = on_terminal(header.value.as_deref());
                print::line(format_args!("  {}: {value}", printable(&header.name)))?;
            }
            print::line(format_args!("Key: {}", on_terminal(record.key.as_deref())))?;
            print::line(format_args!("Value:\n{}", on_terminal(record.value.as_deref())))
        }
    }
}

/// What to do with it.
fn next(topology: &TopologyArguments, letter: &Letter) -> Vec<String> {
    let file = topology.topology.display();
    let id = &letter.summary.id;
    let edit = format!("rowcast dead-letters edit {id} --topology {file} --with FILE");
    let with =
        |command: &str| format!("rowcast dead-letters {command} --topology {file} --id {id}");
    let status = letter.status;
    // what commands leave alone unless it is named
    let named =
        if WORKABLE.contains(&status) { String::new() } else { format!(" --status {status}") };
    let mut commands = vec![with("test") + &named, with("replay") + &named, edit];
    if !status.is_settled() {
        commands.push(with("discard") + " --reason TEXT");
    }
    commands
}
