//! Records become changes.
//!
//! In: a record as the broker gave it. Out: the changes it says, or a refusal with its cause. One
//! file per message format. Pure; it never reads a server, never guesses a version or a format.
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
//!
//! A value that holds several changes (a bundle) is not refused as a whole: each of its changes
//! comes out, or its own refusal. They share one origin, with increasing index.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{
    Change, Document, DocumentLimits, Offset, Operation, Origin, Record, ResourceKey,
    TopicSelector, Version,
};

mod avro;
mod bundle;
mod cloud_event;
mod debezium;
mod detect;
mod error;
mod fhir;
mod format;
mod hapi;
mod head;
mod headers;
mod history;
mod identity;
mod json;
mod linuxforhealth;
mod notification;
mod seen;
mod statement;

pub use avro::{AvroFault, AvroFields, AvroSchema, FileFault, SchemaFault, SchemaId, Schemas};
pub use bundle::version_of_etag;
pub use debezium::DebeziumColumns;
pub use error::{DecodeError, VersionFault};
pub use format::{Format, VersionFrom};
pub use head::Head;
pub use headers::{
    HEADER_OPERATION, HEADER_ORIGIN_INDEX, HEADER_ORIGIN_OFFSET, HEADER_ORIGIN_PARTITION,
    HEADER_ORIGIN_TIMESTAMP, HEADER_ORIGIN_TOPIC, HEADER_VERSION,
};
pub use identity::{TypeFrom, named_by_url, resource_key};
pub use seen::Seen;

use avro::Opened;
use cloud_event::Data;
use detect::Shape;
use headers::{Overrides, RequestedOperation};
use identity::Key;
use statement::{Content, Statement, Statements};

/// How to read records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Message format.
    pub format: Format,
    /// Where versions come from.
    pub version_from: VersionFrom,
    /// Bounds of a document, checked before it is parsed.
    pub limits: DocumentLimits,
    /// Which columns of Debezium's rows say what; absent: its events are refused.
    pub debezium: Option<Arc<DebeziumColumns>>,
    /// Where an Avro record has its document; absent: it is the document.
    pub avro: Option<Arc<AvroFields>>,
}

/// Reads records. Stateless: the same record always says the same changes.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    settings: DecodeSettings,
    topics: Vec<(TopicSelector, DecodeSettings)>,
    schemas: Option<Arc<Schemas>>,
}

impl Decoder {
    /// A decoder with these settings, whatever the topic.
    #[must_use]
    pub const fn new(settings: DecodeSettings) -> Self {
        Self { settings, topics: Vec::new(), schemas: None }
    }

    /// The same with other settings for some topics; of several that fit the first counts.
    #[must_use]
    pub fn with_topics(self, topics: Vec<(TopicSelector, DecodeSettings)>) -> Self {
        Self { topics, ..self }
    }

    /// The same, which reads Avro too, from whatever topic.
    #[must_use]
    pub fn with_schemas(self, schemas: Arc<Schemas>) -> Self {
        Self { schemas: Some(schemas), ..self }
    }

    /// The changes of a record, if none of them is refused: none of a heartbeat, one of most
    /// formats, several of a bundle.
    ///
    /// # Errors
    /// [`DecodeError`] of the first that is refused; the same record will always be refused again.
    pub fn decode(&self, record: &Record) -> Result<Vec<Change>, DecodeError> {
        let mut changes = Vec::new();
        let mut refused = None;
        self.decode_each(record, |change| match change {
            Ok(change) => changes.push(change),
            Err(error) => {
                refused.get_or_insert(error);
            }
        });
        refused.map_or(Ok(changes), Err)
    }

    /// Hands over each change of a record, or why it is refused, in their order.
    pub fn decode_each(&self, record: &Record, mut each: impl FnMut(Result<Change, DecodeError>)) {
        let settings = self.settings_of(record);
        let reading = match Reading::of(record, settings, self.schemas.as_deref()) {
            Ok(reading) => reading,
            Err(error) => return each(Err(error)),
        };
        match reading.statements() {
            Err(error) => each(Err(error)),
            Ok(Statements::Nothing) => {}
            Ok(Statements::One(statement)) => each(reading.keyed_change(statement, 0)),
            Ok(Statements::Row(statements)) => {
                for (statement, index) in statements.into_iter().zip(0..) {
                    each(reading.keyed_change(statement, index));
                }
            }
            Ok(Statements::Bundle(statements)) => {
                let repeated = reading.repeated(&statements);
                // a bundle may have a key of its own
                let of_the_bundle = reading.key.as_ref().is_some_and(Key::is_of_a_bundle);
                for (statement, index) in statements.into_iter().zip(0..) {
                    each(statement.and_then(|statement| {
                        if repeated.contains(&statement.resource) {
                            let resource = statement.resource;
                            return Err(reading.no_version(resource, VersionFault::Shared));
                        }
                        if of_the_bundle {
                            return reading.change(statement, index);
                        }
                        reading.keyed_change(statement, index)
                    }));
                }
            }
        }
    }

    fn settings_of(&self, record: &Record) -> &DecodeSettings {
        let mut topics = self.topics.iter();
        let own = topics.find(|(topic, _)| topic.selects(&record.source.topic));
        own.map_or(&self.settings, |(_, settings)| settings)
    }
}

/// A record being read.
struct Reading<'r> {
    record: &'r Record,
    key: Option<Key<'r>>,
    overrides: Overrides,
    settings: &'r DecodeSettings,
    schemas: Option<&'r Schemas>,
}

impl<'r> Reading<'r> {
    fn of(
        record: &'r Record,
        settings: &'r DecodeSettings,
        schemas: Option<&'r Schemas>,
    ) -> Result<Self, DecodeError> {
        let overrides = Overrides::read(record)?;
        Ok(Self { record, key: identity::of_key(record), overrides, settings, schemas })
    }

    /// What the record says, the headers' operation included.
    fn statements(&self) -> Result<Statements, DecodeError> {
        let operation = self.overrides.operation;
        match (&self.record.value, operation) {
            (None, Some(RequestedOperation::Upsert)) => Err(DecodeError::UpsertWithoutDocument),
            (None, _) => self.tombstone(),
            (Some(_), Some(RequestedOperation::Delete))
                if self.key.as_ref().is_some_and(Key::has_known_type) =>
            {
                self.tombstone()
            }
            (Some(value), _) => {
                let said = self.read(value)?;
                let is_one = match &said {
                    Statements::One(_) | Statements::Nothing => true,
                    Statements::Bundle(statements) => statements.len() <= 1,
                    Statements::Row(statements) => statements.len() <= 1,
                };
                if !is_one && (operation.is_some() || self.overrides.version.is_some()) {
                    return Err(DecodeError::UnknownFormat { seen: Seen::HeadersOfSeveral });
                }
                Ok(said)
            }
        }
    }

    /// A null value deletes what the key names. What is asked to be deleted by a header, too: the
    /// value's version is not used, it is the last state's.
    fn tombstone(&self) -> Result<Statements, DecodeError> {
        if let (Some(key), Some(columns)) = (&self.record.key, &self.settings.debezium)
            && matches!(self.settings.format, Format::Auto | Format::Debezium | Format::Avro)
            && debezium::is_row_key(key)
        {
            return Ok(debezium::tombstone(key, columns, self.settings.limits));
        }
        let key = self.key.as_ref().ok_or(DecodeError::TombstoneWithoutKey)?;
        Ok(Statements::One(Statement::deleted(key.resource()?)))
    }

    /// What a value says, by its format.
    fn read(&self, value: &[u8]) -> Result<Statements, DecodeError> {
        let is_event = cloud_event::is_structured(self.record)?;
        let document = match self.open_avro(value)? {
            Some(Opened::Statement(statement)) => return Ok(Statements::One(statement)),
            Some(Opened::Document(document)) => document,
            None => self.parse(value, "the value")?,
        };
        if is_event {
            return self.event(&document);
        }
        match self.shape(&document)? {
            Shape::CloudEvent => self.event(&document),
            shape => self.read_as(shape, document),
        }
    }

    /// A value that is framed as Avro, whatever the format: no JSON begins so.
    fn open_avro(&self, value: &[u8]) -> Result<Option<Opened>, DecodeError> {
        let DecodeSettings { format, limits, avro: fields, .. } = self.settings;
        let opened = match self.schemas {
            Some(schemas) => avro::open(self.record, value, schemas, fields.as_deref(), *limits)?,
            None => None,
        };
        if opened.is_none() && *format == Format::Avro {
            return Err(DecodeError::UnknownFormat { seen: Seen::NoAvro });
        }
        Ok(opened)
    }

    /// What a structured CloudEvent's data says.
    fn event(&self, event: &Document) -> Result<Statements, DecodeError> {
        let document = match cloud_event::data(event)? {
            Data::Document(document) => document,
            Data::Bytes(bytes) => self.parse(&bytes, "the CloudEvent's data")?,
        };
        match self.shape(&document)? {
            Shape::CloudEvent => Err(DecodeError::UnknownFormat { seen: Seen::CloudEventWithin }),
            shape => self.read_as(shape, document),
        }
    }

    fn parse(&self, bytes: &[u8], what: &'static str) -> Result<Document, DecodeError> {
        if self.settings.format == Format::Auto
            && let Some(seen) = detect::foreign_encoding(bytes)
        {
            return Err(DecodeError::UnknownFormat { seen });
        }
        Document::parse(bytes, self.settings.limits)
            .map_err(|source| DecodeError::Document { what, source })
    }

    fn shape(&self, document: &Document) -> Result<Shape, DecodeError> {
        Ok(match self.settings.format {
            Format::Auto | Format::Avro => detect::shape(document, self.key.as_ref())?,
            Format::Fhir => Shape::Fhir,
            Format::Hapi => Shape::Hapi,
            Format::LinuxForHealth => Shape::LinuxForHealth,
            Format::Notification => Shape::Notification,
            Format::History => Shape::History,
            Format::Debezium => Shape::Debezium,
        })
    }

    fn read_as(&self, shape: Shape, document: Document) -> Result<Statements, DecodeError> {
        let limits = self.settings.limits;
        match shape {
            Shape::Fhir => fhir::read(document).map(Statements::One),
            Shape::Hapi => hapi::read(&document, limits).map(Statements::One),
            Shape::LinuxForHealth => linuxforhealth::read(&document).map(Statements::One),
            Shape::Notification => notification::read(&document),
            Shape::History => history::read(&document),
            Shape::Debezium => {
                let Some(columns) = &self.settings.debezium else {
                    return Err(DecodeError::UnknownFormat { seen: Seen::DebeziumUnset });
                };
                debezium::read(&document, self.record.key.as_deref(), columns, limits)
            }
            Shape::CloudEvent => self.event(&document),
        }
    }

    /// A statement as a change, unless the record's key names another resource.
    fn keyed_change(&self, statement: Statement, index: u32) -> Result<Change, DecodeError> {
        if let Some(key) = &self.key
            && key.contradicts(&statement.resource)
        {
            let resource_type = statement.resource.resource_type;
            return Err(DecodeError::KeyMismatch { resource_type, other: "record's key" });
        }
        self.change(statement, index)
    }

    /// A statement with its origin and version, once the headers were asked. `index`: its place
    /// in the record.
    fn change(&self, statement: Statement, index: u32) -> Result<Change, DecodeError> {
        let Self { record, overrides, .. } = self;
        let mut origin = overrides.origin.clone().unwrap_or_else(|| Origin {
            source: record.source.clone(),
            offset: record.offset,
            index: 0,
        });
        origin.index = origin.index.saturating_add(index);
        let deleted = overrides.operation == Some(RequestedOperation::Delete);
        let version = match overrides.version {
            Some(version) => Ok(version),
            None if deleted && self.settings.version_from != VersionFrom::Offset => {
                Err(VersionFault::Absent)
            }
            None => self.version(&statement, origin.offset),
        };
        let timestamp = overrides.timestamp.or(record.timestamp);
        let Statement { resource, content, needs_version, .. } = statement;
        let delete = |version| match version {
            Ok(version) => Ok(Some(version)),
            Err(VersionFault::Absent) if deleted || !needs_version => Ok(None),
            Err(fault) => Err(self.no_version(resource.clone(), fault)),
        };
        let operation = match content {
            _ if deleted => Operation::Delete { version: delete(version)? },
            Content::Hint(told_by) => return Err(DecodeError::Hint { resource, told_by }),
            Content::Document(document) if fhir::is_subsetted(&document) => {
                return Err(DecodeError::Subsetted { resource });
            }
            Content::Document(document) => Operation::Upsert {
                version: version.map_err(|fault| self.no_version(resource.clone(), fault))?,
                document,
            },
            Content::Deleted { .. } if overrides.operation.is_some() => {
                return Err(DecodeError::UpsertWithoutDocument);
            }
            Content::Deleted { .. } => Operation::Delete { version: delete(version)? },
        };
        Ok(Change { resource, operation, origin, timestamp })
    }

    /// The change's version, from where the settings say.
    fn version(&self, statement: &Statement, offset: Offset) -> Result<Version, VersionFault> {
        let document = match &statement.content {
            Content::Document(document) => Some(document),
            Content::Deleted { last_state } => last_state.as_ref(),
            Content::Hint(_) => None,
        };
        match self.settings.version_from {
            VersionFrom::Offset => Version::new(offset.0).ok_or(VersionFault::Negative),
            VersionFrom::VersionId => match &statement.version_id {
                Some(text) => headers::version(text),
                None => document.map_or(Err(VersionFault::Absent), fhir::version_id),
            },
            VersionFrom::LastUpdated => match &statement.last_updated {
                Some(text) => fhir::instant(text),
                None => document.map_or(Err(VersionFault::Absent), fhir::last_updated),
            },
        }
    }

    fn no_version(&self, resource: ResourceKey, fault: VersionFault) -> DecodeError {
        DecodeError::MissingVersion {
            resource_type: resource.resource_type,
            version_from: self.settings.version_from,
            fault,
        }
    }

    /// The resources that a bundle changes more than once although its changes have no versions
    /// of their own.
    fn repeated(&self, statements: &[Result<Statement, DecodeError>]) -> BTreeSet<ResourceKey> {
        if self.settings.version_from != VersionFrom::Offset {
            return BTreeSet::new();
        }
        let mut known = BTreeSet::new();
        let resources = statements.iter().flatten().map(|statement| &statement.resource);
        resources.filter(|resource| !known.insert(*resource)).cloned().collect()
    }
}
