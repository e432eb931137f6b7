//! One member of a Kafka consumer group: a thread that polls and never stops polling.
//!
//! The thread turns what librdkafka says (messages, rebalances, errors) into one ordered stream
//! of [`ConsumerEvent`]s. Rebalance callbacks run on this thread inside `poll`, so everything
//! polled before a revocation is handed over before its event. While a revocation is waited for,
//! commits come from other threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::classify::classify_code;
use super::context::LogContext;
use super::convert;
use super::group::KafkaGroup;
use super::lanes::Lanes;
use super::properties::Properties;
use super::statistics::{Delivery, Statistics};
use crate::broker::{BrokerError, Consumer, ConsumerEvent, ConsumerSettings};
use crate::model::{Offset, Record, TopicPartition};

/// Events under way to the runtime; with [`BATCH_BYTES`] it bounds what they hold in memory.
const EVENTS: usize = 4;
/// Records in one event: what one decode step likes to get.
const BATCH_RECORDS: usize = 1000;
/// Bytes in one event.
const BATCH_BYTES: usize = 4 << 20;
/// How long a poll waits for the first record, and so how soon the end is noticed.
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at something another thread will do.
const LOOK: Duration = Duration::from_millis(2);
/// Between two probes of a failing broker.
const PROBE: Duration = Duration::from_secs(1);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(5);

/// librdkafka's consumer with our callbacks.
pub(super) type Member = BaseConsumer<MemberContext>;

/// Joins the group and starts the thread.
pub(super) fn join(
    settings: &ConsumerSettings,
    properties: &Properties,
) -> Result<(KafkaConsumer, KafkaGroup), BrokerError> {
    let attempted = "joining the consumer group";
    let refused = |error: &KafkaError| super::classify::classify(attempted, error, properties);
    let (events, receiver) = mpsc::channel(EVENTS);
    let closing = CancellationToken::new();
    let context = MemberContext {
        log: LogContext::new(properties.clone()),
        events,
        closing: closing.clone(),
        revocation_deadline: settings.revocation_deadline,
        owned: Mutex::default(),
        held: Mutex::default(),
        served: AtomicBool::new(false),
        poller: OnceLock::new(),
        batch: Mutex::default(),
        failing: Mutex::default(),
        statistics: Statistics::new(properties.isolation()),
    };
    let member: Member = properties
        .member(&settings.group, settings.begin)
        .create_with_context(context)
        .map_err(|error| refused(&error))?;
    let topics: Vec<&str> = settings.topics.iter().map(String::as_str).collect();
    member.subscribe(&topics).map_err(|error| refused(&error))?;
    let member = Arc::new(member);
    // cancelled when the thread is over, however it ends
    let ended = CancellationToken::new();
    let end = ended.clone().drop_guard();
    let thread = Arc::clone(&member);
    let topics = settings.topics.clone();
    std::thread::Builder::new()
        .name("kafka-poll".to_owned())
        .spawn(move || {
            run(&thread, &topics);
            drop(thread);
            drop(end);
        })
        .map_err(|error| BrokerError::Unavailable { attempted, reason: error.to_string() })?;
    let group = KafkaGroup::new(member, properties.clone(), closing, ended.clone());
    Ok((KafkaConsumer { events: receiver, ended }, group))
}

/// The receiving end of the polling thread.
#[derive(Debug)]
pub(super) struct KafkaConsumer {
    events: mpsc::Receiver<ConsumerEvent>,
    ended: CancellationToken,
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Option<ConsumerEvent> {
        // the sender lives as long as the group's commands, so the channel does not end by itself
        tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.ended.cancelled() => self.events.try_recv().ok(),
        }
    }
}

/// Polls until the runtime closes the group or is gone.
fn run(member: &Arc<Member>, topics: &[String]) {
    let context = Arc::clone(member.context());
    let mut last_topic: Arc<str> = Arc::from("");
    let mut lanes = Lanes::new(std::thread::current());
    let _ = context.poller.set(std::thread::current());
    while !context.is_closing() {
        // before the common queue is emptied: what came into it of a partition is older than what
        // its own queue holds
        lanes.follow(member, &context.owned());
        // a callback that was served looks like an empty queue
        loop {
            context.served.store(false, Ordering::Relaxed);
            while let Some(result) = member.poll(Duration::ZERO) {
                context.take(member, result, &mut last_topic);
            }
            if !context.served.load(Ordering::Relaxed) {
                break;
            }
        }
        let held = context.held().clone();
        lanes.drain(&held, |polled| {
            context.take(member, polled, &mut last_topic);
            !context.batch().is_full() && !context.is_closing()
        });
        if context.batch().records.is_empty() {
            std::thread::park_timeout(POLL);
        }
        context.hand_over();
        context.probe(member, topics);
    }
    // the revocation on leaving is served by the polls and, since we are closing, waits for nobody
    let left_by = Instant::now() + LEAVE;
    if member.close_queue().is_ok() {
        while !member.closed() && Instant::now() < left_by {
            drop(member.poll(POLL));
        }
    }
    context.owned().clear();
}

/// Records polled and not yet handed over.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

impl Batch {
    const fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}

/// What is wrong at present, and what will show that it no longer is.
#[derive(Debug, Clone, Copy)]
struct Failing {
    /// Refused for good, as far as the code tells.
    refused: bool,
    /// Only joining the group shows that it is mended; metadata would come anyway.
    membership: bool,
    probe_at: Instant,
}

/// The callbacks, and what the polling thread shares with the group's commands.
#[derive(Debug)]
pub(super) struct MemberContext {
    log: LogContext,
    events: mpsc::Sender<ConsumerEvent>,
    closing: CancellationToken,
    revocation_deadline: Duration,
    owned: Mutex<HashSet<TopicPartition>>,
    /// Ours, but not asked for records at present.
    held: Mutex<HashSet<TopicPartition>>,
    /// Set by every callback that ends a poll; they run on the polling thread.
    served: AtomicBool,
    /// The polling thread, to be woken.
    poller: OnceLock<Thread>,
    batch: Mutex<Batch>,
    failing: Mutex<Option<Failing>>,
    statistics: Statistics,
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.served();
        self.log.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.served();
        self.statistics.take(statistics, Instant::now());
    }
}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, member: &Member, rebalance: &Rebalance<'_>) {
        self.served();
        match rebalance {
            Rebalance::Revoke(list) => self.revoke(member, &partitions(list)),
            Rebalance::Assign(_) => {}
            Rebalance::Error(error) => self.fail(error),
        }
    }

    fn commit_callback(&self, _result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.served();
    }

    fn post_rebalance(&self, _member: &Member, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.recovered();
            let partitions = partitions(list);
            // that a member keeps what it has is no news; that it has none is
            if partitions.is_empty() && !self.owned().is_empty() {
                return;
            }
            self.held().retain(|held| !partitions.contains(held));
            self.statistics.forget(&partitions);
            self.owned().extend(partitions.iter().cloned());
            self.send(ConsumerEvent::Assigned(partitions));
        }
    }
}

impl MemberContext {
    /// The partitions that are ours now.
    pub(super) fn owned(&self) -> MutexGuard<'_, HashSet<TopicPartition>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashSet<TopicPartition>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition is not asked for records until it is let go.
    pub(super) fn hold(&self, partition: &TopicPartition) {
        self.held().insert(partition.clone());
    }

    /// The partition is asked for records again.
    pub(super) fn let_go(&self, partition: &TopicPartition) {
        self.held().remove(partition);
        if let Some(poller) = self.poller.get() {
            poller.unpark();
        }
    }

    /// The ends of a partition's log, where librdkafka knows them.
    pub(super) fn ends(&self, partition: &TopicPartition) -> Option<(Offset, Offset)> {
        let is_held = self.held().contains(partition);
        let delivery = if is_held { Delivery::Held } else { Delivery::Taken };
        self.statistics.ends(partition, delivery, Instant::now())
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.closing.is_cancelled() || self.events.is_closed()
    }

    fn take(
        &self,
        member: &Member,
        polled: Result<BorrowedMessage<'_>, KafkaError>,
        last_topic: &mut Arc<str>,
    ) {
        match polled {
            Ok(message) => {
                let record = convert::record(&message, last_topic);
                let mut batch = self.batch();
                batch.bytes += record.size();
                batch.records.push(record);
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                // librdkafka delivers nothing more to this member
                let lost: Vec<_> = self.owned().drain().collect();
                self.hand_over();
                if !lost.is_empty() {
                    self.send(ConsumerEvent::Lost(lost));
                }
                self.fail(&fatal_cause(member).unwrap_or(error));
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Hands the batch to the runtime.
    fn hand_over(&self) {
        let batch = std::mem::take(&mut *self.batch());
        if !batch.records.is_empty() {
            self.recovered();
            self.send(ConsumerEvent::Records(batch.records));
        }
    }

    /// Waits for room without a runtime of its own, and for nobody once closing.
    fn send(&self, event: ConsumerEvent) {
        let mut event = event;
        while !self.is_closing() {
            match self.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(back)) => event = back,
            }
            std::thread::sleep(LOOK);
        }
    }

    fn revoke(&self, member: &Member, partitions: &[TopicPartition]) {
        self.hand_over();
        if partitions.is_empty() {
            return;
        }
        if member.assignment_lost() {
            // from here on commits are refused
            self.disown(partitions);
            self.send(ConsumerEvent::Lost(partitions.to_vec()));
            return;
        }
        let (released, mut settled) = oneshot::channel();
        let deadline = Instant::now() + self.revocation_deadline;
        self.send(ConsumerEvent::Revoked { partitions: partitions.to_vec(), released });
        while !self.is_closing()
            && Instant::now() < deadline
            && matches!(settled.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        {
            std::thread::sleep(LOOK);
        }
        self.disown(partitions);
    }

    fn disown(&self, partitions: &[TopicPartition]) {
        let mut owned = self.owned();
        for partition in partitions {
            owned.remove(partition);
        }
    }

    /// Tells the runtime once, and again only when waiting has turned out not to help.
    fn fail(&self, error: &KafkaError) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if is_passing(code) {
            return;
        }
        let error = classify_code("consuming", code);
        let refused = matches!(error, BrokerError::Refused { .. });
        let membership = refused && !shows_in_metadata(code);
        let told = {
            let mut failing = self.failing();
            let told = failing.is_some_and(|before| before.refused || !refused);
            if !told {
                *failing = Some(Failing { refused, membership, probe_at: Instant::now() + PROBE });
            }
            told
        };
        if !told {
            self.send(ConsumerEvent::Failing(error));
        }
    }

    fn recovered(&self) {
        let was = self.failing().take();
        if was.is_some() {
            self.send(ConsumerEvent::Recovered);
        }
    }

    /// Asks a failing broker whether it is back: an idle topic would not show it.
    fn probe(&self, member: &Member, topics: &[String]) {
        let due = self
            .failing()
            .as_mut()
            .filter(|failing| !failing.membership && failing.probe_at <= Instant::now())
            .map(|failing| failing.probe_at = Instant::now() + PROBE)
            .is_some();
        if !due {
            return;
        }
        // one can be asked for, or all: of a pattern no topic can be named
        let named = match topics {
            [only] if !only.starts_with('^') => Some(only.as_str()),
            _ => None,
        };
        if let Ok(metadata) = member.fetch_metadata(named, PROBE)
            && metadata.topics().iter().all(|topic| topic.error().is_none())
        {
            self.recovered();
        }
    }
}

/// Errors that librdkafka mends by itself before anyone could care: one connection of several, a
/// rebalance under way, a poll that came late.
const fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::OperationTimedOut
            | Code::PartitionEOF
            | Code::PollExceeded
            | Code::NoOffset
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::WaitingForCoordinator
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::AssignmentLost
    )
}

/// Refusals that a question for metadata meets too, so that its success shows they are over.
const fn shows_in_metadata(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::InvalidTopic
    )
}

fn fatal_cause(member: &Member) -> Option<KafkaError> {
    member.client().fatal_error().map(|(code, _)| KafkaError::MessageConsumption(code))
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut topic: Arc<str> = Arc::from("");
    list.elements()
        .iter()
        .map(|element| {
            if *topic != *element.topic() {
                topic = Arc::from(element.topic());
            }
            TopicPartition { topic: Arc::clone(&topic), partition: element.partition() }
        })
        .collect()
}
