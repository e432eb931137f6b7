//! What both brokers must do. Each function is one behaviour, over any broker.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rowcast::broker::{Broker, BrokerError, ConsumerSettings, OutgoingRecord, TopicSettings};
use rowcast::dead_letter::{DeadLetter, DeadLetterQueue, Found, Ledger, LedgerTopics, Letterhead};
use rowcast::error::{Cause, Place, Refusal, Stage};
use rowcast::model::{Header, Offset, Record, TopicPartition};

use super::{LONG, Member, SHORT, append, assert_in_order, fresh, outgoing, settings};

/// Runs every behaviour in turn.
pub(super) async fn run(broker: &dyn Broker) {
    records_come_back_as_they_were(broker).await;
    a_key_has_the_partition_that_kafka_gives_it(broker).await;
    a_new_member_begins_where_the_group_committed(broker).await;
    a_paused_partition_delivers_nothing_and_loses_nothing(broker).await;
    pausing_and_resuming_at_any_moment_neither_loses_nor_repeats(broker).await;
    a_pattern_reads_all_matching_topics(broker).await;
    names_and_patterns_are_read_together(broker).await;
    a_reader_sees_the_topic_as_it_was_when_opened(broker).await;
    a_record_is_found_by_its_place_and_only_there(broker).await;
    a_topic_is_created_once(broker).await;
    asking_for_a_topic_does_not_create_it(broker).await;
    the_cluster_id_stays(broker).await;
    closing_while_records_wait_does_not_hang(broker).await;
    a_partition_that_does_not_exist_is_an_error(broker).await;
    dead_letters_are_listed_once(broker).await;
}

async fn topic(broker: &dyn Broker, name: &str) -> String {
    let name = fresh(name);
    let settings = TopicSettings { name: name.clone(), partitions: Some(4), properties: vec![] };
    assert!(broker.ensure_topic(&settings).await.unwrap());
    name
}

async fn read_all(broker: &dyn Broker, topic: &str) -> Vec<Record> {
    let mut reader = broker.reader(topic).await.unwrap();
    let mut records = Vec::new();
    while let Some(more) = reader.next().await.unwrap() {
        assert!(!more.is_empty());
        records.extend(more);
    }
    records
}

async fn records_come_back_as_they_were(broker: &dyn Broker) {
    let topic = topic(broker, "as-they-were").await;
    let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let headers = vec![
        Header::text("twice", "1"),
        Header { name: "null".into(), value: None },
        Header { name: "empty".into(), value: Some(Bytes::new()) },
        Header::text("twice", "2"),
        Header { name: "bytes".into(), value: Some(Bytes::from_static(b"\xff\x00\xfe")) },
    ];
    let sent: Vec<OutgoingRecord> = [
        (some("k"), some("v"), headers),
        (some("k"), None, vec![]),
        (None, some("v"), vec![]),
        (some(""), some(""), vec![]),
        (None, None, vec![]),
    ]
    .into_iter()
    .map(|(key, value, headers)| OutgoingRecord {
        topic: topic.as_str().into(),
        partition: Some(2),
        key,
        value,
        headers,
    })
    .collect();
    let results = broker.producer().unwrap().send(sent.clone()).await;
    let partition = TopicPartition::new(topic.as_str(), 2);
    for (index, result) in (0_i64..).zip(results) {
        assert_eq!(result.unwrap(), (partition.clone(), Offset(index)));
    }
    let mut member = Member::join(broker, &fresh("group"), &topic);
    member.until(sent.len()).await;
    member.group.close().await;
    for read in [&member.records, &read_all(broker, &topic).await] {
        assert_eq!(read.len(), sent.len());
        for ((index, sent), read) in (0_i64..).zip(&sent).zip(read) {
            assert_eq!((&read.source, read.offset.0), (&partition, index));
            assert_eq!((&read.key, &read.value), (&sent.key, &sent.value));
            assert_eq!(read.headers, sent.headers);
            let age = chrono::Utc::now().timestamp_millis() - read.timestamp.unwrap();
            assert!((0..60_000).contains(&age), "{age} ms old");
        }
    }
}

async fn a_key_has_the_partition_that_kafka_gives_it(broker: &dyn Broker) {
    let topic = topic(broker, "keys").await;
    append(broker, &topic, 0, 5, 5).await;
    let mut partitions = BTreeMap::new();
    for record in read_all(broker, &topic).await {
        partitions.insert(record.key.unwrap(), record.source.partition);
    }
    let partitions: Vec<i32> = partitions.into_values().collect();
    // murmur2 of key-0 to key-4, over 4 partitions, as Kafka's Java producer has it
    assert_eq!(partitions, KEY_PARTITIONS);
}

const KEY_PARTITIONS: [i32; 5] = [1, 0, 2, 3, 1];

async fn a_new_member_begins_where_the_group_committed(broker: &dyn Broker) {
    let topic = topic(broker, "committed").await;
    let group = fresh("group");
    append(broker, &topic, 0, 100, 10).await;
    let mut first = Member::join(broker, &group, &topic);
    first.until(100).await;
    for partition in &first.assigned {
        assert_eq!(first.group.committed(partition).await.unwrap(), None);
    }
    first.commit_all().await;
    for partition in first.assigned.clone() {
        let (low, high) = first.group.watermarks(&partition).await.unwrap();
        assert_eq!(low, Offset(0));
        let committed = first.group.committed(&partition).await.unwrap();
        assert_eq!(committed, (high > low).then_some(high), "{partition}");
    }
    first.group.close().await;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let late = first.group.commit(&partition, Offset(1)).await;
    assert!(matches!(late, Err(BrokerError::NotAssigned)), "{late:?}");

    append(broker, &topic, 100, 50, 10).await;
    let mut second = Member::join(broker, &group, &topic);
    second.until(50).await;
    assert_eq!(second.values(), (100..150).collect::<Vec<_>>());
    assert_in_order(&second.records);
    second.group.close().await;
}

async fn a_paused_partition_delivers_nothing_and_loses_nothing(broker: &dyn Broker) {
    let topic = topic(broker, "paused").await;
    let mut member = Member::join(broker, &fresh("group"), &topic);
    while member.assigned.len() < 4 {
        member.step(LONG).await.unwrap();
    }
    let paused = TopicPartition::new(topic.as_str(), 1);
    member.group.pause(&paused);
    member.group.pause(&paused);
    let in_partition = |number: usize, partition: i32| OutgoingRecord {
        partition: Some(partition),
        ..outgoing(&topic, "k", &number.to_string())
    };
    let producer = broker.producer().unwrap();
    let records = (0..20).map(|n| in_partition(n, i32::from(n >= 10))).collect();
    assert!(producer.send(records).await.iter().all(Result::is_ok));
    member.until(10).await;
    while member.step(SHORT).await.is_some() {}
    assert_eq!(member.values(), (0..10).collect::<Vec<_>>());
    member.group.resume(&paused);
    member.group.resume(&paused);
    member.until(20).await;
    assert_eq!(member.values(), (0..20).collect::<Vec<_>>());
    assert_in_order(&member.records);
    member.group.close().await;
}

async fn pausing_and_resuming_at_any_moment_neither_loses_nor_repeats(broker: &dyn Broker) {
    const COUNT: usize = 20_000;
    let topic = topic(broker, "churn").await;
    append(broker, &topic, 0, COUNT, 50).await;
    let mut member = Member::join(broker, &fresh("group"), &topic);
    let mut paused = Vec::new();
    while member.records.len() < COUNT {
        if member.step(std::time::Duration::from_millis(20)).await.is_none() {
            for partition in paused.drain(..) {
                member.group.resume(&partition);
            }
        }
        if let Some(partition) = fastrand::choice(&member.assigned) {
            member.group.pause(partition);
            paused.push(partition.clone());
        }
        assert!(member.records.len() <= COUNT);
    }
    for partition in paused {
        member.group.resume(&partition);
    }
    while member.step(SHORT).await.is_some() {}
    assert_eq!(member.values(), (0..COUNT).collect::<Vec<_>>());
    assert_in_order(&member.records);
    member.group.close().await;
}

async fn a_pattern_reads_all_matching_topics(broker: &dyn Broker) {
    let prefix = fresh("pattern");
    for name in ["a", "b"] {
        let name = format!("{prefix}-{name}");
        let settings = TopicSettings { name, partitions: Some(1), properties: vec![] };
        assert!(broker.ensure_topic(&settings).await.unwrap());
    }
    append(broker, &format!("{prefix}-a"), 0, 5, 5).await;
    append(broker, &format!("{prefix}-b"), 5, 5, 5).await;
    let mut member = Member::join(broker, &fresh("group"), &format!("^{prefix}-.*"));
    member.until(10).await;
    assert_eq!(member.values(), (0..10).collect::<Vec<_>>());
    member.group.close().await;
}

async fn names_and_patterns_are_read_together(broker: &dyn Broker) {
    let stem = fresh("together");
    let names = ["a", "b", "x.1", "x.2", "c"].map(|name| format!("{stem}.{name}"));
    for (number, name) in names.iter().enumerate() {
        let settings =
            TopicSettings { name: name.clone(), partitions: Some(2), properties: vec![] };
        assert!(broker.ensure_topic(&settings).await.unwrap());
        append(broker, name, number * 10, 10, 4).await;
    }
    let topics = vec![names[0].clone(), format!("^{stem}[.]x[.]"), names[1].clone()];
    let settings = ConsumerSettings { topics, ..settings(&fresh("group"), "") };
    let mut member = Member::join_with(broker, settings);
    member.until(40).await;
    assert_eq!(member.values(), (0..40).collect::<Vec<_>>());
    assert_eq!(member.assigned.len(), 8, "the topic that nobody named is not read");
    let mut known = member.group.partitions().await.unwrap().expect("they are there");
    known.sort();
    member.assigned.sort();
    assert_eq!(known, member.assigned);
    assert_in_order(&member.records);
    member.group.close().await;
}

async fn a_reader_sees_the_topic_as_it_was_when_opened(broker: &dyn Broker) {
    let topic = topic(broker, "reader").await;
    append(broker, &topic, 0, 3000, 30).await;
    let mut reader = broker.reader(&topic).await.unwrap();
    append(broker, &topic, 3000, 100, 30).await;
    let mut records = Vec::new();
    while let Some(more) = reader.next().await.unwrap() {
        records.extend(more);
    }
    assert_eq!(records.len(), 3000);
    assert_in_order(&records);
    assert!(reader.next().await.unwrap().is_none());
    assert_eq!(read_all(broker, &topic).await.len(), 3100);
    assert!(read_all(broker, &fresh("missing")).await.is_empty());
}

async fn a_record_is_found_by_its_place_and_only_there(broker: &dyn Broker) {
    let topic = topic(broker, "place").await;
    append(broker, &topic, 0, 20, 5).await;
    for record in read_all(broker, &topic).await {
        let found = broker.record(&record.source, record.offset).await.unwrap();
        assert_eq!(found, Some(record));
    }
    for (partition, offset) in [(0, 20), (0, -1), (99, 0)] {
        let place = TopicPartition::new(topic.as_str(), partition);
        assert_eq!(broker.record(&place, Offset(offset)).await.unwrap(), None);
    }
    let missing = TopicPartition::new(fresh("missing"), 0);
    assert_eq!(broker.record(&missing, Offset(0)).await.unwrap(), None);
}

async fn a_topic_is_created_once(broker: &dyn Broker) {
    let settings = TopicSettings { name: fresh("once"), partitions: Some(3), properties: vec![] };
    assert!(broker.ensure_topic(&settings).await.unwrap());
    assert!(!broker.ensure_topic(&settings).await.unwrap());
    assert_eq!(broker.partitions(&settings.name).await.unwrap(), Some(3));
    let settings = TopicSettings {
        name: fresh("defaults"),
        partitions: None,
        properties: vec![("cleanup.policy".into(), "compact".into())],
    };
    assert!(broker.ensure_topic(&settings).await.unwrap());
    assert!(broker.partitions(&settings.name).await.unwrap().is_some_and(|count| count > 0));
}

async fn asking_for_a_topic_does_not_create_it(broker: &dyn Broker) {
    let topic = fresh("never-created");
    assert_eq!(broker.partitions(&topic).await.unwrap(), None);
    tokio::time::sleep(SHORT).await;
    assert_eq!(broker.partitions(&topic).await.unwrap(), None);
}

async fn the_cluster_id_stays(broker: &dyn Broker) {
    let id = broker.cluster_id().await.unwrap();
    assert!(!id.is_empty());
    assert_eq!(broker.cluster_id().await.unwrap(), id);
}

async fn closing_while_records_wait_does_not_hang(broker: &dyn Broker) {
    let topic = topic(broker, "closing").await;
    append(broker, &topic, 0, 20_000, 50).await;
    let mut member = Member::join(broker, &fresh("group"), &topic);
    member.until(1).await;
    // the channel fills up behind our back
    tokio::time::sleep(SHORT).await;
    tokio::time::timeout(LONG / 4, member.group.close()).await.expect("closing hangs");
    let drained = async { while member.consumer.next().await.is_some() {} };
    tokio::time::timeout(SHORT, drained).await.expect("the consumer does not end");
    member.group.close().await;
}

async fn a_partition_that_does_not_exist_is_an_error(broker: &dyn Broker) {
    let topic = topic(broker, "four").await;
    let bad = OutgoingRecord { partition: Some(99), ..outgoing(&topic, "k", "1") };
    let results = broker.producer().unwrap().send(vec![bad, outgoing(&topic, "k", "2")]).await;
    assert!(results[0].is_err());
    assert!(results[1].is_ok(), "{:?}", results[1]);
}

async fn dead_letters_are_listed_once(broker: &dyn Broker) {
    let topic = topic(broker, "dead").await;
    append(broker, &topic, 0, 1, 1).await;
    let head = Letterhead {
        topic: topic.as_str().into(),
        topology: "patients".into(),
        config_hash: "c0ffee".into(),
    };
    let queue = DeadLetterQueue::new(head, broker.producer().unwrap());
    let letter = |offset: i64, failed_at: i64| DeadLetter {
        record: Record {
            source: TopicPartition::new("ingest", 0),
            offset: Offset(offset),
            timestamp: Some(1_700_000_000_000),
            key: Some(Bytes::from_static(b"Patient/1")),
            value: Some(Bytes::from_static(b"{")),
            headers: vec![],
        },
        refusal: Refusal {
            stage: Stage::Decode,
            cause: Cause::InvalidJson,
            exception: "DecodeError",
            messages: vec!["the value is not valid JSON".into()],
            place: Place::default(),
        },
        changes_refused: 1,
        attempts: 1,
        failed_at,
    };
    queue.publish(&[letter(7, 1000), letter(8, 2000)], &mut Vec::new()).await.unwrap();
    queue.publish(&[letter(7, 3000)], &mut Vec::new()).await.unwrap();

    let topics = LedgerTopics {
        letters: topic.clone(),
        statuses: format!("{topic}.status"),
        max_replays: 5,
    };
    let ledger = Ledger::open(broker, &topics, 10, |_, _| true).await.unwrap();
    let times: HashMap<i64, i64> = ledger
        .letters()
        .iter()
        .map(|one| (one.summary.offset.0, one.summary.last_failed_at))
        .collect();
    assert_eq!(times, HashMap::from([(7, 3000), (8, 2000)]));
    assert_eq!((ledger.beyond(), ledger.foreign()), (0, 1));
    let few = Ledger::open(broker, &topics, 1, |_, _| true).await.unwrap();
    assert_eq!(few.letters().len(), 1);
    assert!(few.beyond() > 0);
    let wanted = few.letters()[0].summary.id.clone();
    let found = Ledger::find(broker, &topics, &wanted[..20]).await.unwrap();
    let Found::One(letter, record) = found else { panic!("found: {found:?}") };
    assert_eq!(letter.summary.id, wanted);
    assert_eq!(record.value.as_deref(), Some(&b"{"[..]));
    let none = Ledger::find(broker, &topics, "no such").await.unwrap();
    assert!(matches!(none, Found::None), "{none:?}");
    let both = Ledger::find(broker, &topics, "").await.unwrap();
    assert!(matches!(both, Found::Several(_)), "{both:?}");
}
