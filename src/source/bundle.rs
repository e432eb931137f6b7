//! Entries of bundles, as history and notifications have them.
//!
//! In: an entry with `fullUrl`, `resource`, `request`, `response`. Out: what it says of its
//! resource, or that it says no change. It never takes context for a change.

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use crate::model::{Document, Node, ResourceKey};

use super::identity::{self, Reference};
use super::json::{present, text};
use super::statement::{Content, Statement};
use super::{DecodeError, Seen};

/// What an entry is if it says nothing of its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmarked {
    /// A state that its resource had: entries of a history.
    State,
    /// A change if it is what the notification is about, else context.
    Context,
}

/// What an entry does to its resource.
enum Method {
    Read,
    Write,
    Delete,
    Unmarked,
}

/// Most entries of a bundle that is read: servers page by the hundred or thousand, and each entry
/// of a record may be refused for itself.
pub(super) const MOST_ENTRIES: usize = 10_000;

/// The entries of a bundle.
pub(super) fn entries(bundle: &Node) -> Result<&[Node], DecodeError> {
    let entries = elements(bundle, "entry");
    if entries.len() > MOST_ENTRIES {
        return Err(DecodeError::TooManyEntries { limit: MOST_ENTRIES });
    }
    Ok(entries)
}

/// The elements of a member that is an array.
pub(super) fn elements<'n>(node: &'n Node, member: &str) -> &'n [Node] {
    let elements = node.get(member).and_then(|elements| elements.as_array());
    elements.map_or(&[], |elements| elements.as_slice())
}

/// What an entry says; `None` if that is no change. `is_subject`: whether the bundle is known to
/// be about this resource.
pub(super) fn entry(
    entry: &Node,
    unmarked: Unmarked,
    is_subject: impl Fn(&ResourceKey) -> bool,
) -> Result<Option<Statement>, DecodeError> {
    let request = entry.get("request");
    let method = match request.and_then(|request| request.get("method")) {
        None => Method::Unmarked,
        Some(method) => match method.as_str() {
            Some("GET" | "HEAD") => Method::Read,
            Some("POST" | "PUT" | "PATCH") => Method::Write,
            Some("DELETE") => Method::Delete,
            _ => return Err(DecodeError::UnknownFormat { seen: Seen::EntryMethod }),
        },
    };
    if matches!(method, Method::Read) {
        return Ok(None);
    }
    let document = present(entry, "resource").map(|resource| Document::from(resource.clone()));
    let url = request.and_then(|request| text(request, "url")).map(Reference::of_url);
    let url = url.unwrap_or_default();
    let full_url = text(entry, "fullUrl").map(Reference::of_url).unwrap_or_default();
    let stated = Reference {
        resource_type: url.resource_type.or(full_url.resource_type),
        id: url.id.or(full_url.id),
        version: url.version.or(full_url.version),
    };
    let resource = match identity::agreed(document.as_ref(), &stated, "entry") {
        Ok(resource) => resource,
        // context need not be a resource of ours
        Err(_) if matches!(method, Method::Unmarked) && unmarked == Unmarked::Context => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if full_url.contradicts(&resource) {
        let resource_type = resource.resource_type;
        return Err(DecodeError::KeyMismatch { resource_type, other: "`fullUrl`" });
    }
    let response = entry.get("response");
    let etag = response.and_then(|response| text(response, "etag")).map(version_of_etag);
    let version = etag.or(stated.version);
    let said = match (method, document) {
        (Method::Delete, _) => {
            let modified = response.and_then(|response| text(response, "lastModified"));
            Statement {
                version_id: version.map(str::to_owned),
                last_updated: modified.map(str::to_owned),
                ..Statement::deleted(resource)
            }
        }
        (Method::Write, None) => Statement::new(resource, Content::Hint("the entry")),
        (Method::Unmarked, _) if unmarked == Unmarked::Context && !is_subject(&resource) => {
            return Ok(None);
        }
        (Method::Unmarked, None) => {
            return Err(DecodeError::UnknownFormat { seen: Seen::EntryMethod });
        }
        (_, Some(document)) => {
            // the document's own version counts, if it has one
            let meta = document.root().get("meta");
            let has_own = meta.is_some_and(|meta| meta.get("versionId").is_some());
            let version_id = version.filter(|_| !has_own).map(str::to_owned);
            Statement { version_id, ..Statement::new(resource, Content::Document(document)) }
        }
        (Method::Read, None) => return Ok(None),
    };
    Ok(Some(said))
}

/// The version in a weak or strong entity tag: `W/"3"`.
#[must_use]
pub fn version_of_etag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}
