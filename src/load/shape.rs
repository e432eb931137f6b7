//! Resources become records.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::OutgoingRecord;
use crate::fhir_server::{Entry, record, record_at};
use crate::model::Version;
use crate::source::{DecodeError, VersionFrom};

/// Where the versions of what is loaded come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRule {
    /// From where the topic's settings say.
    From(VersionFrom),
    /// All are of this version.
    Stated(Version),
}

impl VersionRule {
    /// Its name in the state file.
    pub(super) fn name(self) -> String {
        match self {
            Self::From(from) => from.as_str().to_owned(),
            Self::Stated(version) => format!("stated {version}"),
        }
    }
}

/// What records of resources look like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Their topic.
    pub topic: Arc<str>,
    /// Where their versions come from.
    pub version: VersionRule,
    /// Largest resource, in bytes: what decode takes.
    pub max_bytes: usize,
    /// Most records of a portion, from 1 to [`Batch::RECORDS`]: no more than a second's.
    ///
    /// [`Batch::RECORDS`]: crate::application::Batch::RECORDS
    pub most: usize,
}

impl Shape {
    /// The record of a resource's text.
    pub(super) fn line(&self, json: Bytes) -> Result<OutgoingRecord, DecodeError> {
        self.entry(&Entry::of_document(json)?)
    }

    /// The record of what a server says.
    pub(super) fn entry(&self, entry: &Entry) -> Result<OutgoingRecord, DecodeError> {
        match self.version {
            VersionRule::From(from) => record(entry, &self.topic, from),
            VersionRule::Stated(version) => Ok(record_at(entry, &self.topic, version)),
        }
    }
}
