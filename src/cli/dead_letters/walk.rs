//! The letters that a command puts through the stages, batch by batch.
//!
//! In: the letters of a ledger. Out: each with the record it is of, read at its origin where a letter
//! is too small to hold it. What is in hand is bounded by a batch. It writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::check;
use super::filter::Filter;
use super::{Failure, MOST_LETTERS, print};
use crate::application::Application;
use crate::broker::{Broker, BrokerError};
use crate::dead_letter::{Ledger, Letter, Letters, Status, original};
use crate::model::Record;
use crate::sink::SqlSink;

/// Letters put through together: enough that transactions and appends cost little for each, few
/// enough that a letter refused among them is soon isolated.
const BATCH_LETTERS: usize = 500;

/// Bytes of the records of a batch; the last one may go beyond.
const BATCH_BYTES: usize = 16 << 20;

/// Steps of a second in which a rate is kept.
const STEPS: u32 = 10;

const QUARANTINED: &[Status] = &[Status::Quarantined];

/// A letter to be put through.
pub(super) struct Opened<'a> {
    /// What is known of it.
    pub(super) letter: &'a Letter,
    /// Its latest copy, as it is in the dead-letter topic.
    pub(super) copy: Record,
    /// The record it is of, at its origin position; `None`: its value stayed at the origin and is
    /// gone from there.
    pub(super) record: Option<Record>,
}

/// How many letters, and how fast.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct Pace {
    /// So many letters a second at most, e.g. 50 or 50/s.
    #[arg(long, value_name = "N[/s]", value_parser = parse_rate)]
    rate: Option<u32>,
    /// So many letters at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok().filter(|rate| *rate > 0);
    number.ok_or_else(|| "a number of letters a second, from 1, e.g. 50 or 50/s".to_owned())
}

/// The letters that a filter wants; those that it would want were they not quarantined are told.
pub(super) struct Chosen {
    ledger: Ledger,
    filter: Filter,
    usual: &'static [Status],
    most: usize,
}

impl Chosen {
    /// Reads both topics. `usual`: the statuses that are meant if the filter names none. Exit code 4
    /// if nothing is chosen.
    pub(super) async fn read(
        application: &Application,
        broker: &dyn Broker,
        filter: &Filter,
        usual: &'static [Status],
        pace: Pace,
    ) -> Result<Self, Failure> {
        let topics = application.ledger_topics();
        let filter = filter.with_whole_ids(broker, &topics).await?;
        let ledger = Ledger::open(broker, &topics, MOST_LETTERS, |letter, status| {
            filter.wants(letter, status, usual) || filter.wants(letter, status, QUARANTINED)
        });
        let ledger = ledger.await?;
        if ledger.beyond() > 0 {
            let beyond = ledger.beyond();
            print::message(format_args!(
                "warning: {beyond} more letters match; run it again, or narrow the filter"
            ));
        }
        let most = pace.max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let chosen = Self { ledger, filter, usual, most };
        let left_out = chosen.quarantined();
        let nothing = chosen.len() == 0;
        if left_out > 0 {
            let limit = topics.max_replays;
            print::message(format_args!(
                "{left_out} quarantined letters, refused by {limit} replays or more, are left out; \
                 --status quarantined names them"
            ));
        }
        if nothing { Err(Failure::nothing_matched("no letter matches")) } else { Ok(chosen) }
    }

    fn has(&self, letter: &Letter) -> bool {
        self.filter.wants(&letter.summary, letter.status, self.usual)
    }

    /// How many are to be put through.
    pub(super) fn len(&self) -> usize {
        let chosen = self.ledger.letters().iter().filter(|letter| self.has(letter));
        chosen.count().min(self.most)
    }

    /// How many are left out for being quarantined.
    pub(super) fn quarantined(&self) -> usize {
        self.ledger.letters().iter().filter(|letter| !self.has(letter)).count()
    }

    /// Begins to read them.
    pub(super) async fn walk<'a>(
        &'a self,
        broker: &'a dyn Broker,
        pace: Pace,
    ) -> Result<Walk<'a>, Failure> {
        let letters = self.ledger.records(broker).await?;
        let rate = pace.rate;
        Ok(Walk { chosen: self, broker, letters, rate, started: Instant::now(), done: 0 })
    }
}

/// Letters being read.
pub(super) struct Walk<'a> {
    chosen: &'a Chosen,
    broker: &'a dyn Broker,
    letters: Letters<'a>,
    rate: Option<u32>,
    started: Instant,
    done: usize,
}

impl<'a> Walk<'a> {
    /// The next batch, in the order of the dead-letter topic, no sooner than the rate allows; empty
    /// at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<Opened<'a>>, Failure> {
        let mut most = BATCH_LETTERS.min(self.chosen.most - self.done);
        if let Some(rate) = self.rate {
            let done = u32::try_from(self.done).unwrap_or(u32::MAX);
            let due = Duration::from_secs(1).mul_f64(f64::from(done) / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(self.started.elapsed())).await;
            most = most.min(usize::try_from(rate.div_ceil(STEPS)).unwrap_or(usize::MAX));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < most && bytes < BATCH_BYTES {
            let Some((letter, copy)) = self.letters.next().await? else { break };
            if !self.chosen.has(letter) {
                continue;
            }
            let record = match original(&copy).and_then(|opened| opened.record) {
                Some(record) => Some(record),
                None => at_origin(self.broker, letter).await?,
            };
            bytes += record.as_ref().map_or(0, Record::size);
            batch.push(Opened { letter, copy, record });
        }
        self.done += batch.len();
        Ok(batch)
    }
}

/// The record of a letter whose value was too large for it, if it is still where it was.
async fn at_origin(broker: &dyn Broker, letter: &Letter) -> Result<Option<Record>, BrokerError> {
    let summary = &letter.summary;
    let found = broker.record(&summary.origin, summary.offset).await?;
    Ok(found.filter(|record| summary.points_to(record)))
}

/// The database, which must fit the rules and be this topology's.
pub(super) async fn sink(
    application: &Application,
    broker: &Arc<dyn Broker>,
) -> Result<SqlSink, Failure> {
    let sink = application.sink(&broker.cluster_id().await?).await?;
    check::refuse(&sink.check_schema().await?)?;
    let claims = sink.claims(&application.rules_hashes()).await?;
    check::refuse_taken(&claims, &application.topology().name)?;
    Ok(sink)
}
