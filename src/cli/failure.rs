//! How a command can end badly, and the exit code that says so.

use std::process::ExitCode;

use super::check;
use crate::application::ApplicationError;
use crate::broker::BrokerError;
use crate::error::{ErrorClass, Refusal, counted, messages};
use crate::fhir_server::FhirServerError;
use crate::problem::Problem;
use crate::registry::RegistryError;
use crate::sink::SinkError;

/// A bad end: the exit code and the lines for stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    lines: Vec<String>,
}

impl Failure {
    /// Something failed: exit code 1.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, lines: vec![format!("error: {}", message.into())] }
    }

    /// The command line does not fit together: exit code 2.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, lines: vec![format!("error: {}", message.into())] }
    }

    /// Some letters failed again: exit code 3.
    #[must_use]
    pub fn partial(message: impl Into<String>) -> Self {
        Self { code: 3, lines: vec![message.into()] }
    }

    /// Nothing matched: exit code 4.
    #[must_use]
    pub fn nothing_matched(message: impl Into<String>) -> Self {
        Self { code: 4, lines: vec![message.into()] }
    }

    /// A dependency cannot be reached: exit code 69.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: 69, lines: vec![format!("error: {}", message.into())] }
    }

    /// A change that was refused, each reason with its place and a remedy: exit code 1.
    #[must_use]
    pub fn refused(refusals: &[Refusal]) -> Self {
        let mut lines = Vec::new();
        for refusal in refusals {
            lines.push(format!("refused: {}: {}", refusal.cause, refusal.messages.join(": ")));
            let place = &refusal.place;
            let places = [
                ("table", &place.table),
                ("column", &place.column),
                ("rule", &place.rule),
                ("path", &place.path),
            ];
            for (name, place) in places {
                lines.extend(place.iter().map(|place| format!("  {name:<6}  {place}")));
            }
            lines.push(format!("  advice  {}", refusal.cause.remedy()));
        }
        Self { code: 1, lines }
    }

    /// The configuration is wrong: exit code 78, every problem a line.
    #[must_use]
    pub fn configuration(problems: &[String]) -> Self {
        let mut lines: Vec<String> =
            problems.iter().map(|problem| format!("error: {problem}")).collect();
        lines.push(format!("{}; nothing was started", counted(problems.len(), "problem")));
        Self { code: 78, lines }
    }

    /// The database does not fit the configuration: exit code 78, in one line.
    #[must_use]
    pub fn unfit(message: impl Into<String>) -> Self {
        Self { code: 78, lines: vec![format!("error: {}", message.into())] }
    }

    /// Problems of files: exit code 78.
    #[must_use]
    pub fn problems(problems: &[Problem]) -> Self {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Self::configuration(&lines)
    }

    /// The same with a last word on how to mend it.
    #[must_use]
    pub fn advising(mut self, advice: impl Into<String>) -> Self {
        self.lines.push(advice.into());
        self
    }

    /// Prints the lines and yields the code.
    pub(super) fn report(&self) -> ExitCode {
        for line in &self.lines {
            eprintln!("{line}");
        }
        ExitCode::from(self.code)
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        match error.class() {
            ErrorClass::Retriable => Self::unavailable(messages(&error).join(": ")),
            ErrorClass::Poison | ErrorClass::Fatal => Self::failed(messages(&error).join(": ")),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error.class() {
            ErrorClass::Retriable => Self::unavailable(messages(&error).join(": ")),
            ErrorClass::Poison | ErrorClass::Fatal => Self::failed(messages(&error).join(": ")),
        }
    }
}

impl From<FhirServerError> for Failure {
    fn from(error: FhirServerError) -> Self {
        match error.class() {
            ErrorClass::Retriable => Self::unavailable(messages(&error).join(": ")),
            ErrorClass::Poison | ErrorClass::Fatal => Self::failed(messages(&error).join(": ")),
        }
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        match error.class() {
            // user, password and database stand in the topology
            _ if matches!(error, SinkError::NotLetIn { .. }) => {
                Self::unfit(messages(&error).join(": "))
            }
            ErrorClass::Retriable => Self::unavailable(messages(&error).join(": ")),
            ErrorClass::Poison | ErrorClass::Fatal => Self::failed(messages(&error).join(": ")),
        }
    }
}

impl From<ApplicationError> for Failure {
    fn from(error: ApplicationError) -> Self {
        match error {
            ApplicationError::Configuration(problems) => Self::problems(&problems),
            ApplicationError::Broker(error) => error.into(),
            ApplicationError::Sink(error) => error.into(),
            ApplicationError::Schema(problems) => check::refusal(&problems),
            ApplicationError::Claimed(refusals) => Self::configuration(&refusals),
            error @ (ApplicationError::Http { .. }
            | ApplicationError::Pointcut(_)
            | ApplicationError::Topic { .. }
            | ApplicationError::SingleThreaded
            | ApplicationError::Run(_)) => Self::failed(messages(&error).join(": ")),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
