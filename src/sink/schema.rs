//! The schema of a database: compared with the rules, and completed when somebody asks for it.
//!
//! In: a database URL and the catalog. Out: what the live tables lack, and the database with
//! statements run on it. Comparing changes nothing, not even rowcast's own tables.

use std::sync::Arc;
use std::time::Duration;

use super::SinkError;
use super::connections::ConnectionSettings;
use super::database::{Database, Lacks};
use super::sql::open;
use crate::model::{Catalog, TableName};
use crate::plan::{
    ForeignKeys, Lack, LiveSchema, SchemaProblem, bookkeeping_ddl, compare, compare_bookkeeping,
    missing_bookkeeping, needed, schemas, tables_of,
};

/// A statement that changes the schema is given up after this time: an index over a table that was
/// filled for years takes its time.
const CHANGE_LIMIT: Duration = Duration::from_hours(12);

/// A statement that creates an empty table of ours is given up after this time.
const OWN_LIMIT: Duration = Duration::from_secs(30);

/// A database whose schema is looked at or completed.
pub struct DatabaseSchema {
    database: Box<dyn Database>,
    catalog: Arc<Catalog>,
}

impl DatabaseSchema {
    /// Prepares one connection; it is made when it is needed. The URL may hold a password and
    /// appears in no message.
    ///
    /// # Errors
    /// [`SinkError::Fatal`] if the URL cannot be used.
    pub fn open(url: &str, catalog: Arc<Catalog>) -> Result<Self, SinkError> {
        let (_, database) =
            open(url, ConnectionSettings { connections: 1, ..ConnectionSettings::default() })?;
        Ok(Self { database, catalog })
    }

    /// Everything that is to be said about the live schema, rowcast's own tables first. Tables to be
    /// created get their foreign keys as asked.
    pub async fn compare(
        &self,
        foreign_keys: ForeignKeys,
    ) -> Result<Vec<SchemaProblem>, SinkError> {
        let database = &*self.database;
        let mut live = describe(database, &self.catalog).await?;
        for (name, _) in bookkeeping_ddl(database.dialect()) {
            let name = TableName { schema: None, name: name.into() };
            live.tables.extend(database.describe(&name).await?.map(|found| (name, found)));
        }
        let mut problems = compare_bookkeeping(database.dialect(), &live);
        problems.extend(compare(database.dialect(), &self.catalog, &live, foreign_keys));
        Ok(problems)
    }

    /// Everything that is in the way of `run`: what [`DatabaseSchema::compare`] finds, and what the role
    /// may not do of what `run` does, each with the statement that grants it. What it may not look into
    /// is not compared.
    ///
    /// MySQL and MariaDB hide a table from a user without any right on it; it counts as missing.
    pub async fn check(&self) -> Result<Vec<SchemaProblem>, SinkError> {
        let lacks = lacks(&*self.database, &self.catalog).await?;
        let closes =
            |lack: &Lack| matches!(lack, Lack::Usage { .. } | Lack::Create { schema: None });
        let is_closed = lacks.found.iter().any(closes);
        let mut problems =
            if is_closed { Vec::new() } else { self.compare(ForeignKeys::default()).await? };
        problems.extend(findings(&*self.database, &lacks));
        Ok(problems)
    }

    /// The schemas of the catalog in which the role may not create tables, where the database tells.
    pub async fn uncreatable(&self) -> Result<Vec<SchemaProblem>, SinkError> {
        let schemas: Vec<_> = schemas(&self.catalog).into_iter().collect();
        let lacks = self.database.uncreatable(&schemas).await?;
        Ok(findings(&*self.database, &lacks))
    }

    /// Runs statements in their order. PostgreSQL and SQLite undo all if one fails; MySQL and MariaDB
    /// keep what was done before it, and what is left is what the next comparison finds.
    pub async fn execute(&self, statements: &[String]) -> Result<(), Unfinished> {
        execute(&*self.database, statements).await
    }

    /// Ends the connection.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Why not all statements were run.
#[derive(Debug, thiserror::Error)]
#[error("the schema was not changed as asked")]
pub struct Unfinished {
    /// The statement that failed; none if it was the connection or the commit.
    pub statement: Option<String>,
    /// How many statements before it stay done.
    pub done: usize,
    /// Why.
    #[source]
    pub error: SinkError,
}

impl Unfinished {
    /// Nothing was done.
    pub(super) const fn at_all(error: SinkError) -> Self {
        Self { statement: None, done: 0, error }
    }
}

pub(super) async fn execute(
    database: &dyn Database,
    statements: &[String],
) -> Result<(), Unfinished> {
    database.change(statements, CHANGE_LIMIT).await.map_err(|mut unfinished| {
        // no change of a resource was refused: the rows that are there do not allow it
        if let SinkError::Refused(refusal) = unfinished.error {
            let code = refusal.place.sqlstate.as_deref().unwrap_or("unknown");
            unfinished.error = SinkError::Fatal {
                attempted: "changing the schema",
                reason: format!(
                    "the rows that are there do not allow it: {} (database code {code})",
                    refusal.cause
                ),
            };
        }
        unfinished
    })
}

/// What the role may not do of what `run` does.
pub(super) async fn privileges(
    database: &dyn Database,
    catalog: &Catalog,
) -> Result<Vec<SchemaProblem>, SinkError> {
    Ok(findings(database, &lacks(database, catalog).await?))
}

async fn lacks(database: &dyn Database, catalog: &Catalog) -> Result<Lacks, SinkError> {
    let schemas: Vec<_> = schemas(catalog).into_iter().collect();
    database.lacks(&schemas, &needed(catalog)).await
}

fn findings(database: &dyn Database, lacks: &Lacks) -> Vec<SchemaProblem> {
    let Lacks { role, grantee, found } = lacks;
    found.iter().map(|lack| lack.finding(database.dialect(), role, grantee)).collect()
}

/// Creates what is missing of rowcast's own tables. Asked first: a user without the right to create
/// tables may work on those that are there.
pub(super) async fn create_bookkeeping(database: &dyn Database) -> Result<(), SinkError> {
    for (name, ddl) in bookkeeping_ddl(database.dialect()) {
        let table = TableName { schema: None, name: name.into() };
        let ddl = match database.describe(&table).await? {
            Some(live) => missing_bookkeeping(database.dialect(), &live),
            None => vec![ddl],
        };
        if !ddl.is_empty() {
            let changed = database.change(&ddl, OWN_LIMIT).await;
            changed.map_err(|unfinished| named(unfinished.error, name))?;
        }
    }
    Ok(())
}

/// The same error, which says what could not be created.
fn named(error: SinkError, table: &str) -> SinkError {
    match error {
        SinkError::Fatal { reason, .. } => SinkError::Fatal {
            attempted: "creating rowcast's own tables",
            reason: format!("{table}: {reason}"),
        },
        other => other,
    }
}

/// What the database has of a catalog's tables and schemas.
pub(super) async fn describe(
    database: &dyn Database,
    catalog: &Catalog,
) -> Result<LiveSchema, SinkError> {
    let mut live = LiveSchema::default();
    for root in &catalog.roots {
        for (table, kind) in tables_of(root) {
            let name = kind.name(table);
            live.tables.extend(database.describe(&name).await?.map(|found| (name, found)));
        }
    }
    for schema in schemas(catalog) {
        let used = live.tables.iter().any(|(name, _)| name.schema.as_deref() == Some(schema));
        if !used && !database.has_schema(schema).await? {
            live.missing_schemas.push(schema.to_owned());
        }
    }
    Ok(live)
}
