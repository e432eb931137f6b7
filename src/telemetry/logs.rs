//! Logs on stderr: for people on a terminal, JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

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

/// What is logged unless `RUST_LOG` says otherwise. Server notices are off because a trigger may
/// put row values into them; the troubleshooting target is off until someone asks for it.
const DEFAULT_FILTER: &str = "info,sqlx=warn,rowcast::troubleshooting=off";

/// Always off, whatever `RUST_LOG` says: texts of the database and of SQL arguments.
const NEVER: [&str; 1] = ["sqlx::postgres::notice=off"];

/// Starts logging. `directives` is a `RUST_LOG` text that wins over the default. A second call in
/// one process changes nothing.
pub fn start(format: LogFormat, directives: Option<&str>) {
    let mut filter = EnvFilter::new(directives.unwrap_or(DEFAULT_FILTER));
    for directive in NEVER {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // an embedding program may have its own subscriber already; it stays
    let _ = if human {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    };
}

/// From now on a panic tells its place alone. Its message may quote a document: that of a text cut
/// inside a letter quotes the text.
pub fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        if tracing::dispatcher::has_been_set() {
            tracing::error!("rowcast has a fault{place}; its message is hidden, please report it");
        } else {
            eprintln!("rowcast has a fault{place}; its message is hidden, please report it");
        }
    }));
}
