//! The serial worker of one partition.
//!
//! Two halves joined by a channel of one batch: while a batch is being written, the next is being
//! decoded and transformed. Memory is bounded by these two and the intake.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Stages;
use super::intake::{Flow, Intake};
use super::prepare::{Batch, prepare};
use super::schemas;
use super::settle::Settler;
use super::settled::{now_millis, seconds_between};
use super::trail;
use crate::broker::Group;
use crate::model::{Offset, Record, TopicPartition};

/// How many times as long as settling a batch takes a record waits for company: under light load a
/// partition then keeps the database busy for at most a fifth of the time.
const PATIENCE: u32 = 4;

/// No offset is committed yet.
const NOTHING_COMMITTED: i64 = -1;

/// A running partition task, seen from the runtime.
pub(super) struct Task {
    shared: Arc<Shared>,
    preparing: JoinHandle<()>,
    settling: JoinHandle<()>,
}

/// What both halves of a task and the runtime see of it.
pub(super) struct Shared {
    pub(super) partition: TopicPartition,
    /// The partition's name, as health knows it.
    pub(super) scope: String,
    pub(super) stages: Arc<Stages>,
    pub(super) group: Arc<dyn Group>,
    intake: Intake,
    /// Records received and neither settled nor released.
    pub(super) in_flight: AtomicUsize,
    committed: AtomicI64,
    /// What the group had committed when the partition came, for as long as it is not taken over.
    committed_before: OnceCell<Option<Offset>>,
    /// How long the last batch took to settle, microseconds.
    last_settled_in: AtomicU64,
    /// No new batch is begun any more.
    pub(super) stopping: CancellationToken,
    /// The partition is taken over and its committed offset known.
    pub(super) started: AtomicBool,
    /// Whether the partition is ours: locked while its lag is told, so that a measurement that comes
    /// late brings no series back to life that would stand still for ever.
    ours: Mutex<bool>,
}

impl Task {
    pub(super) fn start(
        stages: Arc<Stages>,
        group: Arc<dyn Group>,
        partition: TopicPartition,
        panicked: &CancellationToken,
    ) -> Self {
        let delivery = (Arc::clone(&group), partition.clone());
        let control = move |flow| match flow {
            Flow::Pause => delivery.0.pause(&delivery.1),
            Flow::Resume => delivery.0.resume(&delivery.1),
        };
        let shared = Arc::new(Shared {
            intake: Intake::new(stages.batch, control),
            scope: partition.to_string(),
            partition,
            stages,
            group,
            in_flight: AtomicUsize::new(0),
            committed: AtomicI64::new(NOTHING_COMMITTED),
            committed_before: OnceCell::new(),
            last_settled_in: AtomicU64::new(0),
            stopping: CancellationToken::new(),
            started: AtomicBool::new(false),
            ours: Mutex::new(true),
        });
        let (to_settle, prepared) = mpsc::channel(1);
        let preparing = prepare_batches(Arc::clone(&shared), to_settle);
        let preparing = tokio::spawn(watched(preparing, panicked.clone()));
        let settling = Settler::run(Arc::clone(&shared), prepared);
        let settling = tokio::spawn(watched(settling, panicked.clone()));
        Self { shared, preparing, settling }
    }

    /// Takes records in. Never waits.
    pub(super) fn receive(&self, records: Vec<Record>) {
        let count = records.len();
        self.shared.in_flight.fetch_add(count, Ordering::Relaxed);
        self.shared.stages.metrics.received(&self.shared.partition.topic, count);
        let refused = self.shared.intake.push(records);
        self.shared.release(refused);
    }

    /// No new batch is begun; what waits unbegun is released.
    pub(super) fn stop_reading(&self) {
        let waiting = self.shared.intake.close();
        self.shared.stopping.cancel();
        self.shared.release(waiting);
    }

    /// Waits for the batches in hand; after the deadline drops them uncommitted. Returns whether
    /// all were settled.
    pub(super) async fn finish(mut self, deadline: Instant) -> bool {
        let settled = tokio::time::timeout_at(deadline, &mut self.settling).await.is_ok();
        self.abandon().await;
        settled
    }

    /// Drops what is in hand, uncommitted: safe, because the next owner receives it again and
    /// writes are guarded.
    pub(super) async fn abandon(mut self) {
        self.stop_reading();
        self.preparing.abort();
        self.settling.abort();
        // counting what is left before the task is really gone would count it twice
        if !self.settling.is_finished() {
            let _ = (&mut self.settling).await;
        }
        let Stages { metrics, health, .. } = &*self.shared.stages;
        metrics.released(self.shared.in_flight.swap(0, Ordering::Relaxed));
        let mut ours = self.shared.ours.lock().unwrap_or_else(PoisonError::into_inner);
        *ours = false;
        metrics.forget(&self.shared.partition);
        health.forget(&self.shared.scope);
    }

    /// Tells how old the first record is that is not committed. Who calls it still runs the task: it
    /// brings no series of a partition back that left.
    pub(super) fn tell_age(&self) {
        let Shared { stages, partition, intake, .. } = &*self.shared;
        let now = now_millis();
        let seconds = intake.oldest().map_or(0.0, |oldest| seconds_between(oldest, now));
        stages.metrics.lag_seconds(partition, seconds);
    }

    /// Lag of this partition, to be measured beside the main loop.
    pub(super) fn lag(&self) -> Lag {
        Lag(Arc::clone(&self.shared))
    }
}

/// How certain a measurement is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measured {
    /// To be told: this process's partitions, as they were some seconds ago.
    Roughly,
    /// To act upon: the broker is asked, also about what waits to be tried again anywhere.
    Exactly,
}

/// Measures the lag of a partition.
pub(super) struct Lag(Arc<Shared>);

impl Lag {
    /// Measures. Returns whether all is committed up to the end of the log.
    pub(super) async fn measure(self, measured: Measured) -> bool {
        let shared = self.0;
        let ends = match measured {
            Measured::Roughly => shared.group.ends(&shared.partition).await,
            Measured::Exactly => shared.group.watermarks(&shared.partition).await,
        };
        let Ok((start, end)) = ends else { return false };
        // what was received lies before the end, whatever was known of that
        let end = shared.received().map_or(end, |received| end.max(received));
        let started = shared.started.load(Ordering::Acquire);
        let committed = if started {
            shared.committed_offset().0
        } else {
            // a partition that cannot be taken over yet falls behind all the same
            let found = || shared.group.committed(&shared.partition);
            let found = shared.committed_before.get_or_try_init(found).await;
            found.ok().copied().flatten().map_or(NOTHING_COMMITTED, |offset| offset.0)
        };
        let committed = committed.max(start.0);
        let ours = shared.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ours {
            return false;
        }
        shared.stages.metrics.lag(&shared.partition, (end.0 - committed).max(0));
        started && committed >= end.0 && shared.in_flight.load(Ordering::Relaxed) == 0
    }
}

impl Shared {
    /// Before which offset everything is committed; below the first one if none is.
    pub(super) fn committed_offset(&self) -> Offset {
        Offset(self.committed.load(Ordering::Acquire))
    }

    /// The offset after the last record that was received.
    pub(super) fn received(&self) -> Option<Offset> {
        self.intake.received()
    }

    /// Everything before this offset is committed.
    pub(super) fn committed(&self, next: Offset) {
        self.committed.store(next.0, Ordering::Release);
        self.intake.committed(next);
        self.stages.metrics.committed(&self.partition, next);
    }

    /// Tells how long a batch took to settle.
    pub(super) fn settled_in(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.last_settled_in.store(micros, Ordering::Relaxed);
    }

    /// How long a first record waits for company: [`PATIENCE`] times what the last batch took to
    /// settle, at most the linger. So a lone change is written at once, and the more there is to
    /// write, the larger the batches become.
    fn linger(&self) -> Duration {
        let last = Duration::from_micros(self.last_settled_in.load(Ordering::Relaxed));
        last.saturating_mul(PATIENCE).min(self.stages.batch.linger)
    }

    /// Records are given back unsettled.
    fn release(&self, records: usize) {
        if records > 0 {
            self.in_flight.fetch_sub(records, Ordering::Relaxed);
            self.stages.metrics.released(records);
        }
    }
}

/// Tells of a panic, which would else stop the partition in silence.
pub(super) async fn watched(half: impl Future<Output = ()>, panicked: CancellationToken) {
    // nothing of the half is looked at afterwards
    if AssertUnwindSafe(half).catch_unwind().await.is_err() {
        panicked.cancel();
    }
}

/// The first half: intake to prepared batches.
async fn prepare_batches(shared: Arc<Shared>, to_settle: mpsc::Sender<Batch>) {
    // a permit first: no batch is begun before there is room for it
    while let Ok(permit) = to_settle.reserve().await {
        let Some(records) = shared.intake.next_batch(shared.linger()).await else { return };
        let Shared { stages, partition, stopping, .. } = &*shared;
        if !schemas::bring(stages, partition, stopping, &records).await {
            return;
        }
        let Stages { decoder, transformer, metrics, .. } = &*shared.stages;
        let batch =
            tokio::task::block_in_place(|| prepare(records, decoder, &**transformer, metrics));
        trail::prepared(&batch, &shared.stages);
        permit.send(batch);
    }
}
