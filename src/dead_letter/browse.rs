//! Looking at the letters of a topic, each once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::headers::{LetterSummary, read};
use crate::broker::{Broker, BrokerError};
use crate::model::Record;

/// The letters of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// One per identity, the latest failure of each; ordered by it, oldest first.
    pub letters: Vec<LetterSummary>,
    /// Matching records beyond the limit, repetitions included.
    pub beyond: u64,
    /// Records of the topic that are no letters.
    pub foreign: u64,
}

/// Lists the letters that `wanted` accepts, at most `limit` different ones, so that a topic of any
/// size is listed within bounds. A letter published twice counts once: the latest wins, and
/// `wanted` sees only it if all its records are read before the limit is reached.
pub async fn list(
    broker: &dyn Broker,
    topic: &str,
    limit: usize,
    wanted: impl Fn(&LetterSummary) -> bool + Send,
) -> Result<Listing, BrokerError> {
    let mut letters: HashMap<String, LetterSummary> = HashMap::new();
    let mut listing = Listing::default();
    let mut reader = broker.reader(topic).await?;
    while let Some(records) = reader.next().await? {
        for record in &records {
            let Some(summary) = read(record) else {
                listing.foreign += 1;
                continue;
            };
            let room = letters.len() < limit;
            match letters.entry(summary.id.clone()) {
                Entry::Occupied(mut entry) => {
                    if summary.last_failed_at >= entry.get().last_failed_at {
                        entry.insert(summary);
                    }
                }
                Entry::Vacant(entry) => {
                    if !wanted(&summary) {
                        continue;
                    }
                    if room {
                        entry.insert(summary);
                    } else {
                        listing.beyond += 1;
                    }
                }
            }
        }
    }
    listing.letters = letters.into_values().filter(|summary| wanted(summary)).collect();
    listing.letters.sort_by(|a, b| {
        (a.last_failed_at, &a.origin, a.offset).cmp(&(b.last_failed_at, &b.origin, b.offset))
    });
    Ok(listing)
}

/// The latest letter with this identity, with its record.
pub async fn find(
    broker: &dyn Broker,
    topic: &str,
    id: &str,
) -> Result<Option<(LetterSummary, Record)>, BrokerError> {
    let mut found: Option<(LetterSummary, Record)> = None;
    let mut reader = broker.reader(topic).await?;
    while let Some(records) = reader.next().await? {
        for record in records {
            let Some(summary) = read(&record).filter(|summary| summary.id == id) else { continue };
            let later = found
                .as_ref()
                .is_none_or(|(latest, _)| summary.last_failed_at >= latest.last_failed_at);
            if later {
                found = Some((summary, record));
            }
        }
    }
    Ok(found)
}
