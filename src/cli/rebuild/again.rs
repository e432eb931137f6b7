//! The topic, or a file, read again into tables beside live traffic.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::Job;
use super::summary::{self, Progress};
use crate::cli::Failure;
use crate::error::{counted, messages};
use crate::model::{Offset, Record, TopicPartition};
use crate::runtime::{self, RebuildError, RebuildStages, Rebuilt};
use crate::sink::{Owner, RebuildSource, SqlSink, TakenUp};
use crate::source::{DecodeSettings, Decoder, Format, VersionFrom};

/// Lines of a file that are written together.
const TOGETHER: usize = 1000;
/// Where lines of a file stand: no topic has this name.
const FILE: &str = "ndjson file";

pub(super) async fn again(job: &Job<'_>, sink: SqlSink, cluster: &str) -> Result<(), Failure> {
    let topology = job.application.topology();
    let topics = job.topics(&sink).await?;
    let mut live = Vec::new();
    for topic in &topics {
        let partitions = job.broker.partitions(topic).await?.unwrap_or(0);
        live.extend((0..partitions).map(|number| TopicPartition::new(topic.as_str(), number)));
    }
    let file = job.arguments.from_ndjson.as_deref();
    let (source, of, partitions) = match file {
        None => (RebuildSource::Topic, cluster.to_owned(), live.clone()),
        Some(path) => {
            if topology.version_from == VersionFrom::Offset {
                return Err(Failure::usage(
                    "the lines of a file have no offsets, and transform.version.from is offset",
                ));
            }
            (RebuildSource::File, identity(path).await?, vec![TopicPartition::new(FILE, 0)])
        }
    };
    let hashes = job.application.rules_hashes();
    let roots = job.roots.iter().copied();
    let sink = sink.rebuilding(source, roots, &plan(job, &hashes, &of));
    let TakenUp { progress, refused } = sink.take_up(&partitions, &live).await?;
    let resumed = progress.iter().any(|(_, at)| at.next_offset.is_some());
    if resumed {
        eprintln!("going on where an earlier rebuild ended");
    }
    let from: HashMap<TopicPartition, Offset> = progress
        .iter()
        .filter_map(|(partition, at)| Some((partition.clone(), at.next_offset?)))
        .collect();
    let owner = |(partition, at): (TopicPartition, crate::sink::Ownership)| {
        (partition.clone(), Owner::Task { partition, epoch: at.epoch })
    };
    let decoder = decoder(job, file.is_some());
    let all = &job.application.catalog().roots;
    let types = job.roots.iter().filter_map(|root| all.get(*root));
    let stages = RebuildStages {
        decoder: &decoder,
        transformer: &**job.application.transform(),
        sink: &sink,
        types: types.map(|root| root.resource_type.clone()).collect(),
        owners: progress.into_iter().map(owner).collect(),
    };

    let rebuilt = Rebuilt { refused_before: refused, ..Rebuilt::default() };
    let mut run = Run { stages, rebuilt, progress: Progress::new() };
    match file {
        Some(path) => run.file(job, path, &from).await?,
        None => {
            for topic in &topics {
                run.topic(job, topic, &from).await?;
            }
        }
    }
    run.progress.finish();
    let Run { rebuilt, .. } = run;
    let recorded = rebuilt.refusals() == 0 || job.arguments.accept_refused;
    sink.end_rebuild(recorded.then_some(&hashes)).await?;
    summary::print(job.arguments.output, &job.tables(), &rebuilt, recorded);
    match rebuilt.refusals() {
        0 => Ok(()),
        refused if recorded => {
            eprintln!("{} refused; the rows from before stay", counted(refused, "record"));
            Ok(())
        }
        refused => Err(Failure::partial(format!(
            "{} refused; the rows from before stay. Mend the cause and rebuild again, or accept it with \
             --accept-refused",
            counted(refused, "record")
        ))),
    }
}

/// A rebuild under way.
struct Run<'a> {
    stages: RebuildStages<'a>,
    rebuilt: Rebuilt,
    progress: Progress,
}

impl Run<'_> {
    async fn topic(
        &mut self,
        job: &Job<'_>,
        topic: &str,
        from: &HashMap<TopicPartition, Offset>,
    ) -> Result<(), Failure> {
        let from = from.iter().filter(|(partition, _)| *partition.topic == *topic);
        let from = from.map(|(partition, offset)| (partition.partition, *offset)).collect();
        let mut reader = job.broker.reader_from(topic, &from).await?;
        while let Some(records) = reader.next().await? {
            self.write(job, records).await?;
        }
        Ok(())
    }

    async fn file(
        &mut self,
        job: &Job<'_>,
        path: &Path,
        from: &HashMap<TopicPartition, Offset>,
    ) -> Result<(), Failure> {
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        let opened = tokio::fs::File::open(path).await.map_err(failed)?;
        let mut lines = BufReader::with_capacity(1 << 20, opened);
        let source = TopicPartition::new(FILE, 0);
        let first = from.get(&source).map_or(0, |offset| offset.0);
        let mut batch = Vec::with_capacity(TOGETHER);
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).await.map_err(failed)?;
            let text = line.trim_ascii();
            if number >= first && !text.is_empty() {
                batch.push(Record {
                    source: source.clone(),
                    offset: Offset(number),
                    timestamp: None,
                    key: None,
                    value: Some(Bytes::copy_from_slice(text)),
                    headers: Vec::new(),
                });
            }
            number += 1;
            if batch.len() == TOGETHER || (read == 0 && !batch.is_empty()) {
                self.write(job, std::mem::take(&mut batch)).await?;
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    async fn write(&mut self, job: &Job<'_>, records: Vec<Record>) -> Result<(), Failure> {
        job.application.bring_schemas(&records).await?;
        let written = runtime::rebuild(&self.stages, records, &mut self.rebuilt).await;
        self.progress.at(&self.rebuilt);
        written.map_err(|error| match error {
            RebuildError::Sink(error) => {
                Failure::from(error).advising("started again, the rebuild goes on where it was")
            }
            error @ RebuildError::Overtaken => Failure::failed(messages(&error).join(": ")),
        })
    }
}

/// The topology's decoder; a file holds resources whatever the topic does.
fn decoder(job: &Job<'_>, is_file: bool) -> Decoder {
    let topology = job.application.topology();
    if !is_file {
        return job.application.decoder();
    }
    Decoder::new(DecodeSettings {
        format: Format::Fhir,
        version_from: topology.version_from,
        limits: topology.limits,
        debezium: None,
        avro: None,
    })
}

/// What tells this rebuild from one of other tables, rules or records.
fn plan(job: &Job<'_>, hashes: &[String], source: &str) -> String {
    let mut text = source.to_owned();
    for (root, table) in job.roots.iter().zip(job.tables()) {
        let hash = hashes.get(*root).map_or("", String::as_str);
        // writing to a String does not fail
        let _ = write!(text, "\n{table} {hash}");
    }
    short_hash(&text)
}

/// A file by its place, size and age: if it changes, a rebuild of it begins anew.
async fn identity(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
    let path = tokio::fs::canonicalize(path).await.map_err(failed)?;
    let metadata = tokio::fs::metadata(&path).await.map_err(failed)?;
    let modified = metadata.modified().ok();
    Ok(short_hash(&format!("{} {} {modified:?}", path.display(), metadata.len())))
}

fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().take(8).fold(String::new(), |mut digits, byte| {
        // writing to a String does not fail
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}
