//! What a request at the hook endpoint tells.
//!
//! In: a body, and the resource or type that its address names. Out: records fit for the ingest topic,
//! and what must be read from the server: resources of which the request does not have the whole, and
//! types of which it does not say which resource it was. Nothing becomes a record without a version,
//! and what the rules do not use becomes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::OutgoingRecord;
use crate::error::Cause;
use crate::model::{
    Change, Document, DocumentLimits, Header, Offset, Operation, Record, ResourceKey,
    TopicPartition,
};
use crate::source::{
    DecodeError, DecodeSettings, Decoder, Format, HEADER_VERSION, VersionFrom, version_of_etag,
};

/// Most resources that one request has read from the server one by one: beyond, reading the history
/// of their types is quicker.
const MOST_HINTS: usize = 50;

/// What a request tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Changes, whole and with their versions.
    pub(super) records: Vec<OutgoingRecord>,
    /// Resources that changed, to be read.
    pub(super) hints: BTreeSet<ResourceKey>,
    /// Types of which something changed, to be caught up with.
    pub(super) types: BTreeSet<Arc<str>>,
}

impl Told {
    /// Whether there is nothing to be done.
    pub(super) fn is_nothing(&self) -> bool {
        self.records.is_empty() && self.hints.is_empty() && self.types.is_empty()
    }

    /// The types of all that is told.
    pub(super) fn all_types(&self) -> BTreeSet<Arc<str>> {
        let of_key = |record: &OutgoingRecord| {
            let key = std::str::from_utf8(record.key.as_deref()?).ok()?;
            Some(Arc::from(key.split_once('/')?.0))
        };
        let of_hints = self.hints.iter().map(|resource| Arc::clone(&resource.resource_type));
        let of_records = self.records.iter().filter_map(of_key);
        self.types.iter().cloned().chain(of_hints).chain(of_records).collect()
    }

    /// This resource changed.
    pub(super) fn hint(resource: ResourceKey) -> Self {
        Self { hints: BTreeSet::from([resource]), ..Self::default() }
    }
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It is no JSON, no resource, or another one than its address names.
    Malformed(Cause),
    /// It is larger than a record may be.
    TooLarge,
}

/// Reads what requests tell.
pub(super) struct Hooks {
    /// For bodies that are the resource itself, bundles too.
    resources: Decoder,
    /// For bodies that say by their shape what they are.
    any: Decoder,
    topic: Arc<str>,
    /// Types that the rules use.
    types: BTreeSet<Arc<str>>,
}

impl Hooks {
    pub(super) fn new(
        topic: Arc<str>,
        types: BTreeSet<Arc<str>>,
        version_from: VersionFrom,
        limits: DocumentLimits,
    ) -> Self {
        let decoder =
            |format| Decoder::new(DecodeSettings { format, version_from, limits, debezium: None });
        Self { resources: decoder(Format::Fhir), any: decoder(Format::Auto), topic, types }
    }

    /// The types that the rules use.
    pub(super) const fn types(&self) -> &BTreeSet<Arc<str>> {
        &self.types
    }

    /// Something of this type changed, or of any if it is not known which.
    pub(super) fn something(&self, resource_type: Option<&str>) -> Told {
        let types = match resource_type {
            None => self.types.clone(),
            Some(name) => self.types.get(name).cloned().into_iter().collect(),
        };
        Told { types, ..Told::default() }
    }

    /// A resource was put. `if_match`: the version that the request says besides; a body that says
    /// another is none to be relied on.
    pub(super) fn put(
        &self,
        resource: ResourceKey,
        if_match: Option<&str>,
        body: Bytes,
    ) -> Result<Told, NotTaken> {
        let key = Bytes::from(format!("{}/{}", resource.resource_type, resource.id));
        let record = self.as_record(Some(key.clone()), body.clone());
        let change = match self.resources.decode(&record) {
            Ok(changes) => changes.into_iter().next(),
            Err(error) if is_only_incomplete(&error) => return Ok(Told::hint(resource)),
            Err(error) => return Err(not_taken(&error)),
        };
        let Some(Change { operation: Operation::Upsert { document, .. }, .. }) = change else {
            return Ok(Told::hint(resource));
        };
        if if_match.is_some_and(|etag| contradicts(version_of_etag(etag), &document)) {
            return Ok(Told::hint(resource));
        }
        let record = self.outgoing(key, Some(body), Vec::new());
        Ok(Told { records: vec![record], ..Told::default() })
    }

    /// Something was posted: a notification, a history, a resource. `resource_type`: the one that the
    /// address names, if it names one.
    pub(super) fn post(&self, resource_type: Option<&str>, body: Bytes) -> Result<Told, NotTaken> {
        let mut told = Told::default();
        let mut not_taken_as_a_whole = None;
        self.any.decode_each(&self.as_record(None, body), |change| match change {
            Ok(change) => self.add(change, &mut told),
            Err(error) => {
                if let Some(resource) = error.hint() {
                    if self.types.contains(&resource.resource_type) {
                        told.hints.insert(resource.clone());
                    }
                } else if is_about_the_whole(&error) {
                    not_taken_as_a_whole = Some(not_taken(&error));
                } else {
                    // an entry that cannot be read as it is: the server knows what it was about
                    let place = error.place().resource_type;
                    let about = place.as_deref().or(resource_type);
                    told.types.extend(self.something(about).types);
                }
            }
        });
        if let Some(not_taken) = not_taken_as_a_whole {
            return Err(not_taken);
        }
        if told.hints.len() > MOST_HINTS {
            told.types.extend(told.hints.iter().map(|hint| Arc::clone(&hint.resource_type)));
            told.hints.clear();
        }
        Ok(told)
    }

    fn add(&self, change: Change, told: &mut Told) {
        let Change { resource, operation, .. } = change;
        if !self.types.contains(&resource.resource_type) {
            return;
        }
        let key = Bytes::from(format!("{}/{}", resource.resource_type, resource.id));
        match operation {
            Operation::Upsert { document, .. } => match sonic_rs::to_vec(document.root()) {
                Ok(json) => {
                    told.records.push(self.outgoing(key, Some(Bytes::from(json)), Vec::new()));
                }
                Err(_) => drop(told.hints.insert(resource)),
            },
            Operation::Delete { version: Some(version) } => {
                let version = Header::text(HEADER_VERSION, version.to_string());
                told.records.push(self.outgoing(key, None, vec![version]));
            }
            Operation::Delete { version: None } => drop(told.hints.insert(resource)),
        }
    }

    /// As decode would see it in the topic.
    fn as_record(&self, key: Option<Bytes>, value: Bytes) -> Record {
        Record {
            source: TopicPartition::new(Arc::clone(&self.topic), 0),
            offset: Offset(0),
            timestamp: None,
            key,
            value: Some(value),
            headers: Vec::new(),
        }
    }

    fn outgoing(&self, key: Bytes, value: Option<Bytes>, headers: Vec<Header>) -> OutgoingRecord {
        OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(key),
            value,
            headers,
        }
    }
}

/// Whether a document of a known resource lacks only what the server can add.
fn is_only_incomplete(error: &DecodeError) -> bool {
    error.hint().is_some() || error.cause() == Cause::MissingVersion
}

/// Whether a body cannot be read at all, rather than one of its entries.
fn is_about_the_whole(error: &DecodeError) -> bool {
    matches!(
        error.cause(),
        Cause::InvalidJson
            | Cause::InvalidUtf8
            | Cause::InvalidAvro
            | Cause::TooLarge
            | Cause::TooDeep
            | Cause::UnknownFormat
    )
}

fn not_taken(error: &DecodeError) -> NotTaken {
    match error.cause() {
        Cause::TooLarge => NotTaken::TooLarge,
        cause => NotTaken::Malformed(cause),
    }
}

/// Whether a document says that it is another version. One that says none says nothing.
fn contradicts(version: &str, document: &Document) -> bool {
    use sonic_rs::JsonValueTrait as _;
    let own = document.root().get("meta").and_then(|meta| meta.get("versionId"));
    own.and_then(|own| own.as_str()).is_some_and(|own| own != version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> Hooks {
        let types = ["Patient", "Observation", "Bundle"].map(Arc::from);
        Hooks::new(
            "changes".into(),
            types.into(),
            VersionFrom::VersionId,
            DocumentLimits::default(),
        )
    }

    fn patient() -> ResourceKey {
        ResourceKey { resource_type: "Patient".into(), id: "1".into() }
    }

    fn put(if_match: Option<&str>, body: &str) -> Result<Told, NotTaken> {
        hooks().put(patient(), if_match, Bytes::from(body.to_owned()))
    }

    fn is_hint(told: &Result<Told, NotTaken>) -> bool {
        told.as_ref().is_ok_and(|told| told.records.is_empty() && told.hints == [patient()].into())
    }

    #[test]
    fn a_whole_resource_with_its_version_is_passed_on_as_it_came() {
        let body = r#"{ "resourceType":"Patient","id":"1", "meta":{"versionId":"7"},"x":72.50 }"#;
        let told = put(Some("W/\"7\""), body).expect("taken");
        let [record] = told.records.as_slice() else { panic!("one record") };
        assert_eq!(record.key.as_deref(), Some(b"Patient/1".as_slice()));
        assert_eq!(record.value.as_deref(), Some(body.as_bytes()));
        assert!(record.headers.is_empty() && told.hints.is_empty());
    }

    #[test]
    fn a_body_that_cannot_be_relied_on_is_a_hint() {
        let versioned = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"7"}}"#;
        assert!(is_hint(&put(Some("W/\"6\""), versioned)), "another version beside it");
        assert!(!is_hint(&put(None, versioned)));
        assert!(is_hint(&put(Some("W/\"7\""), r#"{"resourceType":"Patient","id":"1"}"#)));
        let subsetted = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"7","tag":[{
            "system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}}"#;
        assert!(is_hint(&put(None, subsetted)));
    }

    #[test]
    fn a_body_that_is_not_what_its_address_says_is_refused() {
        let other = r#"{"resourceType":"Patient","id":"2","meta":{"versionId":"7"}}"#;
        assert_eq!(put(None, other).err(), Some(NotTaken::Malformed(Cause::KeyMismatch)));
        assert_eq!(put(None, "{").err(), Some(NotTaken::Malformed(Cause::InvalidJson)));
        let bundle = ResourceKey { resource_type: "Bundle".into(), id: "1".into() };
        let history =
            br#"{"resourceType":"Bundle","id":"1","meta":{"versionId":"1"},"type":"history"}"#;
        let told = hooks().put(bundle, None, Bytes::from_static(history)).expect("a resource");
        assert_eq!(told.records.len(), 1, "a stored bundle is a resource, not an envelope");
    }

    fn post(body: &serde_json::Value) -> Result<Told, NotTaken> {
        hooks().post(None, Bytes::from(body.to_string()))
    }

    fn notification(entries: &serde_json::Value, focus: &str) -> serde_json::Value {
        let status = serde_json::json!({ "resource": { "resourceType": "SubscriptionStatus",
            "type": "event-notification",
            "notificationEvent": [{ "eventNumber": "1", "focus": { "reference": focus } }] } });
        let mut all = vec![status];
        all.extend(entries.as_array().cloned().unwrap_or_default());
        serde_json::json!({ "resourceType": "Bundle", "type": "subscription-notification", "entry": all })
    }

    #[test]
    fn a_notification_tells_records_and_hints() {
        let entries = serde_json::json!([
            { "request": { "method": "PUT", "url": "Patient/2" },
              "resource": { "resourceType": "Patient", "id": "2", "meta": { "versionId": "3" } } },
            { "request": { "method": "DELETE", "url": "Patient/3" }, "response": { "etag": "W/\"5\"" } },
            { "request": { "method": "DELETE", "url": "Patient/1" } },
            { "request": { "method": "PUT", "url": "Device/9" },
              "resource": { "resourceType": "Device", "id": "9", "meta": { "versionId": "3" } } },
        ]);
        let told = post(&notification(&entries, "Patient/2")).expect("taken");
        let keys: Vec<_> = told.records.iter().filter_map(|record| record.key.clone()).collect();
        assert_eq!(keys, ["Patient/2", "Patient/3"]);
        let deleted = told.records.last().expect("two");
        assert_eq!((deleted.value.as_ref(), deleted.headers.len()), (None, 1));
        assert_eq!(told.hints, [patient()].into(), "no delete without its version");
    }

    #[test]
    fn what_names_no_resource_is_caught_up_with() {
        let told = hooks().something(Some("Patient"));
        assert_eq!(told.types, [Arc::from("Patient")].into());
        assert_eq!(hooks().something(None).types.len(), 3);
        assert!(hooks().something(Some("Device")).is_nothing());
        let unversioned = serde_json::json!([{ "request": { "method": "PUT", "url": "Patient/2" },
              "resource": { "resourceType": "Patient", "id": "2" } }]);
        let told = post(&notification(&unversioned, "Patient/2")).expect("taken");
        assert_eq!(told.types, [Arc::from("Patient")].into());
    }

    #[test]
    fn very_many_hints_are_their_types() {
        let entries: Vec<_> = (0..=MOST_HINTS)
            .map(|id| serde_json::json!({ "request": { "method": "DELETE", "url": format!("Patient/{id}") } }))
            .collect();
        let told = post(&notification(&entries.into(), "Patient/0")).expect("taken");
        assert!(told.hints.is_empty());
        assert_eq!(told.types, [Arc::from("Patient")].into());
    }

    #[test]
    fn a_heartbeat_tells_nothing_and_no_json_is_refused() {
        let heartbeat = serde_json::json!({ "resourceType": "Bundle", "type": "subscription-notification",
            "entry": [{ "resource": { "resourceType": "SubscriptionStatus", "type": "heartbeat" } }] });
        assert!(post(&heartbeat).is_ok_and(|told| told.is_nothing()));
        let refused = hooks().post(None, Bytes::from_static(b"{"));
        assert_eq!(refused.err(), Some(NotTaken::Malformed(Cause::InvalidJson)));
    }
}
