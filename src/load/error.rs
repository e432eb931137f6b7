//! Why a load cannot go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::broker::BrokerError;
use crate::error::ErrorClass;
use crate::fhir_server::FhirServerError;

/// Why a load cannot go on. What one resource is refused for is no such reason.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A file cannot be opened or read.
    #[error("{name} cannot be read, after line {line}")]
    Read {
        /// The file.
        name: String,
        /// Lines that were read of it.
        line: u64,
        /// What happened.
        source: io::Error,
    },
    /// The state file cannot be read or written.
    #[error(
        "the state file {} cannot be {attempted}; another one is named by --resume", path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Read, written or removed.
        attempted: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The state file is of another load, or none at all.
    #[error(
        "the state file {} {fault}: remove it to begin from the start, which does no harm, or name \
         another one by --resume",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The FHIR server brings no answer.
    #[error(transparent)]
    Server(#[from] FhirServerError),
    /// The server no longer has what the load was to go on with.
    #[error(
        "{what} is no longer at the server: remove the state file and begin again, which does no harm"
    )]
    Gone {
        /// What is gone.
        what: &'static str,
        /// What the server said.
        source: FhirServerError,
    },
    /// The export is another one than the load began with.
    #[error(
        "the export has other files than those that the load began with: remove the state file and begin again"
    )]
    OtherExport,
    /// The broker does not take the records.
    #[error(transparent)]
    Broker(BrokerError),
    /// The reader panicked; it said so.
    #[error("reading ended by a fault of rowcast")]
    Panicked,
}

impl LoadError {
    /// Whether it heals by itself.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Server(error) | Self::Gone { source: error, .. } => error.class(),
            Self::Broker(error) => error.class(),
            Self::Read { .. }
            | Self::State { .. }
            | Self::Foreign { .. }
            | Self::OtherExport
            | Self::Panicked => ErrorClass::Fatal,
        }
    }
}
