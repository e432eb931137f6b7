//! A record with the document in one of its fields.
//!
//! In: an Avro record and the names of the fields that say what happened to which resource. Out: what
//! it says, as an envelope of any other format would. Fields that are not named are passed over.

use super::read::{AvroFault, Reader};
use super::schema::{AvroSchema, Type};
use super::text::JsonText;
use crate::model::{Document, DocumentLimits, Record};
use crate::source::identity::{self, Reference, TypeFrom};
use crate::source::statement::{Content, Statement};
use crate::source::{DecodeError, Seen};

/// The fields of an Avro record that say what happened to which resource. Names of fields of the
/// outermost record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AvroFields {
    /// The resource, as a record or as JSON text (`string` or `bytes`). Null: it was deleted.
    pub document: String,
    /// What happened: `create`, `update`, `upsert`, `insert`, `delete` or their first letters.
    /// Without it, a document upserts and null deletes.
    pub operation: Option<String>,
    /// Says the resource's type.
    pub resource_type: Option<TypeFrom>,
    /// The resource's id, bare or as a reference (`Patient/123`).
    pub id: Option<String>,
    /// What orders the changes: a whole number or text that is one, or an instant.
    pub version: Option<String>,
}

/// What was found in the fields.
#[derive(Default)]
struct Found {
    document: Option<Document>,
    operation: Option<String>,
    resource_type: Option<String>,
    id: Option<String>,
    version: Option<String>,
}

impl AvroFields {
    /// What the record says.
    pub(super) fn read(
        &self,
        record: &Record,
        schema: &AvroSchema,
        body: &[u8],
        limits: DocumentLimits,
    ) -> Result<Statement, DecodeError> {
        let found = self.find(schema, body, limits)?;
        let deleted = match found.operation.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None if self.operation.is_none() => found.document.is_none(),
            // Debezium's `r` is a row read by its snapshot
            Some("create" | "update" | "upsert" | "insert" | "c" | "u" | "i" | "r") => false,
            Some("delete" | "d") => true,
            _ => return Err(DecodeError::UnknownFormat { seen: Seen::AvroOperation }),
        };
        let id = found.id.as_deref().map(Reference::parse).unwrap_or_default();
        let resource_type = match &self.resource_type {
            Some(TypeFrom::Constant(name)) => Some(&**name),
            Some(TypeFrom::Named(_)) => found.resource_type.as_deref(),
            None => None,
        };
        let stated = Reference { resource_type: resource_type.or(id.resource_type), ..id };
        let resource = match &found.document {
            None if self.id.is_none() => {
                identity::of_key(record).ok_or(DecodeError::TombstoneWithoutKey)?.resource()?
            }
            document => identity::agreed(document.as_ref(), &stated, "Avro record")?,
        };
        let version_id = found.version.clone().or(stated.version.map(str::to_owned));
        let content = match (deleted, found.document) {
            (true, last_state) => Content::Deleted { last_state },
            (false, Some(document)) => Content::Document(document),
            (false, None) => return Err(DecodeError::UpsertWithoutDocument),
        };
        let last_updated = found.version;
        Ok(Statement { version_id, last_updated, ..Statement::new(resource, content) })
    }

    /// The field with the type, if there is one.
    const fn type_field(&self) -> Option<&String> {
        match &self.resource_type {
            Some(TypeFrom::Named(name)) => Some(name),
            Some(TypeFrom::Constant(_)) | None => None,
        }
    }

    fn find(
        &self,
        schema: &AvroSchema,
        body: &[u8],
        limits: DocumentLimits,
    ) -> Result<Found, DecodeError> {
        let absent = DecodeError::UnknownFormat { seen: Seen::NoAvroField };
        let fields = schema.root_fields().ok_or_else(|| absent.clone())?;
        let has = |name: &str| fields.iter().any(|field| *field.name == *name);
        let named_type = self.type_field();
        let wanted = [self.operation.as_ref(), named_type, self.id.as_ref(), self.version.as_ref()];
        if !wanted.into_iter().flatten().chain([&self.document]).all(|name| has(name)) {
            return Err(absent);
        }
        let is = |wanted: Option<&String>, name: &str| wanted.is_some_and(|wanted| wanted == name);
        let mut found = Found::default();
        let mut reader = Reader::new(schema, body, limits);
        for field in fields {
            let name = &*field.name;
            if name == self.document {
                found.document = document(&mut reader, field.of, limits)?;
            } else if is(self.operation.as_ref(), name) {
                found.operation = scalar(&mut reader, field.of)?;
            } else if is(named_type, name) {
                found.resource_type = scalar(&mut reader, field.of)?;
            } else if is(self.id.as_ref(), name) {
                found.id = scalar(&mut reader, field.of)?;
            } else if is(self.version.as_ref(), name) {
                found.version = scalar(&mut reader, field.of)?;
            } else {
                reader.skip(field.of)?;
            }
        }
        reader.end()?;
        Ok(found)
    }
}

/// A document as JSON text or as a record.
fn document(
    reader: &mut Reader<'_>,
    of: super::schema::TypeId,
    limits: DocumentLimits,
) -> Result<Option<Document>, DecodeError> {
    let of = reader.branch(of)?;
    let parse = |text: &[u8]| {
        Document::parse(text, limits).map_err(|source| DecodeError::Document {
            what: "the document in the Avro record",
            source,
        })
    };
    if matches!(of, Type::Null) {
        return Ok(None);
    }
    if let Some(text) = reader.content(of)? {
        return parse(text).map(Some);
    }
    // names and punctuation come on top
    let mut text = JsonText::with_capacity(reader.left() * 2);
    reader.json_of(of, &mut text)?;
    parse(text.as_bytes()).map(Some)
}

/// Text, a symbol, a whole number or an instant as text; `None` if it is null.
fn scalar(
    reader: &mut Reader<'_>,
    of: super::schema::TypeId,
) -> Result<Option<String>, DecodeError> {
    match reader.branch(of)? {
        Type::Null => Ok(None),
        Type::Int | Type::Long => Ok(Some(reader.long()?.to_string())),
        Type::Enum(symbols) => {
            let symbol = usize::try_from(reader.long()?).ok();
            let symbol = symbol.and_then(|symbol| symbols.get(symbol));
            Ok(Some(symbol.ok_or(AvroFault::UnknownBranch)?.to_string()))
        }
        of @ Type::String => {
            let text = reader.content(of)?.unwrap_or_default();
            let text = std::str::from_utf8(text).map_err(|_| AvroFault::InvalidUtf8)?;
            Ok(Some(text.to_owned()))
        }
        of @ Type::Timestamp(..) => {
            let mut text = JsonText::default();
            reader.json_of(of, &mut text)?;
            let text = std::str::from_utf8(text.as_bytes()).map_err(|_| AvroFault::InvalidUtf8)?;
            Ok(Some(text.trim_matches('"').to_owned()))
        }
        _ => Err(DecodeError::UnknownFormat { seen: Seen::AvroFieldType }),
    }
}
