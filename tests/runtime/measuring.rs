//! Lag is measured beside the main loop, and its answer may come when the partition is somebody
//! else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rowcast::broker::{BrokerError, ConsumerEvent, Group};
use rowcast::model::{Offset, TopicPartition};
use rowcast::runtime::run;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Diary, Scripted, Troubles, stages};

/// Says how long the log is once it is let.
struct Slow {
    asked: Semaphore,
    answers: Semaphore,
}

#[async_trait]
impl Group for Slow {
    async fn commit(&self, _: &TopicPartition, _: Offset) -> Result<(), BrokerError> {
        Ok(())
    }
    fn pause(&self, _: &TopicPartition) {}
    fn resume(&self, _: &TopicPartition) {}
    async fn committed(&self, _: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        Ok(Some(Offset(0)))
    }
    async fn watermarks(&self, _: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        self.asked.add_permits(1);
        self.answers.acquire().await.expect("it is never closed").forget();
        Ok((Offset(0), Offset(7)))
    }
    async fn close(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_that_is_measured_too_late_brings_no_series_of_a_lost_partition_back() {
    let stages = stages(&Troubles::default(), None, &Diary::default());
    let metrics = Arc::clone(&stages.metrics);
    let lag = || {
        let text = metrics.exposition();
        let told = ["rowcast_consumer_lag_records{", "rowcast_consumer_lag_seconds{"];
        let told = told.map(|name| text.contains(name));
        assert_eq!(told[0], told[1], "they come and go together");
        told[0]
    };
    let group = Arc::new(Slow { asked: Semaphore::new(0), answers: Semaphore::new(0) });
    let (events, receiver) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let member = (Box::new(Scripted(receiver)) as _, Arc::clone(&group) as _);
    let running = tokio::spawn(run(stages, member, None, None, stop.clone()));
    let partition = TopicPartition::new("t", 0);
    let asked = async || group.asked.acquire().await.expect("it is never closed").forget();

    events.send(ConsumerEvent::Assigned(vec![partition.clone()])).await.unwrap();
    // taking a partition over asks once, measuring again and again
    group.answers.add_permits(2);
    for _ in 0..3 {
        asked().await;
    }
    assert!(lag(), "the lag is told while the partition is ours");

    // while the last answer is awaited
    let (released, is_released) = oneshot::channel();
    let partitions = vec![partition];
    events.send(ConsumerEvent::Revoked { partitions, released }).await.unwrap();
    // sent or dropped: both say so
    let _ = is_released.await;
    assert!(!lag());
    group.answers.add_permits(1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!lag(), "a series that nobody would ever move again");
    stop.cancel();
    running.await.unwrap().unwrap();
}

/// Knows of nothing in the log, until it is asked.
struct Unaware {
    end: AtomicI64,
}

#[async_trait]
impl Group for Unaware {
    async fn commit(&self, _: &TopicPartition, _: Offset) -> Result<(), BrokerError> {
        Ok(())
    }
    fn pause(&self, _: &TopicPartition) {}
    fn resume(&self, _: &TopicPartition) {}
    async fn committed(&self, _: &TopicPartition) -> Result<Option<Offset>, BrokerError> {
        Ok(Some(Offset(0)))
    }
    async fn watermarks(&self, _: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        Ok((Offset(0), Offset(self.end.load(Ordering::SeqCst))))
    }
    async fn ends(&self, _: &TopicPartition) -> Result<(Offset, Offset), BrokerError> {
        Ok((Offset(0), Offset(0)))
    }
    async fn close(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_until_idle_asks_the_broker_and_believes_no_older_news() {
    let stages = stages(&Troubles::default(), None, &Diary::default());
    let group = Arc::new(Unaware { end: AtomicI64::new(7) });
    let (events, receiver) = mpsc::channel(8);
    let member = (Box::new(Scripted(receiver)) as _, Arc::clone(&group) as _);
    let idle = Some(Duration::from_millis(1));
    let running = tokio::spawn(run(stages, member, None, idle, CancellationToken::new()));
    let partitions = vec![TopicPartition::new("t", 0)];
    events.send(ConsumerEvent::Assigned(partitions)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!running.is_finished(), "seven records are to come");
    group.end.store(0, Ordering::SeqCst);
    running.await.unwrap().unwrap();
}
