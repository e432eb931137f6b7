//! The runtime between a consumer, a group and a sink that do what a test says: what real ones do
//! at moments that cannot be had on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rowcast::broker::{
    BrokerError, Consumer, ConsumerEvent, Group, Joined, OutgoingRecord, Producer,
};
use rowcast::dead_letter::{DeadLetterQueue, Letterhead, RetryPolicy, RetryQueue};
use rowcast::error::{Cause, Place, Refusal, Stage};
use rowcast::model::{Offset, Record, RowChange, TopicPartition};
use rowcast::retry::{Schedule, Strategy};
use rowcast::runtime::{
    BatchLimits, Performance, RefusedDeletes, ReplayStages, Replayed, RetryStage, Stages, replay,
    run,
};
use rowcast::sink::{Outcome, Owner, Ownership, Sink, SinkError};
use rowcast::source::Decoder;
use rowcast::telemetry::health::Health;
use rowcast::telemetry::metrics::Metrics;
use rowcast::transform::RuleSet;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod measuring;
mod retrying;

/// Gives what is sent to it.
struct Scripted(mpsc::Receiver<ConsumerEvent>);

#[async_trait]
impl Consumer for Scripted {
    async fn next(&mut self) -> Option<ConsumerEvent> {
        match self.0.recv().await {
            Some(event) => Some(event),
            None => std::future::pending().await,
        }
    }
}

/// Refuses the first commits as a rebalance does; keeps a diary.
struct Rebalancing {
    refusals: AtomicUsize,
    diary: Diary,
}

type Diary = Arc<Mutex<Vec<String>>>;

#[async_trait]
impl Group for Rebalancing {
    async fn commit(&self, _: &TopicPartition, next: Offset) -> Result<(), BrokerError> {
        let left = self
            .refusals
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            self.diary.lock().unwrap().push("refused".to_owned());
            return Err(BrokerError::Rebalancing);
        }
        self.diary.lock().unwrap().push(format!("committed {next}"));
        Ok(())
    }
    fn pause(&self, _: &TopicPartition) {}
    fn resume(&self, _: &TopicPartition) {}
    async fn committed(&self, _: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        Ok(None)
    }
    async fn watermarks(&self, _: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        Ok((Offset(0), Offset(2)))
    }
    async fn close(&self) {}
}

/// Writes everything, and fails the first attempts if told to; keeps the diary.
struct Diarist {
    outages: AtomicUsize,
    fences: AtomicUsize,
    taken: AtomicUsize,
    orphans: bool,
    diary: Diary,
}

#[derive(Debug, thiserror::Error)]
#[error("a foreign key")]
struct Orphan;

#[async_trait]
impl Sink for Diarist {
    async fn take_over(&self, _: &TopicPartition) -> Result<Ownership, SinkError> {
        let before = self.taken.fetch_add(1, Ordering::SeqCst);
        if before > 0 {
            self.diary.lock().unwrap().push("taken over again".to_owned());
        }
        Ok(Ownership { epoch: 1, next_offset: None })
    }
    async fn apply(
        &self,
        _: &Owner,
        changes: &[&RowChange],
        _: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let fences = self
            .fences
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fences.is_ok() {
            self.diary.lock().unwrap().push("fenced".to_owned());
            return Err(SinkError::Fenced);
        }
        let left = self
            .outages
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            self.diary.lock().unwrap().push("away".to_owned());
            return Err(SinkError::Unavailable { attempted: "testing", reason: "away".to_owned() });
        }
        if self.orphans && !changes.is_empty() {
            self.diary.lock().unwrap().push("orphan".to_owned());
            let place = Place::default();
            let cause = Cause::ConstraintForeignKey;
            let refusal = Refusal::new(Stage::Sink, cause, &Orphan, "Orphan", place);
            return Err(SinkError::Refused(Box::new(refusal)));
        }
        self.diary.lock().unwrap().push(format!("wrote {}", changes.len()));
        Ok(vec![Some(Outcome::Written); changes.len()])
    }
    async fn note_refused_delete(&self, _: &Owner, _: &RowChange) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A topic of letters that is away at first; keeps the diary.
struct Letters {
    letter: &'static str,
    outages: AtomicUsize,
    diary: Diary,
}

#[async_trait]
impl Producer for Letters {
    async fn send(
        &self,
        records: Vec<OutgoingRecord>,
    ) -> Vec<Result<(TopicPartition, Offset), BrokerError>> {
        let left = self
            .outages
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let away = left.is_ok();
        self.diary.lock().unwrap().push(if away {
            "no letter".to_owned()
        } else {
            self.letter.to_owned()
        });
        records
            .iter()
            .map(|_| {
                if away {
                    Err(BrokerError::Unavailable {
                        attempted: "testing",
                        reason: "away".to_owned(),
                    })
                } else {
                    Ok((TopicPartition::new("letters", 0), Offset(0)))
                }
            })
            .collect()
    }
}

/// Troubles at the start of each part.
#[derive(Default)]
struct Troubles {
    /// Every change violates a foreign key, and may be tried again.
    orphans: bool,
    commits_refused: usize,
    sink_outages: usize,
    fences: usize,
    letter_outages: usize,
    retry_outages: usize,
}

/// Stages that keep a diary.
fn stages(troubles: &Troubles, retry: Option<RetryPolicy>, diary: &Diary) -> Arc<Stages> {
    let head =
        Letterhead { topic: "letters".into(), topology: "t".into(), config_hash: "c".into() };
    let letters = |letter, outages: usize| {
        Arc::new(Letters { letter, outages: outages.into(), diary: Arc::clone(diary) })
    };
    let retry = retry.map(|policy| {
        let head = Letterhead { topic: "retries".into(), ..head.clone() };
        let queue = RetryQueue::new(head, letters("retry", troubles.retry_outages));
        Arc::new(RetryStage::new(queue, policy, 1, 0.5))
    });
    Arc::new(Stages {
        decoder: Decoder::default(),
        registry: None,
        transformer: Arc::new(RuleSet::load(&[]).unwrap()),
        sink: Arc::new(Diarist {
            outages: troubles.sink_outages.into(),
            fences: troubles.fences.into(),
            taken: AtomicUsize::new(0),
            orphans: troubles.orphans,
            diary: Arc::clone(diary),
        }),
        dead_letters: Arc::new(DeadLetterQueue::new(
            head,
            letters("letter", troubles.letter_outages),
        )),
        retry,
        batch: BatchLimits { rows: 10, bytes: 1 << 20, linger: Duration::from_millis(20) },
        max_ratio: 0.5,
        reveal: rowcast::model::Reveal::Nothing,
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(Health::new()),
    })
}

/// One good and one broken record through the runtime; what was done, in order.
async fn diary(troubles: Troubles) -> Vec<String> {
    let diary = Diary::default();
    let (events, receiver) = mpsc::channel(8);
    let partition = TopicPartition::new("t", 0);
    let record = |offset: i64, value: &'static str| Record {
        source: partition.clone(),
        offset: Offset(offset),
        timestamp: None,
        key: None,
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: Vec::new(),
    };
    let second = Duration::from_secs(1);
    let schedule = Schedule { strategy: Strategy::Constant, delay: second, maximum_delay: second };
    let causes = vec![Cause::ConstraintForeignKey];
    let policy = RetryPolicy { maximum_attempts: 1, schedule, causes };
    let stages = stages(&troubles, troubles.orphans.then_some(policy), &diary);
    events.send(ConsumerEvent::Assigned(vec![partition.clone()])).await.unwrap();
    let good = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}"#;
    events.send(ConsumerEvent::Records(vec![record(0, good), record(1, "{")])).await.unwrap();
    let group =
        Rebalancing { refusals: troubles.commits_refused.into(), diary: Arc::clone(&diary) };
    let stop = CancellationToken::new();
    let idle = Some(Duration::from_millis(100));
    let member: Joined = (Box::new(Scripted(receiver)), Arc::new(group));
    let running = run(stages, member, None, idle, stop);
    tokio::time::timeout(Duration::from_mins(1), running).await.unwrap().unwrap();
    let diary = diary.lock().unwrap();
    diary.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_first_dead_letters_next_and_the_offset_last() {
    assert_eq!(diary(Troubles::default()).await, ["wrote 1", "letter", "committed 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_a_rebalance_refuses_is_repeated_until_the_group_takes_it() {
    let troubles = Troubles { commits_refused: 3, ..Troubles::default() };
    let expected = ["wrote 1", "letter", "refused", "refused", "refused", "committed 2"];
    assert_eq!(diary(troubles).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_while_the_database_is_away() {
    let troubles = Troubles { sink_outages: 2, ..Troubles::default() };
    let expected = ["away", "away", "wrote 1", "letter", "committed 2"];
    assert_eq!(diary(troubles).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_task_takes_its_partition_back_only_once_the_group_still_knows_it() {
    let troubles = Troubles { fences: 1, commits_refused: 2, ..Troubles::default() };
    let expected = [
        "fenced",
        "refused",
        "refused",
        "committed 0",
        "taken over again",
        "wrote 1",
        "letter",
        "committed 2",
    ];
    assert_eq!(diary(troubles).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_while_the_dead_letter_topic_is_away() {
    let troubles = Troubles { letter_outages: 2, ..Troubles::default() };
    let expected = ["wrote 1", "no letter", "no letter", "letter", "committed 2"];
    assert_eq!(diary(troubles).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_while_the_retry_topic_is_away() {
    let troubles = Troubles { orphans: true, retry_outages: 2, ..Troubles::default() };
    let expected =
        ["orphan", "wrote 0", "no letter", "no letter", "retry", "letter", "committed 2"];
    assert_eq!(diary(troubles).await, expected);
}

/// Letters of two partitions replayed together; whether each was settled, and what was done.
async fn replayed(outages: usize) -> (Option<Vec<bool>>, Vec<String>) {
    let diary = Diary::default();
    let record = |partition: i32, offset: i64, value: &'static str| Record {
        source: TopicPartition::new("t", partition),
        offset: Offset(offset),
        timestamp: None,
        key: None,
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: Vec::new(),
    };
    let good = r#"{"resourceType":"Patient","id":"1","meta":{"versionId":"1"}}"#;
    let records = [
        record(1, 5, good),
        record(0, 9, "{"),
        record(1, 4, good),
        record(0, 2, good),
        record(2, 0, "{"),
    ];
    let rules = RuleSet::load(&[]).unwrap();
    let sink = Diarist {
        outages: outages.into(),
        fences: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
        orphans: false,
        diary: Arc::clone(&diary),
    };
    let stages = ReplayStages { decoder: &Decoder::default(), transformer: &rules, sink: &sink };
    let replayed = replay(&stages, &records, Performance::Real, RefusedDeletes::Stay).await;
    let settled = replayed
        .ok()
        .map(|all| all.iter().map(|replayed| matches!(replayed, Replayed::Settled(_))).collect());
    let diary = diary.lock().unwrap();
    (settled, diary.clone())
}

#[tokio::test(start_paused = true)]
async fn letters_of_one_partition_are_replayed_in_one_transaction_and_each_has_its_result() {
    let (settled, diary) = replayed(0).await;
    assert_eq!(settled, Some(vec![true, false, true, true, false]));
    assert_eq!(diary, ["wrote 1", "wrote 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_a_database_that_is_away_but_not_for_ever() {
    let (settled, diary) = replayed(3).await;
    assert_eq!(settled.map(|all| all.len()), Some(5));
    assert_eq!(diary, ["away", "away", "away", "wrote 1", "wrote 2"]);
    let (settled, diary) = replayed(100).await;
    assert_eq!((settled, diary.len()), (None, 9));
}
