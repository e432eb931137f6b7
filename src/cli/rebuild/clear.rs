//! Tables emptied, to be filled by the next run.
//!
//! The order makes every end a safe one: the offsets are reset before the first row goes, so that
//! whatever is missing will be read again; deletes are forgotten after the rows that they could
//! remove; the rules are recorded last, so that a table that is only half cleared goes on warning.

use serde_json::json;

use super::{Job, confirm, print};
use crate::cli::{Failure, Output};
use crate::sink::SqlSink;

pub(super) async fn clear(job: &Job<'_>, sink: &SqlSink) -> Result<(), Failure> {
    let group = &job.application.topology().name;
    let tables = job.tables();
    let topics = job.topics(sink).await?;
    confirm(
        job.arguments.yes,
        &format!(
            "remove all rows of {} with their child tables and histories, and read {} again from the \
             beginning",
            tables.join(", "),
            topics.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        ),
    )?;
    for topic in &topics {
        job.broker.rewind(group, topic).await?;
    }
    sink.clear(&job.roots).await?;
    // had a run been started meanwhile, it would have gone past records whose rows are gone now
    for topic in &topics {
        job.broker.rewind(group, topic).await.map_err(|error| {
            Failure::from(error).advising(
                "the tables were cleared while an instance ran: stop it, then do this once more",
            )
        })?;
    }
    let hashes = job.application.rules_hashes();
    let cleared =
        job.roots.iter().filter_map(|root| Some((*root, Some(hashes.get(*root)?.as_str()))));
    sink.record_claims(cleared).await?;
    match job.arguments.output {
        Output::Json => print::line(json!({ "tables": tables, "cleared": true }))?,
        Output::Table => print::message(format_args!(
            "{} cleared, offsets of `{group}` reset: the next `rowcast run` fills them",
            tables.join(", ")
        )),
    }
    Ok(())
}
