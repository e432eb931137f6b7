//! How a value says which schema wrote it.
//!
//! In: a record. Out: the schema's name and the bytes behind it, or that the value is framed in none
//! of the three ways. No JSON text begins with one of the frames' first bytes.

use super::SchemaId;
use crate::model::Record;
use crate::source::{DecodeError, Seen};

/// Confluent's header with the schema of a value: a magic byte and the schema's id or GUID.
const HEADER: &str = "__value_schema_id";

/// Confluent's magic byte before a number of four bytes, big-endian.
const NUMBER: u8 = 0;

/// Confluent's magic byte before a GUID of sixteen bytes.
const GUID: u8 = 1;

/// Single-object encoding's marker, before a fingerprint of eight bytes, little-endian.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// A value that names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'r> {
    pub(super) schema: NamedSchema,
    /// The value as the schema says it.
    pub(super) body: &'r [u8],
}

/// What names a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedSchema {
    Registered(SchemaId),
    Fingerprint([u8; 8]),
}

impl Frame<'_> {
    /// The schema, if a registry has it.
    pub(super) const fn registered(&self) -> Option<SchemaId> {
        match self.schema {
            NamedSchema::Registered(id) => Some(id),
            NamedSchema::Fingerprint(_) => None,
        }
    }
}

/// The frame of a record's value; `None` if it has none.
pub(super) fn frame<'r>(
    record: &Record,
    value: &'r [u8],
) -> Result<Option<Frame<'r>>, DecodeError> {
    let broken = DecodeError::UnknownFormat { seen: Seen::SchemaFrame };
    let of = |id, body| Some(Frame { schema: NamedSchema::Registered(id), body });
    // the last header of a name counts, as everywhere
    if let Some(header) = record.headers.iter().rev().find(|header| header.name == HEADER) {
        let id = match header.value.as_deref() {
            Some([NUMBER, number @ ..]) => {
                number.try_into().ok().map(|bytes| SchemaId::Number(u32::from_be_bytes(bytes)))
            }
            Some([GUID, guid @ ..]) => guid.try_into().ok().map(SchemaId::Guid),
            _ => None,
        };
        return id.map(|id| of(id, value)).ok_or(broken);
    }
    if let Some((&[NUMBER], rest)) = value.split_first_chunk() {
        let (number, body) = rest.split_first_chunk().ok_or(broken)?;
        return Ok(of(SchemaId::Number(u32::from_be_bytes(*number)), body));
    }
    if let Some((&SINGLE_OBJECT, rest)) = value.split_first_chunk() {
        let (fingerprint, body) = rest.split_first_chunk().ok_or(broken)?;
        return Ok(Some(Frame { schema: NamedSchema::Fingerprint(*fingerprint), body }));
    }
    Ok(None)
}
