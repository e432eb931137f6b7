//! What a letter says, and that it says it once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::error::{Cause, Place, Stage};
use crate::model::{Header, Offset, TopicPartition};

fn head() -> Letterhead {
    Letterhead { topic: "dead".into(), topology: "patients".into(), config_hash: "c0ffee".into() }
}

fn record() -> Record {
    Record {
        source: TopicPartition::new("ingest", 3),
        offset: Offset(42),
        timestamp: Some(1_700_000_000_123),
        key: Some(Bytes::from_static(b"Patient/p1")),
        value: Some(Bytes::from_static(b"\xff\x00 not json")),
        headers: vec![
            Header::text("trace", "1"),
            Header { name: "nothing".into(), value: None },
            Header::text("trace", "2"),
        ],
    }
}

fn dead(record: Record, failed_at: i64) -> DeadLetter {
    DeadLetter {
        record,
        refusal: Refusal {
            stage: Stage::Sink,
            cause: Cause::ConstraintCheck,
            exception: "SinkError",
            messages: vec!["the database refused a row".into(), "check\nconstraint".into()],
            place: Place {
                resource_type: Some("Patient".into()),
                version: Some(7),
                table: Some("patient".into()),
                column: Some("birth_date".into()),
                rule: Some("rules/patient.json#/transformers/0".into()),
                path: Some("birthDate".into()),
                sqlstate: Some("23514".into()),
            },
        },
        changes_refused: 2,
        attempts: 3,
        failed_at,
    }
}

/// The letter as it would be read from the dead-letter topic.
fn as_read(outgoing: OutgoingRecord, offset: i64) -> Record {
    Record {
        source: TopicPartition::new(outgoing.topic, 0),
        offset: Offset(offset),
        timestamp: Some(1_800_000_000_000),
        key: outgoing.key,
        value: outgoing.value,
        headers: outgoing.headers,
    }
}

#[test]
fn key_value_and_headers_of_the_record_are_untouched() {
    let outgoing = letter(&head(), &dead(record(), 1_700_000_001_000));
    assert_eq!(outgoing.key, record().key);
    assert_eq!(outgoing.value, record().value);
    assert_eq!(outgoing.headers[..3], record().headers[..]);
    assert_eq!(outgoing.partition, None);
}

#[test]
fn a_letter_says_what_it_was_told() {
    let letter = as_read(letter(&head(), &dead(record(), 1_700_000_001_000)), 0);
    let summary = read(&letter).unwrap();
    assert_eq!(summary.origin, TopicPartition::new("ingest", 3));
    assert_eq!(summary.offset, Offset(42));
    assert_eq!((summary.stage, summary.cause), (Stage::Sink, Cause::ConstraintCheck));
    assert_eq!(summary.exception, "SinkError");
    assert_eq!(summary.messages, ["the database refused a row", "check constraint"]);
    assert_eq!(summary.place, dead(record(), 0).refusal.place);
    assert_eq!((summary.changes_refused, summary.attempts, summary.replays), (2, 3, 0));
    assert_eq!(summary.first_failed_at, 1_700_000_001_000);
    assert_eq!(summary.last_failed_at, 1_700_000_001_000);
    assert_eq!(summary.timestamp, Some(1_700_000_000_123));
    assert_eq!(summary.config_hash, "c0ffee");
    assert_eq!(summary.pointer, None);
    assert_eq!(letter.header("__streams.errors.offset"), Some("42"));
    assert_eq!(letter.header("__streams.errors.partition"), Some("3"));
    assert_eq!(letter.header("rowcast.error.first_failed_at"), Some("2023-11-14T22:13:21.000Z"));
}

#[test]
fn an_opened_letter_has_the_time_of_its_record_not_its_own() {
    let letter = as_read(letter(&head(), &dead(record(), 1_700_000_001_000)), 0);
    assert_ne!(letter.timestamp, record().timestamp);
    let opened = original(&letter).and_then(|opened| opened.record).expect("no pointer");
    assert_eq!(opened.timestamp, record().timestamp);
}

#[test]
fn a_second_failure_replaces_the_headers_and_keeps_the_origin() {
    let first = as_read(letter(&head(), &dead(record(), 1_000)), 5);
    let mut again = dead(first.clone(), 9_000);
    again.refusal.place = Place::default();
    again.refusal.cause = Cause::ConstraintUnique;
    let second = as_read(letter(&head(), &again), 6);
    let mut names: Vec<_> = second.headers.iter().map(|header| &header.name).collect();
    names.retain(|name| headers::is_ours(name));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a header stands twice");
    let (first, second) = (read(&first).unwrap(), read(&second).unwrap());
    assert_eq!(second.id, first.id);
    assert_eq!((second.origin, second.offset), (first.origin, first.offset));
    assert_eq!((second.first_failed_at, second.last_failed_at), (1_000, 9_000));
    assert_eq!(second.timestamp, first.timestamp);
    assert_eq!(second.cause, Cause::ConstraintUnique);
    assert_eq!(second.place, Place::default());
    assert_eq!(second.replays, 1);
}

#[test]
fn a_tombstone_stays_a_tombstone() {
    let outgoing = letter(&head(), &dead(Record { value: None, ..record() }, 0));
    assert_eq!(outgoing.value, None);
    assert_eq!(read(&as_read(outgoing, 0)).unwrap().pointer, None);
}

#[test]
fn text_from_outside_never_becomes_a_resource_type() {
    let mut letter_of = dead(record(), 0);
    letter_of.refusal.place.resource_type = Some("Mr. Smith".into());
    let letter = as_read(letter(&head(), &letter_of), 0);
    assert_eq!(letter.header(headers::RESOURCE_TYPE), Some("other"));
}

#[test]
fn identities_differ_by_topology_and_origin() {
    let at = |topology: &str, topic: &str, partition, offset| {
        headers::id(topology, &TopicPartition::new(topic, partition), Offset(offset))
    };
    let ids = [at("a", "bc", 0, 0), at("ab", "c", 0, 0), at("a", "bc", 1, 0), at("a", "bc", 0, 1)];
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(id.len(), 32);
        assert!(!ids[..index].contains(id));
    }
    assert_eq!(at("a", "bc", 0, 0), ids[0]);
}

#[test]
fn a_record_without_our_headers_is_no_letter() {
    assert_eq!(read(&record()), None);
}

/// A topic that takes values and keys of a few bytes only.
struct SmallTopic {
    taken: Mutex<Vec<OutgoingRecord>>,
    most: usize,
    most_key: usize,
    /// So many records more are not taken.
    down_for: AtomicUsize,
}

impl Default for SmallTopic {
    fn default() -> Self {
        let (taken, down_for) = (Mutex::default(), AtomicUsize::new(0));
        Self { taken, most: 0, most_key: usize::MAX, down_for }
    }
}

#[async_trait]
impl Producer for SmallTopic {
    async fn send(
        &self,
        records: Vec<OutgoingRecord>,
    ) -> Vec<Result<(TopicPartition, Offset), BrokerError>> {
        let mut taken = self.taken.lock().unwrap();
        let mut take = |record: OutgoingRecord| {
            let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
            if length(&record.value) > self.most || length(&record.key) > self.most_key {
                return Err(BrokerError::RecordTooLarge);
            }
            let down = |left: usize| left.checked_sub(1);
            if self.down_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down).is_ok() {
                let reason = "away".to_owned();
                return Err(BrokerError::Unavailable { attempted: "testing", reason });
            }
            taken.push(record);
            Ok((TopicPartition::new("dead", 0), Offset(0)))
        };
        records.into_iter().map(&mut take).collect()
    }
}

#[tokio::test]
async fn a_value_too_large_for_the_topic_becomes_a_pointer() {
    let topic = Arc::new(SmallTopic { most: 20, ..SmallTopic::default() });
    let large = Record { value: Some(Bytes::from(vec![b'x'; 21])), ..record() };
    let queue = DeadLetterQueue::new(head(), topic.clone());
    queue.publish(&[dead(record(), 0), dead(large, 0)], &mut Places::new()).await.unwrap();
    let taken = topic.taken.lock().unwrap();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].value, record().value);
    assert_eq!(taken[1].value, None);
    let pointer = read(&as_read(taken[1].clone(), 0)).unwrap().pointer.unwrap();
    assert_eq!(pointer.bytes, 21);
    assert_eq!(pointer.sha256, "7799e51458c8540c1caa9d18e9678b83c4b28e781dd47c22af5d023a3054bea4");
}

#[tokio::test]
async fn a_pointer_that_fails_again_stays_a_pointer() {
    let large = Record { value: Some(Bytes::from(vec![b'x'; 21])), ..record() };
    let first = as_read(pointer_letter(&head(), &dead(large, 0)), 0);
    let again = as_read(letter(&head(), &dead(first.clone(), 1)), 1);
    assert_eq!(read(&again).unwrap().pointer, read(&first).unwrap().pointer);
    assert!(read(&again).unwrap().pointer.is_some());
}

#[test]
fn an_edited_pointer_is_none_any_more_and_keeps_the_hash_of_what_stayed() {
    let large = Record { value: Some(Bytes::from(vec![b'x'; 21])), ..record() };
    let pointer = as_read(pointer_letter(&head(), &dead(large, 0)), 4);
    let before = read(&pointer).unwrap();
    let edited = edit(&pointer, Bytes::from_static(b"{}"), 5_000, None).unwrap();
    assert_eq!(edited.outgoing.partition, Some(0));
    let copy = as_read(edited.outgoing, 5);
    let after = read(&copy).unwrap();
    assert_eq!(after.pointer, None);
    let sha256 = before.pointer.clone().unwrap().sha256;
    assert_eq!(after.edited, Some(Edit { at: 5_000, sha256, reason: None }));
    assert_eq!(LetterSummary { pointer: before.pointer.clone(), edited: None, ..after }, before);
    let replayed = original(&copy).and_then(|opened| opened.record).expect("no pointer");
    assert_eq!(replayed, edited.record);
    assert_eq!(replayed.value.as_deref(), Some(&b"{}"[..]));
}

#[test]
fn an_edited_letter_that_fails_again_still_says_that_it_was_edited() {
    let first = as_read(letter(&head(), &dead(record(), 0)), 4);
    let reason = Some("typed wrong".to_owned());
    let edited = edit(&first, Bytes::from_static(b"{}"), 5_000, reason).unwrap();
    let copy = as_read(edited.outgoing, 5);
    let again = as_read(letter(&head(), &dead(copy.clone(), 9_000)), 6);
    let edit = read(&again).unwrap().edited;
    assert_eq!(edit, read(&copy).unwrap().edited);
    assert_eq!(edit.unwrap().reason.as_deref(), Some("typed wrong"));
    assert_eq!(read(&again).unwrap().replays, 1, "counted from the edit on");
}

#[test]
fn a_letter_whose_identity_is_no_hash_is_none() {
    let mut letter = as_read(letter(&head(), &dead(record(), 0)), 0);
    assert!(read(&letter).is_some());
    letter.headers.push(Header::text(headers::ID, "Patient/p1"));
    assert_eq!(read(&letter), None);
}

/// A queue on a topic that takes values of a few bytes only.
fn retry_queue(most: usize) -> (RetryQueue, Arc<SmallTopic>) {
    let topic = Arc::new(SmallTopic { most, ..SmallTopic::default() });
    (RetryQueue::new(head(), topic.clone()), topic)
}

/// The letter as it would be read from the retry topic.
async fn waiting(letter: DeadLetter, due: i64) -> Record {
    let (queue, topic) = retry_queue(100);
    queue.publish(&[Retry { letter, due }]).await.unwrap();
    let taken = topic.taken.lock().unwrap();
    as_read(taken[0].clone(), 9)
}

#[tokio::test]
async fn a_letter_that_waits_says_when_it_is_due_and_is_the_record_that_it_was() {
    let letter = waiting(dead(record(), 1_000), 1_700_000_000_456).await;
    assert_eq!(letter.header("rowcast.retry.due"), Some("2023-11-14T22:13:20.456Z"));
    assert_eq!(due(&letter), Some(1_700_000_000_456));
    let opened = original(&letter).and_then(|opened| opened.record).expect("no pointer");
    assert_eq!(opened, record());
}

#[tokio::test]
async fn waiting_is_no_replay_and_a_dead_letter_waits_no_longer() {
    let first = waiting(dead(record(), 1_000), 2_000).await;
    let mut again = dead(first, 2_000);
    again.attempts = 4;
    let second = waiting(again, 4_000).await;
    assert_eq!(second.headers.iter().filter(|header| header.name == DUE).count(), 1);
    assert_eq!(due(&second), Some(4_000));
    let last = as_read(letter(&head(), &dead(second, 9_000)), 0);
    assert_eq!(due(&last), None);
    let summary = read(&last).unwrap();
    assert_eq!((summary.replays, summary.attempts), (0, 3));
    assert_eq!((summary.first_failed_at, summary.last_failed_at), (1_000, 9_000));
    assert_eq!((summary.origin, summary.offset), (record().source, record().offset));
}

#[tokio::test]
async fn a_value_too_large_to_wait_is_told_and_not_sent_without_it() {
    let (queue, topic) = retry_queue(20);
    let large = Record { value: Some(Bytes::from(vec![b'x'; 21])), ..record() };
    let retry = |record| Retry { letter: dead(record, 0), due: 0 };
    let too_large = queue.publish(&[retry(large.clone()), retry(record()), retry(large)]).await;
    assert_eq!(too_large.unwrap(), [0, 2]);
    assert_eq!(topic.taken.lock().unwrap().len(), 1);
}

#[test]
fn letters_of_another_topology_are_not_ours() {
    let (queue, _) = retry_queue(0);
    let of = |topology: &str| {
        let head = Letterhead { topology: topology.into(), ..head() };
        read(&as_read(letter(&head, &dead(record(), 0)), 0)).unwrap()
    };
    assert!(queue.wrote(&of("patients")));
    assert!(!queue.wrote(&of("others")));
}

#[tokio::test]
async fn a_record_whose_key_and_headers_are_too_large_becomes_a_pointer_without_them() {
    for value in [Some(Bytes::from_static(b"{}")), None] {
        let topic = Arc::new(SmallTopic { most: 20, most_key: 20, ..SmallTopic::default() });
        let large = Record { key: Some(Bytes::from(vec![b'k'; 21])), value, ..record() };
        let queue = DeadLetterQueue::new(head(), topic.clone());
        queue.publish(&[dead(large.clone(), 0)], &mut Places::new()).await.unwrap();
        let taken = topic.taken.lock().unwrap();
        assert_eq!((taken.len(), &taken[0].key, &taken[0].value), (1, &None, &None));
        assert!(taken[0].headers.iter().all(|header| headers::is_ours(&header.name)));
        let letter = as_read(taken[0].clone(), 0);
        assert_eq!(original(&letter).unwrap().record.map(drop), None, "it is at the origin");
        let summary = read(&letter).unwrap();
        assert!(summary.points_to(&large), "and is known there");
        let other = Record { value: Some(Bytes::from_static(b"[]")), ..large };
        assert!(!summary.points_to(&other));
    }
}

#[tokio::test]
async fn what_the_topic_took_is_not_published_again() {
    let topic = Arc::new(SmallTopic { most: 100, ..SmallTopic::default() });
    let queue = DeadLetterQueue::new(head(), topic.clone());
    let letters = [dead(record(), 0), dead(record(), 1), dead(record(), 2)];
    topic.down_for.store(2, Ordering::Relaxed);
    let mut places = Places::new();
    assert!(queue.publish(&letters, &mut places).await.is_err());
    assert_eq!(places.iter().filter(|place| place.is_some()).count(), 1);
    queue.publish(&letters, &mut places).await.unwrap();
    assert!(places.iter().all(Option::is_some));
    assert_eq!(topic.taken.lock().unwrap().len(), 3);
}

#[test]
fn a_letter_of_another_release_is_known_as_ours_though_it_cannot_be_read() {
    let (queue, _) = retry_queue(0);
    let mut later = as_read(letter(&head(), &dead(record(), 0)), 0);
    for header in later.headers.iter_mut().filter(|header| header.name == headers::CAUSE) {
        header.value = Some(Bytes::from_static(b"cause_of_tomorrow"));
    }
    assert_eq!(read(&later), None);
    assert!(queue.wrote_unread(&later));
    let others = Letterhead { topology: "others".into(), ..head() };
    assert!(!queue.wrote_unread(&as_read(letter(&others, &dead(record(), 0)), 0)));
    assert!(!queue.wrote_unread(&record()));
}
