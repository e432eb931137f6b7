//! How far a load is, and how it ended.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Failure, Output};
use crate::error::{Cause, counted};
use crate::load::{Counts, Ended, Loaded, Portion, RefusedItem};

/// Most refusals that are told one by one; of the rest only the count.
const TOLD: usize = 100;

/// A bar on a terminal, and what is refused.
pub(super) struct Report {
    bar: ProgressBar,
    output: Output,
    topic: String,
    told: usize,
    /// Records that were there before.
    before: Option<u64>,
    begun: std::time::Instant,
    shows_total: bool,
}

impl Report {
    pub(super) fn new(output: Output, topic: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        bar.set_style(style("{spinner} {elapsed} {msg}"));
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self {
            bar,
            output,
            topic: topic.to_owned(),
            told: 0,
            before: None,
            begun: std::time::Instant::now(),
            shows_total: false,
        }
    }

    /// Tells of a portion that the broker has.
    pub(super) fn portion(&mut self, portion: &Portion, counts: &Counts) {
        for refused in &portion.refused {
            self.refused(refused);
        }
        if let Some(of) = portion.of {
            self.bar.set_length(of);
            self.bar.set_position(portion.done);
            if !self.shows_total {
                self.shows_total = true;
                self.bar.set_style(style("{bar:30} {percent:>3} %  {msg}  {eta} left"));
                // what was there before took no time
                self.bar.reset_eta();
            }
        }
        let before = *self.before.get_or_insert(counts.records);
        let rate = rate(counts.records - before, self.begun.elapsed().as_secs_f64());
        self.bar.set_message(format!("{} records, {rate}/s", counts.records));
    }

    fn refused(&mut self, refused: &RefusedItem) {
        self.told += 1;
        let RefusedItem { at, cause, message } = refused;
        match self.told {
            ..=TOLD => self.bar.suspend(|| eprintln!("{at}: {cause}: {message}")),
            told if told == TOLD + 1 => {
                self.bar
                    .suspend(|| eprintln!("more is refused, which is only counted from here on"));
            }
            _ => {}
        }
    }

    /// Tells what was loaded.
    pub(super) fn end(&self, loaded: &Loaded) {
        self.bar.finish_and_clear();
        let Counts { records, deletes, refused, server_errors } = &loaded.counts;
        let is_complete = matches!(loaded.ended, Ended::Complete | Ended::Untidy(_));
        match self.output {
            Output::Json => println!(
                "{}",
                json!({
                    "topic": self.topic,
                    "complete": is_complete,
                    "records": records,
                    "deletes": deletes,
                    "refused": refused,
                    "server_errors": server_errors,
                    "seconds": (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
                })
            ),
            Output::Table => {
                let topic = &self.topic;
                let records = counted(records, "record");
                eprintln!("{records} appended to {topic}, {deletes} of them deletes");
            }
        }
    }
}

/// Records a second, as a whole number.
#[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
fn rate(records: u64, seconds: f64) -> String {
    format!("{:.0}", records as f64 / seconds.max(0.001))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Whether all was good enough.
pub(super) fn judged(counts: &Counts) -> Result<(), Failure> {
    let mut lines = Vec::new();
    if counts.all_refused() > 0 {
        let by_cause: Vec<String> =
            counts.refused.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
        lines.push(format!("{} refused: {}", counts.all_refused(), by_cause.join(", ")));
    }
    if counts.refused.contains_key(Cause::MissingVersion.as_str()) {
        lines.push(
            "resources without versions: see `transform.version.from`, or let --version N state one \
             for all"
                .to_owned(),
        );
    }
    if counts.server_errors > 0 {
        lines.push(format!(
            "the server told of {} of its export: what it could not export is lacking",
            counted(counts.server_errors, "error")
        ));
    }
    let mut lines = lines.into_iter();
    let Some(first) = lines.next() else { return Ok(()) };
    Err(lines.fold(Failure::partial(first), Failure::advising))
}
