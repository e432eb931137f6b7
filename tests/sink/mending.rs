//! What only a person mends, provoked on real databases: it is told as fatal, with what to do and
//! without data, becomes no dead letter, and the same batch is written once it is mended.

use rowcast::error::ErrorClass;
use rowcast::model::{ColumnType, RowChange, Value};
use rowcast::sink::{ConnectionSettings, Owner, Sink, SinkError, SqlSink, TaskIdentity, write};

use super::WRITTEN;
use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, living_in, named, partition, plain,
    rule, table,
};
use super::heard::{CANARY, Heard};
use super::other::Other;
use crate::support::{self, small_disk::SmallDisk};

fn secret(version: i64) -> RowChange {
    named(&format!("{CANARY}-1"), version, version, Value::Text(CANARY.into()))
}

async fn connect(url: &str) -> Result<SqlSink, SinkError> {
    let identity = TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
    let settings = ConnectionSettings { connections: 1, ..ConnectionSettings::default() };
    SqlSink::connect_with(url, settings, catalog().into(), identity).await
}

fn is_fatal(database: &str, heard: &Heard, error: &SinkError, told: &[&str]) {
    let said = format!("{database}: {error:?}");
    assert_eq!(error.class(), ErrorClass::Fatal, "{said}");
    for told in told {
        assert!(said.contains(told), "{said}: not {told}");
    }
    heard.silent_about_data(error);
}

/// What a person does to a database, and how it is mended; `None`: cannot be done to it.
type Deeds = [Option<(&'static str, &'static str)>; 3];

/// Breaks a database below a sink that knew it whole.
async fn break_and_mend(deeds: Deeds, told: [&[&str]; 3]) {
    for database in databases().await {
        let at = database.pick(0, 1, 2);
        let Some((breaks, mends)) = deeds[at] else { continue };
        let sink = database.sink(catalog()).await;
        sink.apply(&[secret(1)]).await;
        database.execute(breaks).await;
        let heard = Heard::listen();
        // again and again: the first may find an old plan, the second an old schema
        for _ in 0..3 {
            let written = write(&sink.sink, &sink.owner, &[secret(2), secret(3)], None).await;
            is_fatal(database.name, &heard, &written.unwrap_err(), told[at]);
        }
        database.execute(mends).await;
        is_over(&sink).await;
    }
}

async fn is_over(sink: &TestSink<'_>) {
    // a session that knows nothing of it yet is given up
    let mut written = sink.try_apply(&[secret(4)]).await;
    for _ in 0..2 {
        if written.is_err() {
            written = sink.try_apply(&[secret(4)]).await;
        }
    }
    assert_eq!(written.unwrap(), [WRITTEN], "{}", sink.database.name);
}

#[tokio::test]
async fn a_missing_table_is_fatal_until_it_is_back() {
    let deed = (
        "ALTER TABLE patient_address_line RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO patient_address_line",
    );
    let told: &[&str] = &["patient_address_line"];
    // the code is of the first attempt; what the schema lacks is told by the next
    break_and_mend([Some(deed); 3], [&[], &[], &[]]).await;
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        database.execute(deed.0).await;
        let heard = Heard::listen();
        let code = database.pick("42P01", "1146", "code 1)");
        let error = sink.try_apply(&[living_in(CANARY, 1, 0, &[CANARY])]).await.unwrap_err();
        is_fatal(database.name, &heard, &error, &[code]);
        let error = sink.try_apply(&[secret(1)]).await.unwrap_err();
        is_fatal(database.name, &heard, &error, told);
    }
}

#[tokio::test]
async fn a_missing_column_is_fatal_until_it_is_back() {
    let deed = (
        "ALTER TABLE patient RENAME COLUMN name TO elsewhere",
        "ALTER TABLE patient RENAME COLUMN elsewhere TO name",
    );
    break_and_mend([Some(deed); 3], [&[], &[], &[]]).await;
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        database.execute(deed.0).await;
        let heard = Heard::listen();
        let code = database.pick("42703", "1054", "code 1)");
        let error = sink.try_apply(&[secret(1)]).await.unwrap_err();
        is_fatal(database.name, &heard, &error, &[code]);
        let error = sink.try_apply(&[secret(1)]).await.unwrap_err();
        is_fatal(database.name, &heard, &error, &["patient", "name"]);
    }
}

#[tokio::test]
async fn a_view_in_the_place_of_a_table_is_fatal_until_it_is_gone() {
    let view = "ALTER TABLE patient RENAME TO beneath; \
                CREATE VIEW patient AS SELECT * FROM beneath LIMIT 1000";
    let back = "DROP VIEW patient; ALTER TABLE beneath RENAME TO patient";
    break_and_mend([Some((view, back)), Some((view, back)), Some((view, back))], [&[]; 3]).await;
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        database.execute(view).await;
        let heard = Heard::listen();
        // nobody told rowcast of 55000: what it does not know is fatal
        let code = database.pick("55000", "1176", "code 1)");
        let error = sink.try_apply(&[secret(1)]).await.unwrap_err();
        is_fatal(database.name, &heard, &error, &[code]);
    }
}

/// A user who may do less, and the database's URL for them.
async fn somebody(database: &TestDatabase) -> (String, String) {
    let name = support::unique("somebody").replace("rowcast_test_", "");
    let mut url = url::Url::parse(&database.url).unwrap();
    let password = if database.is_postgres() { "LOGIN PASSWORD" } else { "IDENTIFIED BY" };
    let role = database.pick("ROLE", "USER", "");
    database.execute(&format!("CREATE {role} {name} {password} '{CANARY}'")).await;
    if database.is_postgres() {
        let schema = database.rows("(SELECT current_schema() AS s) s", &["s"]).await.remove(0);
        database
            .execute(&format!(
                "GRANT USAGE ON SCHEMA {schema} TO {name}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {name}"
            ))
            .await;
    } else {
        for table in [
            "patient",
            "patient_address",
            "patient_address_line",
            "rowcast_task",
            "rowcast_table",
            "rowcast_tombstone",
            "rowcast_resource",
        ] {
            let exists = database
                .rows("information_schema.tables WHERE table_schema = DATABASE()", &["table_name"])
                .await;
            if exists.iter().any(|name| name == table) {
                let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {name}");
                database.execute(&grant).await;
            }
        }
    }
    url.set_username(&name).unwrap();
    url.set_password(Some(CANARY)).unwrap();
    (name, url.into())
}

#[tokio::test]
async fn a_lost_privilege_is_fatal_until_it_is_granted() {
    for database in databases().await.into_iter().filter(|database| database.file().is_none()) {
        database.sink(catalog()).await;
        let (name, url) = somebody(&database).await;
        let sink = TestSink::new(&database, connect(&url).await.unwrap()).await;
        assert_eq!(sink.apply(&[secret(1)]).await, [WRITTEN]);
        database.execute(&format!("REVOKE INSERT ON patient FROM {name}")).await;
        let heard = Heard::listen();
        for _ in 0..2 {
            let error = sink.try_apply(&[secret(2)]).await.unwrap_err();
            let told = [database.pick("42501", "1142", ""), "privilege"];
            is_fatal(database.name, &heard, &error, &told);
        }
        database.execute(&format!("GRANT INSERT ON patient TO {name}")).await;
        is_over(&sink).await;
    }
}

#[tokio::test]
async fn a_wrong_password_or_database_is_fatal_and_the_password_is_not_told() {
    for database in databases().await.into_iter().filter(|database| database.file().is_none()) {
        let mut url = url::Url::parse(&database.url).unwrap();
        let heard = Heard::listen();
        url.set_password(Some(CANARY)).unwrap();
        let error = connect(url.as_str()).await.err().unwrap();
        let told = [database.pick("28P01", "1045", ""), "user and password"];
        is_fatal(database.name, &heard, &error, &told);
        let mut url = url::Url::parse(&database.url).unwrap();
        url.set_path("not_there");
        let error = connect(url.as_str()).await.err().unwrap();
        let told = [database.pick("3D000", "1049", ""), "no such database", "`not_there`"];
        is_fatal(database.name, &heard, &error, &told);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_or_cannot_be_opened_is_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard::listen();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, CANARY.repeat(1000)).unwrap();
    let error = connect(&format!("sqlite:{}", garbage.display())).await.err().unwrap();
    is_fatal("sqlite", &heard, &error, &["code 26", "no SQLite database"]);
    let nowhere = folder.path().join(CANARY).join("rows.db");
    let error = connect(&format!("sqlite:{}", nowhere.display())).await.err().unwrap();
    is_fatal("sqlite", &heard, &error, &[]);
}

#[tokio::test]
async fn a_read_only_database_is_fatal_until_it_takes_writes() {
    for database in databases().await.into_iter().filter(|database| !database.is_mariadb()) {
        database.sink(catalog()).await;
        if database.is_postgres() {
            let (name, url) = somebody(&database).await;
            let set =
                |switch| format!("ALTER ROLE {name} SET default_transaction_read_only = {switch}");
            let sink = TestSink::new(&database, connect(&url).await.unwrap()).await;
            database.execute(&set("on")).await;
            let theirs = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
            );
            database.execute(&theirs).await;
            let heard = Heard::listen();
            let error = sink.try_apply(&[secret(1)]).await.unwrap_err();
            is_fatal(database.name, &heard, &error, &["25006", "read-only"]);
            database.execute(&set("off")).await;
            is_over(&sink).await;
        } else {
            let heard = Heard::listen();
            let read_only = connect(&format!("{}?mode=ro", database.url)).await;
            let error = match read_only {
                Ok(sink) => sink.take_over(&partition()).await.unwrap_err(),
                Err(error) => error,
            };
            is_fatal(database.name, &heard, &error, &["code 8", "read-only"]);
        }
    }
}

#[tokio::test]
async fn a_read_only_mariadb_is_fatal_until_it_takes_writes() {
    let Some(server) = support::requires_own_mariadb() else { return };
    let mut admin = Other::connect(server.address()).await.unwrap();
    for statement in ["CREATE USER plain IDENTIFIED BY 'plain'", "GRANT ALL ON rowcast.* TO plain"]
    {
        admin.run(statement).await.unwrap();
    }
    let mut url = url::Url::parse(server.address()).unwrap();
    url.set_username("plain").unwrap();
    url.set_password(Some("plain")).unwrap();
    let sink = connect(url.as_str()).await.unwrap();
    sink.execute_ddl(&sink.ddl()).await.unwrap();
    let epoch = sink.take_over(&partition()).await.unwrap().epoch;
    let owner = Owner::Task { partition: partition(), epoch };
    let heard = Heard::listen();
    admin.run("SET GLOBAL read_only = 1").await.unwrap();
    let error = sink.apply(&owner, &[&secret(1)], None).await.unwrap_err();
    is_fatal("mariadb", &heard, &error, &["1290", "read-only"]);
    admin.run("SET GLOBAL read_only = 0").await.unwrap();
    assert_eq!(sink.apply(&owner, &[&secret(1)], None).await.unwrap(), [WRITTEN]);
}

#[tokio::test]
async fn a_full_disk_is_fatal_until_there_is_room() {
    let Some(disk) = SmallDisk::mount(16, "root") else { return };
    fills_up(&disk, &TestDatabase::sqlite_at(&disk.path().join("rows.db"))).await;
    // servers of its own: one that misses a disk does not live on
    let Some(disk) = SmallDisk::mount(16, "postgres") else { return };
    if let Some(server) = support::requires_own_postgres() {
        fills_up(&disk, &super::fixture::postgres(server.address()).await).await;
    }
    let Some(disk) = SmallDisk::mount(16, "nobody") else { return };
    if let Some(server) = support::requires_own_mariadb() {
        fills_up(&disk, &super::fixture::mariadb(server.address()).await).await;
    }
}

async fn fills_up(disk: &SmallDisk, database: &TestDatabase) {
    let place = disk.path().display();
    let columns = vec![rule("a", ColumnType::String)];
    let sink = database.sink(catalog_of(vec![table("plain", None, columns)], false)).await;
    if database.is_postgres() {
        database.execute(&format!("CREATE TABLESPACE small LOCATION '{place}'")).await;
        database.execute("ALTER TABLE plain SET TABLESPACE small").await;
    } else if database.is_mariadb() {
        database.execute("DROP TABLE plain").await;
        let ddl = sink.sink.ddl().join(";\n");
        let ddl = ddl.split(";\n").find(|ddl| ddl.contains("CREATE TABLE `plain` (")).unwrap();
        database.execute(&format!("{ddl} DATA DIRECTORY = '{place}'")).await;
    }
    sink.sink.check_schema().await.unwrap();
    let batch = |version: i64| -> Vec<_> {
        let value = Value::Text(CANARY.into());
        let row = |id| plain(&format!("{version}-{id}"), version, vec![value.clone()]);
        (0..5000).map(row).collect()
    };
    assert!(sink.write(&batch(1)).await.iter().all(Result::is_ok));
    disk.fill();
    let heard = Heard::listen();
    let mut version = 2;
    let error = loop {
        // room within the files is used up first
        match write(&sink.sink, &sink.owner, &batch(version), None).await {
            Ok(results) => assert!(results.iter().all(Result::is_ok) && version < 20),
            Err(error) => break error,
        }
        version += 1;
    };
    let told = [database.pick("53100", "1114", "code 13"), "make room"];
    is_fatal(database.name, &heard, &error, &told);
    let rows = database.rows("plain", &["id"]).await.len();
    assert_eq!(rows, 5000 * usize::try_from(version - 1).unwrap(), "all or nothing");
    disk.make_room();
    assert!(sink.write(&batch(version)).await.iter().all(Result::is_ok), "{}", database.name);
}
