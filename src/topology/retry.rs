//! The settings of the retry tier: as written -> valid.
//!
//! In: the section `retry`, and what it must not get in the way of. Out: where, when and how often
//! refused records are tried again, or what cannot be.

use std::time::Duration;

use super::file::{RetryCauseFile, RetryFile, StrategyFile, TopologyFile};
use super::resolve::{Findings, is_read_by, time};
use super::topics::{NO_TOPIC, is_topic};
use super::{DeadLetterSettings, RetrySettings, SourceTopic};
use crate::dead_letter::RetryPolicy;
use crate::error::Cause;
use crate::retry::{Schedule, Strategy};

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
