//! A change: one resource at one version, upsert or delete.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Document, Origin};

/// Type and logical id of a resource.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// FHIR resource type, `Patient`.
    pub resource_type: Arc<str>,
    /// Bare logical id, `123`.
    pub id: Arc<str>,
}

/// Ids are payload: debug output names the type only.
impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.resource_type)
    }
}

/// Version of a resource: larger is newer. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(i64);

impl Version {
    /// A version; `None` if negative.
    #[must_use]
    pub const fn new(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happened to the resource.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Created or updated: this is the whole resource at this version.
    Upsert {
        /// Version of the document.
        version: Version,
        /// The whole resource.
        document: Document,
    },
    /// Deleted.
    Delete {
        /// Version that the deletion created; `None` for tombstones and notifications that do
        /// not say it. Right only for topics keyed by resource.
        version: Option<Version>,
    },
}

/// One resource at one version.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resource.
    pub resource: ResourceKey,
    /// What happened.
    pub operation: Operation,
    /// Where the change came from first.
    pub origin: Origin,
    /// When its record was made, milliseconds since the epoch: what `now()` is in rules. A replayed
    /// change keeps that of its letter, so that it makes the same rows.
    pub timestamp: Option<i64>,
}

impl Change {
    /// When the change was made, as far as its record tells: what `now()` is in expressions.
    #[must_use]
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        self.timestamp.and_then(DateTime::from_timestamp_millis)
    }

    /// The change's version, if it has one.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        match &self.operation {
            Operation::Upsert { version, .. } => Some(*version),
            Operation::Delete { version } => *version,
        }
    }
}
