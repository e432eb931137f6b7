//! What a resource says of itself, its contents unread.
//!
//! In: the text of a resource. Out: its type, id, version and instant. The text is checked to be JSON,
//! but nothing is made of what is not asked for, so a resource can be passed on as it was written.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fhir::{SUBSETTED_CODE, SUBSETTED_SYSTEM};
use super::{DecodeError, Seen, identity};
use crate::model::{DocumentError, ResourceKey};

/// What a resource says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Which resource it is.
    pub resource: ResourceKey,
    /// `meta.versionId`, unless it is absent; empty if it is no text.
    pub version_id: Option<String>,
    /// `meta.lastUpdated`, unless it is absent; empty if it is no text.
    pub last_updated: Option<String>,
}

#[derive(Deserialize)]
struct Members<'t> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<&'t RawValue>,
    #[serde(borrow)]
    id: Option<&'t RawValue>,
    #[serde(borrow)]
    meta: Option<&'t RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'t> {
    #[serde(borrow)]
    version_id: Option<&'t RawValue>,
    #[serde(borrow)]
    last_updated: Option<&'t RawValue>,
    #[serde(borrow)]
    tag: Option<&'t RawValue>,
}

#[derive(Deserialize)]
struct Tag<'t> {
    #[serde(borrow)]
    system: Option<Cow<'t, str>>,
    #[serde(borrow)]
    code: Option<Cow<'t, str>>,
}

impl Head {
    /// Reads the text of one resource.
    ///
    /// # Errors
    /// [`DecodeError`] if it is no JSON, no whole resource, or of a type or id that FHIR does not know.
    pub fn of(json: &[u8]) -> Result<Self, DecodeError> {
        let refused = |source| DecodeError::Document { what: "the value", source };
        let text = std::str::from_utf8(json)
            .map_err(|error| refused(DocumentError::InvalidUtf8 { at: error.valid_up_to() }))?;
        // an array would be taken for the members in their order
        if !text.trim_start().starts_with('{') {
            serde_json::from_str::<&RawValue>(text)
                .map_err(|error| refused(DocumentError::InvalidJson { at: place(text, &error) }))?;
            return Err(DecodeError::UnknownFormat { seen: Seen::NoObject("no object") });
        }
        let members: Members<'_> = serde_json::from_str(text)
            .map_err(|error| refused(DocumentError::InvalidJson { at: place(text, &error) }))?;
        let resource_type = members.resource_type.map(text_of);
        let id = members.id.map(text_of);
        let resource = identity::resource(resource_type.as_deref(), id.as_deref(), "document")?;
        let meta = members.meta.and_then(|meta| serde_json::from_str(meta.get()).ok());
        let meta: Meta<'_> = meta.unwrap_or_default();
        if meta.tag.is_some_and(is_subsetted) {
            return Err(DecodeError::Subsetted { resource });
        }
        Ok(Self {
            resource,
            version_id: meta.version_id.map(|text| text_of(text).into_owned()),
            last_updated: meta.last_updated.map(|text| text_of(text).into_owned()),
        })
    }
}

/// A text; empty if the value is none, which no id, type, version or instant is.
fn text_of(value: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<Cow<'_, str>>(value.get()).unwrap_or_default()
}

fn is_subsetted(tags: &RawValue) -> bool {
    let tags: Vec<Tag<'_>> = serde_json::from_str(tags.get()).unwrap_or_default();
    tags.iter().any(|tag| {
        tag.code.as_deref() == Some(SUBSETTED_CODE)
            && tag.system.as_deref() == Some(SUBSETTED_SYSTEM)
    })
}

/// The bytes before the fault.
fn place(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn a_resource_says_type_id_version_and_instant() {
        let head = Head::of(
            br#"{"meta":{"versionId":"3","lastUpdated":"2026-01-02T03:04:05Z"},"id":"a-1",
                "resourceType":"Patient","name":[{"family":"x"}]}"#,
        )
        .expect("a resource");
        assert_eq!((&*head.resource.resource_type, &*head.resource.id), ("Patient", "a-1"));
        assert_eq!(head.version_id.as_deref(), Some("3"));
        assert_eq!(head.last_updated.as_deref(), Some("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn what_is_no_whole_resource_is_refused_with_its_cause() {
        let cause = |text: &str| Head::of(text.as_bytes()).expect_err("refused").cause();
        assert_eq!(cause(r#"{"resourceType":"Patient","id":"1""#), Cause::InvalidJson);
        assert_eq!(cause(r#"["Patient","1",{}]"#), Cause::UnknownFormat);
        assert_eq!(cause("7"), Cause::UnknownFormat);
        assert_eq!(cause("{}"), Cause::UnknownResourceType);
        assert_eq!(cause(r#"{"resourceType":"Patient"}"#), Cause::MissingId);
        assert_eq!(cause(r#"{"resourceType":"Patient","id":7}"#), Cause::MissingId);
        let tag = format!(
            r#"{{"resourceType":"Patient","id":"1","meta":{{"tag":[{{"system":"{SUBSETTED_SYSTEM}","code":"SUBSETTED"}}]}}}}"#,
        );
        assert_eq!(cause(&tag), Cause::IncompleteDocument);
        let latin = b"{\"resourceType\":\"Patient\",\"id\":\"1\",\"a\":\"\xe4\"}";
        assert_eq!(Head::of(latin).expect_err("refused").cause(), Cause::InvalidUtf8);
    }

    #[test]
    fn a_version_that_is_no_text_is_none_that_counts() {
        let head = Head::of(br#"{"resourceType":"Patient","id":"1","meta":{"versionId":3}}"#);
        assert_eq!(head.expect("a resource").version_id.as_deref(), Some(""));
    }
}
