//! The embedded broker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker, BrokerError, OutgoingRecord};
use rowcast::model::TopicPartition;

use super::{LONG, Member, append, battery, outgoing, settings};

/// Tells a child process which file to write to.
const CHILD_FILE: &str = "ROWCAST_TEST_CHILD_FILE";

async fn open(folder: &tempfile::TempDir) -> EmbeddedBroker {
    EmbeddedBroker::open(folder.path().join("log.db")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_does_what_a_broker_does() {
    let folder = tempfile::tempdir().unwrap();
    battery::run(&open(&folder).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let id = broker.cluster_id().await.unwrap();
    append(&broker, "t", 0, 100, 10).await;
    let mut member = Member::join(&broker, "g", "t");
    member.until(100).await;
    member.commit_all().await;
    member.group.close().await;
    drop((member, broker));

    let broker = open(&folder).await;
    assert_eq!(broker.cluster_id().await.unwrap(), id);
    assert_eq!(broker.partitions("t").await.unwrap(), Some(4));
    append(&broker, "t", 100, 10, 10).await;
    let mut member = Member::join(&broker, "g", "t");
    member.until(10).await;
    assert_eq!(member.values(), (100..110).collect::<Vec<_>>());
    let mut other = Member::join(&broker, "another group", "t");
    other.until(110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_creates_its_topic() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let mut member = Member::join(&broker, "g", "new");
    member.step(LONG).await.unwrap();
    assert_eq!(member.assigned.len(), 4);
    assert_eq!(broker.partitions("new").await.unwrap(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_of_a_group_is_told_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let first = Member::join(&broker, "g", "t");
    let refusal = broker.consumer(settings("g", "t")).err().unwrap();
    assert!(matches!(refusal, BrokerError::Refused { .. }));
    assert!(refusal.to_string().contains("single-process"), "{refusal}");
    first.group.close().await;
    drop(Member::join(&broker, "g", "t"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn all_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let _member = Member::join(&broker, "g", "t");
    append(&broker, "t", 0, 1, 1).await;
    let mut seen = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        seen += 1;
    }
    assert!(seen >= 3, "the file, its side files and a lock; seen {seen}");
}

#[tokio::test]
async fn a_file_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "these are my notes, and they are longer than a header\n".repeat(9))
        .unwrap();
    let refusal = EmbeddedBroker::open(&text).await.unwrap_err();
    assert!(matches!(refusal, BrokerError::Refused { .. }), "{refusal}");

    let database = folder.path().join("other.db");
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(&database).create_if_missing(true);
    let mut other =
        <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
    sqlx::query("CREATE TABLE mine (a)").execute(&mut other).await.unwrap();
    let refusal = EmbeddedBroker::open(&database).await.unwrap_err();
    assert!(refusal.to_string().contains("something else"), "{refusal}");
}

/// Not a test by itself: the other process of the two tests below. Appends for ever and prints how
/// many records have been acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_appends() {
    let Some(file) = std::env::var_os(CHILD_FILE) else { return };
    let broker = EmbeddedBroker::open(Path::new(&file)).await.unwrap();
    for round in 0.. {
        append(&broker, "t", round * 10, 10, 10).await;
        println!("acknowledged {}", (round + 1) * 10);
    }
}

/// Runs until `acknowledged` records are said to be there; then the process is killed (SIGKILL).
fn killed_child(file: &Path, acknowledged: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "broker::embedded::another_process_appends", "--nocapture"])
        .env(CHILD_FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, count)) = line.split_once("acknowledged ") else { continue };
        told = count.parse().unwrap();
        if told >= acknowledged {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_killed_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.db");
    let told = killed_child(&file, 300);
    let broker = open(&folder).await;
    let mut reader = broker.reader("t").await.unwrap();
    let mut values = Vec::new();
    while let Some(records) = reader.next().await.unwrap() {
        values.extend(records.iter().map(super::number));
    }
    values.sort_unstable();
    assert!(values.len() >= told, "{told} acknowledged, {} there", values.len());
    assert_eq!(values, (0..values.len()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_another_process_arrive_while_consuming() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let mut member = Member::join(&broker, "g", "t");
    let file = broker.path().to_owned();
    let child = tokio::task::spawn_blocking(move || killed_child(&file, 200));
    member.until(200).await;
    super::assert_in_order(&member.records);
    child.await.unwrap();
}

/// Not a benchmark: it only fails if an order of magnitude is lost. Figures of a quiet machine are
/// printed with `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn more_records_than_are_fetched_at_once_arrive_in_order_and_once() {
    const COUNT: usize = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let broker = open(&folder).await;
    let producer = broker.producer().unwrap();
    let value = "x".repeat(1000);
    let records: Vec<OutgoingRecord> =
        (0..COUNT).map(|n| outgoing("t", &format!("k{n}"), &value)).collect();
    for together in records.chunks(1000) {
        assert!(producer.send(together.to_vec()).await.iter().all(Result::is_ok));
    }
    let mut member = Member::join(&broker, "g", "t");
    member.until(COUNT).await;
    let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    for record in &member.records {
        let expected = next.entry(record.source.clone()).or_default();
        assert_eq!(record.offset.0, *expected, "{}", record.source);
        *expected += 1;
    }
    assert_eq!(member.records.len(), COUNT);
}
