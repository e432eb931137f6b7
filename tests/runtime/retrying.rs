//! The retry tier between a consumer, a group and a sink that do what a test says.

use chrono::{DateTime, SecondsFormat, Utc};
use rowcast::dead_letter::{DUE, DeadLetter, letter};
use rowcast::model::Header;
use tokio::sync::oneshot;

use super::*;

/// Keeps the diary; commits everything.
struct Keeper(Diary);

#[async_trait]
impl Group for Keeper {
    async fn commit(&self, _: &TopicPartition, next: Offset) -> Result<(), BrokerError> {
        self.0.lock().unwrap().push(format!("committed {next}"));
        Ok(())
    }
    fn pause(&self, _: &TopicPartition) {
        self.0.lock().unwrap().push("paused".to_owned());
    }
    fn resume(&self, _: &TopicPartition) {
        self.0.lock().unwrap().push("resumed".to_owned());
    }
    async fn committed(&self, _: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        Ok(Some(Offset(0)))
    }
    async fn watermarks(&self, _: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        Ok((Offset(0), Offset(0)))
    }
    async fn close(&self) {}
}

/// The tier, with retries of at most so many attempts, running beside an idle main loop.
struct Tier {
    diary: Diary,
    events: mpsc::Sender<ConsumerEvent>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    metrics: Arc<Metrics>,
    /// Live traffic's events: none.
    _live: mpsc::Sender<ConsumerEvent>,
}

fn partition() -> TopicPartition {
    TopicPartition::new("t.retry", 0)
}

impl Tier {
    async fn start(maximum_attempts: u32, troubles: Troubles) -> Self {
        let diary = Diary::default();
        let second = Duration::from_secs(1);
        let schedule =
            Schedule { strategy: Strategy::Constant, delay: second, maximum_delay: 60 * second };
        let causes = vec![Cause::ConstraintForeignKey];
        let policy = RetryPolicy { maximum_attempts, schedule, causes };
        let stages = stages(&troubles, Some(policy), &diary);
        let metrics = Arc::clone(&stages.metrics);
        let (events, receiver) = mpsc::channel(8);
        let (live, live_receiver) = mpsc::channel(8);
        let group = || Arc::new(Keeper(Arc::clone(&diary)));
        let member: Joined = (Box::new(Scripted(live_receiver)), group());
        let retry_member: Joined = (Box::new(Scripted(receiver)), group());
        let stop = CancellationToken::new();
        let running = run(stages, member, Some(retry_member), None, stop.clone());
        let running = tokio::spawn(async move { running.await.unwrap() });
        events.send(ConsumerEvent::Assigned(vec![partition()])).await.unwrap();
        Self { diary, events, stop, running, metrics, _live: live }
    }

    async fn send(&self, records: Vec<Record>) {
        self.events.send(ConsumerEvent::Records(records)).await.unwrap();
    }

    /// What was done once this was, in order.
    async fn diary_until(&self, last: &str) -> Vec<String> {
        let done = async {
            while self.diary.lock().unwrap().last().is_none_or(|entry| entry != last) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), done).await.is_ok();
        let diary = self.diary.lock().unwrap().clone();
        assert!(in_time, "{last} was not done: {diary:?}");
        diary
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.running).await.unwrap().unwrap();
    }
}

/// A letter that waits, of a topology and so many milliseconds more.
fn waiting(topology: &str, offset: i64, attempts: u32, more: i64) -> Record {
    let good =
        format!(r#"{{"resourceType":"Patient","id":"p{offset}","meta":{{"versionId":"1"}}}}"#);
    let record = Record {
        source: TopicPartition::new("t", 0),
        offset: Offset(offset),
        timestamp: None,
        key: None,
        value: Some(Bytes::from(good)),
        headers: Vec::new(),
    };
    let refusal =
        Refusal::new(Stage::Sink, Cause::ConstraintForeignKey, &Orphan, "Orphan", Place::default());
    let head =
        Letterhead { topic: "t.retry".into(), topology: topology.into(), config_hash: "c".into() };
    let dead = DeadLetter { record, refusal, changes_refused: 1, attempts, failed_at: 0 };
    let outgoing = letter(&head, &dead);
    let due: DateTime<Utc> = Utc::now() + chrono::TimeDelta::milliseconds(more);
    let due = Header::text(DUE, due.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut headers = outgoing.headers;
    headers.push(due);
    let (key, value) = (outgoing.key, outgoing.value);
    Record { source: partition(), offset: Offset(offset), timestamp: None, key, value, headers }
}

fn ours(offset: i64, attempts: u32, more: i64) -> Record {
    waiting("t", offset, attempts, more)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_first_and_the_offset_last() {
    let tier = Tier::start(5, Troubles::default()).await;
    tier.send(vec![ours(0, 1, 0), ours(1, 1, 0)]).await;
    assert_eq!(tier.diary_until("committed 2").await, ["wrote 2", "committed 2"]);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_again_waits_on_before_its_offset_is_committed() {
    let troubles = Troubles { orphans: true, retry_outages: 1, ..Troubles::default() };
    let tier = Tier::start(5, troubles).await;
    tier.send(vec![ours(0, 4, 0)]).await;
    let expected = ["orphan", "no letter", "retry", "committed 1"];
    assert_eq!(tier.diary_until("committed 1").await, expected);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_it_is_a_dead_letter_before_its_offset_is_committed() {
    let troubles = Troubles { orphans: true, letter_outages: 1, ..Troubles::default() };
    let tier = Tier::start(5, troubles).await;
    tier.send(vec![ours(0, 5, 0)]).await;
    let expected = ["orphan", "no letter", "letter", "committed 1"];
    assert_eq!(tier.diary_until("committed 1").await, expected);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_uses_up_no_attempt() {
    let tier = Tier::start(1, Troubles { sink_outages: 3, ..Troubles::default() }).await;
    tier.send(vec![ours(0, 1, 0)]).await;
    let expected = ["away", "away", "away", "wrote 1", "committed 1"];
    assert_eq!(tier.diary_until("committed 1").await, expected);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_delay_holds_up_no_short_one_behind_it_and_is_not_committed_past() {
    let tier = Tier::start(5, Troubles::default()).await;
    tier.send(vec![ours(0, 3, 700), ours(1, 1, 0)]).await;
    assert_eq!(tier.diary_until("wrote 1").await, ["wrote 1"]);
    let expected = ["wrote 1", "wrote 1", "committed 2"];
    assert_eq!(tier.diary_until("committed 2").await, expected);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_is_paused_while_ten_thousand_wait_and_goes_on_afterwards() {
    let tier = Tier::start(5, Troubles::default()).await;
    // due all at once, and not before the last has come
    let letters: Vec<_> = (0..10_000).map(|offset| ours(offset, 1, 5_000)).collect();
    for some in letters.chunks(1000) {
        assert!(tier.diary.lock().unwrap().is_empty(), "paused too early");
        tier.send(some.to_vec()).await;
    }
    let diary = tier.diary_until("committed 10000").await;
    assert_eq!(diary.first().map(String::as_str), Some("paused"));
    let count = |what: &str| diary.iter().filter(|entry| *entry == what).count();
    assert_eq!((count("paused"), count("resumed")), (1, 1));
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_partition_is_let_go_at_once_and_what_waited_is_left_to_its_next_owner() {
    let tier = Tier::start(5, Troubles::default()).await;
    tier.send(vec![ours(0, 1, 60_000), ours(1, 1, 60_000)]).await;
    let (released, let_go) = oneshot::channel();
    let revoked = ConsumerEvent::Revoked { partitions: vec![partition()], released };
    tier.events.send(revoked).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), let_go).await.unwrap().unwrap();
    tier.send(vec![ours(2, 1, 0)]).await;
    let diary = Arc::clone(&tier.diary);
    tier.end().await;
    assert_eq!(*diary.lock().unwrap(), [""; 0], "nothing is committed or tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_no_letters_of_ours_are_passed_over() {
    let tier = Tier::start(5, Troubles::default()).await;
    let no_letter = Record { headers: Vec::new(), ..ours(0, 1, 0) };
    tier.send(vec![no_letter, waiting("another", 1, 1, 0)]).await;
    assert_eq!(tier.diary_until("committed 2").await, ["committed 2"]);
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_letter_are_tried_once() {
    let tier = Tier::start(5, Troubles::default()).await;
    let copy = |offset: i64, attempts| Record { offset: Offset(offset), ..ours(7, attempts, 100) };
    tier.send(vec![copy(0, 1), copy(1, 2), copy(2, 1)]).await;
    // the copy that was dropped first is settled meanwhile
    let diary = tier.diary_until("committed 3").await;
    assert_eq!(diary.iter().filter(|entry| *entry == "wrote 1").count(), 1, "{diary:?}");
    tier.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_is_counted_by_how_it_ended() {
    let tier = Tier::start(2, Troubles { orphans: true, ..Troubles::default() }).await;
    tier.send(vec![ours(0, 1, 0), ours(1, 2, 0), ours(2, 2, 0)]).await;
    tier.diary_until("committed 3").await;
    let text = tier.metrics.exposition();
    for series in [
        "rowcast_retry_attempts_total{outcome=\"retried\"} 1",
        "rowcast_retry_attempts_total{outcome=\"dead_lettered\"} 2",
        "rowcast_records_received_total",
    ] {
        let found = text.contains(series);
        assert_eq!(found, !series.contains("received"), "{series}");
    }
    tier.end().await;
}
