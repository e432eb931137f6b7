//! A broker that takes records, refuses them, or takes its time: the embedded one behind a valve.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{
    Broker, BrokerError, ConsumerSettings, Joined, LogReader, OutgoingRecord, Producer,
    TopicSettings,
};
use rowcast::model::{Offset, Record, TopicPartition};
use tokio::sync::watch;

/// What becomes of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// They are appended.
    On,
    /// Those of the ingest topic wait.
    Held,
    /// They are refused: the broker is away.
    Off,
    /// They are refused for good: larger than the topic takes.
    TooLarge,
    /// Whoever appends panics.
    Panics,
}

/// A broker behind a valve.
pub(super) struct Valve {
    broker: EmbeddedBroker,
    flow: Arc<watch::Sender<Flow>>,
    sends: Arc<AtomicUsize>,
}

impl Valve {
    pub(super) fn before(broker: EmbeddedBroker) -> Self {
        Self { broker, flow: Arc::new(watch::channel(Flow::On).0), sends: Arc::default() }
    }

    pub(super) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// How often it was given records to append, however many.
    pub(super) fn sends(&self) -> usize {
        self.sends.load(Ordering::SeqCst)
    }
}

struct Behind {
    producer: Arc<dyn Producer>,
    flow: Arc<watch::Sender<Flow>>,
    sends: Arc<AtomicUsize>,
}

#[async_trait]
impl Producer for Behind {
    async fn send(
        &self,
        records: Vec<OutgoingRecord>,
    ) -> Vec<Result<(TopicPartition, Offset), BrokerError>> {
        self.sends.fetch_add(1, Ordering::SeqCst);
        let is_ingest = records.iter().any(|record| &*record.topic == "changes");
        let mut flow = self.flow.subscribe();
        let goes_on = |flow: &Flow| *flow != Flow::Held || !is_ingest;
        let flow = *flow.wait_for(goes_on).await.expect("the valve is there");
        let refused = || match flow {
            Flow::TooLarge => BrokerError::RecordTooLarge,
            _ => BrokerError::Unavailable { attempted: "appending", reason: "shut".into() },
        };
        match flow {
            Flow::On | Flow::Held => self.producer.send(records).await,
            Flow::Panics => panic!("as the test wants it"),
            _ => records.iter().map(|_| Err(refused())).collect(),
        }
    }
}

#[async_trait]
impl Broker for Valve {
    async fn cluster_id(&self) -> Result<String, BrokerError> {
        self.broker.cluster_id().await
    }

    fn consumer(&self, settings: ConsumerSettings) -> Result<Joined, BrokerError> {
        self.broker.consumer(settings)
    }

    fn producer(&self) -> Result<Arc<dyn Producer>, BrokerError> {
        let producer = self.broker.producer()?;
        let (flow, sends) = (Arc::clone(&self.flow), Arc::clone(&self.sends));
        Ok(Arc::new(Behind { producer, flow, sends }))
    }

    async fn reader_from(
        &self,
        topic: &str,
        from: &HashMap<i32, Offset>,
    ) -> Result<Box<dyn LogReader>, BrokerError> {
        self.broker.reader_from(topic, from).await
    }

    async fn record(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Record>, BrokerError> {
        self.broker.record(partition, offset).await
    }

    async fn rewind(&self, group: &str, topic: &str) -> Result<(), BrokerError> {
        self.broker.rewind(group, topic).await
    }

    async fn partitions(&self, topic: &str) -> Result<Option<i32>, BrokerError> {
        self.broker.partitions(topic).await
    }

    async fn ensure_topic(&self, topic: &TopicSettings) -> Result<bool, BrokerError> {
        if *self.flow.borrow() == Flow::Off {
            let reason = "shut".to_owned();
            return Err(BrokerError::Unavailable { attempted: "creating a topic", reason });
        }
        self.broker.ensure_topic(topic).await
    }

    fn is_embedded(&self) -> bool {
        true
    }
}
