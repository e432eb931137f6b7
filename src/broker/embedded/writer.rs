//! The one task that writes: whatever waits is written in one transaction (group commit), so
//! that many small appends cost one `fsync`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Sqlite};
use tokio::sync::{Notify, mpsc, oneshot};

use super::encoding;
use super::partitioner::partition_of;
use super::store::{LogPartition, PARTITIONS, failure, log_partition, row_id};
use crate::broker::{BrokerError, OutgoingRecord};
use crate::model::{Header, Offset, TopicPartition};

/// Partitions of a topic that nobody created deliberately.
pub(super) const PARTITIONS_BY_DEFAULT: i32 = 4;
/// The most partitions a topic may have; each is read in turn.
const PARTITIONS_AT_MOST: i32 = 1024;
/// Requests waiting for the writer; senders wait beyond.
const REQUESTS: usize = 64;
/// Records in one transaction (the last request may go beyond).
const TRANSACTION_RECORDS: usize = 5000;
/// Bytes in one transaction (the last request may go beyond).
const TRANSACTION_BYTES: usize = 16 << 20;
/// Rows of one INSERT: beyond some tens SQLite gains nothing.
const INSERT_ROWS: usize = 100;
/// A record larger than this is refused; documents of this size are a mistake upstream.
const RECORD_BYTES: usize = 64 << 20;

const ATTEMPTED: &str = "writing to the embedded broker's file";

pub(super) type Appended = Result<(TopicPartition, Offset), BrokerError>;

/// Something to be written.
#[derive(Debug)]
pub(super) enum Request {
    /// Append records; topics that do not exist are created.
    Append { records: Vec<OutgoingRecord>, done: oneshot::Sender<Vec<Appended>> },
    /// Remember a group's offset.
    Commit {
        group: String,
        partition: TopicPartition,
        next: Offset,
        done: oneshot::Sender<Result<(), BrokerError>>,
    },
    /// Create a topic; answers whether it was missing.
    Create {
        topic: Arc<str>,
        partitions: Option<i32>,
        done: oneshot::Sender<Result<bool, BrokerError>>,
    },
}

/// Where to send what is to be written.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the task; it ends once all clones of the writer are gone. `written` is notified
    /// after each transaction.
    pub(super) fn start(connection: SqliteConnection, written: Arc<Notify>) -> Self {
        let (requests, waiting) = mpsc::channel(REQUESTS);
        tokio::spawn(run(connection, waiting, written));
        Self { requests }
    }

    /// Appends records in order.
    pub(super) async fn append(&self, records: Vec<OutgoingRecord>) -> Vec<Appended> {
        let count = records.len();
        let answer = self.ask(|done| Request::Append { records, done }).await;
        answer.unwrap_or_else(|| (0..count).map(|_| Err(gone())).collect())
    }

    /// Remembers the offset of a group.
    pub(super) async fn commit(
        &self,
        group: &str,
        partition: &TopicPartition,
        next: Offset,
    ) -> Result<(), BrokerError> {
        let (group, partition) = (group.to_owned(), partition.clone());
        let answer = self.ask(|done| Request::Commit { group, partition, next, done }).await;
        answer.unwrap_or_else(|| Err(gone()))
    }

    /// Creates a topic unless it exists; `true` if it was created.
    pub(super) async fn create(
        &self,
        topic: &str,
        partitions: Option<i32>,
    ) -> Result<bool, BrokerError> {
        let topic = Arc::from(topic);
        let answer = self.ask(|done| Request::Create { topic, partitions, done }).await;
        answer.unwrap_or_else(|| Err(gone()))
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).await.ok()?;
        answer.await.ok()
    }
}

fn gone() -> BrokerError {
    BrokerError::Unavailable { attempted: ATTEMPTED, reason: "shutting down".to_owned() }
}

/// What became of a request.
enum Outcome {
    Appended(Vec<Appended>),
    Committed(Result<(), BrokerError>),
    Created(Result<bool, BrokerError>),
}

async fn run(
    mut connection: SqliteConnection,
    mut waiting: mpsc::Receiver<Request>,
    written: Arc<Notify>,
) {
    while let Some(first) = waiting.recv().await {
        let (mut records, mut bytes) = weight(&first);
        let mut requests = vec![first];
        while records < TRANSACTION_RECORDS && bytes < TRANSACTION_BYTES {
            let Ok(request) = waiting.try_recv() else { break };
            let (more_records, more_bytes) = weight(&request);
            records += more_records;
            bytes += more_bytes;
            requests.push(request);
        }
        match write(&mut connection, &requests).await {
            Ok(outcomes) => {
                for (request, outcome) in requests.into_iter().zip(outcomes) {
                    answer(request, outcome);
                }
            }
            Err(error) => {
                for request in requests {
                    refuse(request, &error);
                }
            }
        }
        written.notify_waiters();
    }
}

fn weight(request: &Request) -> (usize, usize) {
    match request {
        Request::Append { records, .. } => (records.len(), records.iter().map(size).sum()),
        Request::Commit { .. } | Request::Create { .. } => (1, 0),
    }
}

fn size(record: &OutgoingRecord) -> usize {
    let header = |header: &Header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len);
    record.key.as_ref().map_or(0, Bytes::len)
        + record.value.as_ref().map_or(0, Bytes::len)
        + record.headers.iter().map(header).sum::<usize>()
}

/// Whoever asked may have gone away; what is written stays written.
fn answer(request: Request, outcome: Outcome) {
    match (request, outcome) {
        (Request::Append { done, .. }, Outcome::Appended(results)) => drop(done.send(results)),
        (Request::Commit { done, .. }, Outcome::Committed(result)) => drop(done.send(result)),
        (Request::Create { done, .. }, Outcome::Created(result)) => drop(done.send(result)),
        // does not occur: outcomes are made from the requests, in order
        (_, Outcome::Appended(_) | Outcome::Committed(_) | Outcome::Created(_)) => {}
    }
}

fn refuse(request: Request, error: &sqlx::Error) {
    let failure = || failure(ATTEMPTED, error);
    match request {
        Request::Append { records, done } => {
            drop(done.send(records.iter().map(|_| Err(failure())).collect()));
        }
        Request::Commit { done, .. } => drop(done.send(Err(failure()))),
        Request::Create { done, .. } => drop(done.send(Err(failure()))),
    }
}

/// Writes all requests in one transaction, or none of them.
async fn write(
    connection: &mut SqliteConnection,
    requests: &[Request],
) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut log = Log::read(&mut transaction).await?;
    let mut outcomes = Vec::with_capacity(requests.len());
    for request in requests {
        outcomes.push(match request {
            Request::Append { records, .. } => {
                Outcome::Appended(log.append(&mut transaction, records).await?)
            }
            Request::Commit { group, partition, next, .. } => {
                Outcome::Committed(log.commit(&mut transaction, group, partition, *next).await?)
            }
            Request::Create { topic, partitions, .. } => {
                let partitions = partitions.unwrap_or(PARTITIONS_BY_DEFAULT);
                Outcome::Created(log.create(&mut transaction, topic, partitions).await?)
            }
        });
    }
    log.write_ends(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcomes)
}

/// The partitions as this transaction sees and changes them.
struct Log {
    topics: HashMap<Arc<str>, Vec<LogPartition>>,
    /// Ids of partitions whose end has moved.
    moved: HashSet<i64>,
}

impl Log {
    async fn read(connection: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let partitions = sqlx::query(PARTITIONS)
            .try_map(|row| log_partition(&row))
            .fetch_all(connection)
            .await?;
        let mut topics: HashMap<Arc<str>, Vec<LogPartition>> = HashMap::new();
        for partition in partitions {
            topics.entry(Arc::clone(&partition.source.topic)).or_default().push(partition);
        }
        Ok(Self { topics, moved: HashSet::new() })
    }

    async fn create(
        &mut self,
        connection: &mut SqliteConnection,
        topic: &Arc<str>,
        partitions: i32,
    ) -> Result<Result<bool, BrokerError>, sqlx::Error> {
        if self.topics.contains_key(topic) {
            return Ok(Ok(false));
        }
        if !(1..=PARTITIONS_AT_MOST).contains(&partitions) {
            return Ok(Err(BrokerError::Refused {
                attempted: "creating a topic",
                reason: format!("a topic has 1 to {PARTITIONS_AT_MOST} partitions"),
            }));
        }
        let mut created = Vec::new();
        for number in 0..partitions {
            let id = sqlx::query("INSERT INTO log_partition (topic, number) VALUES (?1, ?2)")
                .bind(&**topic)
                .bind(number)
                .execute(&mut *connection)
                .await?
                .last_insert_rowid();
            let source = TopicPartition::new(Arc::clone(topic), number);
            created.push(LogPartition { id, source, end: 0 });
        }
        self.topics.insert(Arc::clone(topic), created);
        Ok(Ok(true))
    }

    async fn append(
        &mut self,
        connection: &mut SqliteConnection,
        records: &[OutgoingRecord],
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let timestamp = chrono::Utc::now().timestamp_millis();
        let mut results = Vec::with_capacity(records.len());
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            if !self.topics.contains_key(&record.topic) {
                // the answer can only be that it was created
                let _ = self.create(connection, &record.topic, PARTITIONS_BY_DEFAULT).await?;
            }
            results.push(self.place(record).map(|(id, source, offset)| {
                rows.push((row_id(id, offset.0), record));
                (source, offset)
            }));
        }
        for rows in rows.chunks(INSERT_ROWS) {
            let mut insert: QueryBuilder<Sqlite> =
                QueryBuilder::new("INSERT INTO record (id, timestamp, key, value, headers) ");
            insert.push_values(rows, |mut row, (id, record)| {
                row.push_bind(*id)
                    .push_bind(timestamp)
                    .push_bind(record.key.as_deref())
                    .push_bind(record.value.as_deref())
                    .push_bind(encoding::encode(&record.headers));
            });
            // only the full chunk's text is worth remembering
            let insert = insert.build().persistent(rows.len() == INSERT_ROWS);
            insert.execute(&mut *connection).await?;
        }
        Ok(results)
    }

    /// Gives a record its partition and offset.
    fn place(
        &mut self,
        record: &OutgoingRecord,
    ) -> Result<(i64, TopicPartition, Offset), BrokerError> {
        if size(record) > RECORD_BYTES {
            return Err(BrokerError::RecordTooLarge);
        }
        let partitions = self.topics.get_mut(&record.topic).map_or(&mut [][..], Vec::as_mut_slice);
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let number = match (record.partition, &record.key) {
            (Some(number), _) => number,
            (None, Some(key)) => partition_of(key, count),
            // round robin without a memory of its own: the shortest partition is next
            (None, None) => partitions
                .iter()
                .min_by_key(|partition| partition.end)
                .map_or(0, |partition| partition.source.partition),
        };
        let found = partitions.iter_mut().find(|partition| partition.source.partition == number);
        let Some(partition) = found else {
            return Err(BrokerError::Refused {
                attempted: ATTEMPTED,
                reason: format!("the topic has no partition {number}"),
            });
        };
        let offset = Offset(partition.end);
        partition.end += 1;
        self.moved.insert(partition.id);
        Ok((partition.id, partition.source.clone(), offset))
    }

    async fn commit(
        &self,
        connection: &mut SqliteConnection,
        group: &str,
        source: &TopicPartition,
        next: Offset,
    ) -> Result<Result<(), BrokerError>, sqlx::Error> {
        let found = self
            .topics
            .get(&source.topic)
            .and_then(|partitions| partitions.iter().find(|partition| partition.source == *source));
        let Some(partition) = found else { return Ok(Err(BrokerError::NotAssigned)) };
        sqlx::query(
            "INSERT INTO committed (consumer_group, partition_id, next_offset) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
        )
        .bind(group)
        .bind(partition.id)
        .bind(next.0)
        .execute(connection)
        .await?;
        Ok(Ok(()))
    }

    async fn write_ends(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let moved = self.topics.values().flatten().filter(|one| self.moved.contains(&one.id));
        for partition in moved {
            sqlx::query("UPDATE log_partition SET next_offset = ?1 WHERE id = ?2")
                .bind(partition.end)
                .bind(partition.id)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}
