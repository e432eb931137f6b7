//! Why a record says no change.
//!
//! In: what the formats found wrong. Out: cause and place for the dead letter. It names members,
//! headers and kinds, never a value, an id or a key.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{AvroFault, SchemaFault, VersionFrom};
use crate::error::{Cause, Place, Refusal, Stage};
use crate::model::DocumentError;

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
    #[error("{other} and the document name different resources")]
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
    /// An upsert was announced and no document came.
    #[error("an upsert was announced, but the record holds no document")]
    UpsertWithoutDocument,
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
    #[error("the {resource_type} is tagged SUBSETTED: elements were left out")]
    Subsetted {
        /// Type of the resource.
        resource_type: Arc<str>,
    },
}

impl DecodeError {
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
            Self::UnknownFormat { .. } => Cause::UnknownFormat,
            Self::UnknownResourceType { .. } => Cause::UnknownResourceType,
            Self::KeyMismatch { .. } => Cause::KeyMismatch,
            Self::MissingId { .. } | Self::InvalidId { .. } | Self::TombstoneWithoutKey => {
                Cause::MissingId
            }
            Self::MissingVersion { .. } | Self::InvalidVersionHeader { .. } => {
                Cause::MissingVersion
            }
            Self::UpsertWithoutDocument | Self::Subsetted { .. } => Cause::IncompleteDocument,
        }
    }

    /// What is known of the resource: its type, where the record told it.
    #[must_use]
    pub fn place(&self) -> Place {
        let resource_type = match self {
            Self::KeyMismatch { resource_type, .. }
            | Self::MissingId { resource_type }
            | Self::InvalidId { resource_type }
            | Self::MissingVersion { resource_type, .. }
            | Self::Subsetted { resource_type } => Some(resource_type.clone()),
            Self::Document { .. }
            | Self::Avro { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownResourceType { .. }
            | Self::TombstoneWithoutKey
            | Self::UpsertWithoutDocument
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

/// What was seen where a known format was expected. Structure only: in an unknown format even
/// the names of members may be data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Confluent's magic byte 0: binary with a schema id.
    SchemaRegistryFrame,
    /// A schema's name of the wrong length, before the value or in its header.
    SchemaFrame,
    /// A value without the name of a schema, where Avro was expected.
    NoAvro,
    /// A value that names a schema of a registry, and no registry to ask.
    NoRegistry,
    /// A schema that the registry does not know.
    UnknownSchema,
    /// A schema that no file holds.
    UnknownFingerprint,
    /// A schema that cannot be used.
    UnusableSchema(SchemaFault),
    /// A record without a field that the settings name.
    NoAvroField,
    /// A field that the settings name, of a type that says nothing.
    AvroFieldType,
    /// A field for the operation that names none.
    AvroOperation,
    /// XML.
    Xml,
    /// JSON, but no object.
    NoObject(&'static str),
    /// An object without the members that tell the formats.
    NoKnownMember,
    /// HAPI's envelope without `operationType`, or with one that is no single change.
    HapiOperation,
    /// HAPI's envelope with a `payload` that is not JSON text.
    HapiPayload(&'static str),
    /// A `rowcast.operation` header that says neither upsert nor delete.
    OperationHeader,
    /// Some of the `rowcast.origin` headers, or unreadable ones.
    OriginHeaders,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SchemaRegistryFrame => f.write_str(
                "the value begins with the magic byte 0 of a schema registry; JSON was expected",
            ),
            Self::SchemaFrame => f.write_str(
                "the value or its header `__value_schema_id` begins as one with a schema does, but \
                 the schema's id is cut off",
            ),
            Self::NoAvro => f.write_str(
                "the value names no Avro schema: neither a magic byte 0, nor the header \
                 `__value_schema_id`, nor the marker of single-object encoding",
            ),
            Self::NoRegistry => f.write_str(
                "the value is framed with the id of a schema, and the topology names no \
                 `source.schema_registry` to ask for it",
            ),
            Self::UnknownSchema => {
                f.write_str("the schema registry has no schema with the id that the value names")
            }
            Self::UnknownFingerprint => f.write_str(
                "none of the files in `source.avro.schemas` has the fingerprint that the value names",
            ),
            Self::UnusableSchema(fault) => {
                write!(f, "the schema that the value names cannot be used: {fault}")
            }
            Self::NoAvroField => f.write_str(
                "the value is no Avro record with all fields that `source.avro` names",
            ),
            Self::AvroFieldType => f.write_str(
                "a field that `source.avro` names is neither text, nor an enum, nor a whole number",
            ),
            Self::AvroOperation => f.write_str(
                "the field that `source.avro.operation` names says none of create, update, upsert, \
                 insert, delete",
            ),
            Self::Xml => f.write_str("the value looks like XML; JSON was expected"),
            Self::NoObject(kind) => {
                write!(f, "the value is {kind}; an object was expected")
            }
            Self::NoKnownMember => f.write_str(
                "the value is an object with neither `resourceType` (fhir) nor \
                 `operationType` (hapi)",
            ),
            Self::HapiOperation => f.write_str(
                "the envelope's `operationType` is none of CREATE, UPDATE, DELETE, \
                 MANUALLY_TRIGGERED",
            ),
            Self::HapiPayload(kind) => {
                write!(f, "the envelope's `payload` is {kind}; JSON in a string was expected")
            }
            Self::OperationHeader => {
                f.write_str("the header `rowcast.operation` is neither `upsert` nor `delete`")
            }
            Self::OriginHeaders => f.write_str(
                "the headers `rowcast.origin.*` are incomplete or not numbers: topic, partition \
                 and offset are needed",
            ),
        }
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
}

impl fmt::Display for VersionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "has no version",
            Self::NoInteger => "has a version that is not a 64-bit integer",
            Self::NoInstant => "has a version that is not an instant with a time zone",
            Self::Negative => "has a negative version",
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
