//! Which log lines are let through.
//!
//! In: directives as an operator writes them (`info,rowcast::troubleshooting=debug`). Out: a filter
//! that lets no library speak below INFO, whatever the directives say: what sqlx, hyper, rdkafka and
//! others tell at DEBUG and TRACE is not ours to vouch for, and `trace` is what people type when
//! they are desperate. It never repeats what it could not read.

use std::fmt;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::repeats;
use crate::model::Reveal;

/// What is logged unless somebody says otherwise. The troubleshooting log is off until asked for.
const DEFAULT: &str = "info,sqlx=warn,rowcast::troubleshooting=off";

/// What all targets of our own begin with.
const OURS: &str = "rowcast";

/// The lowest level of everybody else.
const OTHERS: LevelFilter = LevelFilter::INFO;

/// Always off: a trigger may put row values into a notice.
const NEVER: &str = "sqlx::postgres::notice";

/// Longest directives: far above what anybody writes by hand.
const MOST_BYTES: usize = 4096;

/// A filter that is safe to be in force.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFilter(Targets);

/// The directives cannot be read. They are not repeated: anybody may have sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a log filter: write LEVEL or TARGET=LEVEL, separated by commas, as in \
     info,rowcast::troubleshooting=debug; levels are off, error, warn, info, debug and trace"
)]
pub struct BadFilter;

impl LogFilter {
    /// Reads directives: `LEVEL` or `TARGET=LEVEL`, separated by commas. With [`Reveal::Nothing`]
    /// libraries are held at INFO; `trace` then means our own targets.
    ///
    /// # Errors
    /// [`BadFilter`].
    pub fn parse(directives: &str, reveal: Reveal) -> Result<Self, BadFilter> {
        let known = |c: char| c.is_ascii_alphanumeric() || "_:,=. -".contains(c);
        if directives.len() > MOST_BYTES || !directives.chars().all(known) {
            return Err(BadFilter);
        }
        let mut read = Targets::new();
        for directive in directives.split(',').map(str::trim) {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target.trim()), level.trim()),
                // a misspelt level would else be a target, at its most talkative
                None => (None, directive),
            };
            // an empty level would be read as the most talkative one
            if level.is_empty() {
                return Err(BadFilter);
            }
            let level: LevelFilter = level.parse().map_err(|_| BadFilter)?;
            read = match target {
                Some("") => return Err(BadFilter),
                Some(target) => read.with_target(target, level),
                None => read.with_default(level),
            };
        }
        Ok(match reveal {
            Reveal::Nothing => Self(capped(&read)),
            Reveal::Values => Self(read.with_target(NEVER, LevelFilter::OFF)),
        })
    }

    /// The filter at the layer's own gate. What tells how many lines were left out passes it always:
    /// those lines would have.
    pub(super) fn targets(&self) -> Targets {
        self.0.clone().with_target(repeats::TARGET, LevelFilter::TRACE)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self::parse(DEFAULT, Reveal::Nothing).expect("the default is a filter")
    }
}

/// The directives in force, to be read by people and by [`LogFilter::parse`].
impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn capped(read: &Targets) -> Targets {
    let is_ours = |target: &str| target == OURS || target.starts_with("rowcast::");
    let mut capped = Targets::new();
    if let Some(level) = read.default_level() {
        capped = capped.with_default(level.min(OTHERS)).with_target(OURS, level);
    }
    // what is said of us in particular wins over the default
    for (target, level) in read {
        let level = if is_ours(target) { level } else { level.min(OTHERS) };
        capped = capped.with_target(target, level);
    }
    capped.with_target(NEVER, LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    fn hidden(directives: &str) -> LogFilter {
        LogFilter::parse(directives, Reveal::Nothing).expect("a filter")
    }

    fn lets(filter: &LogFilter, target: &str, level: Level) -> bool {
        filter.0.would_enable(target, &level)
    }

    #[test]
    fn trace_means_our_own_targets_and_no_library() {
        for directives in ["trace", "sqlx=trace,rdkafka=trace,r=trace,hyper=debug,rowcast=trace"] {
            let filter = hidden(directives);
            assert!(lets(&filter, "rowcast::troubleshooting", Level::TRACE));
            assert!(lets(&filter, "rowcast::kafka", Level::TRACE));
            for library in
                ["sqlx::query", "hyper::proto", "rdkafka::client", "mio", "rustls", "log"]
            {
                assert!(!lets(&filter, library, Level::DEBUG), "{directives}: {library}");
            }
        }
        assert!(lets(&hidden("trace"), "hyper::proto", Level::INFO));
        assert!(!lets(&hidden("trace"), "sqlx::postgres::notice", Level::ERROR));
    }

    #[test]
    fn only_who_reveals_values_hears_libraries_and_never_the_databases_notices() {
        let filter = LogFilter::parse("trace", Reveal::Values).expect("a filter");
        assert!(lets(&filter, "sqlx::query", Level::TRACE));
        assert!(!lets(&filter, "sqlx::postgres::notice", Level::ERROR));
    }

    #[test]
    fn the_troubleshooting_log_is_off_unless_asked_for() {
        assert!(!lets(&LogFilter::default(), "rowcast::troubleshooting", Level::ERROR));
        assert!(lets(&LogFilter::default(), "rowcast::runtime", Level::INFO));
        assert!(!lets(&LogFilter::default(), "sqlx::pool", Level::INFO));
        let asked = hidden("info, rowcast::troubleshooting=debug");
        assert!(lets(&asked, "rowcast::troubleshooting", Level::DEBUG));
        assert!(!lets(&asked, "rowcast::troubleshooting", Level::TRACE));
        assert!(!lets(&asked, "rowcast::runtime", Level::DEBUG));
    }

    #[test]
    fn no_filter_hides_how_many_lines_were_left_out() {
        let targets = hidden("error,rowcast::runtime=info").targets();
        assert!(targets.would_enable(repeats::TARGET, &Level::INFO));
        assert!(!targets.would_enable("rowcast::sink", &Level::INFO));
    }

    #[test]
    fn what_is_shown_can_be_set_again() {
        for directives in ["trace", "warn,rowcast::troubleshooting=trace", "rowcast=debug"] {
            let filter = hidden(directives);
            assert_eq!(hidden(&filter.to_string()), filter);
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let long = "a=info,".repeat(1000) + "info";
        let bad = ["", "inof", "rowcast", "info,,warn", "=trace", "a[{b}]=info", "a=b=c", "a=\n"];
        for bad in bad.into_iter().chain([long.as_str()]) {
            assert_eq!(LogFilter::parse(bad, Reveal::Nothing), Err(BadFilter), "{bad}");
        }
    }
}
