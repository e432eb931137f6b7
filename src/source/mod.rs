//! Records become changes.
//!
//! In: a record as the broker gave it. Out: the changes it says, or a refusal with its cause. One
//! file per message format. Pure; it never reads a server, never guesses a version.
//!
//! Whatever the format: a record with a null value is a delete of the resource that its key names,
//! and these headers win over what key and value say, so that whoever feeds or replays can state
//! what the record itself cannot:
//!
//! | header | value |
//! |---|---|
//! | `rowcast.version` | the change's version, decimal text |
//! | `rowcast.operation` | `upsert` or `delete` |
//! | `rowcast.origin.topic`, `.partition`, `.offset`, `.index` | where the change came from first |
//! | `rowcast.origin.timestamp` | when its first record was written, milliseconds since the epoch |

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{
    Change, Document, DocumentLimits, Offset, Operation, Origin, Record, ResourceKey, Version,
};

mod detect;
mod error;
mod fhir;
mod hapi;
mod headers;
mod identity;

pub use error::{DecodeError, Seen, VersionFault};
pub use headers::{
    HEADER_OPERATION, HEADER_ORIGIN_INDEX, HEADER_ORIGIN_OFFSET, HEADER_ORIGIN_PARTITION,
    HEADER_ORIGIN_TIMESTAMP, HEADER_ORIGIN_TOPIC, HEADER_VERSION,
};

use detect::Shape;
use headers::{Overrides, RequestedOperation};

/// Message format of the ingest topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Told from the shape of each record.
    #[default]
    Auto,
    /// The resource itself; the key, if there is one, is `Type/id`.
    Fhir,
    /// HAPI FHIR's and Smile CDR's `ResourceModifiedMessage` and `ResourceOperationMessage`,
    /// wrapped or bare.
    Hapi,
}

/// Where a change's version comes from. Larger must mean newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionFrom {
    /// `meta.versionId`, which must be an integer. FHIR calls it opaque; most servers count.
    #[default]
    VersionId,
    /// `meta.lastUpdated` as microseconds since the epoch, for servers whose `versionId` does not
    /// count.
    LastUpdated,
    /// The offset of the change's first record. Only for topics keyed by resource.
    Offset,
}

impl VersionFrom {
    /// The name in the topology file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VersionId => "version_id",
            Self::LastUpdated => "last_updated",
            Self::Offset => "offset",
        }
    }
}

/// How to read records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Message format.
    pub format: Format,
    /// Where versions come from.
    pub version_from: VersionFrom,
    /// Bounds of a document, checked before it is parsed.
    pub limits: DocumentLimits,
}

/// Reads records. Stateless: the same record always says the same changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decoder {
    settings: DecodeSettings,
}

impl Decoder {
    /// A decoder with these settings.
    #[must_use]
    pub const fn new(settings: DecodeSettings) -> Self {
        Self { settings }
    }

    /// The changes of a record; the formats known so far have exactly one.
    ///
    /// # Errors
    /// [`DecodeError`]; the same record will always be refused again.
    pub fn decode(&self, record: &Record) -> Result<Vec<Change>, DecodeError> {
        let overrides = Overrides::read(record)?;
        let statement = self.statement(record, overrides.operation)?;
        if let Some(key) = identity::of_key(record)
            && key.contradicts(&statement.resource)
        {
            let resource_type = statement.resource.resource_type;
            return Err(DecodeError::KeyMismatch { resource_type, other: "the record's key" });
        }
        let origin = overrides.origin.unwrap_or_else(|| Origin {
            source: record.source.clone(),
            offset: record.offset,
            index: 0,
        });
        let version = match overrides.version {
            Some(version) => Ok(version),
            None => self.version(&statement, origin.offset),
        };
        let timestamp = overrides.timestamp.or(record.timestamp);
        let resource = statement.resource;
        let missing_version = |fault| DecodeError::MissingVersion {
            resource_type: resource.resource_type.clone(),
            version_from: self.settings.version_from,
            fault,
        };
        let operation = match statement.content {
            Content::Document(document) if fhir::is_subsetted(&document) => {
                return Err(DecodeError::Subsetted { resource_type: resource.resource_type });
            }
            Content::Document(document) => {
                Operation::Upsert { version: version.map_err(missing_version)?, document }
            }
            Content::Deleted { .. } => Operation::Delete {
                version: match version {
                    Ok(version) => Some(version),
                    Err(VersionFault::Absent) => None,
                    Err(fault) => return Err(missing_version(fault)),
                },
            },
        };
        Ok(vec![Change { resource, operation, origin, timestamp }])
    }

    /// What the record says, the headers' operation included.
    fn statement(
        &self,
        record: &Record,
        operation: Option<RequestedOperation>,
    ) -> Result<Statement, DecodeError> {
        match (&record.value, operation) {
            (None, Some(RequestedOperation::Upsert)) => Err(DecodeError::UpsertWithoutDocument),
            (None, _) => {
                let key = identity::of_key(record).ok_or(DecodeError::TombstoneWithoutKey)?;
                Ok(Statement::deleted(key.resource()?))
            }
            (Some(value), Some(RequestedOperation::Delete)) => {
                // The value is read only if the key does not name the resource. Its version is
                // not used: it is the last state's, not the one that the deletion created.
                let resource = match identity::of_key(record) {
                    Some(key) if key.has_known_type() => key.resource()?,
                    _ => self.read(value)?.resource,
                };
                Ok(Statement::deleted(resource))
            }
            (Some(value), Some(RequestedOperation::Upsert)) => {
                let statement = self.read(value)?;
                match statement.content {
                    Content::Document(_) => Ok(statement),
                    Content::Deleted { .. } => Err(DecodeError::UpsertWithoutDocument),
                }
            }
            (Some(value), None) => self.read(value),
        }
    }

    /// What the value says, by its format.
    fn read(&self, value: &[u8]) -> Result<Statement, DecodeError> {
        if self.settings.format == Format::Auto
            && let Some(seen) = detect::foreign_encoding(value)
        {
            return Err(DecodeError::UnknownFormat { seen });
        }
        let document = Document::parse(value, self.settings.limits)
            .map_err(|source| DecodeError::Document { what: "the value", source })?;
        let shape = match self.settings.format {
            Format::Auto => detect::shape(&document)?,
            Format::Fhir => Shape::Fhir,
            Format::Hapi => Shape::Hapi,
        };
        match shape {
            Shape::Fhir => fhir::read(document),
            Shape::Hapi => hapi::read(&document, self.settings.limits),
        }
    }

    /// The change's version, from where the settings say.
    fn version(&self, statement: &Statement, offset: Offset) -> Result<Version, VersionFault> {
        let document = match &statement.content {
            Content::Document(document) => Some(document),
            Content::Deleted { last_state } => last_state.as_ref(),
        };
        match self.settings.version_from {
            VersionFrom::Offset => Version::new(offset.0).ok_or(VersionFault::Negative),
            VersionFrom::VersionId => match &statement.version_id {
                Some(text) => headers::version(text),
                None => document.map_or(Err(VersionFault::Absent), fhir::version_id),
            },
            VersionFrom::LastUpdated => {
                document.map_or(Err(VersionFault::Absent), fhir::last_updated)
            }
        }
    }
}

/// What a record's value says, before version and origin are settled.
struct Statement {
    resource: ResourceKey,
    /// The version id as the envelope states it; the document has its own.
    version_id: Option<String>,
    content: Content,
}

impl Statement {
    /// A delete of which nothing but the resource is known.
    const fn deleted(resource: ResourceKey) -> Self {
        Self { resource, version_id: None, content: Content::Deleted { last_state: None } }
    }
}

enum Content {
    /// Upserted: the whole resource.
    Document(Document),
    /// Deleted; some envelopes carry the document all the same.
    Deleted { last_state: Option<Document> },
}
