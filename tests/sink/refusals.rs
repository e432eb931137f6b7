//! What one row's values do to a real database: each kind of refusal, provoked, is a dead letter of
//! its own cause, with table and column where the database names them, and without the value.
//!
//! The sink knows the live schema and refuses much by itself. To hear the database, each table is
//! made stricter after its schema was read.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::NaiveDate;
use rowcast::error::{Cause, Stage};
use rowcast::model::{ColumnType, Offset, RowChange, TopicPartition, Value};
use rowcast::sink::{Outcome, Owner, Ownership, Sink, SinkError, SqlSink, write};

use super::fixture::{
    TestDatabase, TestSink, catalog, catalog_of, databases, named, plain, rule, table, upsert,
};
use super::heard::{CANARY, Heard};

/// A value that a column does not take.
struct Refused {
    column_type: ColumnType,
    /// The column as it was, and is, on PostgreSQL, MariaDB and SQLite; `None`: cannot be made.
    columns: [Option<(&'static str, &'static str)>; 3],
    value: Value,
    causes: [Cause; 3],
    codes: [&'static str; 3],
    /// Whether the database names the column.
    named: [bool; 3],
}

const EVERYWHERE: [bool; 3] = [true; 3];
const NOWHERE: [bool; 3] = [false; 3];

impl Refused {
    /// A good neighbour on both sides: they are written, the other is refused, nothing is told.
    async fn provoke(self) {
        for database in databases().await {
            let at = database.pick(0, 1, 2);
            let Some((was, is)) = self.columns[at] else { continue };
            let (cause, code, is_named) = (self.causes[at], self.codes[at], self.named[at]);
            database.execute("CREATE TABLE other (a int PRIMARY KEY)").await;
            create(&database, was, "").await;
            let columns = vec![rule("a", self.column_type)];
            let catalog = catalog_of(vec![table("plain", None, columns)], false);
            let sink = TestSink::new(&database, database.bare_sink(catalog).await).await;
            assert_eq!(sink.sink.check_schema().await.unwrap(), [], "{was}");
            database.execute("DROP TABLE plain").await;
            let strict = if is.ends_with("STRICT") { " STRICT" } else { "" };
            create(&database, is.trim_end_matches("STRICT"), strict).await;

            let heard = Heard::listen();
            let bad = |id: &str| plain(&format!("{CANARY}-{id}"), 1, vec![self.value.clone()]);
            let good = |id: &str| plain(&format!("{CANARY}-{id}"), 1, vec![Value::Null]);
            let batch = match cause {
                // nothing is good here but something, which the others do not take
                Cause::ConstraintNotNull => vec![bad("1")],
                // the first is good, the second its twin
                Cause::ConstraintUnique | Cause::IntegrityViolation => {
                    vec![good("1"), bad("2"), bad("3"), good("4")]
                }
                _ => vec![good("1"), bad("2"), good("3")],
            };
            let results = sink.write(&batch).await;
            let mut refused = results.iter().filter_map(|result| result.as_ref().err());
            let refusal = refused.next().expect(is);
            assert_eq!(refused.next(), None, "{is}: its neighbours are written");
            let told = format!("{}: {is}: {refusal:?}", database.name);
            assert_eq!((refusal.stage, refusal.cause), (Stage::Sink, cause), "{told}");
            assert_eq!(refusal.place.table.as_deref(), Some("plain"), "{told}");
            assert_eq!(refusal.place.column.as_deref(), is_named.then_some("a"), "{told}");
            assert_eq!(refusal.place.sqlstate.as_deref(), Some(code), "{told}");
            heard.silent_about_refusal(refusal);
            let written = database.rows("plain", &["id"]).await.len();
            assert_eq!(written, batch.len() - 1, "{told}");
        }
    }
}

async fn create(database: &TestDatabase, column: &str, more: &str) {
    let id = database.pick("uuid", "char(36)", "text");
    database
        .execute(&format!(
            "CREATE TABLE plain (id {id} PRIMARY KEY, version {int} NOT NULL, \
             source_resource_id {text} NOT NULL UNIQUE, a {column}){more}",
            int = database.pick("bigint", "bigint", "integer"),
            text = database.pick("text", "varchar(64) COLLATE utf8mb4_bin", "text"),
        ))
        .await;
}

fn secret() -> Value {
    Value::Text(format!("a long text with a {CANARY} in it").into())
}

#[tokio::test]
async fn a_value_longer_than_its_column_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::String,
        columns: [Some(("text", "varchar(5)")), Some(("text", "varchar(5)")), None],
        value: secret(),
        causes: [Cause::ValueTooLong; 3],
        codes: ["22001", "1406", ""],
        named: [false, true, false],
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_number_beyond_its_column_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::BigInt,
        columns: [Some(("bigint", "smallint")), Some(("bigint", "smallint")), None],
        value: Value::Int(1 << 40),
        causes: [Cause::DataException; 3],
        codes: ["22003", "1264", ""],
        named: [false, true, false],
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn nothing_where_something_must_be_is_a_dead_letter_that_names_the_column() {
    Refused {
        column_type: ColumnType::String,
        columns: [("text", "text NOT NULL"); 3].map(Some),
        value: Value::Null,
        causes: [Cause::ConstraintNotNull; 3],
        codes: ["23502", "1048", "1299"],
        named: EVERYWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_value_that_must_be_unique_and_is_there_already_is_a_dead_letter() {
    let unique = ("text", "text UNIQUE");
    let text = ("varchar(99)", "varchar(99) UNIQUE");
    Refused {
        column_type: ColumnType::String,
        columns: [Some(unique), Some(text), Some(unique)],
        value: secret(),
        causes: [Cause::ConstraintUnique; 3],
        codes: ["23505", "1365", "2067"],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_reference_to_nothing_is_a_dead_letter() {
    let reference = "integer REFERENCES other(a)";
    Refused {
        column_type: ColumnType::Int,
        columns: [
            Some(("integer", reference)),
            Some(("int", "int REFERENCES other(a)")),
            Some(("integer", reference)),
        ],
        value: Value::Int(51_423_677),
        causes: [Cause::ConstraintForeignKey; 3],
        codes: ["23503", "1452", "787"],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_value_that_a_check_forbids_is_a_dead_letter() {
    let check = "text CHECK (a NOT LIKE '%canary%')";
    Refused {
        column_type: ColumnType::String,
        columns: [("text", check); 3].map(Some),
        value: secret(),
        causes: [Cause::ConstraintCheck; 3],
        codes: ["23514", "4025", "275"],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn text_that_is_none_of_its_type_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::Json,
        columns: [
            Some(("json", "json")),
            Some(("longtext", "json")),
            Some(("text", "integer STRICT")),
        ],
        value: Value::Json(format!("[{CANARY}")),
        // MariaDB's type is a check
        causes: [Cause::DataException, Cause::ConstraintCheck, Cause::DataException],
        codes: ["22P02", "4025", "3091"],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_character_that_the_encoding_has_not_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::Json,
        columns: [
            Some(("jsonb", "jsonb")),
            Some(("longtext", "longtext CHARACTER SET latin1")),
            None,
        ],
        value: Value::Json(format!("[\"{CANARY} \\u0000 😀\"]")),
        causes: [Cause::DataException; 3],
        codes: ["22P05", "1366", ""],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn a_date_that_the_database_has_not_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::Date,
        columns: [Some(("date", "date")), Some(("date", "date")), None],
        value: Value::Date(NaiveDate::MIN),
        causes: [Cause::DataException; 3],
        codes: ["22008", "1292", ""],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn text_that_an_index_cannot_hold_is_a_dead_letter() {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + u8::try_from((seed >> 40) % 90).unwrap())
    };
    let text: String = std::iter::repeat_with(&mut noise).take(9000).collect();
    Refused {
        column_type: ColumnType::String,
        columns: [Some(("text", "text UNIQUE")), None, None],
        value: Value::Text(format!("{CANARY}{text}").into()),
        causes: [Cause::DataException; 3],
        codes: ["54000", "", ""],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

#[tokio::test]
async fn what_an_exclusion_forbids_is_a_dead_letter() {
    Refused {
        column_type: ColumnType::String,
        columns: [Some(("text", "text, EXCLUDE USING btree (a WITH =)")), None, None],
        value: secret(),
        causes: [Cause::IntegrityViolation; 3],
        codes: ["23P01", "", ""],
        named: NOWHERE,
    }
    .provoke()
    .await;
}

/// Counts transactions.
struct Counted {
    sink: SqlSink,
    transactions: AtomicUsize,
}

#[async_trait]
impl Sink for Counted {
    async fn take_over(&self, partition: &TopicPartition) -> Result<Ownership, SinkError> {
        self.sink.take_over(partition).await
    }

    async fn apply(
        &self,
        owner: &Owner,
        changes: &[&RowChange],
        next: Option<Offset>,
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.sink.apply(owner, changes, next).await
    }

    async fn note_refused_delete(&self, _: &Owner, _: &RowChange) -> Result<(), SinkError> {
        panic!("no delete here")
    }
}

/// Halving k of n changes takes at most 1 + 2 k log2 n transactions: each level of halving splits
/// at most k parts into two.
#[tokio::test]
async fn several_poisonous_changes_among_thousands_are_found_in_few_transactions() {
    const POISON: [usize; 5] = [0, 700, 701, 2500, 3999];
    for database in databases().await {
        let TestSink { sink, owner, .. } = database.sink(catalog()).await;
        // made stricter once the schema was read; the last two are refused by the child's table
        let check = "ALTER TABLE patient ADD CONSTRAINT good CHECK (name <> 'bad')";
        let is_sqlite = database.file().is_some();
        if is_sqlite {
            database
                .execute(
                    "CREATE UNIQUE INDEX good ON patient (name) WHERE name = 'bad'; \
                     INSERT INTO patient (id, version, source_resource_id, name) \
                     VALUES ('other', 1, 'other', 'bad')",
                )
                .await;
        } else {
            database.execute(check).await;
        }
        let changes: Vec<_> = (0..4000)
            .map(|at| {
                let id = format!("{CANARY}-{at}");
                let bad = || named(&id, 1, 0, Value::Text("bad".into()));
                if POISON.contains(&at) { bad() } else { upsert(&id, 1, 0) }
            })
            .collect();
        let counted = Counted { sink, transactions: AtomicUsize::new(0) };
        let heard = Heard::listen();
        let results = write(&counted, &owner, &changes, Some(Offset(4000))).await.unwrap();
        let refused: Vec<_> = results
            .iter()
            .enumerate()
            .filter_map(|(at, result)| result.as_ref().err().map(|refusal| (at, refusal)))
            .collect();
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), POISON);
        let cause = if is_sqlite { Cause::ConstraintUnique } else { Cause::ConstraintCheck };
        for (_, refusal) in refused {
            assert_eq!((refusal.cause, refusal.place.table.as_deref()), (cause, Some("patient")));
            heard.silent_about_refusal(refusal);
        }
        let others = usize::from(is_sqlite);
        assert_eq!(database.rows("patient", &["id"]).await.len(), 3995 + others);
        assert_eq!(database.lines().await.len(), 3995);
        let transactions = counted.transactions.into_inner();
        // the last change is refused: remembering the next offset takes one more
        let most = 2 + 2 * POISON.len() * 12;
        assert!(transactions <= most, "{transactions} of at most {most}");
        let remembered = counted.sink.next_offsets().await.unwrap();
        assert_eq!(remembered[0].1, Some(Offset(4000)));
    }
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_commit_is_a_dead_letter_too_and_names_its_table() {
    for database in databases().await.into_iter().filter(|database| !database.is_mariadb()) {
        database.execute("CREATE TABLE other (a integer PRIMARY KEY)").await;
        let reference = "integer REFERENCES other(a) DEFERRABLE INITIALLY DEFERRED";
        create(&database, reference, "").await;
        let columns = vec![rule("a", ColumnType::Int)];
        let catalog = catalog_of(vec![table("plain", None, columns)], false);
        let sink = TestSink::new(&database, database.bare_sink(catalog).await).await;
        let batch = [
            plain("1", 1, vec![Value::Null]),
            plain("2", 1, vec![Value::Int(51_423_677)]),
            plain("3", 1, vec![Value::Null]),
        ];
        let results = sink.write(&batch).await;
        let refusal = results[1].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::ConstraintForeignKey);
        if database.is_postgres() {
            assert_eq!(refusal.place.table.as_deref(), Some("plain"));
        }
        assert!(results[0].is_ok() && results[2].is_ok());
        assert!(!format!("{refusal:?}").contains("51423677"));
    }
}

#[tokio::test]
async fn what_a_trigger_forbids_is_a_dead_letter_and_its_words_are_not_told() {
    for database in databases().await {
        let sink = database.sink(catalog()).await;
        let trigger = database.pick(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF NEW.name = 'bad' THEN RAISE EXCEPTION 'not %', NEW USING DETAIL = NEW::text; END IF; \
             RAISE WARNING 'but %', NEW; RETURN NEW; END $$; \
             CREATE TRIGGER no BEFORE INSERT ON patient FOR EACH ROW EXECUTE FUNCTION no()",
            "CREATE TRIGGER no BEFORE INSERT ON patient FOR EACH ROW BEGIN \
             DECLARE said VARCHAR(200) DEFAULT CONCAT('not ', NEW.source_resource_id); \
             IF NEW.name = 'bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = said; END IF; END",
            "CREATE TRIGGER no BEFORE INSERT ON patient FOR EACH ROW WHEN NEW.name = 'bad' BEGIN \
             SELECT RAISE(ABORT, 'canary-5f1c'); END",
        );
        database.execute(trigger).await;
        let heard = Heard::listen();
        let bad = named(&format!("{CANARY}-2"), 1, 1, Value::Text("bad".into()));
        let (first, last) = (format!("{CANARY}-1"), format!("{CANARY}-3"));
        let results = sink.write(&[upsert(&first, 1, 0), bad, upsert(&last, 1, 2)]).await;
        assert!(results[0].is_ok() && results[2].is_ok());
        let refusal = results[1].as_ref().unwrap_err();
        assert_eq!(refusal.cause, Cause::IntegrityViolation);
        let code = database.pick("P0001", "1644", "1811");
        assert_eq!(refusal.place.sqlstate.as_deref(), Some(code));
        heard.silent_about_refusal(refusal);
    }
}
