//! What a rebuild did, for people and programs, and its progress on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::table::table;
use crate::cli::{Failure, Output, print};
use crate::runtime::Rebuilt;

/// Prints the counts, and what was refused.
pub(super) fn tell(
    output: Output,
    tables: &[String],
    rebuilt: &Rebuilt,
    recorded: bool,
) -> Result<(), Failure> {
    match output {
        Output::Json => print::line(to_json(tables, rebuilt, recorded)),
        Output::Table => {
            let counts = [
                ("read", rebuilt.read),
                ("written", rebuilt.written),
                ("stale", rebuilt.stale),
                ("left out", rebuilt.left_out),
                ("other types", rebuilt.other),
                ("refused", rebuilt.refusals()),
            ];
            let rows = counts.iter().map(|(name, count)| [(*name).to_owned(), count.to_string()]);
            print::line(table(["outcome", "records"], rows))?;
            if rebuilt.refused.is_empty() {
                return Ok(());
            }
            let refused = rebuilt.refused.iter().map(|(kind, (count, partition, offset))| {
                let names = [&kind.table, &kind.column].into_iter().flatten().map(|name| &**name);
                let place: Vec<&str> = names.collect();
                [
                    kind.stage.to_string(),
                    kind.cause.to_string(),
                    place.join("."),
                    count.to_string(),
                    format!("{partition}@{offset}"),
                ]
            });
            print::line(table(["stage", "cause", "column", "records", "first"], refused))
        }
    }
}

fn to_json(tables: &[String], rebuilt: &Rebuilt, recorded: bool) -> serde_json::Value {
    let refused = rebuilt.refused.iter().map(|(kind, (count, partition, offset))| {
        json!({
            "stage": kind.stage.as_str(),
            "cause": kind.cause.as_str(),
            "table": kind.table.as_deref(),
            "column": kind.column.as_deref(),
            "records": count,
            "topic": &*partition.topic,
            "partition": partition.partition,
            "offset": offset.0,
        })
    });
    json!({
        "tables": tables,
        "read": rebuilt.read,
        "written": rebuilt.written,
        "stale": rebuilt.stale,
        "left_out": rebuilt.left_out,
        "other": rebuilt.other,
        "refused": rebuilt.refusals(),
        "refusals": refused.collect::<Vec<_>>(),
        "rules_recorded": recorded,
    })
}

/// A line on a terminal, silence otherwise.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{spinner} {pos} records read, {per_sec}, {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self(bar)
    }

    pub(super) fn at(&self, rebuilt: &Rebuilt) {
        self.0.set_position(rebuilt.read);
        self.0.set_message(format!("{} written, {} refused", rebuilt.written, rebuilt.refusals()));
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
