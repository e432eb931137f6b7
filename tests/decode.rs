//! Records become changes: real captures where they are at hand, own fixtures always.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use rowcast::error::{Cause, Refusal, Stage};
use rowcast::model::{Change, Header, Offset, Operation, Origin, Record, TopicPartition};
use rowcast::source::{DecodeError, DecodeSettings, Decoder, Format, VersionFrom};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"123","meta":{"versionId":"7","lastUpdated":"2024-05-01T10:00:00.123456+02:00"}}"#;

fn record(key: Option<&str>, value: Option<&str>) -> Record {
    Record {
        source: TopicPartition::new("changes", 3),
        offset: Offset(42),
        timestamp: None,
        key: key.map(|key| Bytes::from(key.to_owned())),
        value: value.map(|value| Bytes::from(value.to_owned())),
        headers: Vec::new(),
    }
}

fn with_headers(mut record: Record, headers: &[(&str, &str)]) -> Record {
    record.headers = headers.iter().map(|(name, value)| Header::text(name, *value)).collect();
    record
}

fn decoder(version_from: VersionFrom) -> Decoder {
    Decoder::new(DecodeSettings { version_from, ..DecodeSettings::default() })
}

fn decode(record: &Record) -> Result<Change, DecodeError> {
    let mut changes = decoder(VersionFrom::VersionId).decode(record)?;
    assert_eq!(changes.len(), 1);
    Ok(changes.remove(0))
}

fn cause(record: &Record) -> Cause {
    decode(record).expect_err("the record must be refused").cause()
}

fn version(change: &Change) -> Option<i64> {
    change.version().map(rowcast::model::Version::get)
}

fn is_delete(change: &Change) -> bool {
    matches!(change.operation, Operation::Delete { .. })
}

#[test]
fn a_change_has_the_timestamp_of_its_record() {
    let mut record = record(None, Some(PATIENT));
    assert_eq!(decode(&record).expect("a change").timestamp, None);
    record.timestamp = Some(1_700_000_000_123);
    assert_eq!(decode(&record).expect("a change").timestamp, Some(1_700_000_000_123));
}

#[test]
fn a_resource_is_an_upsert_at_its_version_id() {
    for key in [None, Some("Patient/123"), Some("tenant-a"), Some("tenant/a")] {
        let change = decode(&record(key, Some(PATIENT))).expect("a change");
        assert_eq!(&*change.resource.resource_type, "Patient");
        assert_eq!(&*change.resource.id, "123");
        assert_eq!(version(&change), Some(7));
        assert!(!is_delete(&change));
        let origin =
            Origin { source: TopicPartition::new("changes", 3), offset: Offset(42), index: 0 };
        assert_eq!(change.origin, origin);
    }
}

#[test]
fn the_version_comes_from_where_the_settings_say() {
    let record = record(None, Some(PATIENT));
    let read = |from| version(&decoder(from).decode(&record).expect("a change")[0]);
    assert_eq!(read(VersionFrom::VersionId), Some(7));
    assert_eq!(read(VersionFrom::LastUpdated), Some(1_714_550_400_123_456));
    assert_eq!(read(VersionFrom::Offset), Some(42));
}

#[test]
fn a_null_value_deletes_what_the_key_names_without_a_version() {
    let change = decode(&record(Some("Patient/123"), None)).expect("a change");
    assert!(is_delete(&change));
    assert_eq!(version(&change), None);
    assert_eq!(cause(&record(None, None)), Cause::MissingId);
    assert_eq!(cause(&record(Some("123"), None)), Cause::MissingId);
    assert_eq!(cause(&record(Some("Patient/a_b"), None)), Cause::MissingId);
    assert_eq!(cause(&record(Some("Klingon/1"), None)), Cause::UnknownResourceType);
}

#[test]
fn where_offsets_are_versions_a_tombstone_has_one_too() {
    let record = record(Some("Patient/123"), None);
    let change = &decoder(VersionFrom::Offset).decode(&record).expect("a change")[0];
    assert_eq!(version(change), Some(42));
}

#[test]
fn headers_win_over_key_and_value() {
    let headers = [("rowcast.version", "9"), ("rowcast.operation", "delete")];
    for value in [None, Some(PATIENT), Some("anything")] {
        let deleted = with_headers(record(Some("Patient/123"), value), &headers);
        let change = decode(&deleted).expect("a change");
        assert!(is_delete(&change));
        assert_eq!(version(&change), Some(9));
    }
    for key in [None, Some("tenant/a")] {
        let delete = [("rowcast.operation", "delete")];
        let change = decode(&with_headers(record(key, Some(PATIENT)), &delete)).expect("a change");
        assert_eq!((is_delete(&change), version(&change)), (true, None));
        assert_eq!(&*change.resource.id, "123");
    }
    let newer = with_headers(record(None, Some(PATIENT)), &[("rowcast.version", "9")]);
    assert_eq!(version(&decode(&newer).expect("a change")), Some(9));
}

#[test]
fn a_replayed_record_keeps_the_origin_of_its_letter() {
    let headers = [
        ("rowcast.origin.topic", "first"),
        ("rowcast.origin.partition", "1"),
        ("rowcast.origin.offset", "5"),
        ("rowcast.origin.index", "2"),
        ("rowcast.origin.timestamp", "1700000000000"),
    ];
    let origin = Origin { source: TopicPartition::new("first", 1), offset: Offset(5), index: 2 };
    let change = decode(&with_headers(record(None, Some(PATIENT)), &headers)).expect("a change");
    assert_eq!(change.origin, origin);
    // what `now()` is in rules
    assert_eq!(change.timestamp, Some(1_700_000_000_000));
    let change = decode(&with_headers(record(None, Some(PATIENT)), &headers[..3]));
    assert_eq!(change.expect("a change").origin.index, 0);
}

#[test]
fn headers_that_cannot_be_read_refuse_the_record() {
    for (name, value, expected) in [
        ("rowcast.version", "-1", Cause::MissingVersion),
        ("rowcast.version", "new", Cause::MissingVersion),
        ("rowcast.operation", "merge", Cause::UnknownFormat),
        ("rowcast.origin.offset", "5", Cause::UnknownFormat),
        ("rowcast.origin.timestamp", "today", Cause::UnknownFormat),
    ] {
        let record = with_headers(record(None, Some(PATIENT)), &[(name, value)]);
        assert_eq!(cause(&record), expected, "{name}: {value}");
    }
}

#[test]
fn a_key_that_contradicts_the_document_is_refused() {
    for key in ["Patient/124", "Group/123", "Patient/"] {
        assert_eq!(cause(&record(Some(key), Some(PATIENT))), Cause::KeyMismatch, "{key}");
    }
}

#[test]
fn each_kind_of_bad_input_has_its_own_cause() {
    let deep = "[".repeat(100_000);
    for (value, expected) in [
        ("{\"resourceType\":", Cause::InvalidJson),
        ("", Cause::InvalidJson),
        (deep.as_str(), Cause::TooDeep),
        ("[]", Cause::UnknownFormat),
        ("{}", Cause::UnknownFormat),
        ("<Patient/>", Cause::UnknownFormat),
        ("\0\0\0\0\u{1}", Cause::UnknownFormat),
        (r#"{"resourceType":"Klingon","id":"1"}"#, Cause::UnknownResourceType),
        (r#"{"resourceType":7,"id":"1"}"#, Cause::UnknownResourceType),
        (r#"{"resourceType":"Patient"}"#, Cause::MissingId),
        (r#"{"resourceType":"Patient","id":"a b"}"#, Cause::MissingId),
        (r#"{"resourceType":"Patient","id":"1"}"#, Cause::MissingVersion),
        (r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"a1"}}"#, Cause::MissingVersion),
        (r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"-1"}}"#, Cause::MissingVersion),
        (
            r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1","tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}}"#,
            Cause::IncompleteDocument,
        ),
    ] {
        assert_eq!(cause(&record(None, Some(value))), expected, "{value:.80}");
    }
    let mut latin = record(None, None);
    latin.value = Some(Bytes::from_static(b"{\"resourceType\":\"Patient\",\"id\":\"M\xfcller\"}"));
    assert_eq!(cause(&latin), Cause::InvalidUtf8);
    let mut large = DecodeSettings::default();
    large.limits.bytes = 20;
    let error = Decoder::new(large).decode(&record(None, Some(PATIENT))).expect_err("too large");
    assert_eq!(error.cause(), Cause::TooLarge);
}

#[test]
fn a_refusal_names_stage_cause_and_type_and_repeats_nothing_of_the_record() {
    let value = r#"{"resourceType":"Patient","id":"secret-id","meta":{"versionId":"secret"}}"#;
    let error = decode(&record(Some("Patient/secret-id"), Some(value))).expect_err("refused");
    let refusal = Refusal::from(error);
    assert_eq!((refusal.stage, refusal.cause), (Stage::Decode, Cause::MissingVersion));
    assert_eq!(refusal.place.resource_type.as_deref(), Some("Patient"));
    let said = format!("{refusal:?} {refusal}");
    assert!(!said.contains("secret"), "{said}");
    assert!(said.contains("rowcast.version"), "advice is missing: {said}");
}

fn hapi(operation: &str, rest: &str) -> String {
    format!(r#"{{"headers":{{}},"payload":{{"operationType":"{operation}"{rest}}}}}"#)
}

#[test]
fn hapi_messages_are_read_wrapped_bare_and_old() {
    let payload = r#","payload":"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"versionId\":\"2\"}}","payloadId":"Patient/1""#;
    for (value, expected) in [
        (hapi("CREATE", payload), (false, Some(2))),
        (hapi("MANUALLY_TRIGGERED", payload), (false, Some(2))),
        (hapi("UPDATE", &format!(r#"{payload},"payloadVersion":"3""#)), (false, Some(3))),
        (hapi("DELETE", r#","payloadId":"Patient/1","payloadVersion":"4""#), (true, Some(4))),
        (hapi("DELETE", r#","payloadId":"Patient/1/_history/5""#), (true, Some(5))),
        (hapi("DELETE", r#","payload":null,"resourceId":"Patient/1/_history/6""#), (true, Some(6))),
        (hapi("DELETE", r#","payloadId":"Patient/1""#), (true, None)),
        (r#"{"operationType":"DELETE","payloadId":"Patient/1"}"#.to_owned(), (true, None)),
        (format!(r#"{{"operationType":"UPDATE"{payload}}}"#), (false, Some(2))),
    ] {
        let change = decode(&record(Some("Patient/1"), Some(&value))).expect(&value);
        assert_eq!((is_delete(&change), version(&change)), expected, "{value}");
        assert_eq!((&*change.resource.resource_type, &*change.resource.id), ("Patient", "1"));
    }
}

#[test]
fn a_hapi_message_that_says_no_single_change_is_refused_with_its_own_cause() {
    let patient = r#","payload":"{\"resourceType\":\"Patient\",\"id\":\"1\",\"meta\":{\"versionId\":\"2\"}}""#;
    for (value, expected) in [
        (hapi("TRANSACTION", r#","payloadId":"Bundle/1""#), Cause::UnknownFormat),
        (hapi("UPDATE", r#","payloadId":"Patient/1""#), Cause::IncompleteDocument),
        (hapi("UPDATE", r#","payload":"{","payloadId":"Patient/1""#), Cause::InvalidJson),
        (hapi("UPDATE", r#","payload":"<Patient/>""#), Cause::UnknownFormat),
        (hapi("UPDATE", &format!(r#","payload":"{}""#, "[".repeat(10_000))), Cause::TooDeep),
        (hapi("UPDATE", r#","payload":{}"#), Cause::UnknownFormat),
        (hapi("UPDATE", &format!(r#"{patient},"payloadId":"Patient/2""#)), Cause::KeyMismatch),
        (hapi("UPDATE", &format!(r#"{patient},"payloadId":"Group/1""#)), Cause::KeyMismatch),
        (hapi("DELETE", ""), Cause::UnknownResourceType),
        (hapi("DELETE", r#","payloadId":"Patient/1","payloadVersion":"x""#), Cause::MissingVersion),
    ] {
        assert_eq!(cause(&record(None, Some(&value))), expected, "{value}");
    }
}

#[test]
fn a_fixed_format_refuses_the_other_shape() {
    let fixed = |format| Decoder::new(DecodeSettings { format, ..DecodeSettings::default() });
    let error = fixed(Format::Hapi).decode(&record(None, Some(PATIENT))).expect_err("no envelope");
    assert_eq!(error.cause(), Cause::UnknownFormat);
    let message = hapi("DELETE", r#","payloadId":"Patient/1""#);
    let error = fixed(Format::Fhir).decode(&record(None, Some(&message))).expect_err("no resource");
    assert_eq!(error.cause(), Cause::UnknownResourceType);
}

#[test]
fn hapis_own_messages_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/messages/hapi-8.8.0-ResourceModifiedJsonMessage.txt");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: HAPI's captured messages are not at hand");
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut seen = 0;
    for pair in lines.chunks_exact(2) {
        let key = pair[0].rsplit_once("key=").map(|(_, key)| key);
        let change = decode(&record(key, Some(pair[1]))).expect("a real message");
        assert_eq!((&*change.resource.resource_type, &*change.resource.id), ("Patient", "123"));
        assert_eq!(version(&change), Some(2));
        assert_eq!(is_delete(&change), pair[0].contains(" DELETE "));
        seen += 1;
    }
    assert!(seen >= 4, "the captures hold four messages, {seen} were read");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut record = record(None, None);
        record.key = key.map(Bytes::from);
        record.value = value.map(Bytes::from);
        for version_from in [VersionFrom::VersionId, VersionFrom::LastUpdated, VersionFrom::Offset] {
            let _ = decoder(version_from).decode(&record);
        }
    }

    #[test]
    fn documents_cut_anywhere_never_panic_and_are_never_taken_for_whole(at in 0..PATIENT.len()) {
        let cut = record(None, Some(&PATIENT[..at]));
        prop_assert!(decode(&cut).is_err());
    }
}
