//! What a record's value says, before version, key and origin are settled.
//!
//! In: what the formats read. Out: the parts that every format ends in. It judges nothing.

use crate::model::{Document, ResourceKey};

use super::DecodeError;

/// What a value says.
pub(super) enum Statements {
    /// The value is about one resource.
    One(Statement),
    /// The value is a bundle: whatever its entries say, in their order. Each stands alone, and
    /// those that are no changes are absent.
    Bundle(Vec<Result<Statement, DecodeError>>),
    /// The value is about a row that may have changed its key.
    Row(Vec<Statement>),
    /// The value is no change: a heartbeat, a row's own tombstone.
    Nothing,
}

/// What is said of one resource.
pub(super) struct Statement {
    pub(super) resource: ResourceKey,
    /// The version id as the envelope states it; it counts before the document's own.
    pub(super) version_id: Option<String>,
    /// The instant of the change as the envelope states it; it counts before the document's own.
    pub(super) last_updated: Option<String>,
    /// Whether a delete without version is refused: its place says nothing about what it follows.
    pub(super) needs_version: bool,
    pub(super) content: Content,
}

impl Statement {
    /// Only the resource and what became of it is known.
    pub(super) const fn new(resource: ResourceKey, content: Content) -> Self {
        Self { resource, version_id: None, last_updated: None, needs_version: false, content }
    }

    /// A delete of which nothing but the resource is known.
    pub(super) const fn deleted(resource: ResourceKey) -> Self {
        Self::new(resource, Content::Deleted { last_state: None })
    }
}

/// What became of a resource.
pub(super) enum Content {
    /// Upserted: the whole resource.
    Document(Document),
    /// Deleted; some envelopes carry the document all the same.
    Deleted { last_state: Option<Document> },
    /// Changed, and what it is now was left out. Who left it out, for the refusal.
    Hint(&'static str),
}
