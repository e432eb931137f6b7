//! Which format a value has.
//!
//! In: a value's first byte, then its parsed form. Out: a shape, or what was seen instead. It
//! looks at structure only.

use sonic_rs::{JsonType, JsonValueTrait as _};

use crate::model::{Document, Node};

use super::{DecodeError, Seen};

/// The shapes that the formats have.
pub(super) enum Shape {
    Fhir,
    Hapi,
}

/// An encoding that is recognisably not JSON: told apart here because "not valid JSON" would
/// send the operator looking for a broken producer instead of a setting.
pub(super) fn foreign_encoding(value: &[u8]) -> Option<Seen> {
    match value.first()? {
        0 => Some(Seen::SchemaRegistryFrame),
        b'<' => Some(Seen::Xml),
        _ => None,
    }
}

/// The shape of a document.
pub(super) fn shape(document: &Document) -> Result<Shape, DecodeError> {
    let root = document.root();
    if !root.is_object() {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoObject(kind(root)) });
    }
    if root.get("resourceType").is_some() {
        return Ok(Shape::Fhir);
    }
    let operation = root.get("operationType").or_else(|| root.get("payload")?.get("operationType"));
    match operation {
        Some(_) => Ok(Shape::Hapi),
        None => Err(DecodeError::UnknownFormat { seen: Seen::NoKnownMember }),
    }
}

/// The kind of a JSON node, with its article.
pub(super) fn kind(node: &Node) -> &'static str {
    match node.get_type() {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Object => "an object",
        JsonType::Array => "an array",
    }
}
