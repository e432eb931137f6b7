//! Databases of a test's own on a shared PostgreSQL or MariaDB.

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use url::Url;

/// A PostgreSQL that other tests use too.
pub(crate) struct Postgres {
    url: Url,
}

/// A MariaDB that other tests use too.
pub(crate) struct Mariadb {
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
        Database::new(&self.url, what)
    }
}

impl Mariadb {
    /// At this url, whose user may create databases.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: Url::parse(url).expect("ROWCAST_TEST_MARIADB is a url") }
    }

    /// As on PostgreSQL.
    pub(crate) fn database(&self, what: &str) -> Database {
        Database::new(&self.url, what)
    }
}

impl Database {
    fn new(server: &Url, what: &str) -> Self {
        let name = super::unique(what);
        execute(server, &format!("CREATE DATABASE {name}")).expect("the database is made");
        let mut url = server.clone();
        url.set_path(&name);
        Self { server: server.clone(), name, url }
    }

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
        number(&self.url, sql).expect("one number")
    }
}

fn is_mysql(url: &Url) -> bool {
    url.scheme() == "mysql"
}

impl Drop for Database {
    fn drop(&mut self) {
        // FORCE: a killed rowcast's sessions may still be there.
        let force = if is_mysql(&self.url) { "" } else { " WITH (FORCE)" };
        let _ = execute(&self.server, &format!("DROP DATABASE {}{force}", self.name));
    }
}

/// Runs one or several statements at a server.
pub(crate) fn execute(url: &Url, sql: &str) -> Result<(), sqlx::Error> {
    let statements = sqlx::raw_sql(AssertSqlSafe(sql));
    super::block_on(async {
        if is_mysql(url) {
            let mut connection = MySqlConnection::connect(url.as_str()).await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        } else {
            let mut connection = PgConnection::connect(url.as_str()).await?;
            statements.execute(&mut connection).await?;
            connection.close().await
        }
    })
}

/// The one number that a query yields at a server.
pub(crate) fn number(url: &Url, sql: &str) -> Result<i64, sqlx::Error> {
    let query = AssertSqlSafe(sql);
    super::block_on(async {
        if is_mysql(url) {
            let mut connection = MySqlConnection::connect(url.as_str()).await?;
            sqlx::query_scalar(query).fetch_one(&mut connection).await
        } else {
            let mut connection = PgConnection::connect(url.as_str()).await?;
            sqlx::query_scalar(query).fetch_one(&mut connection).await
        }
    })
}
