//! Avro: a value with its schema becomes what the formats read.
//!
//! In: a record whose value names the schema that wrote it, by Confluent's wire format (an id before
//! the value, or a GUID in a header) or by Avro's single-object encoding. Out: the document that the
//! formats then tell apart as they do JSON, or what the fields named in the settings say. It fetches
//! nothing: schemas are brought before ([`Schemas`]).

use crate::model::{Document, DocumentLimits, Record};

use super::statement::Statement;
use super::{DecodeError, Seen};

mod fields;
mod frame;
mod read;
mod schema;
mod schemas;
mod text;

pub use fields::AvroFields;
pub use read::AvroFault;
pub use schema::{AvroSchema, FileFault, SchemaFault};
pub use schemas::{SchemaId, Schemas};

use frame::{NamedSchema, frame};
use read::Reader;
use schema::Type;
use schemas::Absent;
use text::JsonText;

/// What an Avro value turned out to be.
pub(super) enum Opened {
    /// A document in one of the shapes that JSON has.
    Document(Document),
    /// A record with the document in a field.
    Statement(Statement),
}

/// Reads a value if it is Avro; `None` if it is not framed as Avro is. `fields`: where the document
/// stands in a record; without, the record is the document.
pub(super) fn open(
    record: &Record,
    value: &[u8],
    schemas: &Schemas,
    fields: Option<&AvroFields>,
    limits: DocumentLimits,
) -> Result<Option<Opened>, DecodeError> {
    let Some(frame) = frame(record, value)? else { return Ok(None) };
    if value.len() > limits.bytes {
        let limit = limits.bytes;
        return Err(AvroFault::TooLarge { limit }.into());
    }
    let schema = match frame.schema {
        NamedSchema::Registered(id) => schemas.registered(id),
        NamedSchema::Fingerprint(name) => schemas.of_file(name),
    };
    let schema = schema.map_err(|absent| absent.seen(frame.schema))?;
    let opened = match fields {
        Some(fields) => Opened::Statement(fields.read(record, &schema, frame.body, limits)?),
        None => Opened::Document(document(&schema, frame.body, limits)?),
    };
    Ok(Some(opened))
}

/// The value as a document: JSON text as it is, anything else as the JSON that its schema means.
fn document(
    schema: &AvroSchema,
    body: &[u8],
    limits: DocumentLimits,
) -> Result<Document, DecodeError> {
    let mut reader = Reader::new(schema, body, limits);
    let root = reader.branch(schema.root())?;
    let converted;
    let text = match root {
        Type::String | Type::Bytes => reader.content(root)?.unwrap_or_default(),
        _ => {
            // names and punctuation come on top
            let mut json = JsonText::with_capacity(body.len() * 2);
            reader.json_of(root, &mut json)?;
            converted = json;
            converted.as_bytes()
        }
    };
    reader.end()?;
    Document::parse(text, limits)
        .map_err(|source| DecodeError::Document { what: "the Avro value", source })
}

impl Absent {
    const fn seen(self, named: NamedSchema) -> DecodeError {
        let seen = match (self, named) {
            (Self::NoRegistry, _) => Seen::NoRegistry,
            (Self::Unknown, NamedSchema::Registered(_)) => Seen::UnknownSchema,
            (Self::Unknown, NamedSchema::Fingerprint(_)) => Seen::UnknownFingerprint,
            (Self::Unusable(fault), _) => Seen::UnusableSchema(fault),
        };
        DecodeError::UnknownFormat { seen }
    }
}

impl From<AvroFault> for DecodeError {
    fn from(source: AvroFault) -> Self {
        Self::Avro { source }
    }
}
