//! The ends of the logs, as librdkafka's statistics tell them every few seconds: nobody is asked.
//!
//! In: statistics, JSON. Out: per partition the first offset that is left and the end of the log, if
//! that is what the broker said a moment ago. librdkafka learns them from the answers to its fetches,
//! and it does not fetch for a partition of which it holds enough; what is known of that one grows old,
//! and then nothing is said.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::model::{Offset, TopicPartition};

/// Statistics older than this say nothing any more: three of our intervals.
const OUTDATED: Duration = Duration::from_secs(15);

/// Up to which record of a log is read, after the property `isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// Up to the first transaction that is not decided: librdkafka's default.
    ReadCommitted,
    /// Up to the last record.
    ReadUncommitted,
}

/// Whether records of a partition are taken from librdkafka at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// They are: it goes on fetching.
    Taken,
    /// They are not: it may have stopped fetching.
    Held,
}

/// The latest statistics.
#[derive(Debug)]
pub(super) struct Statistics {
    isolation: Isolation,
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    at: Option<Instant>,
    partitions: HashMap<TopicPartition, Fetched>,
}

/// How far a partition is fetched.
#[derive(Debug, Clone, Copy)]
struct Fetched {
    start: Offset,
    end: Offset,
    /// The offset to be fetched next.
    next: i64,
    /// Something was fetched since the statistics before.
    moved: bool,
}

/// What is read of the statistics: see librdkafka's STATISTICS.md.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    topics: HashMap<String, TopicTold>,
}

#[derive(Deserialize)]
struct TopicTold {
    partitions: HashMap<String, PartitionTold>,
}

/// Offsets below 0 are not known.
#[derive(Deserialize)]
struct PartitionTold {
    partition: i32,
    fetch_state: String,
    next_offset: i64,
    lo_offset: i64,
    hi_offset: i64,
    ls_offset: i64,
}

impl Statistics {
    /// None yet.
    pub(super) fn new(isolation: Isolation) -> Self {
        Self { isolation, latest: Mutex::default() }
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// librdkafka has told. What cannot be read tells nothing, and then brokers are asked.
    pub(super) fn take(&self, json: &[u8], at: Instant) {
        let Ok(told) = serde_json::from_slice::<Told>(json) else {
            *self.latest() = Latest::default();
            return;
        };
        let mut latest = self.latest();
        let mut partitions = HashMap::with_capacity(latest.partitions.len());
        for (topic, told) in told.topics {
            for told in told.partitions.into_values() {
                // -1 holds what is of no partition yet
                if told.partition < 0 || told.fetch_state != "active" {
                    continue;
                }
                let end = match self.isolation {
                    Isolation::ReadCommitted => told.ls_offset,
                    Isolation::ReadUncommitted => told.hi_offset,
                };
                let next = told.next_offset;
                if told.lo_offset < 0 || end < 0 || next < 0 {
                    continue;
                }
                let partition = TopicPartition::new(topic.as_str(), told.partition);
                let before = latest.partitions.get(&partition);
                let moved = before.is_some_and(|before| before.next != next);
                let (start, end) = (Offset(told.lo_offset), Offset(end));
                partitions.insert(partition, Fetched { start, end, next, moved });
            }
        }
        *latest = Latest { at: Some(at), partitions };
    }

    /// These partitions are ours from now on: what was known of them is of another time.
    pub(super) fn forget(&self, partitions: &[TopicPartition]) {
        let mut latest = self.latest();
        for partition in partitions {
            latest.partitions.remove(partition);
        }
    }

    /// First offset and end of a log, if the broker said so a moment ago: in answer to a fetch since
    /// the statistics before, or to one that waits at the end for what comes.
    pub(super) fn ends(
        &self,
        partition: &TopicPartition,
        delivery: Delivery,
        now: Instant,
    ) -> Option<(Offset, Offset)> {
        let latest = self.latest();
        if now.saturating_duration_since(latest.at?) > OUTDATED {
            return None;
        }
        let fetched = latest.partitions.get(partition)?;
        let waits = delivery == Delivery::Taken && fetched.next >= fetched.end.0;
        (fetched.moved || waits).then_some((fetched.start, fetched.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka writes it, shortened.
    fn json(state: &str, next: i64, ends: [i64; 3]) -> String {
        let [low, stable, high] = ends;
        let of = |partition: i32, next: i64| {
            format!(
                r#""{partition}": {{ "partition":{partition}, "broker":1, "leader":1, "desired":true,
                "fetchq_cnt":0, "fetch_state":"{state}", "query_offset":-1001, "next_offset":{next},
                "app_offset":3, "stored_offset":-1001, "eof_offset":-1001, "lo_offset":{low},
                "hi_offset":{high}, "ls_offset":{stable}, "consumer_lag":-1, "msgs": 5 }}"#
            )
        };
        format!(
            r#"{{ "name":"rdkafka#consumer-1", "ts":5016483227792, "brokers":{{}}, "topics":{{ "t":{{
            "topic":"t", "age":9060, "batchsize":{{ "min":0 }}, "partitions":{{ {}, {} }} }} }},
            "cgrp":{{ "state":"up" }}, "tx":0 }}"#,
            of(0, next),
            of(-1, -1001)
        )
    }

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    const ENDS: [i64; 3] = [2, 8, 9];

    fn ends(statistics: &Statistics, delivery: Delivery, now: Instant) -> Option<(i64, i64)> {
        statistics.ends(&partition(), delivery, now).map(|(start, end)| (start.0, end.0))
    }

    #[test]
    fn a_log_ends_where_the_isolation_level_ends_it() {
        let now = Instant::now();
        for (isolation, end) in [(Isolation::ReadCommitted, 8), (Isolation::ReadUncommitted, 9)] {
            let statistics = Statistics::new(isolation);
            assert_eq!(ends(&statistics, Delivery::Taken, now), None);
            statistics.take(json("active", 9, ENDS).as_bytes(), now);
            assert_eq!(ends(&statistics, Delivery::Taken, now), Some((2, end)));
            assert_eq!(statistics.ends(&TopicPartition::new("t", 1), Delivery::Taken, now), None);
        }
    }

    #[test]
    fn what_was_not_fetched_lately_is_not_known() {
        let now = Instant::now();
        let statistics = Statistics::new(Isolation::ReadCommitted);
        let tell =
            |state: &str, next: i64| statistics.take(json(state, next, ENDS).as_bytes(), now);
        tell("active", 5);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None, "is it fetching?");
        tell("active", 6);
        assert_eq!(ends(&statistics, Delivery::Held, now), Some((2, 8)), "it is");
        tell("active", 6);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None, "not any more");
        tell("active", 8);
        tell("active", 8);
        assert_eq!(ends(&statistics, Delivery::Taken, now), Some((2, 8)), "it waits at the end");
        assert_eq!(ends(&statistics, Delivery::Held, now), None, "it may hold enough");
        tell("stopped", 8);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None, "it stopped");
    }

    #[test]
    fn what_is_old_of_another_assignment_or_unreadable_is_not_known() {
        let now = Instant::now();
        let statistics = Statistics::new(Isolation::ReadCommitted);
        statistics.take(json("active", 8, ENDS).as_bytes(), now);
        assert_eq!(ends(&statistics, Delivery::Taken, now + OUTDATED * 2), None);
        statistics.forget(&[partition()]);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None);
        statistics.take(json("active", 8, [-1001, -1001, -1001]).as_bytes(), now);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None, "nothing was fetched yet");
        statistics.take(json("active", 8, ENDS).as_bytes(), now);
        statistics.take(b"{ \"topics\": 1 }", now);
        assert_eq!(ends(&statistics, Delivery::Taken, now), None);
    }
}
