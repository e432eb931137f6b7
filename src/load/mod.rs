//! Backfill: what a source has is brought into the ingest topic.
//!
//! In: resources from NDJSON files, a FHIR Bulk Data export, a search or a history. Out: records of the
//! canonical form in the ingest topic, from where they go the way of every change; so it may be done
//! beside live traffic, where the guard takes what is older for stale. What is no resource with a
//! version is counted and told by its place, and never sent. Nothing is guessed, and nothing of a
//! resource is shown.
//!
//! One portion is sent while the next is being read. Once the broker has a portion, the place behind
//! it is written to the state file: whoever kills the process repeats a portion at most, and leaves
//! nothing out.

mod error;
mod export;
mod files;
mod lines;
mod pages;
mod patience;
mod portion;
mod resolve;
mod shape;
mod state;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use error::LoadError;
pub use export::ExportInput;
pub use files::FilesInput;
pub use pages::{PagesInput, Part};
pub use portion::{At, Cursor, Portion, Position, RefusedItem};
pub use shape::{Shape, VersionRule};
pub use state::{Counts, FileIdentity, Identity, State};

use state::IsDelete;

use crate::application::{CancellationToken, Feed};
use crate::broker::{BrokerError, OutgoingRecord};
use crate::error::Cause;

/// Portions that are read ahead, besides the one that waits to be taken.
const READ_AHEAD: usize = 1;

/// The task that reads ahead; its end gives the input back.
type Reading = JoinHandle<(Box<dyn Input>, Result<(), LoadError>)>;

/// Where resources come from, portion by portion.
#[async_trait::async_trait]
pub trait Input: Send {
    /// The next portion; `None` at the end.
    async fn next(&mut self) -> Result<Option<Portion>, LoadError>;

    /// Tidies up once the broker has everything.
    async fn finish(&mut self) -> Result<(), LoadError> {
        Ok(())
    }
}

/// Brings what an input has into the topic.
#[derive(Debug)]
pub struct Load<'a> {
    /// The topic.
    pub feed: &'a Feed,
    /// Where it is remembered how far it is; `None`: it cannot be gone on with.
    pub state: Option<State>,
    /// Most records a second.
    pub rate: Option<NonZeroU32>,
    /// Ends it after the portion in hand.
    pub stop: CancellationToken,
}

/// What was loaded, by this process and by those before it that it went on for.
#[derive(Debug)]
pub struct Loaded {
    /// What the broker has, and what was refused.
    pub counts: Counts,
    /// How it ended.
    pub ended: Ended,
    /// The state file with which it can be gone on with, if there is anything to go on with.
    pub kept: Option<PathBuf>,
}

/// How a load ended.
#[derive(Debug)]
pub enum Ended {
    /// All of it is there.
    Complete,
    /// It is all there, but something else could not be tidied up.
    Untidy(LoadError),
    /// It was asked to end.
    Stopped,
    /// It cannot go on.
    Failed(LoadError),
}

impl Load<'_> {
    /// Loads until the end of the input. `told` hears of each portion that the broker has.
    pub async fn run(
        mut self,
        input: Box<dyn Input>,
        mut told: impl FnMut(&Portion, &Counts),
    ) -> Loaded {
        let mut counts =
            self.state.as_ref().map(|state| state.counts().clone()).unwrap_or_default();
        let (portions, reading) = read_ahead(input);
        let ended = self.take(portions, reading, &mut counts, &mut told).await;
        let kept = match self.state {
            Some(state) if state.goes_on() => Some(state.path().to_owned()),
            Some(state) => {
                // it says nothing; that it lies about harms nobody
                let _ = state.remove().await;
                None
            }
            None => None,
        };
        Loaded { counts, ended, kept }
    }

    async fn take(
        &mut self,
        mut portions: mpsc::Receiver<Portion>,
        reading: Reading,
        counts: &mut Counts,
        told: &mut impl FnMut(&Portion, &Counts),
    ) -> Ended {
        let mut pace = Pace::new(self.rate);
        loop {
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    reading.abort();
                    return Ended::Stopped;
                }
                next = portions.recv() => next,
            };
            let Some(mut portion) = next else { break };
            match self.settle(&mut portion, counts, &mut pace).await {
                Ok(()) => told(&portion, counts),
                Err(error) => {
                    reading.abort();
                    return Ended::Failed(error);
                }
            }
        }
        let Ok((mut input, read)) = reading.await else {
            return Ended::Failed(LoadError::Panicked);
        };
        if let Err(error) = read {
            return Ended::Failed(error);
        }
        let mut tidied = input.finish().await;
        if let Some(state) = self.state.take() {
            tidied = state.remove().await.and(tidied);
        }
        tidied.map_or_else(Ended::Untidy, |()| Ended::Complete)
    }

    /// Sends a portion, and remembers it once the broker has it.
    async fn settle(
        &mut self,
        portion: &mut Portion,
        counts: &mut Counts,
        pace: &mut Pace,
    ) -> Result<(), LoadError> {
        let mut sent = counts.clone();
        for refused in &portion.refused {
            sent.refuse(refused.cause);
        }
        sent.server_errors += portion.server_errors;
        let mut records = portion.batch.take();
        let mut places = std::mem::take(&mut portion.places).into_iter();
        while !records.is_empty() {
            let later = records.split_off(pace.share(records.len()));
            let now = std::mem::replace(&mut records, later);
            pace.wait_for(now.len()).await;
            let deletes: Vec<IsDelete> = now.iter().map(is_delete).collect();
            let results = self.feed.send_each(now).await;
            for ((result, at), is_delete) in results.into_iter().zip(&mut places).zip(deletes) {
                match result {
                    Ok(()) => sent.sent(is_delete),
                    Err(BrokerError::RecordTooLarge) => {
                        sent.refuse(Cause::TooLarge);
                        portion.refused.push(RefusedItem::too_large_for_topic(at));
                    }
                    Err(error) => return Err(LoadError::Broker(error)),
                }
            }
        }
        if let Some(state) = &mut self.state {
            state.save(&portion.position, &sent).await?;
        }
        *counts = sent;
        Ok(())
    }
}

const fn is_delete(record: &OutgoingRecord) -> IsDelete {
    if record.value.is_none() { IsDelete::Yes } else { IsDelete::No }
}

/// Reads while portions are being sent.
fn read_ahead(mut input: Box<dyn Input>) -> (mpsc::Receiver<Portion>, Reading) {
    let (ahead, portions) = mpsc::channel(READ_AHEAD);
    let reading = tokio::spawn(async move {
        loop {
            let portion = match input.next().await {
                Ok(Some(portion)) => portion,
                Ok(None) => break,
                Err(error) => return (input, Err(error)),
            };
            // nobody takes it: the load ended
            if ahead.send(portion).await.is_err() {
                break;
            }
        }
        (input, Ok(()))
    });
    (portions, reading)
}

/// No more than so many records a second.
struct Pace {
    rate: Option<NonZeroU32>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<NonZeroU32>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// How many of these records to send at once: a tenth of a second's.
    fn share(&self, records: usize) -> usize {
        let Some(rate) = self.rate else { return records };
        usize::try_from(rate.get() / 10).unwrap_or(usize::MAX).clamp(1, records)
    }

    /// Waits for the turn of so many.
    async fn wait_for(&mut self, records: usize) {
        let Some(rate) = self.rate else { return };
        tokio::time::sleep_until(self.next).await;
        let share = u32::try_from(records).unwrap_or(u32::MAX);
        let takes = Duration::from_secs(1).saturating_mul(share) / rate.get();
        // what was slow is not caught up with in a rush
        self.next = self.next.max(Instant::now()) + takes;
    }
}
