//! `rowcast produce`: lines become records of the ingest topic.

use std::path::PathBuf;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use super::feed::{FeedFormat, record};
use super::opened::Opened;
use super::{Failure, TopologyArguments};
use crate::broker::{Broker, BrokerError, OutgoingRecord, Producer, TopicSettings};
use crate::retry::Backoff;

/// Records sent together: one group commit of the embedded broker, a few requests of Kafka.
const TOGETHER: usize = 1000;

/// Options of `produce`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// What a line holds.
    #[arg(long = "as", value_name = "FORMAT", default_value = "resources")]
    format: FeedFormat,
    /// NDJSON file; `-` or absent: stdin.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn produce(arguments: Arguments) -> Result<(), Failure> {
    let opened = Opened::load(&arguments.topology)?;
    opened.warn();
    let broker = opened.broker().await?;
    let topic: Arc<str> = opened.topology.topic.as_str().into();
    if topic.starts_with('^') {
        return Err(Failure::usage("source.topic is a pattern; produce needs the name of a topic"));
    }
    ensure_topic(&*broker, &topic).await?;
    let producer = broker.producer()?;
    let progress = Progress::new();
    let sent = if let Some(file) = arguments.file.filter(|file| file.as_os_str() != "-") {
        let failed = |error| Failure::failed(format!("{}: {error}", file.display()));
        let opened = tokio::fs::File::open(&file).await.map_err(failed)?;
        progress.expect(opened.metadata().await.map_or(0, |metadata| metadata.len()));
        let lines = BufReader::with_capacity(1 << 20, opened);
        send_lines(&*producer, lines, arguments.format, &topic, &progress).await?
    } else {
        let lines = BufReader::new(tokio::io::stdin());
        send_lines(&*producer, lines, arguments.format, &topic, &progress).await?
    };
    progress.finish();
    eprintln!("{sent} records appended to {topic}");
    Ok(())
}

/// The topic as the broker's defaults make it, unless it is there.
async fn ensure_topic(broker: &dyn Broker, topic: &str) -> Result<(), Failure> {
    let settings =
        TopicSettings { name: topic.to_owned(), partitions: None, properties: Vec::new() };
    broker.ensure_topic(&settings).await?;
    Ok(())
}

async fn send_lines(
    producer: &dyn Producer,
    mut lines: impl AsyncBufRead + Unpin,
    format: FeedFormat,
    topic: &Arc<str>,
    progress: &Progress,
) -> Result<u64, Failure> {
    let mut sent = 0;
    let mut number = 0;
    let mut batch = Vec::with_capacity(TOGETHER);
    let mut line = String::new();
    loop {
        line.clear();
        let read = lines.read_line(&mut line).await.map_err(|error| {
            Failure::failed(format!("after line {number}, {sent} records appended: {error}"))
        })?;
        if read > 0 {
            number += 1;
            progress.read(read);
            let text = line.trim();
            if !text.is_empty() {
                batch.push(record(format, topic, number, text).map_err(|error| {
                    Failure::failed(format!("{error}; {sent} records were appended before"))
                })?);
            }
        }
        if batch.len() == TOGETHER || (read == 0 && !batch.is_empty()) {
            sent += batch.len() as u64;
            send(producer, std::mem::take(&mut batch)).await?;
            progress.sent(sent);
        }
        if read == 0 {
            return Ok(sent);
        }
    }
}

/// Appends records; those that the broker was not there for are sent again, so that nothing is
/// left out when it restarts. Some may then be there twice, which the guard makes harmless.
pub(super) async fn send(
    producer: &dyn Producer,
    mut records: Vec<OutgoingRecord>,
) -> Result<(), Failure> {
    let mut backoff = Backoff::default();
    loop {
        let results = producer.send(records.clone()).await;
        let mut again = Vec::new();
        for (record, result) in records.into_iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(error @ BrokerError::Unavailable { .. }) if backoff.attempts() < 8 => {
                    tracing::debug!(%error, "sending again");
                    again.push(record);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        records = again;
        tokio::time::sleep(backoff.next_delay()).await;
    }
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
