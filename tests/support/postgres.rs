//! Databases of a test's own on a shared PostgreSQL.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use url::Url;

/// A PostgreSQL that other tests use too.
pub(crate) struct Postgres {
    url: Url,
}

/// A database, dropped when dropped.
pub(crate) struct Database {
    server: Url,
    name: String,
    url: Url,
}

impl Postgres {
    /// At this url, whose role may create databases.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: Url::parse(url).expect("ROWCAST_TEST_POSTGRES is a url") }
    }

    /// A new, empty database with a name of its own: also the tables that rowcast keeps for itself
    /// are nobody else's.
    pub(crate) fn database(&self, what: &str) -> Database {
        let name = super::unique(what);
        execute(&self.url, &format!("CREATE DATABASE {name}")).expect("the database is made");
        let mut url = self.url.clone();
        url.set_path(&name);
        Database { server: self.url.clone(), name, url }
    }
}

impl Database {
    /// Its url.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Runs one or several statements; panics if one is refused.
    pub(crate) fn execute(&self, sql: &str) {
        execute(&self.url, sql).expect("the statement is accepted");
    }

    /// The one number that a query yields.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        super::block_on(async {
            let mut connection = PgConnection::connect(self.url()).await.expect("a connection");
            sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await
                .expect("one number")
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE: a killed rowcast's sessions may still be there.
        let _ = execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn execute(url: &Url, sql: &str) -> Result<(), sqlx::Error> {
    super::block_on(async {
        let mut connection = PgConnection::connect(url.as_str()).await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        connection.close().await
    })
}
