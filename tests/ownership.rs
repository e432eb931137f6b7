//! Who may write for a partition, with real processes: one that is paused in the middle of a
//! transaction, and a topic that is not the one that was read before.

use serde_json::json;
use sqlx::{Connection as _, MySqlConnection, PgConnection};

use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, deleted, patient};
use crate::support::{self, Rowcast, free_port, http, metrics, wait_for};

/// Holds the lock of one row until it is dropped.
pub(crate) struct RowLock {
    // closed by the server once it is dropped
    _connection: Held,
}

enum Held {
    Postgres { _connection: PgConnection },
    Mariadb { _connection: MySqlConnection },
}

impl RowLock {
    /// Takes the lock of this patient's row.
    pub(crate) fn of_patient(url: &str, id: &str) -> Self {
        let lock = format!("SELECT id FROM patient WHERE id = '{id}' FOR UPDATE");
        let lock = sqlx::AssertSqlSafe(lock);
        let connection = support::block_on(async {
            if url.starts_with("mysql:") {
                let mut connection = MySqlConnection::connect(url).await.expect("it connects");
                sqlx::raw_sql("BEGIN").execute(&mut connection).await.expect("it begins");
                sqlx::raw_sql(lock).execute(&mut connection).await.expect("the row is free");
                Held::Mariadb { _connection: connection }
            } else {
                let mut connection = PgConnection::connect(url).await.expect("it connects");
                sqlx::raw_sql("BEGIN").execute(&mut connection).await.expect("it begins");
                sqlx::raw_sql(lock).execute(&mut connection).await.expect("the row is free");
                Held::Postgres { _connection: connection }
            }
        });
        Self { _connection: connection }
    }
}

/// Whose transactions wait for a lock.
const WAITING: [&str; 2] = [
    "SELECT pid::text FROM pg_stat_activity \
     WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "SELECT CAST(trx_mysql_thread_id AS char) FROM information_schema.innodb_trx \
     JOIN information_schema.processlist ON id = trx_mysql_thread_id \
     WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()",
];

/// What is there and who may write it.
fn state(pipeline: &Pipeline) -> Vec<Vec<String>> {
    let [version, epoch] = if pipeline.url().starts_with("mysql:") {
        ["CAST(version AS char)", "CAST(epoch AS char)"]
    } else {
        ["version::text", "epoch::text"]
    };
    let rows = "SELECT p.id, {v}, family FROM patient p \
                JOIN patient_name n ON n.source_resource_id = p.id ORDER BY p.id, family";
    let mut state = pipeline.query(&rows.replace("{v}", &version.replace("version", "p.version")));
    state.extend(pipeline.query(&format!("SELECT 'epoch', {epoch} FROM rowcast_task")));
    state
}

fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
    rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
}

/// A process is stopped while its transaction holds the lock of the partition and rows that it has
/// written. Its successor must not wait for ever, and it itself must find out that it is one no more.
fn is_paused_and_fenced(pipeline: &Pipeline) {
    let v = |id: &str, version: i64| patient(id, version, &json!({}));
    pipeline.create_tables();
    let mut first = pipeline.start(&["run"]);
    pipeline.produce(&[v("p", 1)]);
    pipeline.wait_for_patients(1);

    let lock = RowLock::of_patient(pipeline.url(), "p");
    pipeline.produce(&[v("a", 1), v("p", 2), v("q", 1)]);
    wait_for("a transaction that waits for the row", SOON, || {
        WAITING
            .iter()
            .find(|asks| asks.contains("innodb") == pipeline.url().starts_with("mysql:"))
            .and_then(|asks| pipeline.query(asks).pop())
    });
    first.pause();
    drop(lock);

    let port = free_port();
    let mut second = pipeline.start(&["run", "--set", &format!("http.listen=127.0.0.1:{port}")]);
    pipeline.produce(&[v("p", 3), deleted("q", 2), v("r", 1)]);
    let taken_over =
        rows(&[&["a", "1", "F1"], &["p", "3", "F3"], &["r", "1", "F1"], &["epoch", "2"]]);
    wait_for("the successor", SOON, || (state(pipeline) == taken_over).then_some(()));

    first.resume();
    wait_for("the first to notice", SOON, || {
        first.messages().contains("partition leaves").then_some(())
    });
    pipeline.produce(&[v("p", 4), v("q", 1)]);
    let at_last = rows(&[&["a", "1", "F1"], &["p", "4", "F4"], &["r", "1", "F1"], &["epoch", "2"]]);
    wait_for("what came later", SOON, || (state(pipeline) == at_last).then_some(()));
    wait_for("all to be settled", SOON, || {
        let metrics = http::get(port, "/metrics")?.body;
        let lag = metrics::value(&metrics, "rowcast_consumer_lag_records", &[]);
        lag.filter(|lag| *lag < 0.5)
    });
    for run in [&mut first, &mut second] {
        run.terminate();
        assert_eq!(Rowcast::wait(run, SOON).code(), Some(0), "{}", run.messages());
    }
    assert_eq!(state(pipeline), at_last, "{}", first.messages());
    assert_eq!(pipeline.letters().len(), 0);
}

#[test]
fn a_task_paused_in_mid_transaction_is_succeeded_and_then_fenced_on_postgres() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("paused", 1), postgres.database("paused"));
    is_paused_and_fenced(&Pipeline::servers(kafka.servers(), topic, database, RULES, ""));
}

#[test]
fn a_task_paused_in_mid_transaction_is_succeeded_and_then_fenced_on_mariadb() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(mariadb) = support::requires_mariadb() else { return };
    let (topic, database) = (kafka.topic("paused", 1), mariadb.database("paused"));
    is_paused_and_fenced(&Pipeline::servers(kafka.servers(), topic, database, RULES, ""));
}

#[test]
fn a_task_that_is_fenced_though_the_group_still_knows_it_takes_its_partition_back() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("fenced", 1), postgres.database("fenced"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    let v = |version: i64| patient("p", version, &json!({}));
    pipeline.create_tables();
    let mut run = pipeline.start(&["run"]);
    pipeline.produce(&[v(1)]);
    pipeline.wait_for_patients(1);
    // as an instance does that the group let go before it noticed
    pipeline.execute("UPDATE rowcast_task SET epoch = epoch + 1");
    pipeline.produce(&[v(2)]);
    let back = rows(&[&["p", "2", "F2"], &["epoch", "3"]]);
    wait_for("the next version", SOON, || (state(&pipeline) == back).then_some(()));
    let fenced = [("component", "database"), ("cause", "fenced")];
    assert_eq!(pipeline.metric("rowcast_retries_total", &fenced), Some(1.0));
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
}

#[test]
fn a_re_created_topic_is_not_read_until_its_offsets_are_forgotten() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(postgres) = support::requires_postgres() else { return };
    let (topic, database) = (kafka.topic("anew", 1), postgres.database("anew"));
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, "");
    let v = |id: &str, version: i64| patient(id, version, &json!({}));
    let gone = |id: &str| json!({ "key": format!("Patient/{id}"), "value": null }).to_string();
    pipeline.create_tables();
    pipeline.produce(&[v("p", 1), v("q", 1), gone("p")]);
    pipeline.run_until_idle();
    assert_eq!(pipeline.patients(), ["q"]);

    kafka.re_create(pipeline.topic(), 1);
    pipeline.produce(&[v("p", 2), gone("q")]);
    let mut run = pipeline.start(&["run"]);
    let said = pipeline.wait_until_ready(Ready::No);
    wait_for("what is to be done", SOON, || {
        run.messages().contains("offsets forget").then_some(())
    });
    assert!(run.messages().contains("re-created"), "{said}");
    assert_eq!(pipeline.patients(), ["q"]);
    let asked = pipeline.command(&["offsets", "forget"]);
    assert_eq!(asked.status.code(), Some(2), "it only says what it would do");
    assert_eq!(pipeline.patients(), ["q"]);
    pipeline.expect(&["offsets", "forget", "--yes"]);
    wait_for("the new topic's rows", SOON, || (pipeline.patients() == ["p"]).then_some(()));
    pipeline.wait_until_ready(Ready::Yes);
    run.terminate();
    assert_eq!(run.wait(SOON).code(), Some(0), "{}", run.messages());
    assert_eq!(pipeline.letters().len(), 0);
}
