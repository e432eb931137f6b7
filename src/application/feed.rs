//! Appending to the ingest topic.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::{Broker, BrokerError, OutgoingRecord, Producer, TopicSettings};
use crate::retry::Backoff;

/// Attempts while the broker is away: about half a minute.
const ATTEMPTS: u32 = 8;

/// The ingest topic, open for appending.
pub struct Feed {
    topic: Arc<str>,
    producer: Arc<dyn Producer>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Feed {
    /// Opens a topic, which is made as the broker's defaults say unless it is there.
    pub(super) async fn open(broker: &dyn Broker, topic: &str) -> Result<Self, BrokerError> {
        let settings =
            TopicSettings { name: topic.to_owned(), partitions: None, properties: Vec::new() };
        broker.ensure_topic(&settings).await?;
        Ok(Self { topic: topic.into(), producer: broker.producer()? })
    }

    /// The topic's name.
    #[must_use]
    pub const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Appends a resource as JSON, or with `None` the word that it was deleted. `key`: `Type/id`.
    ///
    /// # Errors
    /// As [`Feed::send`].
    pub async fn put(&self, key: &str, resource: Option<&str>) -> Result<(), BrokerError> {
        let record = OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(Bytes::from(key.to_owned())),
            value: resource.map(|json| Bytes::from(json.to_owned())),
            headers: Vec::new(),
        };
        self.send(vec![record]).await
    }

    /// Appends records; those that the broker was not there for are sent again, so that nothing is
    /// left out when it restarts. Some may then be there twice, which the guard makes harmless.
    ///
    /// # Errors
    /// [`BrokerError`] of the first record that the broker refused, or was away for too long for.
    pub async fn send(&self, records: Vec<OutgoingRecord>) -> Result<(), BrokerError> {
        self.send_each(records).await.into_iter().collect()
    }

    /// The same, for each record how it ended, in their order.
    pub async fn send_each(&self, records: Vec<OutgoingRecord>) -> Vec<Result<(), BrokerError>> {
        let mut backoff = Backoff::default();
        let mut ended: Vec<Result<(), BrokerError>> = Vec::new();
        ended.resize_with(records.len(), || Ok(()));
        let mut waiting: Vec<(usize, OutgoingRecord)> = records.into_iter().enumerate().collect();
        while !waiting.is_empty() {
            let records = waiting.iter().map(|(_, record)| record.clone()).collect();
            let results = self.producer.send(records).await;
            let mut again = Vec::new();
            for ((place, record), result) in waiting.into_iter().zip(results) {
                match result {
                    Ok(_) => {}
                    Err(error @ BrokerError::Unavailable { .. })
                        if backoff.attempts() < ATTEMPTS =>
                    {
                        tracing::debug!(%error, "sending again");
                        again.push((place, record));
                    }
                    Err(error) => ended[place] = Err(error),
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
        ended
    }
}

/// Records to be sent together: one group commit of the embedded broker, a few requests of Kafka.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<OutgoingRecord>,
    bytes: usize,
}

impl Batch {
    /// Most records.
    pub const RECORDS: usize = 1000;
    /// Most bytes, but for the last record: what it holds is in memory twice while it is sent.
    pub const BYTES: usize = 8 << 20;

    /// Adds a record.
    pub fn push(&mut self, record: OutgoingRecord) {
        self.bytes += record.value.as_ref().map_or(0, Bytes::len);
        self.records.push(record);
    }

    /// Whether it should be sent.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.records.len() >= Self::RECORDS || self.bytes >= Self::BYTES
    }

    /// How many records there are to send.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes the records; it is empty then.
    pub fn take(&mut self) -> Vec<OutgoingRecord> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}
