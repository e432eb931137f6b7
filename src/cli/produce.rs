//! `rowcast produce`: lines become records of the ingest topic.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use super::feed::{FeedFormat, record};
use super::{Failure, TopologyArguments};
use crate::application::{Batch, Feed};
use crate::error::counted;

/// How long a record waits for the next line: what comes slowly is sent as it comes.
const PATIENCE: Duration = Duration::from_millis(5);

/// Options of `produce`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// What a line holds.
    #[arg(long = "as", value_name = "FORMAT", default_value = "resources")]
    format: FeedFormat,
    /// Topic to append to; default: the topology's, if it is but one.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// NDJSON file; `-` or absent: stdin.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn produce(arguments: Arguments) -> Result<(), Failure> {
    let application = super::open(&arguments.topology)?;
    let topology = application.topology();
    let Some(topic) = arguments.topic.as_deref().or_else(|| topology.only_topic()) else {
        let message = "the source has a pattern or several topics; name one of them by --topic";
        return Err(Failure::usage(message));
    };
    let feed = application.feed_of(topic).await?;
    let progress = Progress::new();
    let sent = if let Some(file) = arguments.file.filter(|file| file.as_os_str() != "-") {
        let failed = |error| Failure::failed(format!("{}: {error}", file.display()));
        let opened = tokio::fs::File::open(&file).await.map_err(failed)?;
        progress.expect(opened.metadata().await.map_or(0, |metadata| metadata.len()));
        let lines = BufReader::with_capacity(1 << 20, opened);
        send_lines(&feed, lines, arguments.format, &progress).await?
    } else {
        let lines = BufReader::new(tokio::io::stdin());
        send_lines(&feed, lines, arguments.format, &progress).await?
    };
    progress.finish();
    eprintln!("{} appended to {}", counted(sent, "record"), feed.topic());
    Ok(())
}

async fn send_lines(
    feed: &Feed,
    lines: impl AsyncBufRead + Unpin,
    format: FeedFormat,
    progress: &Progress,
) -> Result<u64, Failure> {
    let mut sent = 0;
    let mut number = 0;
    let mut batch = Batch::default();
    let mut lines = lines.lines();
    loop {
        let patience = if batch.is_empty() { Duration::MAX } else { PATIENCE };
        let Ok(read) = tokio::time::timeout(patience, lines.next_line()).await else {
            sent += send(feed, &mut batch).await?;
            progress.sent(sent);
            continue;
        };
        let line = read.map_err(|error| {
            Failure::failed(format!(
                "after line {number}, {} appended: {error}",
                counted(sent, "record")
            ))
        })?;
        let Some(line) = line else { break };
        number += 1;
        progress.read(line.len() + 1);
        let text = line.trim();
        if !text.is_empty() {
            batch.push(record(format, feed.topic(), number, text).map_err(|error| {
                Failure::failed(format!("{error}; {} appended before", counted(sent, "record")))
            })?);
        }
        if batch.is_full() {
            sent += send(feed, &mut batch).await?;
            progress.sent(sent);
        }
    }
    sent += send(feed, &mut batch).await?;
    Ok(sent)
}

/// Empties the batch into the topic. Returns how many it held.
async fn send(feed: &Feed, batch: &mut Batch) -> Result<u64, Failure> {
    let records = batch.take();
    let count = records.len() as u64;
    if count > 0 {
        feed.send(records).await?;
    }
    Ok(count)
}

/// A bar on a terminal, silence otherwise.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{spinner} {bytes} read, {msg} records");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self(bar)
    }

    fn expect(&self, bytes: u64) {
        let style = ProgressStyle::with_template(
            "{bar:30} {percent:>3} %  {bytes}/{total_bytes}  {msg} records  {eta} left",
        );
        self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.0.set_length(bytes);
    }

    fn read(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    fn sent(&self, records: u64) {
        self.0.set_message(records.to_string());
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}
