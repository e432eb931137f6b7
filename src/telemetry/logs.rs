//! Logs on stderr: for people on a terminal, JSON otherwise.
//!
//! A stderr that nobody reads any more loses lines; it never ends the process.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::filter::LogFilter;
use super::repeats::RepeatLimit;
use super::switch::LogSwitch;
use crate::model::Reveal;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Target of what a process says once while it starts. It may be much: no problem of a schema is
/// left out.
pub const START: &str = "rowcast::start";

/// Target of what ends a process.
pub const END: &str = "rowcast::end";

/// What changes the filter of this process, as its log is the process's too.
static SWITCH: OnceLock<LogSwitch> = OnceLock::new();

/// What leaves lines out that repeat, and whether lines are JSON.
static STARTED: OnceLock<(RepeatLimit, bool)> = OnceLock::new();

/// Starts logging. `directives` is a `RUST_LOG` text that wins over the default; one that is no
/// [`LogFilter`] is told about and the default stays. `repeats`: how many lines of a kind are told in
/// each minute; 0 means all. A second call in one process changes nothing.
pub fn start(format: LogFormat, directives: Option<&str>, repeats: u32, reveal: Reveal) {
    let directives = directives.filter(|directives| !directives.trim().is_empty());
    let asked = directives.map(|directives| LogFilter::parse(directives, reveal));
    let filter = match &asked {
        Some(Ok(filter)) => filter.clone(),
        Some(Err(_)) | None => LogFilter::default(),
    };
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if human {
        lines.with_ansi(coloured()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    };
    let (gate, switch) = LogSwitch::new(filter, reveal);
    let limit = RepeatLimit::new(if repeats == 0 { u32::MAX } else { repeats });
    // an embedding program may have its own subscriber already; it stays
    if tracing_subscriber::registry().with(gate).with(limit.clone()).with(lines).try_init().is_ok()
    {
        let _ = SWITCH.set(switch);
        limit.keep_telling();
        let _ = STARTED.set((limit, !human));
    }
    if let Some(Err(error)) = asked {
        tracing::warn!(target: START, %error, "RUST_LOG is left aside");
    }
}

/// Says why the process ends, as a line of the log; `false` if nothing reads that as JSON, and it is
/// better said to people.
#[must_use]
pub fn end(message: &str, exit_code: u8) -> bool {
    let is_json = STARTED.get().is_some_and(|(_, is_json)| *is_json);
    if !is_json || !tracing::enabled!(target: END, tracing::Level::ERROR) {
        return false;
    }
    tracing::error!(target: END, exit_code, "{message}");
    true
}

/// The process ends: tells which repeated lines were left out and not told about yet.
pub fn finish() {
    if let Some((limit, _)) = STARTED.get() {
        limit.finish();
    }
}

/// Colours are for a terminal whose user did not decline them: <https://no-color.org>.
fn coloured() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !declined
}

/// What changes the filter while the process runs; `None` if its log is not ours.
pub fn switch() -> Option<LogSwitch> {
    SWITCH.get().cloned()
}

/// From now on a panic tells its place alone. Its message may quote a document: that of a text cut
/// inside a letter quotes the text.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        if tracing::dispatcher::has_been_set() {
            tracing::error!(target: END, "rowcast has a fault{place}; its message is hidden, please report it");
        } else {
            // nobody may read it any more, and a panic here would be the end
            let _ = writeln!(
                std::io::stderr(),
                "rowcast has a fault{place}; its message is hidden, please report it"
            );
        }
    }));
}
