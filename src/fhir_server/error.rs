//! Why a FHIR server brings no answer.
//!
//! It names methods, types, statuses and kinds: never an id, a URL, a body, or what a server says in
//! an OperationOutcome.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::error::ErrorClass;

/// What was asked of a server: enough to find it in its log, nothing of the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// HTTP method.
    pub method: &'static str,
    /// What for: `history`, `search`, `$export`.
    pub interaction: &'static str,
    /// Of which type, if of one; `other` if FHIR does not know it.
    pub resource_type: Option<&'static str>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, interaction, resource_type } = self;
        match resource_type {
            Some(name) => write!(f, "{method} {name} ({interaction})"),
            None => write!(f, "{method} ({interaction})"),
        }
    }
}

/// Why a FHIR server brings no answer that can be used.
#[derive(Debug, Error)]
pub enum FhirServerError {
    /// The client cannot be made: certificates that are none, a token that fits into no header.
    #[error("the connection to the FHIR server cannot be set up")]
    Client(#[source] reqwest::Error),
    /// It does not answer, or its answer broke off.
    #[error("{asked}: the FHIR server does not answer")]
    Away {
        /// What was asked.
        asked: Asked,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// It answers that it cannot now.
    #[error("{asked}: the FHIR server is there, but cannot answer (HTTP status {status})")]
    Unable {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
        /// How long it wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// It does not let us in, or not that far.
    #[error("{asked}: the FHIR server refuses our credentials or rights (HTTP status {status})")]
    Credentials {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
    },
    /// There is nothing of that kind at the server: a wrong base, or something it does not offer.
    #[error(
        "{asked}: the FHIR server offers no such thing (HTTP status {status}): check its address, \
         and what it supports"
    )]
    Unsupported {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
    },
    /// It answers with another address. Redirects are not followed: credentials stay where they were
    /// meant for.
    #[error(
        "{asked}: answered with a redirect (HTTP status {status}), which is not followed: set \
             the final address"
    )]
    Redirected {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
    },
    /// It will not do this.
    #[error("{asked}: refused by the FHIR server (HTTP status {status})")]
    Refused {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
    },
    /// The answer is not what FHIR says.
    #[error("{asked}: the answer (HTTP status {status}) is no {expected}: is this a FHIR server?")]
    NotFhir {
        /// What was asked.
        asked: Asked,
        /// HTTP status.
        status: u16,
        /// What was expected.
        expected: &'static str,
    },
    /// The answer is larger than the limit.
    #[error("{asked}: the answer is larger than {limit} bytes: ask for fewer entries a page")]
    TooLarge {
        /// What was asked.
        asked: Asked,
        /// Limit in force.
        limit: usize,
    },
    /// The answer leads away from the server, or round in a circle.
    #[error(
        "{asked}: the answer's {link} leads {whither}: the server must know the address under \
         which it is reached"
    )]
    Link {
        /// What was asked.
        asked: Asked,
        /// Which link.
        link: &'static str,
        /// Where it leads.
        whither: &'static str,
    },
    /// The path cannot be asked for.
    #[error("{asked}: a part of the path is empty, `.` or `..`")]
    Path {
        /// What was asked.
        asked: Asked,
    },
    /// A version of FHIR that is not understood.
    #[error("the FHIR server speaks another version of FHIR than R4, R4B and R5")]
    Version,
}

impl FhirServerError {
    /// What is done about it.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Away { .. } | Self::Unable { .. } => ErrorClass::Retriable,
            Self::Client(_)
            | Self::Credentials { .. }
            | Self::Unsupported { .. }
            | Self::Redirected { .. }
            | Self::NotFhir { .. }
            | Self::Link { .. }
            | Self::Version => ErrorClass::Fatal,
            Self::Refused { .. } | Self::TooLarge { .. } | Self::Path { .. } => ErrorClass::Poison,
        }
    }

    /// How long the server wants to be left alone, if it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
