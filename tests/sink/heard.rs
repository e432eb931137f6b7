//! Everything that is said while something fails: log lines of every level and target, the error
//! in all its forms.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use rowcast::error::Refusal;
use rowcast::sink::SinkError;
use tracing::subscriber::DefaultGuard;

/// Part of every value, id and key that a database gets to see here; may never come back.
pub(crate) const CANARY: &str = "canary-5f1c";

/// Listens on this thread until dropped.
pub(crate) struct Heard {
    lines: Lines,
    _listening: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, some: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Heard {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { lines, _listening: tracing::subscriber::set_default(subscriber) }
    }

    /// The log holds no canary, nor does the error in any form.
    pub(crate) fn silent_about_data(&self, error: &SinkError) {
        if let SinkError::Refused(refusal) = error {
            self.silent_about_refusal(refusal);
        }
        self.check(&rowcast::error::messages(error).join("\n"));
        self.check(&format!("{error} {error:?} {error:#?}"));
    }

    /// The same for what becomes a dead letter.
    pub(crate) fn silent_about_refusal(&self, refusal: &Refusal) {
        self.check(&format!("{refusal} {refusal:?} {}", refusal.messages.join("\n")));
    }

    fn check(&self, told: &str) {
        assert!(!told.contains(CANARY), "{told}");
        let heard = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = String::from_utf8_lossy(&heard);
        let line = heard.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None, "a log line quotes a value");
    }
}
