//! `rowcast dead-letters list`: the letters, or their number by cause.

use std::collections::BTreeMap;
use std::sync::Arc;

use comfy_table::Table;
use serde_json::json;

use super::super::table::table;
use super::{Failure, Filter, Output, letters};
use crate::application::Application;
use crate::dead_letter::Letter;

pub(super) async fn list(
    application: &Application,
    filter: &Filter,
    output: Output,
) -> Result<(), Failure> {
    let broker = application.broker().await?;
    let ledger = letters(application, &*broker, filter).await?;
    let letters = ledger.letters();
    match output {
        Output::Json => letters.iter().for_each(|letter| println!("{}", to_json(letter))),
        Output::Table => println!("{}", listing(letters)),
    }
    Ok(())
}

/// Letters counted by stage, cause, table and column, as a table.
pub(in crate::cli) async fn by_cause(application: &Application) -> Result<Table, Failure> {
    let broker = application.broker().await?;
    let ledger = letters(application, &*broker, &Filter::default()).await?;
    let mut counts: BTreeMap<[String; 4], usize> = BTreeMap::new();
    for Letter { summary: letter, .. } in ledger.letters() {
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

/// Fields named like the headers without their prefix.
fn to_json(letter: &Letter) -> serde_json::Value {
    let letter = &letter.summary;
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

fn listing(letters: &[Letter]) -> Table {
    let rows = letters.iter().map(|Letter { summary: letter, .. }| {
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
