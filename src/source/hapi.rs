//! HAPI FHIR's and Smile CDR's broker messages.
//!
//! In: `ResourceModifiedMessage` or `ResourceOperationMessage`, wrapped in
//! `{"headers", "payload"}` or bare. Out: what the envelope says. The resource itself is JSON in
//! a string; a delete may come without it. Older servers write `resourceId` instead of
//! `payloadId`.

use sonic_rs::JsonValueTrait;

use crate::model::{Document, DocumentLimits, Node};

use super::detect::kind;
use super::identity::{self, Reference};
use super::json::{scalar, text};
use super::statement::{Content, Statement};
use super::{DecodeError, Seen};

/// What the envelope says.
pub(super) fn read(envelope: &Document, limits: DocumentLimits) -> Result<Statement, DecodeError> {
    let root = envelope.root();
    if !root.is_object() {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoObject(kind(root)) });
    }
    let message = root.get("payload").filter(JsonValueTrait::is_object).unwrap_or(root);
    let deleted = match text(message, "operationType") {
        Some("CREATE" | "UPDATE" | "MANUALLY_TRIGGERED") => false,
        Some("DELETE") => true,
        // TRANSACTION is about a bundle as a whole; its entries come as messages of their own.
        _ => return Err(DecodeError::UnknownFormat { seen: Seen::HapiOperation }),
    };
    let document = document(message, limits)?;
    let stated = text(message, "payloadId").or_else(|| text(message, "resourceId"));
    let stated = stated.map(Reference::parse).unwrap_or_default();
    let resource = identity::agreed(document.as_ref(), &stated, "envelope")?;
    let version_id =
        message.get("payloadVersion").and_then(scalar).or(stated.version.map(str::to_owned));
    let content = match (deleted, document) {
        (true, last_state) => Content::Deleted { last_state },
        (false, Some(document)) => Content::Document(document),
        (false, None) => Content::Hint("the envelope"),
    };
    Ok(Statement { version_id, ..Statement::new(resource, content) })
}

/// The resource in the message's `payload`, if there is one.
fn document(message: &Node, limits: DocumentLimits) -> Result<Option<Document>, DecodeError> {
    let Some(payload) = message.get("payload").filter(|payload| !payload.is_null()) else {
        return Ok(None);
    };
    let unreadable = |kind| DecodeError::UnknownFormat { seen: Seen::HapiPayload(kind) };
    let text = payload.as_str().ok_or_else(|| unreadable(kind(payload)))?;
    if text.starts_with('<') {
        return Err(unreadable("XML"));
    }
    let document = Document::parse(text.as_bytes(), limits)
        .map_err(|source| DecodeError::Document { what: "the envelope's `payload`", source })?;
    if document.root().is_object() {
        Ok(Some(document))
    } else {
        Err(unreadable(kind(document.root())))
    }
}
