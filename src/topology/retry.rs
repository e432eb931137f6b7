//! The settings of the retry tier: as written -> valid.
//!
//! In: the section `retry`, and what it must not get in the way of. Out: where, when and how often
//! refused records are tried again, or what cannot be.

use std::time::Duration;

use regex::Regex;

use super::file::{RetryCauseFile, RetryFile, StrategyFile, TopologyFile};
use super::resolve::{Findings, NO_TOPIC, is_topic, time};
use super::{DeadLetterSettings, RetrySettings};
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
    dead_letter: Option<&DeadLetterSettings>,
    found: &mut Findings<'_>,
) -> Option<Option<RetrySettings>> {
    let Some(retry) = &written.retry else { return Some(None) };
    let topic = topic(retry, &written.source.topic, dead_letter, found);
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
    source: &str,
    dead_letter: Option<&DeadLetterSettings>,
    found: &mut Findings<'_>,
) -> Option<String> {
    let pattern = source.starts_with('^');
    let topic = match &written.topic {
        Some(topic) => topic.clone(),
        None if !pattern && !is_topic(source) => return None,
        None => format!("{source}.retry"),
    };
    let read_again = topic == source
        || (pattern && Regex::new(source).is_ok_and(|pattern| pattern.is_match(&topic)));
    let wrong = if written.topic.is_none() && pattern {
        "is required, because `source.topic` is a regular expression"
    } else if !is_topic(&topic) {
        NO_TOPIC
    } else if read_again {
        "is read by `source.topic`: what waits there would be taken for news"
    } else if dead_letter.is_some_and(|letters| letters.topic == topic) {
        "is the dead-letter topic: what waits must not lie among what was given up"
    } else {
        return Some(topic);
    };
    found.problem("/retry/topic", wrong);
    None
}
