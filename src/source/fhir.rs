//! The canonical form: the value is the resource itself.
//!
//! In: a document. Out: what it says of itself: type, id, version, whether it is whole.

use chrono::DateTime;
use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use crate::model::{Document, Version};

use super::detect::kind;
use super::statement::{Content, Statement};
use super::{DecodeError, Seen, VersionFault, headers, identity};

/// FHIR's mark of a resource whose elements were left out.
pub(super) const SUBSETTED_SYSTEM: &str =
    "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
pub(super) const SUBSETTED_CODE: &str = "SUBSETTED";

/// The upsert that a resource says.
pub(super) fn read(document: Document) -> Result<Statement, DecodeError> {
    if !document.root().is_object() {
        let seen = Seen::NoObject(kind(document.root()));
        return Err(DecodeError::UnknownFormat { seen });
    }
    let resource =
        identity::resource(document.text("resourceType"), document.text("id"), "document")?;
    Ok(Statement::new(resource, Content::Document(document)))
}

/// `meta.versionId` as an integer.
pub(super) fn version_id(document: &Document) -> Result<Version, VersionFault> {
    let version = document.root().get("meta").and_then(|meta| meta.get("versionId"));
    let text = version.ok_or(VersionFault::Absent)?.as_str().ok_or(VersionFault::NoInteger)?;
    headers::version(text)
}

/// `meta.lastUpdated` as microseconds since the epoch.
pub(super) fn last_updated(document: &Document) -> Result<Version, VersionFault> {
    let updated = document.root().get("meta").and_then(|meta| meta.get("lastUpdated"));
    instant(updated.ok_or(VersionFault::Absent)?.as_str().ok_or(VersionFault::NoInstant)?)
}

/// An instant as microseconds since the epoch.
pub(super) fn instant(text: &str) -> Result<Version, VersionFault> {
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| VersionFault::NoInstant)?;
    Version::new(instant.timestamp_micros()).ok_or(VersionFault::Negative)
}

/// Whether the resource says of itself that elements were left out.
pub(super) fn is_subsetted(document: &Document) -> bool {
    let tags = document.root().get("meta").and_then(|meta| meta.get("tag"));
    let Some(tags) = tags.and_then(|tags| tags.as_array()) else { return false };
    tags.iter().any(|tag| {
        tag.get("code").and_then(|code| code.as_str()) == Some(SUBSETTED_CODE)
            && tag.get("system").and_then(|system| system.as_str()) == Some(SUBSETTED_SYSTEM)
    })
}
