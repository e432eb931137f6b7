//! Which resource a key, a reference or a document names.
//!
//! In: text from outside. Out: a [`ResourceKey`] whose type FHIR R4 knows and whose id FHIR
//! allows. It never completes one from the other's guess.

use std::sync::Arc;

use sonic_rs::JsonValueTrait as _;

use crate::model::{Document, Record, ResourceKey, is_resource_type};

use super::DecodeError;

/// Longest id that FHIR allows, characters.
const MAX_ID: usize = 64;

/// What says the resource type where the document need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeFrom {
    /// All are of this type, one that FHIR knows.
    Constant(Arc<str>),
    /// The column, or the field, of this name.
    Named(String),
}

impl TypeFrom {
    /// A constant if FHIR knows a type of this name, else what holds it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if is_resource_type(text) {
            Self::Constant(text.into())
        } else {
            Self::Named(text.to_owned())
        }
    }
}

/// The resource with this type and id, if FHIR knows the one and allows the other.
///
/// # Errors
/// [`DecodeError`] says which of them it is not.
pub fn resource_key(resource_type: &str, id: &str) -> Result<ResourceKey, DecodeError> {
    resource(Some(resource_type), Some(id), "address")
}

/// The resource that a URL names and the version, if it names one: `Patient/123/_history/2`, behind a
/// server's address or not. `None`: it names no resource of FHIR.
#[must_use]
pub fn named_by_url(url: &str) -> Option<(ResourceKey, Option<&str>)> {
    let Reference { resource_type, id, version } = Reference::of_url(url);
    Some((resource(resource_type, id, "address").ok()?, version))
}

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

/// The resource that a document and what came with it name: both must agree, and the document
/// may leave its id to the other. `place`: where `stated` was.
pub(super) fn agreed(
    document: Option<&Document>,
    stated: &Reference<'_>,
    place: &'static str,
) -> Result<ResourceKey, DecodeError> {
    let Some(document) = document else {
        return resource(stated.resource_type, stated.id, place);
    };
    let id = match document.root().get("id") {
        None => stated.id,
        // no text is no id that FHIR allows
        Some(id) => Some(id.as_str().unwrap_or_default()),
    };
    let named = resource(document.text("resourceType"), id, "document")?;
    if stated.contradicts(&named) {
        let resource_type = named.resource_type;
        return Err(DecodeError::KeyMismatch { resource_type, other: place });
    }
    Ok(named)
}

/// Whether FHIR allows this logical id.
pub(super) fn is_id(text: &str) -> bool {
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

    /// Whether it names the bundle that the changes came in.
    pub(super) fn is_of_a_bundle(&self) -> bool {
        self.resource_type == "Bundle"
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

    /// A URL of which nothing is known: `Patient`, `Patient/123/_history/2`, `Patient?name=x`,
    /// `http://server/fhir/Patient/123`, `urn:uuid:...`. Only what follows a known type is an id.
    pub(super) fn of_url(url: &'t str) -> Self {
        let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        let whole = Self::parse(path);
        match (whole.resource_type, whole.id) {
            (Some(name), Some(_)) if is_resource_type(name) => whole,
            (_, Some(name)) if is_resource_type(name) && whole.version.is_none() => {
                Self { resource_type: Some(name), id: None, version: None }
            }
            _ => Self::default(),
        }
    }

    /// Whether it names another resource than this.
    pub(super) fn contradicts(&self, resource: &ResourceKey) -> bool {
        self.resource_type.is_some_and(|name| name != &*resource.resource_type)
            || self.id.is_some_and(|id| id != &*resource.id)
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
    fn of_urls_only_what_follows_a_known_type_is_an_id() {
        let of = |url| {
            let Reference { resource_type, id, version } = Reference::of_url(url);
            (resource_type, id, version)
        };
        assert_eq!(of("Patient"), (Some("Patient"), None, None));
        assert_eq!(of("/fhir/Patient"), (Some("Patient"), None, None));
        assert_eq!(of("Patient?identifier=a|b/c"), (Some("Patient"), None, None));
        assert_eq!(of("Patient/1"), (Some("Patient"), Some("1"), None));
        assert_eq!(of("Patient/Patient"), (Some("Patient"), Some("Patient"), None));
        assert_eq!(
            of("http://s/fhir/Patient/1/_history/4"),
            (Some("Patient"), Some("1"), Some("4"))
        );
        assert_eq!(of("urn:uuid:b21e4fae-ce73-45cb-8e37-1e203362b2ae"), (None, None, None));
        assert_eq!(of("http://server/fhir"), (None, None, None));
        assert_eq!(of(""), (None, None, None));
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
