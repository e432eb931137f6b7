//! What heals by itself, provoked on real databases: it is told as unavailable, becomes no dead
//! letter, holds nobody up for longer than the settings say, and the same batch is written after it.

use std::time::{Duration, Instant};

use rowcast::model::{RowChange, Value};
use rowcast::sink::{ConnectionSettings, Owner, Sink, SinkError, SqlSink, TaskIdentity, write};

use super::WRITTEN;
use super::fixture::{TestDatabase, TestSink, catalog, databases, named, partition, upsert};
use super::heard::{CANARY, Heard};
use super::other::{Cable, Other};
use crate::support;

/// Settings that no test waits long for.
fn impatient() -> ConnectionSettings {
    ConnectionSettings {
        connections: 2,
        connect_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(10),
        idle_in_transaction_session_timeout: Duration::from_secs(20),
        tcp_keepalive: Duration::from_secs(5),
    }
}

async fn connect(url: &str, settings: ConnectionSettings) -> Result<SqlSink, SinkError> {
    let identity = TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
    SqlSink::connect_with(url, settings, catalog().into(), identity).await
}

/// A sink over tables that are there, through `url`.
async fn sink_at<'a>(
    database: &'a TestDatabase,
    url: &str,
    settings: ConnectionSettings,
) -> TestSink<'a> {
    database.sink(catalog()).await;
    let sink = TestSink::new(database, connect(url, settings).await.unwrap()).await;
    sink.apply(&[secret("1", 1)]).await;
    sink
}

fn secret(id: &str, version: i64) -> RowChange {
    let name = Value::Text(CANARY.into());
    named(&format!("{CANARY}-{id}"), version, version, name)
}

/// The batch fails as a whole, unavailable, with this code; nothing is told.
async fn is_waited_out(sink: &TestSink<'_>, heard: &Heard, code: &str) {
    let batch = [secret("1", 2), secret("2", 1)];
    let written = write(&sink.sink, &sink.owner, &batch, None).await;
    is_unavailable(sink.database, heard, &written.unwrap_err(), code);
}

fn is_unavailable(database: &TestDatabase, heard: &Heard, error: &SinkError, code: &str) {
    let told = format!("{}: {error:?}", database.name);
    let retriable = SinkError::Unavailable { attempted: "", reason: String::new() }.class();
    assert_eq!(error.class(), retriable, "{told}");
    assert!(told.contains(code), "{told}, not {code}");
    heard.silent_about_data(error);
}

/// Once it is over, the same batch is written.
async fn is_over(sink: &TestSink<'_>) {
    assert_eq!(sink.apply(&[secret("1", 2), secret("2", 1)]).await, [WRITTEN, WRITTEN]);
}

/// Takes the rows that the batches here write, and keeps them.
async fn holding_rows(database: &TestDatabase) -> Other {
    let mut other = Other::connect(&database.url).await.unwrap();
    let begin = database.pick("BEGIN", "BEGIN", "BEGIN IMMEDIATE");
    other.run(begin).await.unwrap();
    other.run("UPDATE patient SET name = 'x'").await.unwrap();
    other
}

/// A server's own databases: SQLite has no sessions.
async fn servers() -> Vec<TestDatabase> {
    databases().await.into_iter().filter(|database| database.file().is_none()).collect()
}

#[tokio::test]
async fn a_deadlock_is_retried_and_never_a_dead_letter() {
    for database in servers().await {
        let sink = sink_at(&database, &database.url, impatient()).await;
        for id in 0..100 {
            sink.apply(&[upsert(&format!("{id}"), 1, id)]).await;
        }
        let mut other = holding_rows(&database).await;
        let heard = Heard::listen();
        // it waits for the sink's lock of the partition while the sink waits for the rows
        let crossing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            other.run("SELECT * FROM rowcast_task FOR UPDATE").await
        };
        let code = database.pick("40P01", "1213", "");
        let ((), crossed) = tokio::join!(is_waited_out(&sink, &heard, code), crossing);
        crossed.expect("the other is not the victim");
        other.run("ROLLBACK").await.unwrap();
        is_over(&sink).await;
    }
}

#[tokio::test]
async fn a_lock_that_is_not_given_in_time_is_retried() {
    let settings = ConnectionSettings { lock_timeout: Duration::from_secs(1), ..impatient() };
    for database in databases().await {
        let sink = sink_at(&database, &database.url, settings).await;
        let mut other = holding_rows(&database).await;
        let heard = Heard::listen();
        let began = Instant::now();
        is_waited_out(&sink, &heard, database.pick("55P03", "1205", "5")).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{}", database.name);
        other.run("ROLLBACK").await.unwrap();
        is_over(&sink).await;
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_retried() {
    let settings = ConnectionSettings { statement_timeout: Duration::from_secs(1), ..impatient() };
    for database in servers().await {
        let sink = sink_at(&database, &database.url, settings).await;
        let mut other = holding_rows(&database).await;
        let heard = Heard::listen();
        is_waited_out(&sink, &heard, database.pick("57014", "1969", "")).await;
        other.run("ROLLBACK").await.unwrap();
        is_over(&sink).await;
    }
}

#[tokio::test]
async fn a_session_ended_in_the_middle_of_a_transaction_is_retried() {
    for database in servers().await {
        let sink = sink_at(&database, &database.url, impatient()).await;
        let mut other = holding_rows(&database).await;
        let heard = Heard::listen();
        let ending = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if database.is_postgres() {
                let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE \
                               application_name = current_schema AND wait_event_type = 'Lock'";
                database.execute(waiting).await;
                return;
            }
            let waiting = "information_schema.processlist WHERE db = DATABASE() \
                           AND id <> CONNECTION_ID() AND command <> 'Sleep'";
            for id in database.rows(waiting, &["id"]).await {
                database.execute(&format!("KILL {id}")).await;
            }
        };
        let code = database.pick("57P01", "", "");
        tokio::join!(is_waited_out(&sink, &heard, code), ending);
        other.run("ROLLBACK").await.unwrap();
        is_over(&sink).await;
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_or_killed_is_waited_for() {
    for server in [support::requires_own_postgres(), support::requires_own_mariadb()] {
        let Some(server) = server else { continue };
        let sink = connect(server.address(), impatient()).await.unwrap();
        sink.execute_ddl(&sink.ddl()).await.unwrap();
        let epoch = sink.take_over(&partition()).await.unwrap().epoch;
        let owner = Owner::Task { partition: partition(), epoch };
        let heard = Heard::listen();
        for (version, end) in (1..).zip([support::Instance::stop, support::Instance::kill]) {
            let change = secret("1", version);
            end(&server);
            let error = sink.apply(&owner, &[&change], None).await.unwrap_err();
            let told = format!("{}: {error:?}", server.address());
            assert!(matches!(error, SinkError::Unavailable { .. }), "{told}");
            // A connection of the pool may learn of the end before a new one is refused.
            let reasons = ["connection refused", "connection reset"];
            assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
            heard.silent_about_data(&error);
            server.start_again();
            assert_eq!(sink.apply(&owner, &[&change], None).await.unwrap(), [WRITTEN], "{told}");
        }
    }
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_waited_for() {
    for server in [support::requires_own_postgres(), support::requires_own_mariadb()] {
        let Some(server) = server else { continue };
        let mut admin = Other::connect(server.address()).await.unwrap();
        let is_mysql = matches!(admin, Other::Mysql(_));
        let ordinary = if is_mysql {
            "CREATE USER ordinary IDENTIFIED BY 'ordinary'; GRANT ALL ON rowcast.* TO ordinary; \
             SET GLOBAL max_connections = 10"
        } else {
            "CREATE ROLE ordinary LOGIN PASSWORD 'ordinary'; GRANT ALL ON SCHEMA public TO ordinary; \
             ALTER SYSTEM SET max_connections = 10"
        };
        for statement in ordinary.split("; ") {
            admin.run(statement).await.unwrap();
        }
        if !is_mysql {
            drop(admin);
            server.restart();
        }
        let mut url = url::Url::parse(server.address()).unwrap();
        url.set_username("ordinary").unwrap();
        url.set_password(Some("ordinary")).unwrap();
        let mut others = Vec::new();
        while others.len() < 20
            && let Ok(other) = Other::connect(url.as_str()).await
        {
            others.push(other);
        }
        assert!(others.len() < 20);
        let heard = Heard::listen();
        let error = connect(url.as_str(), impatient()).await.err().unwrap();
        let told = format!("{error:?}");
        assert!(matches!(error, SinkError::Unavailable { .. }), "{told}");
        assert!(told.contains(if is_mysql { "1040" } else { "53300" }), "{told}");
        heard.silent_about_data(&error);
        drop(others);
        let mut again = connect(url.as_str(), impatient()).await;
        for _ in 0..3 {
            if again.is_err() {
                again = connect(url.as_str(), impatient()).await;
            }
        }
        again.expect("there is room again");
    }
}

/// The database's URL through a cable.
async fn cabled(database: &TestDatabase) -> (Cable, String) {
    let mut url = url::Url::parse(&database.url).unwrap();
    let cable = Cable::to(url.port().unwrap()).await;
    url.set_port(Some(cable.port())).unwrap();
    (cable, url.into())
}

#[tokio::test]
async fn a_connection_whose_peer_vanished_while_it_was_idle_is_found_out_and_replaced() {
    for database in servers().await {
        let (cable, url) = cabled(&database).await;
        // time enough to connect anew on a busy machine, and a third of what a statement's answer has
        let patient = ConnectionSettings { connect_timeout: Duration::from_secs(8), ..impatient() };
        let sink = sink_at(&database, &url, patient).await;
        cable.cut();
        let began = Instant::now();
        is_over(&sink).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{}", database.name);
    }
}

#[tokio::test]
async fn a_cable_cut_in_the_middle_of_a_transaction_holds_nobody_up_for_ever() {
    let settings = ConnectionSettings {
        statement_timeout: Duration::from_secs(1),
        // MariaDB's session is left in its transaction with the lock of the partition
        idle_in_transaction_session_timeout: Duration::from_secs(3),
        ..impatient()
    };
    for database in servers().await {
        let (cable, url) = cabled(&database).await;
        let sink = sink_at(&database, &url, settings).await;
        let mut other = holding_rows(&database).await;
        let heard = Heard::listen();
        let cutting = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cable.cut_for_good();
        };
        let began = Instant::now();
        tokio::join!(is_waited_out(&sink, &heard, "no answer within 11 s"), cutting);
        assert!(began.elapsed() < Duration::from_secs(15), "{}", database.name);
        let began = Instant::now();
        is_waited_out(&sink, &heard, "no connection in time").await;
        assert!(began.elapsed() < Duration::from_secs(15), "{}", database.name);
        other.run("ROLLBACK").await.unwrap();
        cable.cut();
        is_over(&sink).await;
    }
}

/// What SIGSTOP does to a process, here done to a task: it is not polled any more while its session
/// holds the lock of its partition.
#[tokio::test]
async fn a_writer_that_stands_still_in_a_transaction_holds_its_successor_up_no_longer_than_set() {
    let settings = ConnectionSettings {
        idle_in_transaction_session_timeout: Duration::from_secs(2),
        ..impatient()
    };
    for database in servers().await {
        let sink = sink_at(&database, &database.url, settings).await;
        let successor = connect(&database.url, settings).await.unwrap();
        let mut other = holding_rows(&database).await;
        let batch = [secret("1", 2)];
        let mut writing = Box::pin(sink.try_apply(&batch));
        let stops = tokio::time::timeout(Duration::from_millis(500), &mut writing).await;
        assert!(stops.is_err(), "it waits for the row");
        other.run("ROLLBACK").await.unwrap();
        let began = Instant::now();
        let epoch = successor.take_over(&partition()).await.unwrap().epoch;
        let held_up = began.elapsed();
        let expected = Duration::from_millis(1500)..Duration::from_secs(5);
        assert!(expected.contains(&held_up), "{}: {held_up:?}", database.name);
        let owner = Owner::Task { partition: partition(), epoch };
        assert_eq!(successor.apply(&owner, &[&batch[0]], None).await.unwrap(), [WRITTEN]);
        let heard = Heard::listen();
        let error = writing.await.unwrap_err();
        is_unavailable(&database, &heard, &error, "");
        let error = sink.try_apply(&batch).await.unwrap_err();
        assert!(matches!(error, SinkError::Fenced), "{error:?}");
    }
}

#[tokio::test]
async fn a_busy_pool_is_waited_for_however_long_and_is_no_failure() {
    let settings = ConnectionSettings {
        connections: 1,
        connect_timeout: Duration::from_secs(1),
        ..impatient()
    };
    for database in databases().await {
        let sink = sink_at(&database, &database.url, settings).await;
        let mut other = holding_rows(&database).await;
        let (first, second) = ([secret("1", 2)], [secret("2", 1)]);
        let releasing = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let counted = sink.sink.connections();
            other.run("ROLLBACK").await.unwrap();
            counted
        };
        let (first, second, counted) =
            tokio::join!(sink.try_apply(&first), sink.try_apply(&second), releasing);
        assert_eq!(first.unwrap(), [WRITTEN], "{}", database.name);
        assert_eq!(second.unwrap(), [WRITTEN], "{}", database.name);
        let told = (counted.busy, counted.idle, counted.most, counted.waiting);
        assert_eq!(told, (1, 0, 1, 1), "{}", database.name);
    }
}
