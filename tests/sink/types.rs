//! Every column type there and back, and identifiers that need quoting.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveTime};
use rowcast::model::{ColumnType, Value};
use uuid::Uuid;

use super::fixture::{TestDatabase, TestSink, catalog_of, databases, plain, rule, table};
use super::{Cause, WRITTEN};

fn sample(column_type: ColumnType) -> Value {
    match column_type {
        ColumnType::String => Value::Text("Jürgen 'x' \"y\" 😀".into()),
        ColumnType::Int => Value::Int(-2_147_483_648),
        ColumnType::BigInt => Value::Int(i64::MAX),
        ColumnType::Decimal => Value::Decimal(BigDecimal::from_str("72.50").unwrap()),
        ColumnType::Double => Value::Double(0.5),
        ColumnType::Boolean => Value::Boolean(true),
        ColumnType::Date => Value::Date(NaiveDate::from_ymd_opt(1974, 3, 1).unwrap()),
        ColumnType::DateTime => Value::DateTime(
            DateTime::parse_from_rfc3339("2024-02-29T23:59:59.123456+02:00").unwrap().to_utc(),
        ),
        ColumnType::Time => {
            Value::Time(NaiveTime::from_hms_micro_opt(23, 59, 59, 120_000).unwrap())
        }
        ColumnType::Uuid => Value::Uuid(Uuid::from_u128(0x1234)),
        ColumnType::Json => Value::Json(r#"{"a": [1.50, "ü"]}"#.into()),
        ColumnType::Binary => Value::Binary(vec![0x41, 0x42]),
    }
}

fn name_of(column_type: ColumnType) -> String {
    format!("as_{}", column_type.as_str().to_lowercase())
}

const TIME_ZONE: &str = "SET TIME ZONE 'UTC'";

#[tokio::test]
async fn every_type_and_its_null_come_back_as_they_went() {
    for database in databases().await {
        let columns =
            ColumnType::ALL.map(|column_type| rule(&name_of(column_type), column_type)).to_vec();
        let sink = database.sink(catalog_of(vec![table("everything", None, columns)], false)).await;
        let values = ColumnType::ALL.map(sample).to_vec();
        let nulls = vec![Value::Null; values.len()];
        let outcomes = sink.apply(&[plain("1", 1, values), plain("2", 1, nulls)]).await;
        assert_eq!(outcomes, [WRITTEN, WRITTEN]);
        if database.is_postgres() {
            database.execute(TIME_ZONE).await;
        }
        let expected = database.pick(
            [
                "Jürgen 'x' \"y\" 😀",
                "-2147483648",
                "9223372036854775807",
                "72.50",
                "0.5",
                "true",
                "1974-03-01",
                "2024-02-29 21:59:59.123456+00",
                "23:59:59.12",
                "00000000-0000-0000-0000-000000001234",
                r#"{"a": [1.50, "ü"]}"#,
                "\\x4142",
            ],
            [
                "Jürgen 'x' \"y\" 😀",
                "-2147483648",
                "9223372036854775807",
                "72.50",
                "0.5",
                "1",
                "1974-03-01",
                "2024-02-29 21:59:59.123456",
                "23:59:59.120000",
                "00000000-0000-0000-0000-000000001234",
                r#"{"a": [1.50, "ü"]}"#,
                "AB",
            ],
            [
                "Jürgen 'x' \"y\" 😀",
                "-2147483648",
                "9223372036854775807",
                "72.50",
                "0.5",
                "1",
                "1974-03-01",
                "2024-02-29T21:59:59.123456Z",
                "23:59:59.120000",
                "00000000-0000-0000-0000-000000001234",
                r#"{"a": [1.50, "ü"]}"#,
                "AB",
            ],
        );
        for (column_type, expected) in ColumnType::ALL.into_iter().zip(expected) {
            let name = name_of(column_type);
            let found = database.rows("everything ORDER BY source_resource_id", &[&name]).await;
            let mut wanted = [expected.to_owned(), "null".to_owned()];
            wanted.sort();
            assert_eq!(found, wanted, "{column_type} on {}", database.name);
        }
    }
}

/// The other end of what a type holds: the least, the latest, the empty.
fn extreme(column_type: ColumnType) -> Value {
    match column_type {
        ColumnType::String => Value::Text(String::new().into()),
        ColumnType::Int => Value::Int(i32::MAX.into()),
        ColumnType::BigInt => Value::Int(i64::MIN),
        ColumnType::Decimal => {
            Value::Decimal(BigDecimal::from_str("-12345678901234567890.0100").unwrap())
        }
        ColumnType::Double => Value::Double(-2.5e300),
        ColumnType::Boolean => Value::Boolean(false),
        ColumnType::Date => Value::Date(NaiveDate::from_ymd_opt(9999, 12, 31).unwrap()),
        ColumnType::DateTime => Value::DateTime(
            DateTime::parse_from_rfc3339("9999-12-31T23:59:59.999999Z").unwrap().to_utc(),
        ),
        ColumnType::Time => Value::Time(NaiveTime::from_hms_opt(0, 0, 0).unwrap()),
        ColumnType::Uuid => Value::Uuid(Uuid::nil()),
        ColumnType::Json => Value::Json("null".into()),
        ColumnType::Binary => Value::Binary(Vec::new()),
    }
}

#[tokio::test]
async fn the_ends_of_every_type_are_kept_in_history_too() {
    for database in databases().await {
        let columns =
            ColumnType::ALL.map(|column_type| rule(&name_of(column_type), column_type)).to_vec();
        let catalog = catalog_of(vec![table("everything", None, columns)], true);
        let sink = database.sink(catalog).await;
        let values = ColumnType::ALL.map(extreme).to_vec();
        let nulls = vec![Value::Null; values.len()];
        let batch = [plain("1", 1, values), plain("1", 2, nulls)];
        assert_eq!(sink.apply(&batch[..1]).await, [WRITTEN]);
        if database.is_postgres() {
            database.execute(TIME_ZONE).await;
        }
        let names = ColumnType::ALL.map(name_of);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let double = database.pick("-2.5e+300", "-2.5e300", "-2.5e+300");
        let instant = database.pick(
            "9999-12-31 23:59:59.999999+00",
            "9999-12-31 23:59:59.999999",
            "9999-12-31T23:59:59.999999Z",
        );
        let expected = format!(
            "|2147483647|-9223372036854775808|-12345678901234567890.0100|{double}|{}|9999-12-31|\
             {instant}|{}|00000000-0000-0000-0000-000000000000|null|{}",
            database.pick("false", "0", "0"),
            database.pick("00:00:00", "00:00:00.000000", "00:00:00.000000"),
            database.pick("\\x", "", ""),
        );
        assert_eq!(database.rows("everything", &names).await, [expected.as_str()]);
        assert_eq!(sink.apply(&batch[1..]).await, [WRITTEN]);
        let none = ["null"; ColumnType::ALL.len()].join("|");
        assert_eq!(database.rows("everything", &names).await, [none.as_str()]);
        let mut kept = [expected, none];
        kept.sort();
        assert_eq!(database.rows("everything_history", &names).await, kept, "{}", database.name);
    }
}

/// A sink over a table that the user made.
async fn over<'a>(
    database: &'a TestDatabase,
    columns: Vec<(&str, ColumnType)>,
    ddl: &str,
) -> TestSink<'a> {
    let columns = columns.into_iter().map(|(name, kind)| rule(name, kind)).collect();
    database.execute(ddl).await;
    let sink = database.bare_sink(catalog_of(vec![table("mine", None, columns)], false)).await;
    assert_eq!(sink.check_schema().await.unwrap(), [], "{}", database.name);
    TestSink::new(database, sink).await
}

#[tokio::test]
async fn postgres_columns_of_other_types_take_what_the_accept_table_says() {
    for database in databases().await.into_iter().filter(TestDatabase::is_postgres) {
        use ColumnType::{
            BigInt, Boolean, Date, DateTime, Decimal, Double, Int, Json, String, Time, Uuid,
        };
        let sink = over(
            &database,
            vec![
                ("a", String),
                ("b", String),
                ("c", Int),
                ("d", Int),
                ("e", BigInt),
                ("f", Decimal),
                ("g", Decimal),
                ("h", Double),
                ("i", Double),
                ("j", DateTime),
                ("k", Uuid),
                ("l", Json),
                ("m", Json),
                ("n", Boolean),
                ("o", Date),
                ("p", Time),
            ],
            "CREATE DOMAIN short AS varchar(4); \
             CREATE TABLE mine (id varchar(36) PRIMARY KEY, version integer NOT NULL, \
             source_resource_id varchar(64) NOT NULL UNIQUE, \
             a char(5), b short, c smallint, d numeric(12,2), e numeric, f numeric(10,3), \
             g text, h real, i numeric, j timestamp, k char(36), l json, m text, n boolean, \
             o text, p varchar(20))",
        )
        .await;
        let decimal = |text: &str| Value::Decimal(BigDecimal::from_str(text).unwrap());
        let values = vec![
            Value::Text("ab".into()),
            Value::Text("abcd".into()),
            Value::Int(7),
            Value::Int(8),
            Value::Int(9),
            decimal("72.50"),
            decimal("72.50"),
            Value::Double(1.5),
            Value::Double(2.25),
            sample(DateTime),
            sample(Uuid),
            sample(Json),
            sample(Json),
            Value::Boolean(false),
            sample(Date),
            sample(Time),
        ];
        assert_eq!(sink.apply(&[plain("1", 1, values.clone())]).await, [WRITTEN]);
        let columns: Vec<_> = "abcdefghijklmnop".chars().map(std::string::String::from).collect();
        let columns: Vec<_> = columns.iter().map(std::string::String::as_str).collect();
        let found = database.rows("mine", &columns).await;
        let json = r#"{"a": [1.50, "ü"]}"#;
        let expected = format!(
            "ab|abcd|7|8.00|9|72.500|72.50|1.5|2.25|2024-02-29 21:59:59.123456|\
             00000000-0000-0000-0000-000000001234|{json}|{json}|false|1974-03-01|23:59:59.120000"
        );
        assert_eq!(found, [expected]);
        let mut too_large = values.clone();
        too_large[2] = Value::Int(40_000);
        let mut too_long = values;
        too_long[1] = Value::Text("abcde".into());
        let results = sink.write(&[plain("2", 1, too_large), plain("3", 1, too_long)]).await;
        let refusals: Vec<_> = results.iter().map(|result| result.as_ref().unwrap_err()).collect();
        assert_eq!(refusals[0].cause, Cause::DataException);
        assert_eq!(refusals[0].place.column.as_deref(), Some("c"));
        assert_eq!(refusals[1].cause, Cause::ValueTooLong);
        assert_eq!(refusals[1].place.column.as_deref(), Some("b"));
    }
}

#[tokio::test]
async fn decimals_keep_their_digits_whatever_they_are() {
    for database in databases().await {
        let columns = vec![rule("amount", ColumnType::Decimal)];
        let sink = database.sink(catalog_of(vec![table("mine", None, columns)], false)).await;
        let texts = [
            "0",
            "0.0",
            "0.00",
            "-0.10",
            "100",
            "10000",
            "1.10",
            "0.0001",
            "0.00010",
            "12345.6789",
            "123456789012345678901234567890.123456789",
            "-99999999.9",
            "5000000000",
        ];
        let batch: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let value = Value::Decimal(BigDecimal::from_str(text).unwrap());
                plain(&format!("{at:02}"), 1, vec![value])
            })
            .collect();
        sink.apply(&batch).await;
        let found = database.rows("mine", &["source_resource_id", "amount"]).await;
        let expected: Vec<_> =
            texts.iter().enumerate().map(|(at, text)| format!("{at:02}|{text}")).collect();
        assert_eq!(found, expected, "{}", database.name);
    }
}

#[tokio::test]
async fn identifiers_may_be_reserved_mixed_case_quoted_and_63_bytes_long() {
    for database in databases().await {
        let long = "x".repeat(63);
        let names = ["select", "Mixed Case", "quo\"ted", long.as_str(), "ümlaut", "c1", "r", "s"];
        let columns: Vec<_> = names.iter().map(|name| rule(name, ColumnType::String)).collect();
        let child = table("Table", Some(0), columns.clone());
        let tables = vec![table(&"t".repeat(55), None, columns), child];
        let sink = database.sink(catalog_of(tables, true)).await;
        let values = vec![Value::Text("v".into()); names.len()];
        assert_eq!(sink.apply(&[plain("1", 1, values.clone())]).await, [WRITTEN]);
        assert_eq!(sink.apply(&[plain("1", 2, values)]).await, [WRITTEN]);
        let found =
            database.rows(&"t".repeat(55), &["version", &database.quote("Mixed Case")]).await;
        assert_eq!(found, ["2|v"]);
    }
}
