//! Others who use the database meanwhile: a client with a transaction of its own, and the cable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Another client.
pub(crate) enum Other {
    Postgres(PgConnection),
    Mysql(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Other {
    pub(crate) async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        Ok(match url.split(':').next() {
            Some("postgres") => Self::Postgres(PgConnection::connect(url).await?),
            Some("mysql") => Self::Mysql(MySqlConnection::connect(url).await?),
            _ => Self::Sqlite(SqliteConnection::connect(url).await?),
        })
    }

    /// Runs one or several statements.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(connection) => sql.execute(connection).await.map(drop),
            Self::Mysql(connection) => sql.execute(connection).await.map(drop),
            Self::Sqlite(connection) => sql.execute(connection).await.map(drop),
        }
    }
}

/// A way to a server that can be cut: nothing arrives any more, and nobody is told.
pub(crate) struct Cable {
    port: u16,
    /// Connections of this number and below are dead.
    dead: Arc<AtomicUsize>,
    made: Arc<AtomicUsize>,
}

impl Cable {
    /// To a server on this machine.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (dead, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (is_dead, number) = (Arc::clone(&dead), Arc::clone(&made));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = number.fetch_add(1, Ordering::SeqCst) + 1;
                let far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(carry(near_read, far_write, number, Arc::clone(&is_dead)));
                tokio::spawn(carry(far_read, near_write, number, Arc::clone(&is_dead)));
            }
        });
        Self { port, dead, made }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Cuts what is connected.
    pub(crate) fn cut(&self) {
        self.dead.store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Cuts what is connected, and what will be.
    pub(crate) fn cut_for_good(&self) {
        self.dead.store(usize::MAX, Ordering::SeqCst);
    }
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: usize,
    dead: Arc<AtomicUsize>,
) {
    let mut some = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut some).await {
        if number <= dead.load(Ordering::SeqCst) {
            // neither closed nor answered
            std::future::pending::<()>().await;
        }
        if to.write_all(&some[..count]).await.is_err() {
            break;
        }
    }
}
