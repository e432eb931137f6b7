//! `rowcast dead-letters replay`: letters through the same stages again, or back into their topic.
//!
//! Killed at any moment it is resumed by running it again: what it had not recorded is open still,
//! and is written a second time to no effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::super::table::table;
use super::filter::{Filter, WORKABLE};
use super::walk::{Chosen, Opened, Pace, sink};
use super::{Failure, Output, TopologyArguments};
use crate::application::Application;
use crate::broker::{Broker, BrokerError, OutgoingRecord, Producer};
use crate::dead_letter::{
    DeadLetter, DeadLetterQueue, How, Position, Recorded, StatusRecord, StatusWriter,
};
use crate::error::counted;
use crate::model::Record;
use crate::retry::Backoff;
use crate::runtime::{
    Performance, RefusedDeletes, ReplayError, ReplayStages, Replayed, replay, resend,
};
use crate::sink::{Outcome, SqlSink};

/// Attempts to append while the broker is away: about half a minute. The letters stay.
const ATTEMPTS: u32 = 8;

/// Options of `dead-letters replay`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    route: Route,
    /// Say what a direct replay would do, and change nothing: no rows, no letters, no statuses.
    #[arg(long)]
    dry_run: bool,
    /// Also apply deletes without version that were refused before, over anything newer.
    #[arg(long, conflicts_with = "to_topic")]
    force: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Which way letters go.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Route {
    /// Straight to the database, the ingest topic untouched: the default.
    #[arg(long, conflicts_with = "to_topic")]
    direct: bool,
    /// Back into the ingest topic, for the running pipeline.
    #[arg(long)]
    to_topic: bool,
}

impl Route {
    const fn how(self) -> How {
        // clap lets only one of them pass
        if self.to_topic && !self.direct { How::ToTopic } else { How::Direct }
    }
}

/// How a letter ended this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Written,
    Stale,
    Filtered,
    /// Given back to its topic.
    Sent,
    FailedAgain,
    /// A letter without its value, which is gone from the origin.
    Gone,
    /// Its topic does not take it, or is not read.
    Unsendable,
}

impl Ending {
    const ALL: [Self; 7] = [
        Self::Written,
        Self::Stale,
        Self::Filtered,
        Self::Sent,
        Self::FailedAgain,
        Self::Gone,
        Self::Unsendable,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Stale => "stale",
            Self::Filtered => "filtered",
            Self::Sent => "sent",
            Self::FailedAgain => "failed_again",
            Self::Gone => "gone",
            Self::Unsendable => "unsendable",
        }
    }

    /// What the status topic is told; `None`: the letter stays as it is.
    const fn recorded(self) -> Option<Recorded> {
        match self {
            Self::Written | Self::Sent => Some(Recorded::Replayed),
            Self::Stale => Some(Recorded::Stale),
            Self::Filtered => Some(Recorded::Filtered),
            Self::FailedAgain => Some(Recorded::FailedAgain),
            Self::Gone | Self::Unsendable => None,
        }
    }
}

type Counts = BTreeMap<Ending, usize>;

pub(super) async fn replay_letters(arguments: &Arguments) -> Result<(), Failure> {
    let application = &super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let Arguments { filter, pace, .. } = arguments;
    let chosen = Chosen::read(application, &*broker, filter, WORKABLE, *pace).await?;
    let way = Way::open(application, &broker, arguments).await?;
    let progress = Progress::of(chosen.len());
    let mut walk = chosen.walk(&*broker, *pace).await?;
    let mut counts = Counts::new();
    let result = loop {
        let batch = match walk.next().await {
            Ok(batch) if batch.is_empty() => break Ok(()),
            Ok(batch) => batch,
            Err(failure) => break Err(failure),
        };
        if let Err(failure) = way.go(&batch, &mut counts).await {
            break Err(failure);
        }
        progress.at(&counts);
    };
    progress.finish();
    tell(&counts, &chosen, arguments);
    result?;
    let count = |ending| counts.get(&ending).copied().unwrap_or(0);
    let (again, gone) = (count(Ending::FailedAgain), count(Ending::Gone));
    let mut left = Vec::new();
    if again > 0 {
        let would = if arguments.dry_run { "would be " } else { "" };
        let again = counted(again, "letter");
        left.push(format!("{again} {would}refused again; see dead-letters summary"));
    }
    if gone > 0 {
        let gone = counted(gone, "letter");
        left.push(format!("{gone} cannot be replayed: the value is gone from its topic"));
    }
    if count(Ending::Unsendable) > 0 {
        let number = count(Ending::Unsendable);
        left.push(format!(
            "{} cannot go back: the topic refuses, or this topology does not read it",
            counted(number, "letter")
        ));
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::partial(left.join("\n"))) }
}

fn tell(counts: &Counts, chosen: &Chosen<'_>, arguments: &Arguments) {
    let count = |ending| counts.get(&ending).copied().unwrap_or(0);
    match arguments.output {
        Output::Json => {
            let mut told = json!({
                "dry_run": arguments.dry_run,
                "how": arguments.route.how(),
                "quarantined": chosen.quarantined(),
                "letters": counts.values().sum::<usize>(),
            });
            for ending in Ending::ALL {
                told[ending.as_str()] = Value::from(count(ending));
            }
            println!("{told}");
        }
        Output::Table => {
            let rows = counts
                .iter()
                .map(|(ending, count)| [ending.as_str().to_owned(), count.to_string()]);
            println!("{}", table(["outcome", "letters"], rows));
            if arguments.dry_run {
                eprintln!("dry run: nothing was changed");
            }
        }
    }
}

/// Where letters go.
enum Way<'a> {
    /// Through the stages, rolled back.
    Rehearsal(Stages<'a>),
    /// Through the stages.
    Direct(Stages<'a>, Box<Books>),
    /// Into the ingest topic.
    ToTopic { broker: Arc<dyn Broker>, application: &'a Application, books: Box<Books> },
}

/// The stages, and what they are told.
struct Stages<'a> {
    application: &'a Application,
    sink: SqlSink,
    refused_deletes: RefusedDeletes,
}

impl Stages<'_> {
    /// Puts letters through; of those whose record is gone there is no result.
    async fn put_through(
        &self,
        batch: &[Opened<'_>],
        performance: Performance,
    ) -> Result<Vec<Option<Replayed>>, Failure> {
        let decoder = self.application.decoder();
        let transformer = &**self.application.transform();
        let stages = ReplayStages { decoder: &decoder, transformer, sink: &self.sink };
        let records: Vec<Record> =
            batch.iter().filter_map(|opened| opened.record.clone()).collect();
        self.application.bring_schemas(&records).await?;
        let replayed = replay(&stages, &records, performance, self.refused_deletes).await;
        let mut replayed = replayed.map_err(|ReplayError::Sink(error)| error)?.into_iter();
        let found = batch.iter().map(|opened| opened.record.as_ref().and_then(|_| replayed.next()));
        Ok(found.collect())
    }
}

/// What a replay leaves in the topics.
struct Books {
    letters: DeadLetterQueue,
    statuses: StatusWriter,
    producer: Arc<dyn Producer>,
}

impl<'a> Way<'a> {
    async fn open(
        application: &'a Application,
        broker: &Arc<dyn Broker>,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let refused_deletes =
            if arguments.force { RefusedDeletes::Forced } else { RefusedDeletes::Stay };
        let stages = async || {
            let sink = sink(application, broker).await?;
            Ok::<_, Failure>(Stages { application, sink, refused_deletes })
        };
        if arguments.dry_run {
            return Ok(Self::Rehearsal(stages().await?));
        }
        application.ensure_dead_letter_topics(&**broker).await?;
        let producer = broker.producer()?;
        let books = Box::new(Books {
            letters: application.dead_letter_queue(Arc::clone(&producer)),
            statuses: StatusWriter::new(
                application.topology().dead_letter.status_topic.as_str(),
                Arc::clone(&producer),
            ),
            producer,
        });
        if arguments.route.how() == How::ToTopic {
            let broker = Arc::clone(broker);
            return Ok(Self::ToTopic { broker, application, books });
        }
        Ok(Self::Direct(stages().await?, books))
    }

    /// The order here is the guarantee: rows first, the letters that were refused again next, statuses
    /// last. Whatever a crash leaves out is open still.
    async fn go(&self, batch: &[Opened<'_>], counts: &mut Counts) -> Result<(), Failure> {
        let endings = match self {
            Self::Rehearsal(stages) => {
                let replayed = stages.put_through(batch, Performance::Rehearsal).await?;
                replayed.iter().map(|replayed| ending(replayed.as_ref())).collect()
            }
            Self::Direct(stages, books) => {
                let replayed = stages.put_through(batch, Performance::Real).await?;
                let endings: Vec<Ending> =
                    replayed.iter().map(|replayed| ending(replayed.as_ref())).collect();
                let copies = books.refuse_again(batch, replayed).await?;
                books.record(batch, &endings, &copies, How::Direct).await?;
                endings
            }
            Self::ToTopic { broker, application, books } => {
                let endings = books.send(&**broker, application, batch).await?;
                books.record(batch, &endings, &[], How::ToTopic).await?;
                endings
            }
        };
        for ending in endings {
            *counts.entry(ending).or_default() += 1;
        }
        Ok(())
    }
}

const fn ending(replayed: Option<&Replayed>) -> Ending {
    match replayed {
        Some(Replayed::Settled(Outcome::Written)) => Ending::Written,
        Some(Replayed::Settled(Outcome::Stale)) => Ending::Stale,
        Some(Replayed::Settled(Outcome::Filtered)) => Ending::Filtered,
        Some(Replayed::Refused { .. }) => Ending::FailedAgain,
        None => Ending::Gone,
    }
}

impl Books {
    /// Appends a new copy of each letter that was refused again; their places, by that in the batch.
    async fn refuse_again(
        &self,
        batch: &[Opened<'_>],
        replayed: Vec<Option<Replayed>>,
    ) -> Result<Vec<(usize, Position)>, Failure> {
        let failed_at = Utc::now().timestamp_millis();
        let (mut places, mut again) = (Vec::new(), Vec::new());
        for (place, (opened, replayed)) in batch.iter().zip(replayed).enumerate() {
            let Some(Replayed::Refused { refusal, changes_refused }) = replayed else { continue };
            places.push(place);
            again.push(DeadLetter {
                record: opened.copy.clone(),
                refusal: *refusal,
                changes_refused,
                attempts: 1,
                failed_at,
            });
        }
        let mut backoff = Backoff::default();
        let copies = loop {
            match self.letters.publish(&again).await {
                Ok(copies) => break copies,
                Err(BrokerError::Unavailable { .. }) if backoff.attempts() < ATTEMPTS => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let copies = copies
            .into_iter()
            .map(|(source, offset)| Position { partition: source.partition, offset: offset.0 });
        Ok(places.into_iter().zip(copies).collect())
    }

    /// Appends records to the topics they came from.
    async fn send(
        &self,
        broker: &dyn Broker,
        application: &Application,
        batch: &[Opened<'_>],
    ) -> Result<Vec<Ending>, Failure> {
        let mut endings = Vec::with_capacity(batch.len());
        let mut waiting: Vec<(usize, OutgoingRecord)> = Vec::new();
        let mut partitions: BTreeMap<&str, Option<i32>> = BTreeMap::new();
        for (place, opened) in batch.iter().enumerate() {
            let Some(record) = &opened.record else {
                endings.push(Ending::Gone);
                continue;
            };
            let topic = &*record.source.topic;
            if !partitions.contains_key(topic) {
                let reads = application.topology().reads(topic);
                let count = if reads { broker.partitions(topic).await? } else { None };
                partitions.insert(topic, count);
            }
            match partitions.get(topic).copied().flatten() {
                Some(partitions) => {
                    endings.push(Ending::Sent);
                    waiting.push((place, resend(&opened.copy, record, partitions)));
                }
                None => endings.push(Ending::Unsendable),
            }
        }
        let mut backoff = Backoff::default();
        while !waiting.is_empty() {
            let records = waiting.iter().map(|(_, record)| record.clone()).collect();
            let results = self.producer.send(records).await;
            let mut again = Vec::new();
            for ((place, record), result) in waiting.into_iter().zip(results) {
                match result {
                    Ok(_) => {}
                    Err(BrokerError::RecordTooLarge) => {
                        if let Some(ending) = endings.get_mut(place) {
                            *ending = Ending::Unsendable;
                        }
                    }
                    Err(BrokerError::Unavailable { .. }) if backoff.attempts() < ATTEMPTS => {
                        again.push((place, record));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            waiting = again;
            if !waiting.is_empty() {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
        Ok(endings)
    }

    /// Appends what became of each letter. `copies`: the new ones of those that were refused again.
    async fn record(
        &self,
        batch: &[Opened<'_>],
        endings: &[Ending],
        copies: &[(usize, Position)],
        how: How,
    ) -> Result<(), Failure> {
        let at = Utc::now();
        let mut copies = copies.iter().peekable();
        let mut statuses = Vec::with_capacity(batch.len());
        for (place, (opened, ending)) in batch.iter().zip(endings).enumerate() {
            let copy =
                copies.next_if(|(copied, _)| *copied == place).map(|(_, position)| *position);
            let Some(status) = ending.recorded() else { continue };
            let replays = opened.letter.summary.replays;
            statuses.push(StatusRecord {
                id: opened.letter.summary.id.clone(),
                status,
                at,
                position: copy.unwrap_or(opened.letter.position),
                replays: replays.saturating_add(u32::from(copy.is_some())),
                how: Some(how),
                reason: None,
            });
        }
        Ok(self.statuses.append(&statuses).await?)
    }
}

/// A bar on a terminal, silence otherwise.
struct Progress(ProgressBar);

impl Progress {
    fn of(letters: usize) -> Self {
        let length = u64::try_from(letters).ok();
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} letters, {per_sec}, {eta} left, {msg}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    fn at(&self, counts: &Counts) {
        self.0.set_position(u64::try_from(counts.values().sum::<usize>()).unwrap_or(u64::MAX));
        let again = counts.get(&Ending::FailedAgain).copied().unwrap_or(0);
        self.0.set_message(format!("{again} refused again"));
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
