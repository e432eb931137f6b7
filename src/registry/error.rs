//! Why the registry brings no schema.

use thiserror::Error;

use crate::error::ErrorClass;

/// Why the registry brings no schema. All of it is waited out: nothing of it is a record's fault.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The client cannot be made: certificates that are none.
    #[error("the connection to the schema registry cannot be set up")]
    Client(#[source] reqwest::Error),
    /// It does not answer.
    #[error("the schema registry does not answer")]
    Away(#[source] reqwest::Error),
    /// It answers that it cannot.
    #[error("the schema registry is there, but cannot answer (HTTP status {status})")]
    Unable {
        /// HTTP status.
        status: u16,
    },
    /// It does not let us in.
    #[error(
        "the schema registry refuses our credentials (HTTP status {status}): see \
         `source.schema_registry.auth`"
    )]
    Credentials {
        /// HTTP status.
        status: u16,
    },
    /// Somebody answers who is no schema registry.
    #[error(
        "who answers is no schema registry (HTTP status {status}): see `source.schema_registry.url`"
    )]
    NoRegistry {
        /// HTTP status.
        status: u16,
    },
    /// A schema refers to one that the registry does not have.
    #[error("a schema refers to another that the schema registry does not have")]
    LostReference,
    /// More than any schema needs.
    #[error(
        "a schema is larger than {limit} bytes, with all it refers to, or refers to more than \
         {references} others"
    )]
    TooLarge {
        /// Most bytes of all answers together.
        limit: usize,
        /// Most references.
        references: usize,
    },
}

impl RegistryError {
    /// What is done about it: wait for it to heal, or for somebody to mend it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Away(_) | Self::Unable { .. } => ErrorClass::Retriable,
            Self::Client(_)
            | Self::Credentials { .. }
            | Self::NoRegistry { .. }
            | Self::LostReference
            | Self::TooLarge { .. } => ErrorClass::Fatal,
        }
    }
}
