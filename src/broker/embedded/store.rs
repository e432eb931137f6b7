//! The SQLite file: its tables, and reading from it. Writing is in `writer.rs`.
//!
//! A record's row id is its partition's id and its offset in one integer, so a partition is one
//! range of the table's own B-tree and needs no index.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection, Row};

use super::encoding;
use crate::broker::BrokerError;
use crate::model::{Offset, Record, TopicPartition};
use crate::retry::Backoff;

/// Records read at once.
const READ_RECORDS: i64 = 1000;
/// Bytes read at once (the last record may go beyond).
const READ_BYTES: usize = 4 << 20;
/// Connections for reading: consumer, browsing, questions.
const READERS: u32 = 4;
/// How long a lock of another process is waited for.
const BUSY: Duration = Duration::from_secs(10);
/// How often opening is tried while another process creates the file.
const OPEN_ATTEMPTS: u32 = 8;
/// "rowc": tells our files from other SQLite files.
const APPLICATION_ID: i64 = 0x726f_7763;
/// Layout of the tables below.
const LAYOUT: i64 = 1;
/// Bits of a row id that hold the offset: 10^12 records a partition, 8 million partitions.
const OFFSET_BITS: u32 = 40;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_partition (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
  next_offset INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number));
CREATE TABLE IF NOT EXISTS record (
  id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB);
CREATE TABLE IF NOT EXISTS committed (
  consumer_group TEXT NOT NULL, partition_id INTEGER NOT NULL, next_offset INTEGER NOT NULL,
  PRIMARY KEY (consumer_group, partition_id)) WITHOUT ROWID;
";

/// A partition as it is at present.
#[derive(Debug, Clone)]
pub(super) struct LogPartition {
    /// Number of the partition in the file.
    pub(super) id: i64,
    pub(super) source: TopicPartition,
    /// The next offset to be written.
    pub(super) end: i64,
}

/// The row id of a record.
pub(super) const fn row_id(partition_id: i64, offset: i64) -> i64 {
    (partition_id << OFFSET_BITS) + offset
}

/// Reading access to the file.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the file, creating it (0600) and its tables if need be, and hands out the connection
    /// for writing.
    pub(super) async fn open(path: &Path) -> Result<(Self, SqliteConnection), BrokerError> {
        create_file(path).map_err(|error| BrokerError::Refused {
            attempted: "opening the embedded broker's file",
            reason: error.to_string(),
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            // a transaction this large is an append of several MiB
            .pragma("cache_size", "-16384");
        let mut backoff = Backoff::default();
        let writer = loop {
            match prepare(&options).await {
                Err(BrokerError::Unavailable { .. }) if backoff.attempts() < OPEN_ATTEMPTS => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                result => break result?,
            }
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(|error| failure("opening the embedded broker's file", &error))?;
        Ok((Self { pool }, writer))
    }

    /// A value that is chosen once per file.
    pub(super) async fn cluster_id(&self) -> Result<String, BrokerError> {
        sqlx::query_scalar("SELECT value FROM setting WHERE name = 'cluster_id'")
            .fetch_one(&self.pool)
            .await
            .map_err(|error| failure("asking for the cluster id", &error))
    }

    /// All partitions of all topics.
    pub(super) async fn partitions(&self) -> Result<Vec<LogPartition>, BrokerError> {
        sqlx::query(PARTITIONS)
            .try_map(|row| log_partition(&row))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| failure("reading the partitions", &error))
    }

    /// Some records from `from` up to, not including, `to`; none only if there are none.
    pub(super) async fn read(
        &self,
        partition: &LogPartition,
        from: i64,
        to: i64,
    ) -> Result<Vec<Record>, BrokerError> {
        let failed = |error: &sqlx::Error| failure("reading records", error);
        let mut rows = sqlx::query(
            "SELECT id, timestamp, key, value, headers FROM record WHERE id >= ?1 AND id < ?2 \
             ORDER BY id LIMIT ?3",
        )
        .bind(row_id(partition.id, from))
        .bind(row_id(partition.id, to))
        .bind(READ_RECORDS)
        .fetch(&self.pool);
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await.map_err(|error| failed(&error))? {
            let record = record(partition, &row).map_err(|error| failed(&error))?;
            bytes += record.size();
            records.push(record);
            if bytes >= READ_BYTES {
                break;
            }
        }
        Ok(records)
    }

    /// First offset still there; the end of the log for an empty partition.
    pub(super) async fn first(&self, partition: &LogPartition) -> Result<i64, BrokerError> {
        let first: Option<i64> =
            sqlx::query_scalar("SELECT min(id) FROM record WHERE id >= ?1 AND id < ?2")
                .bind(row_id(partition.id, 0))
                .bind(row_id(partition.id, partition.end))
                .fetch_one(&self.pool)
                .await
                .map_err(|error| failure("reading the ends of a partition", &error))?;
        Ok(first.map_or(partition.end, |id| id - row_id(partition.id, 0)))
    }

    /// The offset a group has committed.
    pub(super) async fn committed(
        &self,
        group: &str,
        source: &TopicPartition,
    ) -> Result<Option<i64>, BrokerError> {
        sqlx::query_scalar(
            "SELECT c.next_offset FROM committed c JOIN log_partition p ON p.id = c.partition_id \
             WHERE c.consumer_group = ?1 AND p.topic = ?2 AND p.number = ?3",
        )
        .bind(group)
        .bind(&*source.topic)
        .bind(source.partition)
        .fetch_optional(&self.pool)
        .await
        .map_err(|error| failure("reading a committed offset", &error))
    }
}

/// All partitions, in order.
pub(super) const PARTITIONS: &str =
    "SELECT id, topic, number, next_offset FROM log_partition ORDER BY topic, number";

/// A row of [`PARTITIONS`].
pub(super) fn log_partition(row: &sqlx::sqlite::SqliteRow) -> Result<LogPartition, sqlx::Error> {
    Ok(LogPartition {
        id: row.try_get(0)?,
        source: TopicPartition::new(row.try_get::<&str, _>(1)?, row.try_get(2)?),
        end: row.try_get(3)?,
    })
}

fn record(partition: &LogPartition, row: &sqlx::sqlite::SqliteRow) -> Result<Record, sqlx::Error> {
    let id: i64 = row.try_get(0)?;
    let bytes = |column: usize| -> Result<Option<Bytes>, sqlx::Error> {
        Ok(row.try_get::<Option<&[u8]>, _>(column)?.map(Bytes::copy_from_slice))
    };
    let headers = row.try_get::<Option<&[u8]>, _>(4)?.map_or(Some(Vec::new()), encoding::decode);
    Ok(Record {
        source: partition.source.clone(),
        offset: Offset(id - row_id(partition.id, 0)),
        timestamp: Some(row.try_get(1)?),
        key: bytes(2)?,
        value: bytes(3)?,
        headers: headers
            .ok_or_else(|| sqlx::Error::Decode("the headers of a record are damaged".into()))?,
    })
}

/// Creates the file for its owner alone; SQLite gives its side files the same mode.
fn create_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Connects and sees to it that the tables are there.
async fn prepare(options: &SqliteConnectOptions) -> Result<SqliteConnection, BrokerError> {
    let attempted = "opening the embedded broker's file";
    let failed = |error: sqlx::Error| failure(attempted, &error);
    let mut connection = SqliteConnection::connect_with(options).await.map_err(failed)?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let (application, layout, tables): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), \
         (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema)",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed)?;
    let problem = match (application, layout, tables) {
        (0, 0, 0) | (APPLICATION_ID, LAYOUT, _) => None,
        (APPLICATION_ID, _, _) => Some("the file was written by another version of rowcast"),
        _ => Some("the file is an SQLite database of something else"),
    };
    if let Some(reason) = problem {
        return Err(BrokerError::Refused { attempted, reason: reason.to_owned() });
    }
    if tables == 0 {
        sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await.map_err(failed)?;
        sqlx::query("INSERT INTO setting (name, value) VALUES ('cluster_id', ?1)")
            .bind(format!("embedded-{:032x}", fastrand::u128(..)))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::raw_sql("PRAGMA application_id = 0x726f7763; PRAGMA user_version = 1;")
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(connection)
}

/// SQLite's error by its primary code. Its texts name tables at most, but ours do not need them.
pub(super) fn failure(attempted: &'static str, error: &sqlx::Error) -> BrokerError {
    let code = match error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse().ok()),
        _ => None,
    };
    // https://www.sqlite.org/rescode.html; the low byte is the primary code
    let (refused, meaning) = match code.map(|code: i32| code & 0xff) {
        Some(3) => (true, "permission denied"),
        Some(5 | 6) => (false, "the file is locked"),
        Some(8) => (true, "the file is read-only"),
        Some(10) => (false, "input/output error"),
        Some(11) => (true, "the file is damaged"),
        Some(13) => (false, "the disk is full"),
        Some(14) => (true, "the file cannot be opened"),
        Some(26) => (true, "the file is no SQLite database"),
        Some(_) => (false, "SQLite refuses"),
        None => (false, "SQLite gives no answer"),
    };
    let reason = code.map_or_else(|| meaning.to_owned(), |code| format!("{meaning}, code {code}"));
    if refused {
        BrokerError::Refused { attempted, reason }
    } else {
        BrokerError::Unavailable { attempted, reason }
    }
}
