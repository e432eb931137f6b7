//! Databases of a test's own on a shared MariaDB.

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use url::Url;

/// A MariaDB that other tests use too.
pub(crate) struct Mariadb {
    url: Url,
}

/// What MariaDB calls a database, dropped when dropped.
pub(crate) struct Schema {
    server: Url,
    name: String,
    url: Url,
}

impl Mariadb {
    /// At this url, whose user may create databases.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: Url::parse(url).expect("ROWCAST_TEST_MARIADB is a url") }
    }

    /// A new, empty database with a name of its own: also the tables that rowcast keeps for itself
    /// are nobody else's.
    pub(crate) fn schema(&self, what: &str) -> Schema {
        let name = super::unique(what);
        execute(&self.url, &format!("CREATE DATABASE {name}")).expect("the database is made");
        let mut url = self.url.clone();
        url.set_path(&name);
        Schema { server: self.url.clone(), name, url }
    }
}

impl Schema {
    /// Its url.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Runs one or several statements; panics if one is refused.
    pub(crate) fn execute(&self, sql: &str) {
        execute(&self.url, sql).expect("the statement is accepted");
    }

    /// The one whole number that a query yields.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        super::block_on(async {
            let mut connection = MySqlConnection::connect(self.url()).await.expect("a connection");
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT CAST(({sql}) AS signed)")))
                .fetch_one(&mut connection)
                .await
                .expect("one number")
        })
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let _ = execute(&self.server, &format!("DROP DATABASE {}", self.name));
    }
}

fn execute(url: &Url, sql: &str) -> Result<(), sqlx::Error> {
    super::block_on(async {
        let mut connection = MySqlConnection::connect(url.as_str()).await?;
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
        connection.close().await
    })
}
