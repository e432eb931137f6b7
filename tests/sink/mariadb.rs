//! What only MariaDB and MySQL do: their error numbers, provoked; their types; their limits.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use rowcast::error::{Cause, ErrorClass, Stage};
use rowcast::model::{ColumnType, TopicPartition, Value};
use rowcast::plan::Severity;
use rowcast::sink::{Owner, Sink, SinkError};
use sqlx::Connection;

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, delete, delete_what_is_there, named,
    plain, rule, statements, table, upsert,
};
use super::{STALE, WRITTEN};

async fn mariadb() -> Option<TestDatabase> {
    databases().await.into_iter().find(TestDatabase::is_mariadb)
}

#[tokio::test]
async fn every_number_is_treated_by_its_class() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await;
    database
        .execute(
            "CREATE TRIGGER fail BEFORE INSERT ON patient FOR EACH ROW BEGIN \
             DECLARE number INT DEFAULT CAST(NEW.name AS SIGNED); \
             SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = number, MESSAGE_TEXT = 'secret'; END",
        )
        .await;
    for (class, numbers) in [
        (
            ErrorClass::Retriable,
            &[1020, 1040, 1053, 1203, 1205, 1206, 1213, 1317, 1927, 1969, 2006, 2013, 3024][..],
        ),
        (
            ErrorClass::Poison,
            &[1048, 1062, 1264, 1292, 1366, 1406, 1451, 1452, 1644, 1690, 3140, 3819, 4025][..],
        ),
        (
            ErrorClass::Fatal,
            &[1044, 1045, 1049, 1054, 1114, 1142, 1146, 1290, 1364, 1665, 1792, 1836, 9999][..],
        ),
    ] {
        for number in numbers {
            let name = Value::Text(number.to_string().into());
            let error = sink.try_apply(&[named("1", 1, 0, name)]).await.unwrap_err();
            assert_eq!(error.class(), class, "{number}: {error}");
            let told = format!("{error:?}");
            assert!(told.contains(&number.to_string()) && !told.contains("secret"), "{told}");
        }
    }
    database.execute("DROP TRIGGER fail").await;
    assert_eq!(sink.apply(&[upsert("1", 1, 0)]).await, [WRITTEN]);
}

#[tokio::test]
async fn a_value_that_the_server_refuses_has_its_cause_and_is_never_quoted() {
    let Some(database) = mariadb().await else { return };
    let text = |text: String| Value::Text(text.into());
    let instant = chrono::DateTime::from_timestamp(5_000_000_000, 0).unwrap();
    for (kind, column_type, value, cause, column) in [
        ("tinytext", ColumnType::String, text("secret".repeat(50)), Cause::ValueTooLong, true),
        ("tinyint", ColumnType::Int, Value::Int(300), Cause::DataException, true),
        ("int unsigned", ColumnType::Int, Value::Int(-1), Cause::DataException, true),
        (
            "decimal(4,2)",
            ColumnType::Decimal,
            Value::Decimal(BigDecimal::from(1000)),
            Cause::DataException,
            true,
        ),
        (
            "varchar(20) CHARACTER SET latin1",
            ColumnType::String,
            text("secret 😀".into()),
            Cause::DataException,
            false,
        ),
        (
            "timestamp(6) NULL",
            ColumnType::DateTime,
            Value::DateTime(instant),
            Cause::DataException,
            false,
        ),
        ("json", ColumnType::Json, Value::Json("secret".into()), Cause::ConstraintCheck, false),
        ("uuid", ColumnType::Uuid, text("secret".into()), Cause::TypeMismatch, true),
    ] {
        database.execute("DROP TABLE IF EXISTS mine").await;
        let ddl = format!(
            "CREATE TABLE mine (id char(36) PRIMARY KEY, version bigint NOT NULL, \
             source_resource_id varchar(64) NOT NULL UNIQUE, a {kind})"
        );
        database.execute(&ddl).await;
        let catalog = catalog_of(vec![table("mine", None, vec![rule("a", column_type)])], false);
        let sink = TestSink::new(&database, database.bare_sink(catalog).await).await;
        assert_eq!(sink.sink.check_schema().await.unwrap(), [], "{kind}");
        let results = sink.write(&[plain("1", 1, vec![value])]).await;
        let refusal = results[0].as_ref().expect_err(kind);
        assert_eq!(refusal.cause, cause, "{kind}: {refusal:?}");
        assert_eq!(refusal.place.column.as_deref() == Some("a"), column, "{kind}: {refusal:?}");
        assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
    }
}

#[tokio::test]
async fn columns_of_other_types_take_what_the_accept_table_says() {
    use ColumnType::{
        BigInt, Binary, Boolean, Date, DateTime, Decimal, Double, Int, Json, String, Time, Uuid,
    };
    let Some(database) = mariadb().await else { return };
    database
        .execute(
            "CREATE TABLE mine (id binary(16) PRIMARY KEY, version int unsigned NOT NULL, \
             source_resource_id char(64) NOT NULL UNIQUE, a char(5), b tinytext, c smallint, \
             d decimal(12,2), e decimal(20,0), f decimal(10,3), g text, h double, i tinyint, \
             j timestamp(6) NULL, k uuid, l binary(16), m longtext, n date, o text, p time(6), \
             q varchar(20), r varbinary(9))",
        )
        .await;
    let kinds = [
        String, String, Int, Int, BigInt, Decimal, Decimal, Double, Boolean, DateTime, Uuid, Uuid,
        Json, Date, Date, Time, Time, Binary,
    ];
    let names: Vec<_> = ('a'..='r').map(|name| name.to_string()).collect();
    let columns = names.iter().zip(kinds).map(|(name, kind)| rule(name, kind)).collect();
    let bare = database.bare_sink(catalog_of(vec![table("mine", None, columns)], false)).await;
    assert_eq!(bare.check_schema().await.unwrap(), []);
    let sink = TestSink::new(&database, bare).await;
    let decimal = |text: &str| Value::Decimal(BigDecimal::from_str(text).unwrap());
    let uuid = Value::Uuid(uuid::Uuid::from_u128(0x1234));
    let date = Value::Date("1974-03-01".parse().unwrap());
    let time = Value::Time("23:59:59.12".parse().unwrap());
    let instant = Value::DateTime("2024-02-29T23:59:59.123456Z".parse().unwrap());
    let values = vec![
        Value::Text("ab".into()),
        Value::Text("abcd".into()),
        Value::Int(7),
        Value::Int(8),
        Value::Int(9),
        decimal("72.500"),
        decimal("72.50"),
        Value::Double(1.5),
        Value::Boolean(false),
        instant,
        uuid.clone(),
        uuid,
        Value::Json("[1.50]".into()),
        date.clone(),
        date,
        time.clone(),
        time,
        Value::Binary(vec![0x41, 0x42]),
    ];
    assert_eq!(sink.apply(&[plain("1", 1, values.clone())]).await, [WRITTEN]);
    assert_eq!(sink.apply(&[plain("1", 2, values.clone())]).await, [WRITTEN]);
    assert_eq!(sink.apply(&[plain("1", 1, values.clone())]).await, [STALE]);
    let mut shown: Vec<_> = names.iter().map(std::string::String::as_str).collect();
    shown[11] = "HEX(l)";
    let found = database.rows("mine", &shown).await;
    let expected = "ab|abcd|7|8.00|9|72.500|72.50|1.5|0|2024-02-29 23:59:59.123456|\
                    00000000-0000-0000-0000-000000001234|00000000000000000000000000001234|\
                    [1.50]|1974-03-01|1974-03-01|23:59:59.120000|23:59:59.120000|AB";
    assert_eq!(found, [expected]);
    for (place, value, column, cause) in [
        (0, Value::Text("abcdef".into()), "a", Cause::ValueTooLong),
        (2, Value::Int(40_000), "c", Cause::DataException),
        (5, decimal("72.5005"), "f", Cause::DataException),
        (6, Value::Boolean(true), "g", Cause::TypeMismatch),
    ] {
        let mut wrong = values.clone();
        wrong[place] = value;
        let results = sink.write(&[plain("2", 1, wrong)]).await;
        let refusal = results[0].as_ref().unwrap_err();
        assert_eq!((refusal.stage, refusal.cause), (Stage::Plan, cause), "{column}");
        assert_eq!(refusal.place.column.as_deref(), Some(column));
    }
    assert_eq!(sink.apply(&[delete("1", 2, 9)]).await, [WRITTEN]);
    assert!(database.rows("mine", &["version"]).await.is_empty());
}

#[tokio::test]
async fn what_would_round_a_value_or_confuse_two_ids_is_an_error() {
    use ColumnType::{Binary, DateTime, Double, Time};
    let Some(database) = mariadb().await else { return };
    database
        .execute(
            "CREATE TABLE mine (id char(36) PRIMARY KEY, version bigint NOT NULL, \
             source_resource_id varchar(64) COLLATE utf8mb4_general_ci NOT NULL UNIQUE, \
             a datetime, b time(3), c float, d decimal(10,2), e binary(3), f timestamp NULL)",
        )
        .await;
    let kinds = [DateTime, Time, Double, Double, Binary, DateTime];
    let columns = ["a", "b", "c", "d", "e", "f"].iter().zip(kinds);
    let columns = columns.map(|(name, kind)| rule(name, kind)).collect();
    let catalog = catalog_of(vec![table("mine", None, columns)], false);
    let sink = database.bare_sink(catalog).await;
    let problems = sink.check_schema().await.unwrap();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.column.as_deref().unwrap(), problem.severity))
        .collect();
    let expected = ["source_resource_id", "a", "b", "c", "d", "e", "f"];
    assert_eq!(found, expected.map(|column| (column, Severity::Error)));
    assert!(problems[0].message.contains("`A` is not `a`"), "{}", problems[0]);
    sink.execute_ddl(&statements(&problems)).await.unwrap();
    assert_eq!(sink.check_schema().await.unwrap(), []);
}

#[tokio::test]
async fn ids_that_differ_in_case_are_two_whatever_the_database_thinks() {
    let Some(database) = mariadb().await else { return };
    let default = "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_swedish_ci";
    database.execute(default).await;
    let sink = database.sink(catalog()).await;
    assert_eq!(sink.apply(&[upsert("a", 1, 0), upsert("A", 2, 1)]).await, [WRITTEN, WRITTEN]);
    assert_eq!(sink.apply(&[delete("A", 3, 2)]).await, [WRITTEN]);
    assert_eq!(database.patients().await, ["a|1|name 1"]);
    assert_eq!(database.lines().await, ["a|city 1 1"]);
    assert_eq!(sink.apply(&[upsert("a", 2, 3)]).await, [WRITTEN]);
}

#[tokio::test]
async fn rows_larger_than_a_packet_together_are_written_and_one_alone_is_refused() {
    let Some(database) = mariadb().await else { return };
    let columns = vec![rule("raw", ColumnType::String)];
    let sink = database.sink(catalog_of(vec![table("mine", None, columns)], false)).await;
    let row =
        |id: usize, size| plain(&format!("{id}"), 1, vec![Value::Text("x".repeat(size).into())]);
    let mut batch: Vec<_> = (0..20).map(|id| row(id, 1 << 20)).collect();
    batch.push(row(20, 17 << 20));
    let results = sink.write(&batch).await;
    let refusal = results[20].as_ref().unwrap_err();
    assert_eq!((refusal.stage, refusal.cause), (Stage::Plan, Cause::DataException));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 20);
    assert_eq!(database.rows("mine", &["id"]).await.len(), 20);
}

#[tokio::test]
async fn names_may_have_64_characters() {
    let Some(database) = mariadb().await else { return };
    let long = "ü".repeat(64);
    let child = table(&long, Some(0), vec![rule(&"c".repeat(64), ColumnType::String)]);
    let sink = database.sink(catalog_of(vec![table("root", None, Vec::new()), child], false)).await;
    assert_eq!(sink.apply(&[plain("1", 1, Vec::new())]).await, [WRITTEN]);
}

#[tokio::test]
async fn a_killed_connection_is_replaced() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await;
    sink.apply(&[upsert("1", 1, 0)]).await;
    let others = "information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    for id in database.rows(others, &["id"]).await {
        database.execute(&format!("KILL {id}")).await;
    }
    assert_eq!(sink.apply(&[upsert("1", 2, 1)]).await, [WRITTEN]);
}

#[tokio::test]
async fn a_lost_privilege_is_fatal_and_heals_once_it_is_granted() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await;
    let mut url = url::Url::parse(&database.url).unwrap();
    let schema = url.path().trim_start_matches('/').to_owned();
    database.execute(&format!("CREATE USER {schema} IDENTIFIED BY 'secret'")).await;
    database.execute(&format!("GRANT SELECT ON {schema}.* TO {schema}")).await;
    url.set_username(&schema).unwrap();
    url.set_password(Some("secret")).unwrap();
    // the bookkeeping tables are there, so connecting needs no right to create them
    let change = upsert("1", 1, 0);
    let poor = super::fixture::sink_at(url.as_str(), catalog()).await;
    let error = poor.apply(&sink.owner, &[&change], None).await.unwrap_err();
    assert!(matches!(&error, SinkError::Fatal { reason, .. } if reason.contains("privilege")));
    assert!(!format!("{error:?}").contains("secret"));
    let grant = format!("GRANT INSERT, UPDATE, DELETE ON {schema}.* TO {schema}");
    database.execute(&grant).await;
    // a session learns of it when it begins; each that fails is given up
    let mut results = Vec::new();
    while results.last().is_none_or(Result::is_err) && results.len() < 4 {
        results.push(poor.apply(&sink.owner, &[&change], None).await);
    }
    assert_eq!(results.pop().unwrap().unwrap(), [WRITTEN]);
    url.set_password(Some("wrong")).unwrap();
    let identity =
        rowcast::sink::TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
    let refused =
        rowcast::sink::SqlSink::connect(url.as_str(), 1, catalog().into(), identity).await;
    assert_eq!(refused.err().unwrap().class(), ErrorClass::Fatal);
}

#[tokio::test]
async fn a_read_only_server_is_fatal_and_a_killed_one_unavailable_until_it_is_back() {
    let Some(server) = crate::support::requires_own_mariadb() else { return };
    let url = url::Url::parse(server.address()).unwrap();
    let mut admin = sqlx::MySqlConnection::connect(url.as_str()).await.unwrap();
    let prepare = "CREATE USER plain IDENTIFIED BY 'plain'; GRANT ALL ON rowcast.* TO plain";
    sqlx::raw_sql(prepare).execute(&mut admin).await.unwrap();
    let mut url = url;
    url.set_username("plain").unwrap();
    url.set_password(Some("plain")).unwrap();
    let sink = super::fixture::sink_at(url.as_str(), catalog()).await;
    sink.execute_ddl(&sink.ddl()).await.unwrap();
    let partition = super::fixture::partition();
    let epoch = sink.take_over(&partition).await.unwrap().epoch;
    let owner = Owner::Task { partition, epoch };
    let change = upsert("1", 1, 0);
    sqlx::raw_sql("SET GLOBAL read_only = 1").execute(&mut admin).await.unwrap();
    let error = sink.apply(&owner, &[&change], None).await.unwrap_err();
    let told = error.to_string();
    assert!(error.class() == ErrorClass::Fatal && told.contains("read-only"), "{told}");
    server.kill();
    let error = sink.apply(&owner, &[&change], None).await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error:?}");
    server.start_again();
    assert_eq!(sink.apply(&owner, &[&change], None).await.unwrap(), [WRITTEN]);
}

#[tokio::test]
async fn a_lock_that_is_not_given_and_a_deadlock_are_waited_for() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await;
    let many: Vec<_> = (0..100).map(|id| upsert(&format!("{id:03}"), 1, id)).collect();
    sink.apply(&many).await;
    let mut other = sqlx::MySqlConnection::connect(&database.url).await.unwrap();
    let mut other = other.begin().await.unwrap();
    sqlx::raw_sql("UPDATE patient SET name = 'x'").execute(&mut *other).await.unwrap();
    // it waits for the sink's lock of the partition while the sink waits for the rows
    let batch = [upsert("050", 2, 200)];
    let task = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        sqlx::raw_sql("SELECT * FROM rowcast_task FOR UPDATE").execute(&mut *other).await
    };
    let (written, waited) = tokio::join!(sink.try_apply(&batch), task);
    let error = written.unwrap_err();
    let told = format!("{error:?}");
    assert!(matches!(error, SinkError::Unavailable { .. }) && told.contains("1213"), "{told}");
    waited.unwrap();
    let error = sink.try_apply(&batch).await.unwrap_err();
    let told = format!("{error:?}");
    assert!(matches!(error, SinkError::Unavailable { .. }) && told.contains("1205"), "{told}");
    other.rollback().await.unwrap();
    assert_eq!(sink.apply(&batch).await, [WRITTEN]);
}

#[tokio::test]
async fn of_a_table_with_few_rows_only_those_are_locked_that_are_written() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await;
    sink.apply(&[upsert("a", 1, 0), upsert("b", 1, 1), upsert("c", 1, 2)]).await;
    let mut other = sqlx::MySqlConnection::connect(&database.url).await.unwrap();
    let lock = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN; SELECT * FROM patient \
                FORCE INDEX (patient_source_resource_id_idx) WHERE source_resource_id = 'a' FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let batch = [upsert("b", 2, 3), delete("c", 2, 4), delete_what_is_there("d", 5)];
    assert_eq!(sink.apply(&batch).await, [WRITTEN, WRITTEN, WRITTEN]);
    assert_eq!(database.patients().await, ["a|1|name 1", "b|2|name 2"]);
}

#[tokio::test]
async fn two_partitions_of_new_resources_are_written_at_once_without_a_deadlock() {
    let Some(database) = mariadb().await else { return };
    let sink = database.sink(catalog()).await.sink;
    let mut owners = Vec::new();
    for number in 0..2 {
        let partition = TopicPartition::new("many", number);
        let epoch = sink.take_over(&partition).await.unwrap().epoch;
        owners.push(Owner::Task { partition, epoch });
    }
    for round in 0..10 {
        let batch = |half: usize| -> Vec<_> {
            (0..200).map(|id| upsert(&format!("{round}-{}", id * 2 + half), 1, 0)).collect()
        };
        let (first, second) = (batch(0), batch(1));
        let (first, second): (Vec<_>, Vec<_>) = (first.iter().collect(), second.iter().collect());
        let (first, second) = tokio::join!(
            sink.apply(&owners[0], &first, None),
            sink.apply(&owners[1], &second, None)
        );
        assert_eq!((first.unwrap().len(), second.unwrap().len()), (200, 200), "round {round}");
    }
    assert_eq!(database.lines().await.len(), 4000);
}
