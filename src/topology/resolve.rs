//! What the file means: from values of the right shape to values that hold.
//!
//! In: the structs as written. Out: the valid [`Topology`], or everything that cannot be, all at
//! once. A problem at a place that is known to be broken is a consequence and is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::file::{
    DeadLetterFile, HttpFile, LogFile, SinkFile, Size, SourceFile, TopologyFile, default_log_path,
};
use super::load::{Loaded, cannot_be_read, read};
use super::topics::{self, NO_TOPIC, is_topic};
use super::{
    BatchSettings, BrokerChoice, DeadLetterSettings, HttpSettings, RetrySettings, SinkSettings,
    SourceTopic, Topology, avro, database_url, kafka, pointcut, retry,
};
use crate::model::{DocumentLimits, Reveal};
use crate::problem::{Problem, pointer};
use crate::sink::{ConnectionSettings, Keying};
use crate::source::{Format, VersionFrom};

/// Largest document and largest batch that can be configured, in bytes.
const MAX_BYTES: u64 = 1 << 30;
/// Longest linger: a table must not be later than the longest scrape interval.
const MAX_LINGER: Duration = Duration::from_mins(1);
/// Shortest and longest time limit of a sink: below a second a busy server looks like one that is
/// away, and MySQL counts whole seconds; nobody waits longer than an hour for anything.
const SINK_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));
/// Most files of rules or schemas; a pattern gone wrong must not read a whole disk.
const MAX_FILES: usize = 1000;
/// Largest file of them, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Collects what is found.
pub(super) struct Findings<'a> {
    file: &'a str,
    mended: &'a BTreeSet<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Findings<'_> {
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        if !self.is_broken(path) {
            self.problems.push(Problem::new(self.file, path, message));
        }
    }

    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) {
        if !self.is_broken(path) {
            self.warnings.push(Problem::new(self.file, path, message));
        }
    }

    fn is_broken(&self, path: &str) -> bool {
        self.mended.iter().any(|broken| pointer::is_within(path, broken))
    }

    /// The value, or its message at `path`.
    pub(super) fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.problem(path, message)).ok()
    }
}

/// Makes the topology. `typed`: what stands in the file itself where placeholders were;
/// `mended`: places that have their problem already.
pub(super) fn resolve(
    written: TopologyFile,
    file: &str,
    folder: &Path,
    typed: &BTreeMap<String, String>,
    mended: &BTreeSet<String>,
) -> Result<Loaded, Vec<Problem>> {
    let mut found = Findings { file, mended, problems: Vec::new(), warnings: Vec::new() };

    let broker = broker(&written.source, folder, typed, &mut found);
    let topics = topics::resolve(&written, &mut found);
    let keying = keying(&written, topics.as_deref().unwrap_or_default(), &mut found);
    let record_bytes = bytes(&written.source.max_record_bytes);
    let record_bytes = found.take("/source/max_record_bytes", record_bytes);
    let schema_registry = avro::registry(&written.source, folder, typed, &mut found);
    let avro_schemas = avro::schemas(&written.source, folder, &mut found);
    let rules = files("/transform/rules", &written.transform.rules, folder, &mut found);
    let sink = sink(&written.sink, folder, &mut found);
    let dead_letter = dead_letter(&written.dead_letter, topics.as_deref(), &mut found);
    let retry = retry::accept(&written, topics.as_deref(), dead_letter.as_ref(), &mut found);
    let batch_bytes = bytes(&written.batch.bytes);
    let batch_bytes = found.take("/batch/bytes", batch_bytes);
    let linger = time(&written.batch.linger, Duration::ZERO, MAX_LINGER);
    let linger = found.take("/batch/linger", linger);
    let http = http(&written.http, typed, &mut found);
    let pointcut =
        pointcut::accept(&written, folder, topics.as_deref(), http.as_ref(), typed, &mut found);
    let reveal = reveal(&written.log, &mut found);
    warn_of_the_database(&written, typed, &mut found);

    let Findings { problems, warnings, .. } = found;
    let (
        Some(broker),
        Some(record_bytes),
        Some(sink),
        Some(dead_letter),
        Some(retry),
        Some(batch_bytes),
        Some(linger),
        Some(http),
        Some(pointcut),
        Some(topics),
        true,
    ) = (
        broker,
        record_bytes,
        sink,
        dead_letter,
        retry,
        batch_bytes,
        linger,
        http,
        pointcut,
        topics,
        problems.is_empty(),
    )
    else {
        return Err(problems);
    };

    let effective = effective(&written, &broker, &dead_letter, retry.as_ref());
    let config_hash = config_hash(&effective, &rules);
    let topology = Topology {
        name: written.name,
        broker,
        topics,
        keying,
        pointcut,
        schema_registry,
        avro_schemas,
        version_from: written.transform.version.from,
        limits: DocumentLimits {
            bytes: record_bytes,
            depth: usize::from(written.source.max_depth),
        },
        rules,
        sink,
        dead_letter,
        retry,
        batch: BatchSettings {
            rows: usize::try_from(written.batch.rows).expect("100,000 fits"),
            bytes: batch_bytes,
            linger,
        },
        http,
        log_format: written.log.format,
        reveal,
        effective,
        config_hash,
    };
    Ok(Loaded { topology, warnings })
}

fn sink(written: &SinkFile, folder: &Path, found: &mut Findings<'_>) -> Option<SinkSettings> {
    let url = found.take("/sink/url", database_url::accept(&written.url, folder));
    let mut limit = |key: &str, text: &str| {
        found.take(&format!("/sink/{key}"), time(text, SINK_LIMITS.0, SINK_LIMITS.1))
    };
    let connect_timeout = limit("connect_timeout", &written.connect_timeout);
    let statement_timeout = limit("statement_timeout", &written.statement_timeout);
    let lock_timeout = limit("lock_timeout", &written.lock_timeout);
    let idle = "idle_in_transaction_session_timeout";
    let idle = limit(idle, &written.idle_in_transaction_session_timeout);
    let tcp_keepalive = limit("tcp_keepalive", &written.tcp_keepalive);
    let connections =
        written.connections.map_or(ConnectionSettings::default().connections, u32::from);
    Some(SinkSettings {
        url: url?,
        connections: ConnectionSettings {
            connections,
            connect_timeout: connect_timeout?,
            statement_timeout: statement_timeout?,
            lock_timeout: lock_timeout?,
            idle_in_transaction_session_timeout: idle?,
            tcp_keepalive: tcp_keepalive?,
        },
    })
}

fn broker(
    source: &SourceFile,
    folder: &Path,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<BrokerChoice> {
    match (&source.kafka, &source.embedded) {
        (Some(_), Some(_)) => {
            found.problem("/source", "has both `kafka` and `embedded`: keep one of them");
            None
        }
        (Some(written), None) => kafka::accept(written, typed, found).map(BrokerChoice::Kafka),
        (None, embedded) => {
            let path = embedded.as_ref().map_or_else(default_log_path, |file| file.path.clone());
            Some(BrokerChoice::Embedded { path: folder.join(path) })
        }
    }
}

fn keying(written: &TopologyFile, topics: &[SourceTopic], found: &mut Findings<'_>) -> Keying {
    if written.source.keyed {
        return Keying::Keyed;
    }
    if topics.iter().any(|topic| topic.version_from == VersionFrom::Offset) {
        found.problem(
            "/source/keyed",
            "must be true with `transform.version.from: offset`: offsets of several partitions say \
             nothing about which change is newer",
        );
    }
    if topics.iter().any(|topic| topic.format == Format::Debezium) {
        found.warning(
            "/source/keyed",
            "Debezium's deletes have no version: they are right only where one partition holds all \
             changes of a row",
        );
    }
    Keying::Unkeyed
}

/// `topics`: `None` if something is wrong with them, which was told there.
fn dead_letter(
    written: &DeadLetterFile,
    topics: Option<&[SourceTopic]>,
    found: &mut Findings<'_>,
) -> Option<DeadLetterSettings> {
    const PATH: &str = "/dead_letter/topic";
    let topic = match (&written.topic, topics) {
        (Some(topic), _) => topic.clone(),
        (None, None) => return None,
        (None, Some(topics)) => {
            let only = match topics {
                [only] => only.selector.name(),
                _ => None,
            };
            let Some(name) = only else {
                found.problem(
                    PATH,
                    "is required, because the source is a pattern or several topics",
                );
                return None;
            };
            format!("{name}.dead-letter")
        }
    };
    if !is_topic(&topic) {
        found.problem(PATH, NO_TOPIC);
        return None;
    }
    if is_read_by(topics.unwrap_or_default(), &topic) {
        found.problem(PATH, "is read by the source: dead letters would go round for ever");
        return None;
    }
    let status_topic =
        status_topic(written.status_topic.as_deref(), topics.unwrap_or_default(), &topic);
    let status_topic = found.take("/dead_letter/status_topic", status_topic)?;
    let DeadLetterFile { max_replays, max_ratio, .. } = *written;
    Some(DeadLetterSettings { topic, status_topic, max_replays, max_ratio })
}

/// The topic of the letters' statuses, neither read nor mixed with letters.
fn status_topic(
    written: Option<&str>,
    topics: &[SourceTopic],
    letters: &str,
) -> Result<String, String> {
    let topic = written.map_or_else(|| format!("{letters}.status"), str::to_owned);
    if !is_topic(&topic) {
        return Err(NO_TOPIC.into());
    }
    if topic == letters {
        return Err("is the dead-letter topic: statuses need a compacted topic of their own".into());
    }
    if is_read_by(topics, &topic) {
        return Err("is read by the source: statuses are no changes".into());
    }
    Ok(topic)
}

/// Whether one of these topics is, or its pattern fits, this one.
pub(super) fn is_read_by(topics: &[SourceTopic], topic: &str) -> bool {
    topics.iter().any(|read| read.selector.selects(topic))
}

fn bytes(written: &Size) -> Result<usize, String> {
    let bytes = match written {
        Size::Bytes(bytes) => Some(*bytes),
        Size::Text(text) => text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64()),
    };
    match bytes {
        None => Err("must be a number of bytes, with a unit if you like: 4MiB, 500kB".into()),
        Some(bytes) if !(1..=MAX_BYTES).contains(&bytes) => {
            Err("must be from 1 byte to 1GiB".into())
        }
        Some(bytes) => Ok(usize::try_from(bytes).expect("1 GiB fits")),
    }
}

pub(super) fn time(written: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let time = humantime::parse_duration(written)
        .map_err(|_| "must be a time with its unit, as in 50ms or 1s")?;
    let shown = |bound: Duration| match bound.as_secs() {
        0 => humantime::format_duration(bound).to_string(),
        seconds => format!("{seconds}s"),
    };
    if time > most {
        return Err(format!("must be at most {}", shown(most)));
    }
    if time < least {
        return Err(format!("must be at least {}", shown(least)));
    }
    Ok(time)
}

fn http(
    written: &HttpFile,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<HttpSettings> {
    if let Some(token) = &written.token {
        if token.expose().trim().is_empty() {
            found.problem("/http/token", "must not be empty");
        }
        if typed.get("/http/token").is_none_or(|text| text.chars().any(|c| c != '\0')) {
            found.warning("/http/token", "a token stands in the file: use ${VAR} or ${file:PATH}");
        }
    }
    let listen = written
        .listen
        .parse::<std::net::SocketAddr>()
        .map_err(|_| "must be an IP address with a port, as in 127.0.0.1:9464".to_owned());
    let listen = found.take("/http/listen", listen)?;
    if !listen.ip().is_loopback() && written.token.is_none() {
        found.problem(
            "/http/token",
            "is required, because `http.listen` is not a loopback address: anybody could call",
        );
    }
    Some(HttpSettings { listen, token: written.token.clone() })
}

fn reveal(written: &LogFile, found: &mut Findings<'_>) -> Reveal {
    if !written.reveal_bind_values {
        return Reveal::Nothing;
    }
    found.warning(
        "/log/reveal_bind_values",
        "PATIENT DATA MAY STAND IN THE LOG: the troubleshooting log shows values, keys and resource \
         ids at TRACE, and libraries may say anything at DEBUG and TRACE; remove this once you have \
         found what you look for, and erase the log",
    );
    Reveal::Values
}

fn warn_of_the_database(
    written: &TopologyFile,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    const PATH: &str = "/sink/url";
    let url = &written.sink.url;
    let text = typed.get(PATH).map_or(url.expose(), String::as_str);
    if database_url::has_literal_password(text) {
        found.warning(PATH, "a password stands in the file: use ${VAR} or ${file:PATH}");
    }
    if database_url::may_be_in_the_clear(url) {
        found.warning(
            PATH,
            "the connection to another machine may be unencrypted: add ?sslmode=verify-full (or \
             require)",
        );
    }
}

/// Name and text of the files that patterns at `place` match.
pub(super) fn files(
    place: &str,
    patterns: &[String],
    folder: &Path,
    found: &mut Findings<'_>,
) -> Vec<(String, String)> {
    let mut read_files: Vec<(String, String)> = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let path = format!("{place}/{index}");
        let files = matching(pattern, folder);
        let Some(files) = found.take(&path, files) else { continue };
        for file in files {
            let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
            if read_files.iter().any(|(known, _)| *known == name) {
                continue;
            }
            match read(&file, MAX_FILE_BYTES) {
                Ok(text) => read_files.push((name, text)),
                Err(error) => {
                    found.problem(&path, format!("`{name}` {}", cannot_be_read(&error)));
                }
            }
        }
        if read_files.len() > MAX_FILES {
            found.problem(&path, format!("more than {MAX_FILES} files"));
            break;
        }
    }
    read_files
}

/// The files of one pattern, by name.
fn matching(pattern: &str, folder: &Path) -> Result<Vec<std::path::PathBuf>, String> {
    let folder = folder.to_str().ok_or("is relative to a folder whose name is not UTF-8")?;
    let absolute = Path::new(&glob::Pattern::escape(folder)).join(pattern);
    let matches = glob::glob(absolute.to_str().expect("joined of UTF-8"))
        .map_err(|_| "is no path and no glob pattern")?;
    let files: Vec<_> =
        matches.filter_map(Result::ok).filter(|path| path.is_file()).take(MAX_FILES + 1).collect();
    if files.is_empty() {
        let folder = if folder.is_empty() { "." } else { folder };
        // what was matched may be brought by a placeholder, and is not quoted
        return Err(format!("matches no file; it is looked for from {folder} on"));
    }
    Ok(files)
}

fn effective(
    written: &TopologyFile,
    broker: &BrokerChoice,
    dead_letter: &DeadLetterSettings,
    retry: Option<&RetrySettings>,
) -> Value {
    let mut shown =
        serde_json::to_value(written).expect("strings, numbers and maps with string keys");
    shown["sink"]["url"] = json!(database_url::shown(&written.sink.url));
    shown["dead_letter"]["topic"] = json!(dead_letter.topic);
    shown["dead_letter"]["status_topic"] = json!(dead_letter.status_topic);
    if let Some(retry) = retry {
        shown["retry"]["topic"] = json!(retry.topic);
    }
    match broker {
        BrokerChoice::Kafka(properties) => {
            shown["source"]["kafka"] = json!(kafka::harmless(properties));
        }
        BrokerChoice::Embedded { .. } => {
            shown["source"]["embedded"] =
                json!(written.source.embedded.clone().unwrap_or_default());
        }
    }
    shown
}

fn config_hash(effective: &Value, rules: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    hash.update(effective.to_string());
    for (name, text) in rules {
        // lengths, so that no two sets of files run together to the same bytes
        hash.update(format!("\n{} {} {name}\n{text}", name.len(), text.len()));
    }
    hash.finalize().iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("a string takes whatever is written");
        digits
    })
}
