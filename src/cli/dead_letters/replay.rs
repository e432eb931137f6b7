//! `rowcast dead-letters replay`: letters through the same stages again.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::check;
use super::super::table::table;
use super::filter::WORKABLE;
use super::{Failure, Filter, Output, letters};
use crate::application::Application;
use crate::dead_letter::original;
use crate::runtime::{ReplayStages, Replayed, replay};
use crate::sink::Outcome;

pub(super) async fn replay_letters(
    application: &Application,
    filter: &Filter,
    force: bool,
    output: Output,
) -> Result<(), Failure> {
    let broker = application.broker().await?;
    let ledger = letters(application, &*broker, filter, WORKABLE).await?;
    if ledger.letters().is_empty() {
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
    let mut records = ledger.records(&*broker).await?;
    while let Some((_, record)) = records.next().await? {
        let Some(letter) = original(&record) else { continue };
        let outcome = match letter.record {
            None => "pointer",
            Some(record) => {
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
