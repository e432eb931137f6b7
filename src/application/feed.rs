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
    pub async fn send(&self, mut records: Vec<OutgoingRecord>) -> Result<(), BrokerError> {
        let mut backoff = Backoff::default();
        loop {
            let results = self.producer.send(records.clone()).await;
            let mut again = Vec::new();
            for (record, result) in records.into_iter().zip(results) {
                match result {
                    Ok(_) => {}
                    Err(error @ BrokerError::Unavailable { .. })
                        if backoff.attempts() < ATTEMPTS =>
                    {
                        tracing::debug!(%error, "sending again");
                        again.push(record);
                    }
                    Err(error) => return Err(error),
                }
            }
            if again.is_empty() {
                return Ok(());
            }
            records = again;
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}
