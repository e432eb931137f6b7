//! Produces records with `acks=all` and idempotence, and waits for every delivery.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};

use super::classify::classify;
use super::context::LogContext;
use super::convert;
use super::properties::Properties;
use crate::broker::{BrokerError, OutgoingRecord, Producer};
use crate::model::{Offset, TopicPartition};

const ATTEMPTED: &str = "producing a record";
/// Between two attempts to enqueue while librdkafka's queue is full.
const QUEUE_FULL: Duration = Duration::from_millis(20);

type Client = FutureProducer<LogContext>;
type Delivered = Result<(TopicPartition, Offset), BrokerError>;

/// See [`Producer`].
pub(super) struct KafkaProducer {
    properties: Properties,
    client: Mutex<Client>,
}

impl KafkaProducer {
    pub(super) fn new(properties: Properties) -> Result<Self, BrokerError> {
        let client = Mutex::new(client(&properties)?);
        Ok(Self { properties, client })
    }

    /// The present client; a new one if the old one has met an error it cannot get over (a topic
    /// re-created under an idempotent producer, for one).
    fn client(&self) -> Result<Client, BrokerError> {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if current.client().fatal_error().is_some() {
            *current = client(&self.properties)?;
        }
        Ok(current.clone())
    }

    fn delivered(&self, record: &OutgoingRecord, result: OwnedDeliveryResult) -> Delivered {
        match result {
            Ok(delivery) => Ok((
                TopicPartition::new(record.topic.clone(), delivery.partition),
                Offset(delivery.offset),
            )),
            Err((error, _record)) => Err(self.failure(&error)),
        }
    }

    fn failure(&self, error: &KafkaError) -> BrokerError {
        match classify(ATTEMPTED, error, &self.properties) {
            // codes of a group mean nothing here: the client was purged or is being replaced
            BrokerError::Rebalancing | BrokerError::NotAssigned => {
                BrokerError::Unavailable { attempted: ATTEMPTED, reason: error.to_string() }
            }
            other => other,
        }
    }
}

fn client(properties: &Properties) -> Result<Client, BrokerError> {
    properties
        .producer()
        .create_with_context(LogContext::new(properties.clone()))
        .map_err(|error| classify("creating a producer", &error, properties))
}

/// Hands one record to librdkafka, waiting while its queue is full. Returns without waiting for
/// the delivery.
async fn enqueue(client: &Client, record: &OutgoingRecord) -> Result<DeliveryFuture, KafkaError> {
    let headers = convert::headers(&record.headers)
        .ok_or(KafkaError::MessageProduction(Code::InvalidArgument))?;
    let mut outgoing: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&record.topic);
    outgoing.partition = record.partition;
    outgoing.key = record.key.as_deref();
    outgoing.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        outgoing.headers = Some(headers);
    }
    loop {
        match client.send_result(outgoing) {
            Ok(delivery) => return Ok(delivery),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) => outgoing = back,
            Err((error, _)) => return Err(error),
        }
        // bounded by delivery.timeout.ms: what fills the queue is delivered or given up by then
        tokio::time::sleep(QUEUE_FULL).await;
    }
}

#[async_trait]
impl Producer for KafkaProducer {
    async fn send(&self, records: Vec<OutgoingRecord>) -> Vec<Delivered> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => {
                let reason = error.to_string();
                return records
                    .iter()
                    .map(|_| {
                        Err(BrokerError::Unavailable {
                            attempted: ATTEMPTED,
                            reason: reason.clone(),
                        })
                    })
                    .collect();
            }
        };
        let mut under_way = Vec::with_capacity(records.len());
        for record in &records {
            under_way.push(enqueue(&client, record).await);
        }
        let mut results = Vec::with_capacity(records.len());
        for (record, delivery) in records.iter().zip(under_way) {
            results.push(self.await_delivery(record, delivery).await);
        }
        // a broker refuses a whole batch for its size; only alone a record shows its own
        if records.len() > 1 {
            for (record, result) in records.iter().zip(&mut results) {
                if matches!(result, Err(BrokerError::RecordTooLarge)) {
                    let delivery = enqueue(&client, record).await;
                    *result = self.await_delivery(record, delivery).await;
                }
            }
        }
        results
    }
}

impl KafkaProducer {
    async fn await_delivery(
        &self,
        record: &OutgoingRecord,
        delivery: Result<DeliveryFuture, KafkaError>,
    ) -> Delivered {
        match delivery {
            Ok(delivery) => match delivery.await {
                Ok(result) => self.delivered(record, result),
                Err(_cancelled) => Err(self.failure(&KafkaError::Canceled)),
            },
            Err(error) => Err(self.failure(&error)),
        }
    }
}
