//! FHIR history bundles: what `_history` answers, of a resource, a type or a server.
//!
//! In: a bundle of type `history`. Out: a statement per entry. A delete's version is in its
//! `response.etag`; one without is refused, because a history stands newest first and the place
//! of an entry therefore says nothing about what follows it.

use crate::model::Document;

use super::bundle::{self, Unmarked};
use super::json::text;
use super::statement::{Statement, Statements};
use super::{DecodeError, Seen};

/// What the entries say.
pub(super) fn read(document: &Document) -> Result<Statements, DecodeError> {
    let root = document.root();
    if text(root, "resourceType") != Some("Bundle") || text(root, "type") != Some("history") {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoBundle("history") });
    }
    let entries = bundle::entries(root)?.iter();
    let said =
        entries.filter_map(|entry| bundle::entry(entry, Unmarked::State, |_| true).transpose());
    let said = said.map(|said| said.map(|said| Statement { needs_version: true, ..said }));
    Ok(Statements::Bundle(said.collect()))
}
