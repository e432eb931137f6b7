//! The settings of the retry tier: as written -> valid.
//!
//! In: the section `retry`, and what it must not get in the way of. Out: where, when and how often
//! refused records are tried again, or what cannot be.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::TopologyFile;
use super::resolve::{Findings, is_read_by, time};
use super::topics::{NO_TOPIC, is_topic};
use super::{DeadLetterSettings, RetrySettings, SourceTopic};
use crate::dead_letter::RetryPolicy;
use crate::error::Cause;
use crate::retry::{Schedule, Strategy};

/// How records are tried again whose refusal may heal by itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryFile {
    /// Topic in which they wait. Default: the source's topic with `.retry` appended; required if
    /// the source is a pattern or several topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How often a record is tried again before it becomes a dead letter. Default 10, which with
    /// the other defaults is five minutes: longer than partitions drift apart, short enough to be
    /// told the same hour. 0: nothing is sent there any more, and what waits is tried a last time.
    #[serde(default = "default_attempts")]
    #[schemars(range(max = 1000))]
    pub maximum_attempts: u32,
    /// Wait before the first retry, with a unit: `500ms`, `1s`. Default 1s.
    #[serde(default = "default_delay")]
    #[schemars(extend("examples" = ["5s"]))]
    pub delay: String,
    /// Longest wait before a retry, at most a day. Default 1m.
    #[serde(default = "default_maximum_delay")]
    #[schemars(extend("examples" = ["10m"]))]
    pub maximum_delay: String,
    /// How waits go on. Default `exponential`.
    #[serde(default)]
    pub strategy: StrategyFile,
    /// Causes that may heal by themselves. Default `[constraint_foreign_key]`: the row that a
    /// foreign key names is often still on its way in another partition.
    #[serde(default = "default_retry_causes")]
    pub causes: Vec<RetryCauseFile>,
}

/// How waits go on from one retry to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyFile {
    /// The same wait before each.
    Constant,
    /// Twice the wait before, up to `maximum_delay`.
    #[default]
    Exponential,
}

/// A cause that other rows may heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RetryCauseFile {
    /// The row that a foreign key names is not there yet, or one that names this row still is.
    ConstraintForeignKey,
    /// Another resource still holds the value.
    ConstraintUnique,
    /// Another rule of the database: restrict, exclusion, trigger.
    IntegrityViolation,
}

/// Shortest and longest wait: below, a busy database would be asked without a pause; beyond, a
/// record is somebody's business rather than the machine's.
const DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_hours(24));

impl From<StrategyFile> for Strategy {
    fn from(written: StrategyFile) -> Self {
        match written {
            StrategyFile::Constant => Self::Constant,
            StrategyFile::Exponential => Self::Exponential,
        }
    }
}

impl From<RetryCauseFile> for Cause {
    fn from(written: RetryCauseFile) -> Self {
        match written {
            RetryCauseFile::ConstraintForeignKey => Self::ConstraintForeignKey,
            RetryCauseFile::ConstraintUnique => Self::ConstraintUnique,
            RetryCauseFile::IntegrityViolation => Self::IntegrityViolation,
        }
    }
}

/// The valid settings: `Some(None)` without the section, `None` if something is wrong with it.
#[expect(clippy::option_option, reason = "off and broken are different answers")]
pub(super) fn accept(
    written: &TopologyFile,
    topics: Option<&[SourceTopic]>,
    dead_letter: Option<&DeadLetterSettings>,
    found: &mut Findings<'_>,
) -> Option<Option<RetrySettings>> {
    let Some(retry) = &written.retry else { return Some(None) };
    let topic = topic(retry, topics?, dead_letter, found);
    let delay = time(&retry.delay, DELAYS.0, DELAYS.1);
    let delay = found.take("/retry/delay", delay);
    let least = delay.unwrap_or(DELAYS.0);
    let maximum_delay = time(&retry.maximum_delay, DELAYS.0, DELAYS.1).and_then(|most| {
        if most < least { Err("must not be shorter than `retry.delay`".into()) } else { Ok(most) }
    });
    let maximum_delay = found.take("/retry/maximum_delay", maximum_delay);
    let schedule =
        Schedule { strategy: retry.strategy.into(), delay: delay?, maximum_delay: maximum_delay? };
    let policy = RetryPolicy {
        maximum_attempts: retry.maximum_attempts,
        schedule,
        causes: retry.causes.iter().map(|cause| (*cause).into()).collect(),
    };
    Some(Some(RetrySettings { topic: topic?, policy }))
}

fn topic(
    written: &RetryFile,
    topics: &[SourceTopic],
    dead_letter: Option<&DeadLetterSettings>,
    found: &mut Findings<'_>,
) -> Option<String> {
    let only = match topics {
        [only] => only.selector.name(),
        _ => None,
    };
    let Some(topic) = written.topic.clone().or_else(|| Some(format!("{}.retry", only?))) else {
        found.problem(
            "/retry/topic",
            "is required, because the source is a pattern or several topics",
        );
        return None;
    };
    let wrong = if !is_topic(&topic) {
        NO_TOPIC
    } else if is_read_by(topics, &topic) {
        "is read by the source: what waits there would be taken for news"
    } else if dead_letter.is_some_and(|letters| letters.topic == topic) {
        "is the dead-letter topic: what waits must not lie among what was given up"
    } else {
        return Some(topic);
    };
    found.problem("/retry/topic", wrong);
    None
}

const fn default_attempts() -> u32 {
    10
}

fn default_delay() -> String {
    "1s".into()
}

fn default_maximum_delay() -> String {
    "1m".into()
}

fn default_retry_causes() -> Vec<RetryCauseFile> {
    vec![RetryCauseFile::ConstraintForeignKey]
}
