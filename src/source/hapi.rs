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
use super::{Content, DecodeError, Seen, Statement};

/// What the envelope says.
pub(super) fn read(envelope: &Document, limits: DocumentLimits) -> Result<Statement, DecodeError> {
    let root = envelope.root();
    if !root.is_object() {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoObject(kind(root)) });
    }
    let message = root.get("payload").filter(JsonValueTrait::is_object).unwrap_or(root);
    let deleted = match message.get("operationType").and_then(|operation| operation.as_str()) {
        Some("CREATE" | "UPDATE" | "MANUALLY_TRIGGERED") => false,
        Some("DELETE") => true,
        // TRANSACTION is about a bundle as a whole; its entries come as messages of their own.
        _ => return Err(DecodeError::UnknownFormat { seen: Seen::HapiOperation }),
    };
    let document = document(message, limits)?;
    let stated = text(message, "payloadId").or_else(|| text(message, "resourceId"));
    let stated = stated.map(Reference::parse).unwrap_or_default();
    let resource = match &document {
        Some(document) => {
            let resource = identity::resource(
                document.text("resourceType"),
                document.text("id").or(stated.id),
                "document",
            )?;
            let other_type = stated.resource_type.is_some_and(|t| t != &*resource.resource_type);
            if other_type || stated.id.is_some_and(|id| id != &*resource.id) {
                return Err(DecodeError::KeyMismatch {
                    resource_type: resource.resource_type,
                    other: "the envelope",
                });
            }
            resource
        }
        None => identity::resource(stated.resource_type, stated.id, "envelope")?,
    };
    let version_id =
        message.get("payloadVersion").and_then(scalar).or(stated.version.map(str::to_owned));
    let content = match (deleted, document) {
        (true, last_state) => Content::Deleted { last_state },
        (false, Some(document)) => Content::Document(document),
        (false, None) => return Err(DecodeError::UpsertWithoutDocument),
    };
    Ok(Statement { resource, version_id, content })
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

fn text<'m>(message: &'m Node, member: &str) -> Option<&'m str> {
    message.get(member).and_then(Node::as_str)
}

/// A version written as text or as a number.
fn scalar(node: &Node) -> Option<String> {
    match node.as_str() {
        Some(text) => Some(text.to_owned()),
        None => node.as_raw_number().map(|number| number.as_str().to_owned()),
    }
}
