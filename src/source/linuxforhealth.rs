//! LinuxForHealth's (IBM's) `FHIRNotificationEvent`.
//!
//! In: `{"operationType", "location", "resourceId", "lastUpdated", "resource"}`. Out: what it
//! says. Type and version stand in `location` only. A delete has no resource; one over the
//! server's size limit is a `SUBSETTED` stub or absent, and is never written.

use sonic_rs::JsonValueTrait as _;

use crate::model::Document;

use super::detect::kind;
use super::identity::{self, Reference};
use super::json::{present, text};
use super::statement::{Content, Statement};
use super::{DecodeError, Seen};

/// What the event says.
pub(super) fn read(event: &Document) -> Result<Statement, DecodeError> {
    let root = event.root();
    if !root.is_object() {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoObject(kind(root)) });
    }
    let deleted = match text(root, "operationType") {
        Some("create" | "update" | "patch") => false,
        Some("delete") => true,
        _ => return Err(DecodeError::UnknownFormat { seen: Seen::LinuxForHealthOperation }),
    };
    let document = match present(root, "resource") {
        Some(resource) if resource.is_object() => Some(Document::from(resource.clone())),
        Some(other) => {
            let seen = Seen::LinuxForHealthResource(kind(other));
            return Err(DecodeError::UnknownFormat { seen });
        }
        None => None,
    };
    let location = text(root, "location").map(Reference::parse).unwrap_or_default();
    let resource = identity::agreed(document.as_ref(), &location, "event")?;
    if text(root, "resourceId").is_some_and(|id| id != &*resource.id) {
        return Err(DecodeError::KeyMismatch {
            resource_type: resource.resource_type,
            other: "`resourceId`",
        });
    }
    let version_id = location.version.map(str::to_owned);
    // of an upsert the document's own instant counts: the event's is that of the notification
    let (last_updated, content) = match (deleted, document) {
        (true, _) => {
            (text(root, "lastUpdated").map(str::to_owned), Content::Deleted { last_state: None })
        }
        (false, Some(document)) => (None, Content::Document(document)),
        (false, None) => (None, Content::Hint("the event")),
    };
    Ok(Statement { version_id, last_updated, ..Statement::new(resource, content) })
}
