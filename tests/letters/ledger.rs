//! The ledger and a model of it.
//!
//! Whatever is appended to the two topics in whatever order, the ledger's letters, statuses and
//! records are those of a model that looks at everything at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use proptest::prelude::*;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker, OutgoingRecord, TopicSettings};
use rowcast::dead_letter::{
    DeadLetter, How, Ledger, LedgerTopics, Letterhead, Position, Recorded, Status, StatusRecord,
    StatusWriter, headers, letter,
};
use rowcast::error::{Cause, Place, Refusal, Stage};
use rowcast::model::{Header, Offset, Record, TopicPartition};

use crate::support;

const LETTERS: &str = "dead";
const STATUSES: &str = "dead.status";
const PARTITIONS: i32 = 3;
const MAX_REPLAYS: u32 = 3;

/// What is appended.
#[derive(Debug, Clone)]
enum Step {
    /// A copy of a letter, to any partition, as of a record without key.
    Copy { letter: i64, partition: i32, replays: u32, cause: Cause },
    /// A status about the copy that was the latest then, or about an earlier one.
    Status { letter: i64, recorded: Recorded, back: usize },
    /// A status taken back.
    TakenBack { letter: i64 },
    /// No letter.
    Foreign { partition: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    let letter = 0..5_i64;
    let causes = prop_oneof![Just(Cause::TypeMismatch), Just(Cause::InvalidJson)];
    let recorded = prop_oneof![
        Just(Recorded::Replayed),
        Just(Recorded::Stale),
        Just(Recorded::Filtered),
        Just(Recorded::FailedAgain),
        Just(Recorded::Discarded),
    ];
    prop_oneof![
        4 => (letter.clone(), 0..PARTITIONS, 0..5_u32, causes).prop_map(
            |(letter, partition, replays, cause)| Step::Copy { letter, partition, replays, cause }
        ),
        3 => (letter.clone(), recorded, 0..3_usize)
            .prop_map(|(letter, recorded, back)| Step::Status { letter, recorded, back }),
        1 => letter.prop_map(|letter| Step::TakenBack { letter }),
        1 => (0..PARTITIONS).prop_map(|partition| Step::Foreign { partition }),
    ]
}

fn id(letter: i64) -> String {
    headers::id("patients", &TopicPartition::new("ingest", 0), Offset(letter))
}

/// A copy as the pipeline writes it, the `number`th record of all.
fn copy(of: i64, number: usize, partition: i32, replays: u32, cause: Cause) -> OutgoingRecord {
    let head = Letterhead {
        topic: LETTERS.into(),
        topology: "patients".into(),
        config_hash: "c0ffee".into(),
    };
    let dead = DeadLetter {
        record: Record {
            source: TopicPartition::new("ingest", 0),
            offset: Offset(of),
            timestamp: None,
            key: None,
            value: Some(Bytes::from(number.to_string())),
            headers: vec![],
        },
        refusal: Refusal {
            stage: Stage::Transform,
            cause,
            exception: "TransformError",
            messages: vec!["refused".into()],
            place: Place::default(),
        },
        changes_refused: 1,
        attempts: 1,
        failed_at: i64::try_from(number).unwrap() * 1000,
    };
    let mut record = letter(&head, &dead);
    record.partition = Some(partition);
    record.headers.retain(|header| header.name != headers::REPLAYS);
    record.headers.push(Header::text(headers::REPLAYS, replays.to_string()));
    record
}

fn status(letter: i64, recorded: Recorded, position: Position) -> StatusRecord {
    StatusRecord {
        id: id(letter),
        status: recorded,
        at: DateTime::from_timestamp_millis(0).unwrap(),
        position,
        replays: 0,
        how: (recorded != Recorded::Discarded).then_some(How::Direct),
        reason: None,
    }
}

/// All copies and all statuses of a letter.
#[derive(Debug, Default)]
struct Model {
    copies: Vec<(Position, u32, Cause, usize)>,
    last: Option<(Recorded, Position)>,
}

impl Model {
    fn status(&self) -> Option<Status> {
        let (latest, replays, ..) = self.copies.last()?;
        let settled = match self.last {
            Some((recorded, about)) if about == *latest => Some(recorded),
            _ => None,
        };
        Some(match settled {
            Some(Recorded::Replayed) => Status::Replayed,
            Some(Recorded::Stale) => Status::Stale,
            Some(Recorded::Filtered) => Status::Filtered,
            Some(Recorded::Discarded) => Status::Discarded,
            Some(Recorded::FailedAgain) | None if *replays >= MAX_REPLAYS => Status::Quarantined,
            Some(Recorded::FailedAgain) => Status::FailedAgain,
            None if *replays > 0 => Status::FailedAgain,
            None => Status::Open,
        })
    }
}

async fn broker(folder: &tempfile::TempDir) -> EmbeddedBroker {
    let broker = EmbeddedBroker::open(folder.path().join("log.db")).await.unwrap();
    for name in [LETTERS, STATUSES] {
        let topic =
            TopicSettings { name: name.into(), partitions: Some(PARTITIONS), properties: vec![] };
        broker.ensure_topic(&topic).await.unwrap();
    }
    broker
}

fn topics() -> LedgerTopics {
    LedgerTopics { letters: LETTERS.into(), statuses: STATUSES.into(), max_replays: MAX_REPLAYS }
}

/// Does the steps and compares.
async fn plays_out(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let mut model: BTreeMap<i64, Model> = BTreeMap::new();
    let mut ends = [0_i64; 3];
    let mut foreign = 0;
    let (mut letters, mut statuses) = (vec![], vec![]);
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Copy { letter, partition, replays, cause } => {
                letters.push(copy(letter, number, partition, replays, cause));
                let end = &mut ends[usize::try_from(partition).unwrap()];
                let position = Position { partition, offset: *end };
                *end += 1;
                let copies = &mut model.entry(letter).or_default().copies;
                copies.push((position, replays, cause, number));
            }
            Step::Foreign { partition } => {
                ends[usize::try_from(partition).unwrap()] += 1;
                foreign += 1;
                letters.push(OutgoingRecord {
                    topic: LETTERS.into(),
                    partition: Some(partition),
                    key: None,
                    value: None,
                    headers: vec![Header::text(headers::ID, "no id")],
                });
            }
            Step::Status { letter, recorded, back } => {
                let model = model.entry(letter).or_default();
                let copies = &model.copies;
                let Some(about) = copies.iter().rev().nth(back).or(copies.last()) else { continue };
                model.last = Some((recorded, about.0));
                statuses.push(Some(status(letter, recorded, about.0)).ok_or(letter));
            }
            Step::TakenBack { letter } => {
                model.entry(letter).or_default().last = None;
                statuses.push(Err(letter));
            }
        }
    }
    let producer = broker.producer().unwrap();
    assert!(producer.send(letters).await.iter().all(Result::is_ok));
    let writer = StatusWriter::new(STATUSES, producer.clone());
    for status in statuses {
        match status {
            Ok(status) => writer.append(&[status]).await.unwrap(),
            Err(letter) => {
                let record = OutgoingRecord {
                    topic: STATUSES.into(),
                    partition: None,
                    key: Some(Bytes::from(id(letter))),
                    value: None,
                    headers: vec![],
                };
                assert!(producer.send(vec![record]).await.iter().all(Result::is_ok));
            }
        }
    }

    for wanted in [&Status::ALL[..], &Status::ALL[..3], &[Status::Quarantined], &[]] {
        for cause in [None, Some(Cause::InvalidJson)] {
            let expected = model.iter().filter_map(|(letter, model)| {
                let (position, _, is, number) = model.copies.last()?;
                let status = model.status()?;
                (wanted.contains(&status) && cause.is_none_or(|cause| cause == *is))
                    .then(|| (id(*letter), (status, *position, number.to_string())))
            });
            let expected: BTreeMap<_, _> = expected.collect();
            let accepts = |summary: &rowcast::dead_letter::LetterSummary, status: Status| {
                wanted.contains(&status) && cause.is_none_or(|cause| cause == summary.cause)
            };
            let ledger = Ledger::open(&broker, &topics(), 100, accepts).await.unwrap();
            let mut found = BTreeMap::new();
            let mut records = ledger.records(&broker).await.unwrap();
            while let Some((letter, record)) = records.next().await.unwrap() {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                found.insert(letter.summary.id.clone(), (letter.status, letter.position, value));
            }
            assert_eq!(found, expected);
            assert_eq!(ledger.letters().len(), expected.len());
            assert_eq!((ledger.foreign(), ledger.beyond()), (foreign, 0));
            let times = ledger.letters().iter().map(|letter| letter.summary.last_failed_at);
            assert!(times.is_sorted(), "oldest first");
            let few = Ledger::open(&broker, &topics(), 1, accepts).await.unwrap();
            assert_eq!(few.letters().len() as u64 + few.beyond(), expected.len() as u64);
            assert!(few.letters().len() <= 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn whatever_is_appended_each_letter_stands_as_its_latest_copy_and_status_say(
        steps in prop::collection::vec(step(), 0..40)
    ) {
        support::block_on(plays_out(steps));
    }
}

#[tokio::test]
async fn a_status_of_a_later_release_leaves_the_letter_open() {
    let folder = tempfile::tempdir().unwrap();
    let broker = broker(&folder).await;
    let producer = broker.producer().unwrap();
    let unknown = OutgoingRecord {
        topic: STATUSES.into(),
        partition: None,
        key: Some(Bytes::from(id(0))),
        value: Some(Bytes::from_static(
            br#"{"status":"embalmed","at":"2026-01-01T00:00:00Z","partition":0,"offset":0,"replays":0}"#,
        )),
        headers: vec![],
    };
    let sent = vec![copy(0, 0, 0, 0, Cause::TypeMismatch), unknown];
    assert!(producer.send(sent).await.iter().all(Result::is_ok));
    let ledger = Ledger::open(&broker, &topics(), 10, |_, _| true).await.unwrap();
    let statuses: Vec<_> = ledger.letters().iter().map(|letter| letter.status).collect();
    assert_eq!(statuses, [Status::Open]);
}

#[test]
fn a_status_record_is_the_documented_json() {
    let record = StatusRecord {
        how: Some(How::ToTopic),
        ..status(0, Recorded::FailedAgain, Position { partition: 2, offset: 7 })
    };
    assert_eq!(
        serde_json::to_value(record).unwrap(),
        serde_json::json!({
            "status": "failed_again", "at": "1970-01-01T00:00:00Z", "partition": 2, "offset": 7,
            "replays": 0, "how": "to_topic",
        })
    );
}
