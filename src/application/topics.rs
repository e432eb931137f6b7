//! The topics of dead letters: made if they are missing and may be made.

use std::sync::Arc;

use super::{Application, ApplicationError};
use crate::broker::{Broker, BrokerError, Producer, TopicSettings};
use crate::dead_letter::{DeadLetterQueue, LedgerTopics, Letterhead};
use crate::topology::Topology;

impl Application {
    /// Where the letters of this topology are, and when they are quarantined.
    #[must_use]
    pub fn ledger_topics(&self) -> LedgerTopics {
        let dead_letter = &self.topology.dead_letter;
        LedgerTopics {
            letters: dead_letter.topic.clone(),
            statuses: dead_letter.status_topic.clone(),
            max_replays: dead_letter.max_replays,
        }
    }

    /// Publishes letters of this topology.
    #[must_use]
    pub fn dead_letter_queue(&self, producer: Arc<dyn Producer>) -> DeadLetterQueue {
        let topology = &self.topology;
        let head = Letterhead {
            topic: topology.dead_letter.topic.as_str().into(),
            topology: topology.name.as_str().into(),
            config_hash: topology.config_hash.as_str().into(),
        };
        DeadLetterQueue::new(head, producer)
    }

    /// Sees to it that the dead-letter topic and its status topic are there, before something is
    /// appended to them. Returns the names of those that were created.
    ///
    /// # Errors
    /// [`ApplicationError::Topic`] if one is missing and may not be created;
    /// [`ApplicationError::Broker`] if the broker is away.
    pub async fn ensure_dead_letter_topics(
        &self,
        broker: &dyn Broker,
    ) -> Result<Vec<String>, ApplicationError> {
        let mut created = Vec::new();
        let letters = dead_letter_topic(&self.topology, broker).await;
        if ensure(broker, &letters).await? {
            created.push(letters.name);
        }
        // now, since it takes its number of partitions from the other
        let statuses = status_topic(&self.topology, broker).await;
        if ensure(broker, &statuses).await? {
            created.push(statuses.name);
        }
        Ok(created)
    }
}

async fn ensure(broker: &dyn Broker, topic: &TopicSettings) -> Result<bool, ApplicationError> {
    broker.ensure_topic(topic).await.map_err(|error| refused(topic, error))
}

/// As many as the source's topic with the most has; none for patterns: the broker's default.
pub(super) async fn source_partitions(topology: &Topology, broker: &dyn Broker) -> Option<i32> {
    let mut most = None;
    for name in topology.topics.iter().filter_map(|topic| topic.selector.name()) {
        most = most.max(broker.partitions(name).await.unwrap_or_default());
    }
    most
}

/// The dead-letter topic: as many partitions as the ingest topic, letters kept until somebody
/// deals with them.
pub(super) async fn dead_letter_topic(topology: &Topology, broker: &dyn Broker) -> TopicSettings {
    TopicSettings {
        name: topology.dead_letter.topic.clone(),
        partitions: source_partitions(topology, broker).await,
        properties: vec![("retention.ms".to_owned(), "-1".to_owned())],
    }
}

/// The status topic: as many partitions as the dead-letter topic, the last status of each letter
/// kept for ever.
pub(super) async fn status_topic(topology: &Topology, broker: &dyn Broker) -> TopicSettings {
    TopicSettings {
        name: topology.dead_letter.status_topic.clone(),
        partitions: broker.partitions(&topology.dead_letter.topic).await.unwrap_or_default(),
        properties: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
    }
}

/// What to say where a topic is missing and may not be created.
pub(super) fn refused(topic: &TopicSettings, source: BrokerError) -> ApplicationError {
    if !matches!(source, BrokerError::Refused { .. }) {
        return ApplicationError::Broker(source);
    }
    let properties = topic.properties.iter().map(|(name, value)| format!("{name}={value}"));
    ApplicationError::Topic {
        topic: topic.name.clone(),
        settings: properties.collect::<Vec<_>>().join(" "),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::messages;

    #[test]
    fn a_topic_that_may_not_be_created_is_named_with_what_it_needs() {
        let topic = TopicSettings {
            name: "letters.status".into(),
            partitions: None,
            properties: vec![("cleanup.policy".into(), "compact".into())],
        };
        let source = BrokerError::Refused { attempted: "creating a topic", reason: "no".into() };
        let told = messages(&refused(&topic, source)).join(": ");
        for expected in ["`letters.status`", "cleanup.policy=compact", "no"] {
            assert!(told.contains(expected), "{told}");
        }
        let away = BrokerError::Unavailable { attempted: "creating a topic", reason: "-".into() };
        assert!(matches!(refused(&topic, away), ApplicationError::Broker(_)));
    }
}
