//! Which letters a command is about.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::broker::Broker;
use crate::cli::Failure;
use crate::dead_letter::{Ledger, LedgerTopics, LetterSummary, Status, headers};
use crate::error::{Cause, Stage};

/// Statuses of letters that still are to be dealt with.
pub(super) const UNSETTLED: &[Status] = &[Status::Open, Status::FailedAgain, Status::Quarantined];
/// Statuses of letters that commands deal with unless told otherwise: a quarantined one is named.
pub(super) const WORKABLE: &[Status] = &[Status::Open, Status::FailedAgain];

/// Which letters.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Filter {
    /// Only this cause, e.g. type_mismatch.
    #[arg(long, value_parser = parse_cause)]
    pub(super) cause: Option<Cause>,
    /// Only refused by this stage: decode, transform, plan or sink.
    #[arg(long, value_parser = parse_stage)]
    stage: Option<Stage>,
    /// Only of this resource type.
    #[arg(long)]
    resource_type: Option<String>,
    /// Only for this table.
    #[arg(long)]
    table: Option<String>,
    /// Only for this column.
    #[arg(long)]
    column: Option<String>,
    /// Only this letter, by its id or as much of its beginning as no other has. May be repeated.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Vec<String>,
    /// Only with this status: open, failed_again, quarantined, replayed, stale, filtered or
    /// discarded. May be repeated.
    #[arg(long, value_parser = parse_status)]
    status: Vec<Status>,
    /// Only refused last at or after this: RFC 3339, or how long ago, e.g. 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Moment>,
    /// Only refused last before this: RFC 3339, or how long ago, e.g. 30m.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Moment>,
    /// Only from this topic, partition, and offset or offsets from-to, both included.
    #[arg(long, value_name = "TOPIC[:PARTITION[:FROM-TO]]", value_parser = parse_origin)]
    origin: Option<OriginFilter>,
}

impl Filter {
    /// Whether it wants a letter that stands so. `usual`: the statuses that are meant if none is
    /// given.
    pub(super) fn wants(&self, letter: &LetterSummary, status: Status, usual: &[Status]) -> bool {
        let same = |wanted: &Option<String>, found: &Option<Arc<str>>| {
            wanted.is_none() || wanted.as_deref() == found.as_deref()
        };
        let statuses = if self.status.is_empty() { usual } else { &self.status };
        statuses.contains(&status)
            && self.cause.is_none_or(|cause| cause == letter.cause)
            && self.stage.is_none_or(|stage| stage == letter.stage)
            && same(&self.resource_type, &letter.place.resource_type)
            && same(&self.table, &letter.place.table)
            && same(&self.column, &letter.place.column)
            && (self.id.is_empty() || self.id.contains(&letter.id))
            && self.since.is_none_or(|since| letter.last_failed_at >= since.0)
            && self.until.is_none_or(|until| letter.last_failed_at < until.0)
            && self.origin.as_ref().is_none_or(|origin| origin.holds(letter))
    }

    /// The same with whole ids in the places of their beginnings. One that no letter has stays: it
    /// matches nothing.
    ///
    /// # Errors
    /// 2 if several letters begin so, 69 if the broker is away.
    pub(super) async fn with_whole_ids(
        &self,
        broker: &dyn Broker,
        topics: &LedgerTopics,
    ) -> Result<Self, Failure> {
        let mut whole = self.clone();
        if self.id.iter().all(|id| headers::is_id(id)) {
            return Ok(whole);
        }
        let begins = |letter: &LetterSummary, _| {
            let is_meant = self.id.iter().any(|id| letter.id.starts_with(id.as_str()));
            is_meant.then(|| letter.id.clone())
        };
        let found = Ledger::tally(broker, topics, begins).await?.notes;
        for id in &mut whole.id {
            let mut begin_so = found.iter().filter(|letter| letter.starts_with(id.as_str()));
            match (begin_so.next(), begin_so.count()) {
                (None, _) => {}
                (Some(letter), 0) => id.clone_from(letter),
                (Some(_), more) => {
                    return Err(Failure::usage(format!(
                        "{} letters begin with {id}; give more of the id",
                        more + 1
                    )));
                }
            }
        }
        Ok(whole)
    }

    /// The statuses that commands mean which only look, if none is given. `all`: the settled too, as
    /// they are where letters are named.
    pub(super) const fn looked_at(&self, all: bool) -> &'static [Status] {
        if all || self.names_letters() { &Status::ALL } else { UNSETTLED }
    }

    /// Whether letters are named by their ids.
    pub(super) const fn names_letters(&self) -> bool {
        !self.id.is_empty()
    }

    /// Whether it wants every letter.
    pub(super) const fn is_empty(&self) -> bool {
        let Self {
            cause: None,
            stage: None,
            resource_type: None,
            table: None,
            column: None,
            id,
            status,
            since: None,
            until: None,
            origin: None,
        } = self
        else {
            return false;
        };
        id.is_empty() && status.is_empty()
    }
}

/// Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment(i64);

/// Letters of a topic, of a partition, or of a stretch of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OriginFilter {
    topic: String,
    partition: Option<i32>,
    /// Both included.
    offsets: Option<(i64, i64)>,
}

impl OriginFilter {
    fn holds(&self, letter: &LetterSummary) -> bool {
        *letter.origin.topic == *self.topic
            && self.partition.is_none_or(|partition| partition == letter.origin.partition)
            && self.offsets.is_none_or(|(from, to)| (from..=to).contains(&letter.offset.0))
    }
}

fn parse_cause(name: &str) -> Result<Cause, String> {
    Cause::parse(name).ok_or_else(|| {
        let known: Vec<_> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        format!("no such cause; there are: {}", known.join(", "))
    })
}

fn parse_stage(name: &str) -> Result<Stage, String> {
    let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
    known.ok_or_else(|| "no such stage; there are: decode, transform, plan, sink".to_owned())
}

fn parse_status(name: &str) -> Result<Status, String> {
    Status::parse(name).ok_or_else(|| {
        let known: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        format!("no such status; there are: {}", known.join(", "))
    })
}

fn parse_moment(text: &str) -> Result<Moment, String> {
    moment(text, Utc::now())
        .ok_or_else(|| "neither a time like 2026-11-23T02:30:00Z nor a duration like 2h".to_owned())
}

fn moment(text: &str, now: DateTime<Utc>) -> Option<Moment> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(Moment(instant.timestamp_millis()));
    }
    let ago = humantime::parse_duration(text).ok()?;
    let then = now.checked_sub_signed(chrono::Duration::from_std(ago).ok()?)?;
    Some(Moment(then.timestamp_millis()))
}

fn parse_origin(text: &str) -> Result<OriginFilter, String> {
    origin(text).ok_or_else(|| "must be TOPIC, TOPIC:PARTITION or TOPIC:PARTITION:FROM-TO".into())
}

fn origin(text: &str) -> Option<OriginFilter> {
    let mut parts = text.splitn(3, ':');
    let topic = parts.next().filter(|topic| !topic.is_empty())?.to_owned();
    let partition = parts.next().map(str::parse).transpose().ok()?;
    let offsets = match parts.next() {
        None => None,
        Some(offsets) => {
            let (from, to) = offsets.split_once('-').unwrap_or((offsets, offsets));
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from <= to).then_some(Some((from, to)))?
        }
    };
    Some(OriginFilter { topic, partition, offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = DateTime::from_timestamp_millis(10_000_000).expect("1970");
        assert_eq!(moment("1970-01-01T00:00:01.500Z", now), Some(Moment(1500)));
        assert_eq!(moment("2h", now), Some(Moment(2_800_000)));
        assert_eq!(moment("yesterday", now), None);
    }

    #[test]
    fn an_origin_is_a_topic_a_partition_or_a_stretch_of_it() {
        let parsed = |text| origin(text).map(|origin| (origin.partition, origin.offsets));
        assert_eq!(parsed("fhir.changes"), Some((None, None)));
        assert_eq!(parsed("fhir.changes:3"), Some((Some(3), None)));
        assert_eq!(parsed("fhir.changes:3:10-20"), Some((Some(3), Some((10, 20)))));
        assert_eq!(parsed("fhir.changes:3:10"), Some((Some(3), Some((10, 10)))));
        for wrong in ["", ":3", "t:x", "t:3:20-10", "t:3:1-2-3", "t::1"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
