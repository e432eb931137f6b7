//! Why a record says no change.
//!
//! In: what the formats found wrong. Out: cause and place for the dead letter. It names members,
//! headers and kinds, never a value, an id or a key.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{AvroFault, Seen, VersionFrom};
use crate::error::{Cause, Place, Refusal, Stage};
use crate::model::{DocumentError, ResourceKey};

/// Why a record was refused. Nothing of it heals: the record's bytes stay what they are.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// A value, or a document inside it, is no JSON within the limits.
    #[error("{what} cannot be read as a JSON document")]
    Document {
        /// What was being read: the value or a member of it.
        what: &'static str,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A value is not what its Avro schema says.
    #[error("the value cannot be read by its Avro schema")]
    Avro {
        /// What is wrong with it.
        source: AvroFault,
    },
    /// The record has none of the shapes that the format allows.
    #[error("{seen}")]
    UnknownFormat {
        /// What was seen.
        seen: Seen,
    },
    /// `resourceType` is absent or unknown to FHIR R4.
    #[error("the {place} names no resource type of FHIR R4")]
    UnknownResourceType {
        /// Where the type was looked for.
        place: &'static str,
    },
    /// Key, envelope and document name different resources.
    #[error("the {other} and the document name different resources")]
    KeyMismatch {
        /// Type of the resource that the document names.
        resource_type: Arc<str>,
        /// What contradicts it.
        other: &'static str,
    },
    /// The resource has no id.
    #[error("the {resource_type} has no logical id")]
    MissingId {
        /// Type of the resource.
        resource_type: Arc<str>,
    },
    /// The resource's id is none that FHIR allows.
    #[error(
        "the {resource_type} has an id that FHIR does not allow: 1 to 64 of A-Z a-z 0-9 - . are"
    )]
    InvalidId {
        /// Type of the resource.
        resource_type: Arc<str>,
    },
    /// A null value deletes the resource that the key names, and this key names none.
    #[error("the value is null, which deletes, but the key is not `Type/id`")]
    TombstoneWithoutKey,
    /// A header announced an upsert and no document came.
    #[error("an upsert was announced, but the record holds no document")]
    UpsertWithoutDocument,
    /// A resource changed and its document was left out: reading it from its server would tell
    /// what it is now. See [`DecodeError::hint`].
    #[error(
        "the {} changed, but {told_by} leaves its document out: a hint to read it from the server",
        resource.resource_type
    )]
    Hint {
        /// What changed.
        resource: ResourceKey,
        /// Which part of the record told it.
        told_by: &'static str,
    },
    /// A bundle holds more than one record may.
    #[error("the bundle has more than {limit} entries")]
    TooManyEntries {
        /// Limit in force.
        limit: usize,
    },
    /// A notification tells that something changed, and not what.
    #[error("the notification tells of an event, but names no resource")]
    EventWithoutResource,
    /// An upsert or a versioned delete has no version that counts.
    #[error(
        "the {resource_type} {fault} (read from {}): make the server send it, choose another \
         `version.from`, or send the header `rowcast.version`",
        source_of(*.version_from)
    )]
    MissingVersion {
        /// Type of the resource.
        resource_type: Arc<str>,
        /// Where it was looked for.
        version_from: VersionFrom,
        /// What was found there.
        fault: VersionFault,
    },
    /// A header that wins over the record cannot be read.
    #[error("the header `{name}` {fault}")]
    InvalidVersionHeader {
        /// The header.
        name: &'static str,
        /// What is wrong with it.
        fault: VersionFault,
    },
    /// The document says of itself that elements were left out.
    #[error("the {} is tagged SUBSETTED: elements were left out", resource.resource_type)]
    Subsetted {
        /// What it is of.
        resource: ResourceKey,
    },
}

impl DecodeError {
    /// The resource that changed, if that is known and only its document is missing: who may read
    /// the server can resolve it.
    #[must_use]
    pub const fn hint(&self) -> Option<&ResourceKey> {
        match self {
            Self::Hint { resource, .. } | Self::Subsetted { resource } => Some(resource),
            Self::Document { .. }
            | Self::Avro { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownResourceType { .. }
            | Self::KeyMismatch { .. }
            | Self::MissingId { .. }
            | Self::InvalidId { .. }
            | Self::TombstoneWithoutKey
            | Self::UpsertWithoutDocument
            | Self::TooManyEntries { .. }
            | Self::EventWithoutResource
            | Self::MissingVersion { .. }
            | Self::InvalidVersionHeader { .. } => None,
        }
    }

    /// What an operator finds it under.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Document { source, .. } => match source {
                DocumentError::TooLarge { .. } => Cause::TooLarge,
                DocumentError::TooDeep { .. } => Cause::TooDeep,
                DocumentError::InvalidUtf8 { .. } => Cause::InvalidUtf8,
                DocumentError::InvalidJson { .. } => Cause::InvalidJson,
            },
            Self::Avro { source } => match source {
                AvroFault::TooLarge { .. } => Cause::TooLarge,
                AvroFault::TooDeep { .. } => Cause::TooDeep,
                AvroFault::InvalidUtf8 => Cause::InvalidUtf8,
                AvroFault::Truncated
                | AvroFault::LeftOver
                | AvroFault::OutOfRange
                | AvroFault::UnknownBranch
                | AvroFault::NotFinite
                | AvroFault::LongDecimal => Cause::InvalidAvro,
            },
            Self::TooManyEntries { .. } => Cause::TooLarge,
            Self::UnknownFormat { .. } => Cause::UnknownFormat,
            Self::UnknownResourceType { .. } => Cause::UnknownResourceType,
            Self::KeyMismatch { .. } => Cause::KeyMismatch,
            Self::MissingId { .. } | Self::InvalidId { .. } | Self::TombstoneWithoutKey => {
                Cause::MissingId
            }
            Self::MissingVersion { .. } | Self::InvalidVersionHeader { .. } => {
                Cause::MissingVersion
            }
            Self::UpsertWithoutDocument
            | Self::Hint { .. }
            | Self::EventWithoutResource
            | Self::Subsetted { .. } => Cause::IncompleteDocument,
        }
    }

    /// What is known of the resource: its type, where the record told it.
    #[must_use]
    pub fn place(&self) -> Place {
        let resource_type = match self {
            Self::KeyMismatch { resource_type, .. }
            | Self::MissingId { resource_type }
            | Self::InvalidId { resource_type }
            | Self::MissingVersion { resource_type, .. } => Some(resource_type.clone()),
            Self::Hint { resource, .. } | Self::Subsetted { resource } => {
                Some(resource.resource_type.clone())
            }
            Self::Document { .. }
            | Self::Avro { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownResourceType { .. }
            | Self::TombstoneWithoutKey
            | Self::UpsertWithoutDocument
            | Self::TooManyEntries { .. }
            | Self::EventWithoutResource
            | Self::InvalidVersionHeader { .. } => None,
        };
        Place { resource_type, ..Place::default() }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::new(Stage::Decode, error.cause(), &error, "DecodeError", error.place())
    }
}

/// Why a version cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionFault {
    /// Nothing is there.
    Absent,
    /// It is no integer of 64 bits.
    NoInteger,
    /// It is no instant.
    NoInstant,
    /// It is below zero.
    Negative,
    /// Several changes of the resource share it.
    Shared,
}

impl fmt::Display for VersionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "has no version",
            Self::NoInteger => "has a version that is not a 64-bit integer",
            Self::NoInstant => "has a version that is not an instant with a time zone",
            Self::Negative => "has a negative version",
            Self::Shared => "has several changes in one record, which share one offset",
        })
    }
}

/// The place of the version, for the advice.
const fn source_of(version_from: VersionFrom) -> &'static str {
    match version_from {
        VersionFrom::VersionId => "meta.versionId",
        VersionFrom::LastUpdated => "meta.lastUpdated",
        VersionFrom::Offset => "the origin's offset",
    }
}
