//! Statuses on Apache Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rowcast::broker::kafka::KafkaBroker;
use rowcast::broker::{Broker as _, OutgoingRecord};
use serde_json::json;

use super::{expect, id_of, list, object};
use crate::support::pipeline::{Pipeline, RULES, patient};
use crate::support::{self, wait_for};

/// Kafka's log cleaner looks every 15 s.
const CLEANED: Duration = Duration::from_secs(90);

#[test]
fn statuses_are_compacted_by_letter_and_the_last_one_counts() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("letters", 3), postgres.database("letters"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    pipeline.create_tables();
    let two_cities = json!({ "address": [{ "city": "A" }, { "city": "B" }] });
    pipeline.produce(&[patient("good", 1, &json!({})), patient("bad", 1, &two_cities)]);
    pipeline.run_until_idle();
    let statuses = format!("{}.dead-letter.status", pipeline.topic());
    let policy = kafka.property(&statuses, "cleanup.policy");
    assert_eq!(policy.as_deref(), Some("compact"));
    // as soon as the cleaner looks
    kafka.set_properties(
        &statuses,
        &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.0"),
            ("max.compaction.lag.ms", "1000"),
        ],
    );
    let broker = KafkaBroker::new(BTreeMap::from([(
        "bootstrap.servers".to_owned(),
        kafka.servers().to_owned(),
    )]))
    .unwrap();
    let partitions = support::block_on(broker.partitions(&statuses));
    assert_eq!(partitions.unwrap(), Some(3), "as many as the dead-letter topic");

    let id = id_of(&pipeline, "multiple_values");
    for round in 0..4 {
        let status = if round == 0 { "open" } else { "discarded" };
        let reason = format!("round {round}");
        let discard = ["discard", "--id", &id, "--status", status, "--reason", &reason];
        expect(&pipeline, &discard);
    }
    let count = || {
        support::block_on(async {
            let mut records = Vec::new();
            let mut reader = broker.reader(&statuses).await.ok()?;
            while let Some(some) = reader.next().await.ok()? {
                records.extend(some);
            }
            Some(records)
        })
    };
    let records = count().expect("statuses are read");
    assert!(records.iter().all(|record| record.key.as_deref() == Some(id.as_bytes())));
    let producer = broker.producer().unwrap();
    wait_for("compaction", CLEANED, || {
        // a segment is closed by the next record of its partition
        let next = (0..3).map(|partition| OutgoingRecord {
            topic: statuses.as_str().into(),
            partition: Some(partition),
            key: Some(Bytes::from_static(b"no letter")),
            value: Some(Bytes::from_static(b"-")),
            headers: Vec::new(),
        });
        let sent = support::block_on(producer.send(next.collect()));
        assert!(sent.iter().all(Result::is_ok), "{sent:?}");
        std::thread::sleep(Duration::from_secs(1));
        let records = count()?;
        let left = records.iter().filter(|record| record.key.as_deref() == Some(id.as_bytes()));
        (left.count() == 1).then_some(())
    });
    let shown = object(&pipeline, &["show", &id]);
    assert_eq!(shown["status"], "discarded");
    assert_eq!(shown["last_status"]["reason"], "round 3");
    assert_eq!(list(&pipeline, &[]).len(), 0);
}
