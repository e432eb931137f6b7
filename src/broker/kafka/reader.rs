//! Reads a whole topic as it is, outside any consumer group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::classify::{classify, classify_code};
use super::context::LogContext;
use super::convert;
use super::properties::Properties;
use crate::broker::{BrokerError, LogReader};
use crate::model::{Offset, Record, TopicPartition};

const ATTEMPTED: &str = "reading a topic";
/// Batches read ahead of the caller.
const BATCHES: usize = 2;
/// Records in one batch.
const BATCH_RECORDS: usize = 1000;
/// Bytes in one batch.
const BATCH_BYTES: usize = 4 << 20;
/// How long a poll waits, and so how soon a dropped reader is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Without any record or end of a partition for this long, the broker counts as away.
const SILENCE: Duration = Duration::from_secs(30);

type Client = BaseConsumer<LogContext>;
type Batch = Result<Vec<Record>, BrokerError>;

/// See [`LogReader`].
#[derive(Debug)]
pub(super) struct KafkaReader {
    batches: mpsc::Receiver<Batch>,
}

#[async_trait]
impl LogReader for KafkaReader {
    async fn next(&mut self) -> Result<Option<Vec<Record>>, BrokerError> {
        self.batches.recv().await.transpose()
    }
}

/// Captures the present ends of all partitions and starts reading. Blocks; for a blocking thread.
pub(super) fn open(
    topic: &str,
    partitions: i32,
    from: &HashMap<i32, Offset>,
    properties: &Properties,
) -> Result<KafkaReader, BrokerError> {
    let failed = |error: &KafkaError| classify(ATTEMPTED, error, properties);
    let client: Client = properties
        .reader()
        .create_with_context(LogContext::new(properties.clone()))
        .map_err(|error| failed(&error))?;
    let mut ends = HashMap::new();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let (low, high) =
            client.fetch_watermarks(topic, partition, ANSWER).map_err(|error| failed(&error))?;
        let first = from.get(&partition).map_or(low, |offset| offset.0.max(low));
        if first < high {
            ends.insert(partition, high);
            let first =
                if first > low { KafkaOffset::Offset(first) } else { KafkaOffset::Beginning };
            list.add_partition_offset(topic, partition, first).map_err(|error| failed(&error))?;
        }
    }
    let (sender, batches) = mpsc::channel(BATCHES);
    if !ends.is_empty() {
        client.assign(&list).map_err(|error| failed(&error))?;
        let properties = properties.clone();
        std::thread::Builder::new()
            .name("kafka-read".to_owned())
            .spawn(move || read(&client, ends, &sender, &properties))
            .map_err(|error| BrokerError::Unavailable {
                attempted: ATTEMPTED,
                reason: error.to_string(),
            })?;
    }
    Ok(KafkaReader { batches })
}

/// Looks for the record at one place, on a thread of its own: a consumer takes its time to end, and
/// whoever asked should not wait for that.
pub(super) async fn record(
    partition: TopicPartition,
    offset: Offset,
    properties: Properties,
) -> Result<Option<Record>, BrokerError> {
    looking(properties, move |client, properties| look_up(client, &partition, offset, properties))
        .await
}

/// Whether there is no record from an offset on and before another.
pub(super) async fn holds_none(
    partition: TopicPartition,
    from: Offset,
    end: Offset,
    properties: Properties,
) -> Result<bool, BrokerError> {
    looking(properties, move |client, properties| {
        let failed = |error: &KafkaError| classify(ATTEMPTED, error, properties);
        assign(client, &partition, from).map_err(|error| failed(&error))?;
        let began = Instant::now();
        while began.elapsed() < SILENCE {
            match client.poll(POLL) {
                None => {}
                // the first that a reader is given: there is none before it
                Some(Ok(message)) => return Ok(message.offset() >= end.0),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(true),
                Some(Err(error)) => {
                    if let Some(error) = fatal(&error, properties) {
                        return Err(error);
                    }
                }
            }
        }
        Err(classify_code(ATTEMPTED, Code::OperationTimedOut))
    })
    .await
}

/// Looks with a client of its own, on a thread of its own.
async fn looking<T: Send + 'static>(
    properties: Properties,
    look: impl FnOnce(&Client, &Properties) -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let (answer, answered) = oneshot::channel();
    let unavailable = |reason| BrokerError::Unavailable { attempted: ATTEMPTED, reason };
    std::thread::Builder::new()
        .name("kafka-look".to_owned())
        .spawn(move || {
            let client =
                properties.reader().create_with_context(LogContext::new(properties.clone()));
            let found = match &client {
                Ok(client) => look(client, &properties),
                Err(error) => Err(classify(ATTEMPTED, error, &properties)),
            };
            // whoever went away needs no answer
            let _ = answer.send(found);
        })
        .map_err(|error| unavailable(error.to_string()))?;
    answered.await.unwrap_or_else(|_| Err(unavailable("shutting down".to_owned())))
}

/// Has a client read one partition from an offset on.
fn assign(client: &Client, partition: &TopicPartition, from: Offset) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&partition.topic, partition.partition, KafkaOffset::Offset(from.0))?;
    client.assign(&list)
}

fn look_up(
    client: &Client,
    partition: &TopicPartition,
    offset: Offset,
    properties: &Properties,
) -> Result<Option<Record>, BrokerError> {
    let failed = |error: &KafkaError| classify(ATTEMPTED, error, properties);
    let (low, high) = client
        .fetch_watermarks(&partition.topic, partition.partition, ANSWER)
        .map_err(|error| failed(&error))?;
    if !(low..high).contains(&offset.0) {
        return Ok(None);
    }
    assign(client, partition, offset).map_err(|error| failed(&error))?;
    // one batch or one error, which the channel holds
    let (sender, mut batches) = mpsc::channel(BATCHES);
    read(client, HashMap::from([(partition.partition, offset.next().0)]), &sender, properties);
    let records = batches.try_recv().ok().transpose()?.unwrap_or_default();
    Ok(records.into_iter().find(|record| record.offset == offset))
}

/// Reads until every partition has reached its captured end. The end is found by position or by
/// the end-of-partition event, because the last offsets may be control records or compacted away.
fn read(
    client: &Client,
    mut ends: HashMap<i32, i64>,
    batches: &mpsc::Sender<Batch>,
    properties: &Properties,
) {
    let mut last_topic: Arc<str> = Arc::from("");
    let mut progress = Instant::now();
    while !ends.is_empty() && !batches.is_closed() {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut polled = client.poll(POLL);
        while let Some(result) = polled {
            match result {
                Ok(message) => {
                    progress = Instant::now();
                    let record = convert::record(&message, &mut last_topic);
                    let partition = record.source.partition;
                    if let Some(end) = ends.get(&partition).copied() {
                        let next = record.offset.next().0;
                        if record.offset.0 < end {
                            bytes += record.size();
                            records.push(record);
                        }
                        if next >= end {
                            ends.remove(&partition);
                        }
                    }
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    progress = Instant::now();
                    ends.remove(&partition);
                }
                Err(error) => {
                    if let Some(error) = fatal(&error, properties) {
                        // whoever dropped the reader needs no error
                        let _ = batches.blocking_send(Err(error));
                        return;
                    }
                }
            }
            if ends.is_empty() || records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
            polled = client.poll(Duration::ZERO);
        }
        if !records.is_empty() {
            if batches.blocking_send(Ok(records)).is_err() {
                return;
            }
            progress = Instant::now();
        }
        if progress.elapsed() > SILENCE {
            let _ = batches.blocking_send(Err(classify_code(ATTEMPTED, Code::OperationTimedOut)));
            return;
        }
    }
}

/// Errors that waiting does not help. The reader has no use for its group, so a refusal to let it
/// join one is none.
fn fatal(error: &KafkaError, properties: &Properties) -> Option<BrokerError> {
    if error.rdkafka_error_code() == Some(Code::GroupAuthorizationFailed) {
        return None;
    }
    match classify(ATTEMPTED, error, properties) {
        refused @ BrokerError::Refused { .. } => Some(refused),
        BrokerError::Unavailable { .. }
        | BrokerError::Rebalancing
        | BrokerError::NotAssigned
        | BrokerError::RecordTooLarge => None,
    }
}
