//! What a server says of one resource at one version, and the record of it.
//!
//! In: resources and entries of bundles as they were sent. Out: records of the canonical form, which
//! decode reads as `fhir`. The text of a resource is passed on as it came: nothing is parsed but its
//! type, id and `meta`, and numbers keep their digits.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::broker::OutgoingRecord;
use crate::model::{Header, ResourceKey, Version};
use crate::source::{
    DecodeError, HEADER_VERSION, Head, Seen, VersionFault, VersionFrom, named_by_url,
    version_of_etag,
};

/// A resource at one version.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// Which resource.
    pub resource: ResourceKey,
    /// Its version: `meta.versionId`, or what the entry says besides.
    pub version_id: Option<String>,
    /// When that version was made: `meta.lastUpdated`, or what the entry says besides.
    pub last_updated: Option<DateTime<Utc>>,
    /// What it is at that version.
    pub content: Content,
    /// What of it the document itself says: decode reads it there.
    own: Own,
}

/// Which members of `meta` the document has.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    version_id: Said,
    last_updated: Said,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Said {
    #[default]
    No,
    Yes,
}

impl Said {
    const fn of<T>(value: Option<&T>) -> Self {
        if value.is_some() { Self::Yes } else { Self::No }
    }
}

/// What a resource is at a version.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// This document: JSON exactly as it was sent.
    Document(Bytes),
    /// Deleted.
    Deleted,
}

/// Documents are payload: debug output tells their length.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(json) => write!(f, "Document({} bytes)", json.len()),
            Self::Deleted => f.write_str("Deleted"),
        }
    }
}

impl Entry {
    /// What a resource says of itself.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no JSON, no whole resource, or of a type or id that FHIR does not know.
    pub fn of_document(json: Bytes) -> Result<Self, DecodeError> {
        let Head { resource, version_id, last_updated } = Head::of(&json)?;
        let own = Own {
            version_id: Said::of(version_id.as_ref()),
            last_updated: Said::of(last_updated.as_ref()),
        };
        let last_updated = last_updated.as_deref().and_then(instant);
        Ok(Self { resource, version_id, last_updated, content: Content::Document(json), own })
    }

    /// A resource that was deleted. `version_id`: the version that the deletion made.
    #[must_use]
    pub fn deleted(
        resource: ResourceKey,
        version_id: Option<String>,
        last_updated: Option<DateTime<Utc>>,
    ) -> Self {
        let content = Content::Deleted;
        Self { resource, version_id, last_updated, content, own: Own::default() }
    }

    /// The same with a version that came beside it, as in `If-Match` or `ETag`. The document's own
    /// counts, if it has one.
    #[must_use]
    pub fn with_version_id(self, version_id: Option<String>) -> Self {
        Self { version_id: self.version_id.or(version_id), ..self }
    }
}

/// A bundle's entry.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written<'b> {
    #[serde(borrow)]
    full_url: Option<Cow<'b, str>>,
    #[serde(borrow)]
    resource: Option<&'b RawValue>,
    #[serde(borrow)]
    request: Option<Request<'b>>,
    #[serde(borrow)]
    response: Option<Response<'b>>,
    #[serde(borrow)]
    search: Option<Search<'b>>,
}

#[derive(Deserialize)]
struct Request<'b> {
    #[serde(borrow)]
    method: Option<Cow<'b, str>>,
    #[serde(borrow)]
    url: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'b> {
    #[serde(borrow)]
    etag: Option<Cow<'b, str>>,
    #[serde(borrow)]
    last_modified: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
struct Search<'b> {
    #[serde(borrow)]
    mode: Option<Cow<'b, str>>,
}

impl Written<'_> {
    /// What it says; `None` if that is no state of a resource. `page`: the bytes it stands in.
    pub(super) fn read(&self, page: &Bytes) -> Result<Option<Entry>, DecodeError> {
        if self.search.as_ref().and_then(|search| search.mode.as_deref()) == Some("outcome") {
            return Ok(None);
        }
        let request = self.request.as_ref();
        let deleted = match request.and_then(|request| request.method.as_deref()) {
            Some("GET" | "HEAD") => return Ok(None),
            Some("DELETE") => true,
            None | Some("POST" | "PUT" | "PATCH") => false,
            Some(_) => return Err(DecodeError::UnknownFormat { seen: Seen::EntryMethod }),
        };
        let url = request.and_then(|request| request.url.as_deref()).and_then(named_by_url);
        let full_url = self.full_url.as_deref().and_then(named_by_url);
        let etag = self.response.as_ref().and_then(|response| response.etag.as_deref());
        let version = [&url, &full_url].into_iter().flatten().find_map(|(_, version)| *version);
        let version = etag.map(version_of_etag).or(version).map(str::to_owned);
        let modified =
            self.response.as_ref().and_then(|response| response.last_modified.as_deref());
        let modified = modified.and_then(instant);
        let named: Vec<_> =
            [url, full_url].into_iter().flatten().map(|(resource, _)| resource).collect();
        let entry = match self.resource {
            Some(resource) if !deleted => {
                let entry = Entry::of_document(page.slice_ref(resource.get().as_bytes()))?;
                let last_updated = entry.last_updated.or(modified);
                Entry { last_updated, ..entry.with_version_id(version) }
            }
            _ => {
                let Some(resource) = named.first().cloned() else {
                    return Err(DecodeError::UnknownResourceType { place: "entry" });
                };
                if !deleted {
                    return Err(DecodeError::Hint { resource, told_by: "the entry" });
                }
                Entry::deleted(resource, version, modified)
            }
        };
        if named.iter().any(|named| *named != entry.resource) {
            let resource_type = entry.resource.resource_type;
            return Err(DecodeError::KeyMismatch { resource_type, other: "entry" });
        }
        Ok(Some(entry))
    }
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.with_timezone(&Utc))
}

/// The record of an entry, as decode reads it with the format `fhir`: keyed `Type/id`, the document or
/// null; where the document does not say the version itself, a header does.
///
/// # Errors
/// [`DecodeError::MissingVersion`] if the entry does not have the version that `version_from` asks for:
/// it is never guessed.
pub fn record(
    entry: &Entry,
    topic: &Arc<str>,
    version_from: VersionFrom,
) -> Result<OutgoingRecord, DecodeError> {
    let (version, said) = match version_from {
        VersionFrom::VersionId => (version_of(entry.version_id.as_deref()), entry.own.version_id),
        VersionFrom::LastUpdated => {
            let micros = entry.last_updated.map(|instant| instant.timestamp_micros());
            let fault = match entry.own.last_updated {
                Said::Yes => VersionFault::NoInstant,
                Said::No => VersionFault::Absent,
            };
            let version = micros.ok_or(fault);
            let version =
                version.and_then(|micros| Version::new(micros).ok_or(VersionFault::Negative));
            (version, entry.own.last_updated)
        }
        VersionFrom::Offset => return Ok(plain(entry, topic, None)),
    };
    let version = version.map_err(|fault| DecodeError::MissingVersion {
        resource_type: Arc::clone(&entry.resource.resource_type),
        version_from,
        fault,
    })?;
    Ok(plain(entry, topic, (said == Said::No).then_some(version)))
}

/// The record of an entry with a version that is stated for it, whatever it says itself.
#[must_use]
pub fn record_at(entry: &Entry, topic: &Arc<str>, version: Version) -> OutgoingRecord {
    plain(entry, topic, Some(version))
}

fn plain(entry: &Entry, topic: &Arc<str>, stated: Option<Version>) -> OutgoingRecord {
    let ResourceKey { resource_type, id } = &entry.resource;
    let header = stated.map(|version| Header::text(HEADER_VERSION, version.to_string()));
    OutgoingRecord {
        topic: Arc::clone(topic),
        partition: None,
        key: Some(Bytes::from(format!("{resource_type}/{id}"))),
        value: match &entry.content {
            Content::Document(json) => Some(json.clone()),
            Content::Deleted => None,
        },
        headers: header.into_iter().collect(),
    }
}

fn version_of(text: Option<&str>) -> Result<Version, VersionFault> {
    let number = text.ok_or(VersionFault::Absent)?.parse();
    Version::new(number.map_err(|_| VersionFault::NoInteger)?).ok_or(VersionFault::Negative)
}
