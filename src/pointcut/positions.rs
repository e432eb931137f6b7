//! How far the history of each type was read, kept in a compacted topic beside the ingest topic.
//!
//! In: a position, once the broker has all that came before it. Out: the positions, after a restart
//! and for every instance. A position is the server's own time, never the local clock's.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::broker::{Broker, BrokerError, OutgoingRecord, Producer, TopicSettings};
use crate::model::Record;

/// How far the history of a type was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The largest time of change that was seen. `None`: it was read, and there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_updated: Option<DateTime<Utc>>,
}

/// Of which type of which server a position is: the record's key.
#[derive(Serialize, Deserialize)]
struct Key<'k> {
    server: std::borrow::Cow<'k, str>,
    #[serde(rename = "type")]
    resource_type: std::borrow::Cow<'k, str>,
}

/// The topic of positions. Cheap to clone.
#[derive(Clone)]
pub(super) struct Positions {
    topic: Arc<str>,
    server: Arc<str>,
    producer: Arc<dyn Producer>,
}

impl Positions {
    pub(super) fn new(topic: &str, server: &Url, producer: Arc<dyn Producer>) -> Self {
        let server = server.as_str().trim_end_matches('/');
        Self { topic: topic.into(), server: server.into(), producer }
    }

    /// The topic as it is made: one partition, so that the last position is the last in it.
    pub(super) fn settings(topic: &str) -> TopicSettings {
        TopicSettings {
            name: topic.to_owned(),
            partitions: Some(1),
            properties: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
        }
    }

    /// The last position of each type of this server.
    pub(super) async fn read(
        &self,
        broker: &dyn Broker,
    ) -> Result<HashMap<String, Position>, BrokerError> {
        let mut positions = HashMap::new();
        let mut reader = broker.reader(&self.topic).await?;
        while let Some(records) = reader.next().await? {
            for record in &records {
                match self.understand(record) {
                    Some((name, Some(position))) => drop(positions.insert(name, position)),
                    Some((name, None)) => drop(positions.remove(&name)),
                    None => {}
                }
            }
        }
        Ok(positions)
    }

    /// Remembers how far a type was read.
    pub(super) async fn write(
        &self,
        resource_type: &str,
        position: Position,
    ) -> Result<(), BrokerError> {
        let key = Key { server: (&*self.server).into(), resource_type: resource_type.into() };
        let record = OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(Bytes::from(serde_json::to_vec(&key).expect("plain data"))),
            value: Some(Bytes::from(serde_json::to_vec(&position).expect("plain data"))),
            headers: Vec::new(),
        };
        let results = self.producer.send(vec![record]).await;
        results.into_iter().try_for_each(|result| result.map(drop))
    }

    /// Type and position of a record; no position if it was taken back by a null value. `None` for
    /// anything else: another server's, or what somebody else wrote.
    fn understand(&self, record: &Record) -> Option<(String, Option<Position>)> {
        let key: Key<'_> = serde_json::from_slice(record.key.as_deref()?).ok()?;
        if key.server != *self.server {
            return None;
        }
        let position = match &record.value {
            None => None,
            Some(value) => Some(serde_json::from_slice(value).ok()?),
        };
        Some((key.resource_type.into_owned(), position))
    }
}
