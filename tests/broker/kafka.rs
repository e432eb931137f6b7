//! Apache Kafka, where `ROWCAST_TEST_KAFKA` names bootstrap servers. More properties, for TLS, SASL
//! or another group protocol, come from `ROWCAST_TEST_KAFKA_PROPERTIES` (`name=value;...`). With
//! `ROWCAST_TEST_KAFKA_STOP` and `ROWCAST_TEST_KAFKA_START` (shell commands) an outage is tried
//! too, which disturbs everything else on that broker.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rowcast::broker::kafka::KafkaBroker;
use rowcast::broker::{Broker, BrokerError, ConsumerEvent, OutgoingRecord, TopicSettings};
use rowcast::error::ErrorClass;
use rowcast::model::Offset;
use tokio::sync::RwLock;

use super::{LONG, Member, SHORT, append, assert_in_order, battery, fresh, outgoing};
use crate::support;

/// The outage is alone; everything else runs side by side.
static BROKER: RwLock<()> = RwLock::const_new(());

fn properties(extra: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    let Ok(servers) = std::env::var("ROWCAST_TEST_KAFKA") else {
        eprintln!("skipped: ROWCAST_TEST_KAFKA is not set");
        return None;
    };
    let mut properties = BTreeMap::from([("bootstrap.servers".to_owned(), servers)]);
    let more = std::env::var("ROWCAST_TEST_KAFKA_PROPERTIES").unwrap_or_default();
    let more = more.split(';').filter_map(|property| property.split_once('='));
    let more = more.chain(extra.iter().copied());
    properties.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Some(properties)
}

fn broker_with(extra: &[(&str, &str)]) -> Option<KafkaBroker> {
    Some(KafkaBroker::new(properties(extra)?).unwrap())
}

async fn topic(broker: &KafkaBroker, name: &str, properties: &[(&str, &str)]) -> String {
    let name = fresh(name);
    let properties =
        properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let settings = TopicSettings { name: name.clone(), partitions: Some(4), properties };
    assert!(broker.ensure_topic(&settings).await.unwrap());
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_does_what_a_broker_does() {
    let Some(broker) = broker_with(&[]) else { return };
    let _shared = BROKER.read().await;
    battery::run(&broker).await;
}

/// librdkafka's own pause would throw it away, and fetch it again up to a second after the resume.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_ahead_of_a_paused_partition_is_kept() {
    const RECORDS: usize = 30_000;
    let Some(server) = support::requires_own_kafka() else { return };
    let servers = ("bootstrap.servers".to_owned(), server.address().to_owned());
    let broker = KafkaBroker::new(BTreeMap::from([servers])).unwrap();
    let topic = topic(&broker, "ahead", &[]).await;
    append(&broker, &topic, 0, RECORDS, 1).await;
    let mut member = Member::join(&broker, &fresh("group"), &topic);
    member.until(1).await;
    for partition in &member.assigned {
        member.group.pause(partition);
    }
    while member.step(SHORT).await.is_some() {}
    let before = member.records.len();
    assert!(before < RECORDS, "all had come before the pause");
    server.kill();
    for partition in &member.assigned {
        member.group.resume(partition);
    }
    member.until(RECORDS).await;
    assert_in_order(&member.records);
}

/// Every callback ends a poll as an empty queue does, and what then comes out of the partition's own
/// queue is younger than what still lies in the common one.
#[tokio::test(flavor = "multi_thread")]
async fn records_come_in_order_though_the_client_has_much_to_tell() {
    const RECORDS: usize = 4_000;
    let talkative =
        [("debug", "cgrp,fetch"), ("statistics.interval.ms", "1"), ("fetch.wait.max.ms", "5")];
    let Some(broker) = broker_with(&talkative) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "talkative", &[]).await;
    append(&broker, &topic, 0, RECORDS, 40).await;
    for _ in 0..5 {
        let mut member = Member::join(&broker, &fresh("group"), &topic);
        member.until(RECORDS).await;
        assert_in_order(&member.records);
        member.group.close().await;
    }
}

/// The client learns it from what it fetches; of a partition that is held it fetches only so much.
#[tokio::test(flavor = "multi_thread")]
async fn how_long_a_log_is_needs_no_question_but_while_its_partition_is_held() {
    let more = [("statistics.interval.ms", "200"), ("queued.max.messages.kbytes", "16")];
    let Some(broker) = broker_with(&more) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "ends", &[]).await;
    append(&broker, &topic, 0, 40, 1).await;
    let mut member = Member::join(&broker, &fresh("group"), &topic);
    member.until(40).await;
    let partition = member.records[0].source.clone();
    let group = Arc::clone(&member.group);
    let ends_at = async |end: i64, within: Duration| {
        let since = Instant::now();
        loop {
            let ends = group.ends(&partition).await.unwrap();
            if ends == (Offset(0), Offset(end)) {
                return;
            }
            assert!(since.elapsed() < within, "{ends:?} and not {end}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    ends_at(40, LONG).await;
    // sooner than any question would be put again
    for end in [60, 80] {
        append(&broker, &topic, 0, 20, 1).await;
        ends_at(end, Duration::from_secs(5)).await;
    }
    member.group.pause(&partition);
    // more than is fetched ahead, and then some that it cannot see
    for (count, end) in [(5000, 5080), (10, 5090)] {
        append(&broker, &topic, 0, count, 1).await;
        ends_at(end, Duration::from_secs(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_half_and_finds_the_rest_settled() {
    let Some(broker) = broker_with(&[]) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "cooperative", &[]).await;
    let group = fresh("group");
    append(&broker, &topic, 0, 400, 40).await;
    let mut first = Member::join(&broker, &group, &topic);
    first.until(400).await;
    assert_eq!(first.assigned.len(), 4);
    // nothing is committed yet: that happens in the revocation
    let mut second = Member::join(&broker, &group, &topic);
    let mut revoked = Vec::new();
    while second.assigned.is_empty() {
        tokio::select! {
            Some(event) = first.step(LONG) => match event {
                ConsumerEvent::Revoked { partitions, released } => {
                    for partition in &partitions {
                        let of_partition =
                            first.records.iter().filter(|record| record.source == *partition);
                        if let Some(last) = of_partition.last() {
                            first.group.commit(partition, last.offset.next()).await.unwrap();
                        }
                    }
                    revoked.extend(partitions);
                    released.send(()).unwrap();
                }
                ConsumerEvent::Records(_) | ConsumerEvent::Assigned(_) => {
                    panic!("what was kept was interrupted")
                }
                ConsumerEvent::Lost(_) | ConsumerEvent::Failing(_) | ConsumerEvent::Recovered => {}
            },
            Some(_) = second.step(LONG) => {}
        }
    }
    assert_eq!((first.assigned.len(), second.assigned.len()), (2, 2));
    revoked.sort();
    second.assigned.sort();
    assert_eq!(revoked, second.assigned);
    for partition in &revoked {
        let late = first.group.commit(partition, rowcast::model::Offset(0)).await;
        assert!(matches!(late, Err(BrokerError::NotAssigned)), "{late:?}");
    }
    append(&broker, &topic, 400, 200, 40).await;
    while first.records.len() + second.records.len() < 600 {
        tokio::select! {
            Some(_) = first.step(LONG) => {}
            Some(_) = second.step(LONG) => {}
        }
    }
    let mut values = [first.values(), second.values()].concat();
    values.sort_unstable();
    assert_eq!(values, (0..600).collect::<Vec<_>>());
    assert_in_order(&first.records);
    assert_in_order(&second.records);

    // leaving hands everything to the other one, at once
    second.commit_all().await;
    second.group.close().await;
    while first.assigned.len() < 4 {
        assert!(first.step(Duration::from_secs(15)).await.is_some());
    }
    first.group.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_at_its_deadline() {
    let Some(broker) = broker_with(&[]) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "deadline", &[]).await;
    let group = fresh("group");
    let settings = rowcast::broker::ConsumerSettings {
        revocation_deadline: Duration::from_secs(1),
        ..super::settings(&group, &topic)
    };
    let (mut stubborn, stubborn_group) = broker.consumer(settings).unwrap();
    let assigned = stubborn.next().await;
    assert!(matches!(assigned, Some(ConsumerEvent::Assigned(_))), "{assigned:?}");
    let mut second = Member::join(&broker, &group, &topic);
    let mut held = Vec::new();
    while second.assigned.is_empty() {
        tokio::select! {
            event = stubborn.next() => held.push(event),
            Some(_) = second.step(LONG) => {}
        }
    }
    let revoked = held.iter().any(|event| matches!(event, Some(ConsumerEvent::Revoked { .. })));
    assert!(revoked, "{held:?}");
    stubborn_group.close().await;
    second.group.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_later_is_read_then() {
    let Some(broker) = broker_with(&[("topic.metadata.refresh.interval.ms", "1000")]) else {
        return;
    };
    let _shared = BROKER.read().await;
    let topic = fresh("later");
    let mut member = Member::join(&broker, &fresh("group"), &topic);
    let event = member.step(LONG).await;
    let Some(ConsumerEvent::Failing(error)) = event else { panic!("{event:?}") };
    assert_eq!(error.class(), ErrorClass::Retriable, "{error}");
    let settings = TopicSettings { name: topic.clone(), partitions: Some(1), properties: vec![] };
    assert!(broker.ensure_topic(&settings).await.unwrap());
    append(&broker, &topic, 0, 10, 1).await;
    let mut recovered = false;
    while member.records.len() < 10 {
        let event = member.step(LONG).await.expect("an event");
        recovered |= matches!(event, ConsumerEvent::Recovered);
        assert!(!matches!(event, ConsumerEvent::Failing(_)), "told twice");
    }
    assert!(recovered);
    member.group.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_record_that_is_too_large_is_refused() {
    let Some(broker) = broker_with(&[("linger.ms", "200")]) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "small", &[("max.message.bytes", "2000")]).await;
    let random = |length: usize| -> String {
        std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
    };
    // together far beyond the limit, each below it, and one above
    let record = |n: i32, length| OutgoingRecord {
        partition: Some(0),
        ..outgoing(&topic, &n.to_string(), &random(length))
    };
    let records = (0..10).map(|n| record(n, if n == 4 { 3000 } else { 1000 })).collect();
    let results = broker.producer().unwrap().send(records).await;
    for (n, result) in results.iter().enumerate() {
        if n == 4 {
            assert!(matches!(result, Err(BrokerError::RecordTooLarge)), "{result:?}");
        } else {
            assert!(result.is_ok(), "{n}: {result:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_ends_behind_transactions_and_hides_what_was_aborted() {
    let Some(broker) = broker_with(&[]) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "transactions", &[]).await;
    let name = topic.clone();
    // control records end the partition, so no record ever has its last offset
    let produce = move || {
        let mut config = ClientConfig::new();
        config.set("transactional.id", &name);
        for (property, value) in properties(&[]).unwrap() {
            config.set(property, value);
        }
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        producer.init_transactions(LONG).unwrap();
        for (value, commit) in [("0", true), ("1", false), ("2", true)] {
            producer.begin_transaction().unwrap();
            let record = BaseRecord::to(&name).partition(0).key("k").payload(value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            if commit {
                producer.commit_transaction(LONG).unwrap();
            } else {
                producer.flush(LONG).unwrap();
                producer.abort_transaction(LONG).unwrap();
            }
        }
    };
    tokio::task::spawn_blocking(produce).await.unwrap();
    let mut reader = broker.reader(&topic).await.unwrap();
    let mut values = Vec::new();
    while let Some(records) = reader.next().await.unwrap() {
        values.extend(records.iter().map(super::number));
    }
    assert_eq!(values, [0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_waited_for() {
    let properties = BTreeMap::from([
        ("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned()),
        ("delivery.timeout.ms".to_owned(), "1000".to_owned()),
    ]);
    let broker = KafkaBroker::new(properties).unwrap();
    let mut member = Member::join(&broker, "group", "topic");
    let event = member.step(LONG).await;
    let Some(ConsumerEvent::Failing(error)) = event else { panic!("{event:?}") };
    assert_eq!(error.class(), ErrorClass::Retriable, "{error}");
    let results = broker.producer().unwrap().send(vec![outgoing("topic", "k", "1")]).await;
    let error = results.into_iter().next().unwrap().unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error}");
    tokio::time::timeout(LONG / 4, member.group.close()).await.expect("closing hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_as_refused_and_never_shown() {
    if !std::env::var("ROWCAST_TEST_KAFKA_PROPERTIES").is_ok_and(|text| text.contains("password")) {
        eprintln!("skipped: ROWCAST_TEST_KAFKA_PROPERTIES has no sasl.password");
        return;
    }
    let Some(broker) = broker_with(&[("sasl.password", "wrong-horse")]) else { return };
    let _shared = BROKER.read().await;
    assert!(!format!("{broker:?}").contains("wrong-horse"));
    let mut member = Member::join(&broker, &fresh("group"), &fresh("topic"));
    loop {
        let event = member.step(LONG).await;
        let Some(ConsumerEvent::Failing(error)) = event else { panic!("{event:?}") };
        assert!(!error.to_string().contains("wrong-horse"), "{error}");
        if error.class() == ErrorClass::Fatal {
            break;
        }
    }
    tokio::time::timeout(LONG / 4, member.group.close()).await.expect("closing hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_fenced_by_its_double_says_so() {
    let Some(broker) = broker_with(&[("group.instance.id", "one")]) else { return };
    let _shared = BROKER.read().await;
    let topic = topic(&broker, "fenced", &[]).await;
    let group = fresh("group");
    append(&broker, &topic, 0, 10, 10).await;
    let mut first = Member::join(&broker, &group, &topic);
    first.until(10).await;
    let mut double = Member::join(&broker, &group, &topic);
    let mut refused = false;
    while !refused {
        tokio::select! {
            event = first.step(LONG) => match event {
                Some(ConsumerEvent::Failing(error)) => {
                    assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
                    assert!(error.to_string().contains("group.instance.id"), "{error}");
                    refused = true;
                }
                Some(_) => {}
                None => panic!("nothing was told"),
            },
            Some(_) = double.step(LONG) => {}
        }
    }
    assert!(first.assigned.is_empty(), "it still holds {:?}", first.assigned);
    double.until(10).await;
    tokio::time::timeout(LONG / 4, first.group.close()).await.expect("closing hangs");
    double.group.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_loses_nothing() {
    let shell = |variable: &str| {
        let command = std::env::var(variable).ok()?;
        Some(move || assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success()))
    };
    let (Some(stop), Some(start)) =
        (shell("ROWCAST_TEST_KAFKA_STOP"), shell("ROWCAST_TEST_KAFKA_START"))
    else {
        eprintln!("skipped: ROWCAST_TEST_KAFKA_STOP and ROWCAST_TEST_KAFKA_START are not set");
        return;
    };
    let Some(broker) = broker_with(&[]) else { return };
    let _alone = BROKER.write().await;
    let topic = topic(&broker, "outage", &[]).await;
    let mut member = Member::join(&broker, &fresh("group"), &topic);
    append(&broker, &topic, 0, 100, 10).await;
    member.until(100).await;
    member.commit_all().await;
    tokio::task::spawn_blocking(stop).await.unwrap();
    let event = member.step(LONG).await;
    let Some(ConsumerEvent::Failing(error)) = event else { panic!("{event:?}") };
    assert_eq!(error.class(), ErrorClass::Retriable, "{error}");
    let commit = member.group.commit(&member.records[0].source, member.records[0].offset.next());
    let starting = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        tokio::task::spawn_blocking(start).await.unwrap();
    };
    // the commit either waits the outage out or says that it could not be made
    let (commit, ()) = tokio::join!(commit, starting);
    assert!(!matches!(commit, Err(BrokerError::Refused { .. })), "{commit:?}");
    let event = member.step(LONG).await;
    assert!(matches!(event, Some(ConsumerEvent::Recovered)), "{event:?}");
    append(&broker, &topic, 100, 100, 10).await;
    member.until(200).await;
    assert_eq!(member.values(), (0..200).collect::<Vec<_>>());
    assert_in_order(&member.records);
    member.group.close().await;
}
