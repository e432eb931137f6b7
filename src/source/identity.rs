//! Which resource a key, a reference or a document names.
//!
//! In: text from outside. Out: a [`ResourceKey`] whose type FHIR R4 knows and whose id FHIR
//! allows. It never completes one from the other's guess.

use std::sync::Arc;

use crate::model::{Record, ResourceKey, is_resource_type};

use super::DecodeError;

/// Longest id that FHIR allows, characters.
const MAX_ID: usize = 64;

/// The resource with this type and id.
pub(super) fn resource(
    resource_type: Option<&str>,
    id: Option<&str>,
    place: &'static str,
) -> Result<ResourceKey, DecodeError> {
    let resource_type: Arc<str> = resource_type
        .filter(|name| is_resource_type(name))
        .ok_or(DecodeError::UnknownResourceType { place })?
        .into();
    match id {
        Some(id) if is_id(id) => Ok(ResourceKey { resource_type, id: id.into() }),
        Some(_) => Err(DecodeError::InvalidId { resource_type }),
        None => Err(DecodeError::MissingId { resource_type }),
    }
}

/// Whether FHIR allows this logical id.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// A record key of the form `Type/id`.
pub(super) struct Key<'r> {
    resource_type: &'r str,
    id: &'r str,
}

/// What the record's key names. Keys of any other form say nothing about resources: topics fed
/// by other tools are keyed by tenant, by primary key, or not at all.
pub(super) fn of_key(record: &Record) -> Option<Key<'_>> {
    let (resource_type, id) = std::str::from_utf8(record.key.as_deref()?).ok()?.split_once('/')?;
    (!id.contains('/')).then_some(Key { resource_type, id })
}

impl Key<'_> {
    /// Whether it has the form of a resource's key by more than chance.
    pub(super) fn has_known_type(&self) -> bool {
        is_resource_type(self.resource_type)
    }

    /// Whether it names a resource, and another one than this.
    pub(super) fn contradicts(&self, resource: &ResourceKey) -> bool {
        self.has_known_type()
            && (self.resource_type != &*resource.resource_type || self.id != &*resource.id)
    }

    /// The resource it names.
    pub(super) fn resource(&self) -> Result<ResourceKey, DecodeError> {
        resource(Some(self.resource_type), Some(self.id), "key")
    }
}

/// A literal reference: `123`, `Patient/123`, `Patient/123/_history/2`, or a URL that ends so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reference<'t> {
    pub(super) resource_type: Option<&'t str>,
    pub(super) id: Option<&'t str>,
    pub(super) version: Option<&'t str>,
}

impl<'t> Reference<'t> {
    pub(super) fn parse(text: &'t str) -> Self {
        let (path, version) = match text.rsplit_once("/_history/") {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let mut segments = path.rsplit('/');
        let id = segments.next().filter(|id| !id.is_empty());
        Self { id, resource_type: segments.next(), version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_in_every_form_hapi_writes() {
        let plain = Reference { resource_type: Some("Patient"), id: Some("1"), version: None };
        assert_eq!(Reference::parse("Patient/1"), plain);
        let versioned = Reference { version: Some("2"), ..plain };
        assert_eq!(Reference::parse("Patient/1/_history/2"), versioned);
        assert_eq!(Reference::parse("http://server/fhir/Patient/1/_history/2"), versioned);
        let bare = Reference { resource_type: None, id: Some("1"), version: None };
        assert_eq!(Reference::parse("1"), bare);
    }

    #[test]
    fn ids_outside_of_fhirs_alphabet_are_refused() {
        for good in ["1", "a-b.C", &"x".repeat(64)] {
            assert!(resource(Some("Patient"), Some(good), "key").is_ok(), "{good}");
        }
        for bad in ["", "a_b", "a b", "ä", &"x".repeat(65)] {
            let error = resource(Some("Patient"), Some(bad), "key").expect_err("not allowed");
            assert_eq!(error, DecodeError::InvalidId { resource_type: "Patient".into() });
        }
    }
}
