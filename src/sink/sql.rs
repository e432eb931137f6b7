//! The SQL sink: any database behind [`Database`].
//!
//! In: a database URL and the catalog. Out: a [`Sink`]. It reads the live schema when it connects,
//! and again after an error that mending the schema may have mended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::database::{Database, Transaction};
use super::mysql::MysqlDatabase;
use super::postgres::PostgresDatabase;
use super::schema::{create_bookkeeping, describe, execute, privileges};
use super::sqlite::SqliteDatabase;
use super::traced::traced;
use super::transaction::{Keying, Layout, Rebuilding, RootLayout, Script, TaskIdentity};
use super::{ConnectionCount, ConnectionSettings, Outcome, Owner, Ownership, Sink, SinkError};
use crate::model::{Catalog, Offset, Reveal, RootTable, RowChange, TopicPartition};
use crate::plan::{
    Admission, Cell, ClaimStatements, Dialect, ForeignKeys, LiveSchema, RebuildStatements,
    RootStatements, Rows, SchemaProblem, Severity, TableKind, TaskStatements, broken, catalog_ddl,
    compare, resolved,
};

mod claim;
mod rebuild;

pub use claim::{Claim, Rulings};
pub use rebuild::{RebuildSource, TakenUp};

/// How long a refusal is believed to be the data's fault without reading the live schema again:
/// someone may have widened the column meanwhile.
const LAYOUT_TRUST: Duration = Duration::from_secs(30);

/// Which database a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseKind {
    /// `postgres:` or `postgresql:`.
    Postgres,
    /// `mysql:` or `mariadb:`, which speak one protocol.
    Mysql,
    /// `sqlite:`.
    Sqlite,
}

impl DatabaseKind {
    /// The kind by the URL's scheme.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "postgres" | "postgresql" => Some(Self::Postgres),
            "mysql" | "mariadb" => Some(Self::Mysql),
            "sqlite" => Some(Self::Sqlite),
            _ => None,
        }
    }

    /// How it writes things: for DDL and documentation without a connection.
    #[must_use]
    pub fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Postgres => &crate::plan::Postgres,
            Self::Mysql => &crate::plan::Mysql,
            Self::Sqlite => &crate::plan::Sqlite,
        }
    }
}

/// Prepares the connections to what the URL names.
pub(super) fn open(
    url: &str,
    settings: ConnectionSettings,
) -> Result<(DatabaseKind, Box<dyn Database>), SinkError> {
    let Some(kind) = DatabaseKind::of_url(url) else {
        return Err(SinkError::Fatal {
            attempted: "reading the database URL",
            reason: "the scheme must be postgres, mysql, mariadb or sqlite".to_owned(),
        });
    };
    let database: Box<dyn Database> = match kind {
        DatabaseKind::Postgres => Box::new(PostgresDatabase::open(url, settings)?),
        DatabaseKind::Mysql => Box::new(MysqlDatabase::open(url, settings)?),
        DatabaseKind::Sqlite => Box::new(SqliteDatabase::open(url, settings)?),
    };
    Ok((kind, database))
}

/// A [`Sink`] over an SQL database.
pub struct SqlSink {
    kind: DatabaseKind,
    database: Box<dyn Database>,
    catalog: Arc<Catalog>,
    identity: TaskIdentity,
    keying: Keying,
    /// What the troubleshooting log may show.
    reveal: Reveal,
    /// What is rebuilt through this sink; live traffic's has nothing of it.
    rebuilding: Option<Rebuilding>,
    /// `None` after a fatal error: to be read again.
    layout: RwLock<Option<Arc<Layout>>>,
}

impl SqlSink {
    /// Connects, creates the bookkeeping tables that are missing and reads the live schema. A
    /// schema that does not fit is no error here: see [`SqlSink::check_schema`].
    ///
    /// `connections` bounds the transactions at a time; SQLite always has one. The URL may hold a
    /// password and appears in no message.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] if it cannot be reached, [`SinkError::Fatal`] if it refuses us.
    pub async fn connect(
        url: &str,
        connections: u32,
        catalog: Arc<Catalog>,
        identity: TaskIdentity,
    ) -> Result<Self, SinkError> {
        let settings = ConnectionSettings { connections, ..ConnectionSettings::default() };
        Self::connect_with(url, settings, catalog, identity).await
    }

    /// The same with other time limits.
    ///
    /// # Errors
    /// As [`SqlSink::connect`].
    pub async fn connect_with(
        url: &str,
        settings: ConnectionSettings,
        catalog: Arc<Catalog>,
        identity: TaskIdentity,
    ) -> Result<Self, SinkError> {
        let (kind, database) = open(url, settings)?;
        create_bookkeeping(&*database).await?;
        let sink = Self {
            kind,
            database,
            catalog,
            identity,
            keying: Keying::default(),
            reveal: Reveal::default(),
            rebuilding: None,
            layout: RwLock::new(None),
        };
        sink.layout().await?;
        Ok(sink)
    }

    /// The same sink for topics of this keying; [`SqlSink::connect`] takes them for keyed.
    #[must_use]
    pub fn with_keying(mut self, keying: Keying) -> Self {
        self.keying = keying;
        self
    }

    /// The same sink, whose statements tell the troubleshooting log this much of what they bind;
    /// [`SqlSink::connect`] takes nothing.
    #[must_use]
    pub fn revealing(mut self, reveal: Reveal) -> Self {
        self.reveal = reveal;
        self
    }

    /// Which database it is.
    #[must_use]
    pub const fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// Reads the live schema and compares it with the catalog: every problem at once, but for what is
    /// only good to know. What the role may not do is a problem too.
    pub async fn check_schema(&self) -> Result<Vec<SchemaProblem>, SinkError> {
        let live = describe(&*self.database, &self.catalog).await?;
        *self.layout.write().await = Some(Arc::new(self.lay_out(&live)));
        let dialect = self.database.dialect();
        let mut problems = compare(dialect, &self.catalog, &live, ForeignKeys::default());
        problems.retain(|problem| problem.severity > Severity::Information);
        problems.extend(privileges(&*self.database, &self.catalog).await?);
        Ok(problems)
    }

    /// Executes DDL, as [`super::DatabaseSchema::execute`] does; never done by itself.
    pub async fn execute_ddl(&self, statements: &[String]) -> Result<(), SinkError> {
        let result = execute(&*self.database, statements).await;
        *self.layout.write().await = None;
        result.map_err(|unfinished| unfinished.error)
    }

    /// The DDL of the whole catalog.
    #[must_use]
    pub fn ddl(&self) -> Vec<String> {
        catalog_ddl(self.database.dialect(), &self.catalog, ForeignKeys::default())
    }

    /// The offsets remembered for this topology.
    pub async fn next_offsets(&self) -> Result<Vec<(TopicPartition, Option<Offset>)>, SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let key = [Cell::Text(&self.identity.cluster_id), Cell::Text(&self.identity.name)];
        let result = transaction.run(&layout.tasks.offsets, &Rows::new(0), &key).await;
        let rows = self.finish(transaction, result).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let topic = row.first()?.text()?;
                let partition = i32::try_from(row.get(1)?.int()?).ok()?;
                Some((TopicPartition::new(topic, partition), row.get(2)?.int().map(Offset)))
            })
            .collect())
    }

    /// Forgets everything that is remembered by offset of a topic: after it was re-created its
    /// offsets mean something else. Versions stay remembered.
    pub async fn forget(&self, topic: &str) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.forget_within(&mut *transaction, &layout, topic).await;
        self.finish(transaction, result).await
    }

    async fn forget_within(
        &self,
        transaction: &mut dyn Transaction,
        layout: &Layout,
        topic: &str,
    ) -> Result<(), SinkError> {
        let identity = self.identity.topic(topic);
        let nothing = Rows::new(0);
        let task = [
            Cell::Text(&self.identity.cluster_id),
            Cell::Text(&self.identity.name),
            Cell::Text(topic),
        ];
        transaction.run(&layout.tasks.forget_offsets, &nothing, &task).await?;
        let origin = [Cell::Text(&identity)];
        transaction.run(&layout.tasks.forget_origins, &nothing, &origin).await?;
        transaction.run(&layout.tasks.forget_refused, &nothing, &origin).await?;
        Ok(())
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, SinkError> {
        Ok(traced(self.database.begin().await?, self.reveal))
    }

    async fn layout(&self) -> Result<Arc<Layout>, SinkError> {
        if let Some(layout) = &*self.layout.read().await {
            return Ok(Arc::clone(layout));
        }
        let mut slot = self.layout.write().await;
        if let Some(layout) = &*slot {
            return Ok(Arc::clone(layout));
        }
        let live = describe(&*self.database, &self.catalog).await?;
        let layout = Arc::new(self.lay_out(&live));
        *slot = Some(Arc::clone(&layout));
        Ok(layout)
    }

    fn script<'a>(
        &'a self,
        transaction: &'a mut dyn Transaction,
        layout: &'a Layout,
    ) -> Script<'a> {
        Script {
            transaction,
            catalog: &self.catalog,
            layout,
            identity: &self.identity,
            keying: self.keying,
            rebuilding: self.rebuilding.as_ref(),
        }
    }

    fn lay_out(&self, live: &LiveSchema) -> Layout {
        let dialect = self.database.dialect();
        let lay_out = |(index, root)| {
            let chosen = self.rebuilding.as_ref().map(|all| all.roots.contains(&index));
            let admission = match chosen {
                Some(true) => Admission::Equal,
                Some(false) | None => Admission::Newer,
            };
            let find = |name: &_| live.table(name);
            let statements = RootStatements::admitting(dialect, root, find, admission);
            let rebuild = RebuildStatements::new(dialect, &statements.table_name);
            RootLayout {
                rebuild: chosen.unwrap_or(false).then_some(rebuild),
                is_written: chosen.unwrap_or(true),
                claimed: claimed_names(root, live),
                statements,
                broken: broken(dialect, root, live).map(|problem| problem.to_string()),
            }
        };
        let roots = self.catalog.roots.iter().enumerate().map(lay_out).collect();
        let (tasks, claims) = (TaskStatements::new(dialect), ClaimStatements::new(dialect));
        Layout { tasks, claims, read_at: Instant::now(), roots }
    }

    /// Commits, or rolls back; after an error that says nothing about the data the connection is
    /// given up with the transaction. After a fatal one the schema is read again, after a refusal
    /// if it may be outdated.
    async fn finish<T>(
        &self,
        transaction: Box<dyn Transaction>,
        result: Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let error = match result {
            Ok(value) => match transaction.commit().await {
                Ok(()) => return Ok(value),
                Err(error) => error,
            },
            Err(error @ (SinkError::Refused(_) | SinkError::Fenced)) => {
                transaction.rollback().await;
                error
            }
            Err(error) => {
                drop(transaction);
                error
            }
        };
        let mut layout = self.layout.write().await;
        let outdated = match error {
            SinkError::Fatal { .. } | SinkError::NotLetIn { .. } => true,
            SinkError::Refused(_) => {
                layout.as_ref().is_some_and(|layout| layout.read_at.elapsed() > LAYOUT_TRUST)
            }
            SinkError::Unavailable { .. } | SinkError::Fenced => false,
        };
        if outdated {
            *layout = None;
        }
        drop(layout);
        Err(error)
    }
}

/// The resolved names of a root's tables, the named one first, and of their histories.
fn claimed_names(root: &RootTable, live: &LiveSchema) -> Vec<String> {
    let kinds: &[TableKind] =
        if root.history { &[TableKind::Live, TableKind::History] } else { &[TableKind::Live] };
    let tables = kinds
        .iter()
        .flat_map(|kind| root.declared_tables().iter().map(move |table| kind.name(table)));
    tables.map(|name| resolved(&name, live.table(&name))).collect()
}

#[async_trait]
impl Sink for SqlSink {
    async fn take_over(&self, partition: &TopicPartition) -> Result<Ownership, SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.script(&mut *transaction, &layout).take_over(partition).await;
        self.finish(transaction, result).await
    }

    async fn apply(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.script(&mut *transaction, &layout).apply(owner, changes, next).await;
        self.finish(transaction, result).await
    }

    async fn rehearse(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let played = self.script(&mut *transaction, &layout).apply(owner, changes, None).await;
        let played = match played {
            Ok(outcomes) => transaction.check_deferred().await.map(|()| outcomes),
            Err(error) => Err(error),
        };
        match played {
            Ok(outcomes) => {
                transaction.rollback().await;
                Ok(outcomes)
            }
            error => self.finish(transaction, error).await,
        }
    }

    async fn note_refused_delete(
        &self,
        owner: &Owner,
        change: &RowChange,
    ) -> Result<(), SinkError> {
        let layout = self.layout().await?;
        let mut transaction = self.begin().await?;
        let result = self.script(&mut *transaction, &layout).note_refused(owner, change).await;
        self.finish(transaction, result).await
    }

    fn connections(&self) -> ConnectionCount {
        self.database.connections()
    }
}
