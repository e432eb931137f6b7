//! A canary in every field, id, key and header value of the records, and everything goes wrong that can,
//! on each database, with `RUST_LOG=trace` and without the opt-in to values: the canary is in the values,
//! keys and own headers of dead letters and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use bytes::Bytes;
use rowcast::broker::embedded::EmbeddedBroker;
use rowcast::broker::{Broker as _, OutgoingRecord};
use rowcast::error::Cause;
use rowcast::model::{Header, Record};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::avro::{Server, source};
use crate::support::pipeline::{Pipeline, Ready, SOON};
use crate::support::{self, Instance, Mariadb, Postgres, Rowcast, http, wait_for};

/// Part of everything that a producer sends.
const CANARY: &str = "canary-5f1c";

/// What any command may be given.
const SETTINGS: [&str; 4] =
    ["--set", "source.max_record_bytes=65536", "--set", "sink.lock_timeout=1s"];

/// Everything at its most talkative.
const LOUD: [(&str, &str); 2] = [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")];

/// The commands that print no data by themselves, in the order in which they are tried; `{id}` is the
/// id of a letter, `{each}` that of one letter of each cause, `{json}` a file with a resource that is
/// refused.
const COMMANDS: &[&str] = &[
    "check",
    "topology",
    "topology --output json",
    "schema",
    "schema diff",
    "offsets show",
    "offsets show --output json",
    "offsets forget",
    "log",
    "dead-letters list",
    "dead-letters list --output json",
    "dead-letters list --id {id}",
    "dead-letters summary",
    "dead-letters summary --output json",
    "dead-letters show {each}",
    "dead-letters show {each} --output json",
    "dead-letters export",
    "dead-letters test",
    "dead-letters test --output json",
    "dead-letters replay --dry-run",
    "dead-letters replay --dry-run --output json",
    "dead-letters replay --to-topic --cause type_mismatch --max 2",
    "dead-letters replay --cause type_mismatch",
    "dead-letters edit {id} --with {json}",
    "dead-letters edit {id} --with {json} --force --output json",
    "dead-letters discard --id {id} --reason mended --output json",
    "dead-letters export --all",
    "dead-letters list --status discarded",
    "dead-letters replay --force --output json",
    "explain {json}",
];

const RULES: &str = r#"{ "transformers": [{
  "resourceType": "Patient", "tableName": "patient",
  "columns": [
    { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING" },
    { "columnName": "birth_date", "fhirPath": "Patient.birthDate", "columnType": "DATE" },
    { "columnName": "gender", "fhirPath": "Patient.gender", "columnType": "STRING" },
    { "columnName": "city", "fhirPath": "Patient.address.city", "columnType": "STRING" },
    { "columnName": "phone", "fhirPath": "Patient.telecom.value.first()", "columnType": "STRING",
      "maximumSize": 40 },
    { "columnName": "org", "fhirPath": "Patient.managingOrganization.reference", "columnType": "STRING" },
    { "columnName": "note", "fhirPath": "Patient.maritalStatus.text", "columnType": "STRING" },
    { "columnName": "doctor", "fhirPath": "Patient.generalPractitioner.display.single()",
      "columnType": "STRING" },
    { "columnName": "births", "fhirPath": "Patient.multipleBirth.ofType(integer)", "columnType": "INT" } ],
  "childTables": [{ "fhirPath": "Patient.name", "tableName": "patient_name", "columns": [
    { "columnName": "family", "fhirPath": "family", "columnType": "STRING" } ] }] }] }"#;

#[test]
fn on_sqlite_the_canary_is_in_letters_only() {
    walk(&Ground { pipeline: Pipeline::embedded(RULES, ""), server: None });
}

#[test]
fn on_postgres_the_canary_is_in_letters_only() {
    let Some(server) = support::requires_own_postgres() else { return };
    let database = Postgres::at(server.address()).database("canary");
    let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
    walk(&Ground { pipeline, server: Some(server) });
}

#[test]
fn on_mariadb_the_canary_is_in_letters_only() {
    let Some(server) = support::requires_own_mariadb() else { return };
    let database = Mariadb::at(server.address()).database("canary");
    let pipeline = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
    walk(&Ground { pipeline, server: Some(server) });
}

struct Ground {
    pipeline: Pipeline,
    /// A server of the test's own, to be stopped.
    server: Option<Instance>,
}

/// Everything that was said, with who said it.
#[derive(Default)]
struct Heard(Vec<(String, String)>);

impl Heard {
    fn add(&mut self, who: &str, what: impl Into<String>) {
        self.0.push((who.to_owned(), what.into()));
    }

    /// What the HTTP server of the running process answers.
    fn ask(&mut self, pipeline: &Pipeline) {
        for path in ["/metrics", "/readyz", "/livez", "/log", "/nothing"] {
            let answer = http::get(pipeline.port(), path);
            self.add(path, answer.map_or_else(String::new, |answer| answer.body));
        }
        for (path, body) in [("/log", CANARY), ("/log?for=canary-5f1c", "info")] {
            let answer = http::request(pipeline.port(), "PUT", path, Some(CANARY), body);
            self.add(path, answer.map_or_else(String::new, |answer| answer.body));
        }
    }

    fn is_silent(&self) {
        for (who, what) in &self.0 {
            let line = what.lines().find(|line| line.to_lowercase().contains(CANARY));
            assert_eq!(line, None, "{who} tells data");
        }
    }
}

fn walk(ground: &Ground) {
    let Ground { pipeline, server } = ground;
    let registry = Server::start();
    registry.put("/schemas/ids/2", &Value::from("\"string\""));
    source(pipeline, &format!("schema_registry: {{ url: '{}' }}", registry.url()));
    for statement in tables(ground.kind()) {
        pipeline.execute(&statement);
    }
    let ddl = pipeline.expect(&["schema"]);
    let of_child: Vec<_> = ddl.split(";\n").filter(|ddl| ddl.contains("patient_name")).collect();
    pipeline.execute(&of_child.join(";\n"));
    let mut heard = Heard::default();
    let start =
        |more: &[&str]| pipeline.start_with(&[["run"].as_slice(), &SETTINGS, more].concat(), &LOUD);

    let mut run = start(&[]);
    pipeline.wait_until_ready(Ready::Yes);
    append(pipeline, ["good", "kept", "kept-too"].map(|id| upsert(id, 1, &json!({}))).into());
    pipeline.wait_for_patients(3);
    append(pipeline, bad_records(ground.kind()));
    wait_for_letters(pipeline, &mut run, 1);
    append(pipeline, vec![refused_delete(pipeline)]);
    wait_for_causes(ground, &run);
    heard.ask(pipeline);

    // somebody holds a row
    let held = hold_row(pipeline, &format!("{CANARY}-good"));
    append(pipeline, vec![upsert("good", 2, &json!({}))]);
    heard.add("/readyz", pipeline.wait_until_ready(Ready::No));
    drop(held);
    pipeline.wait_until_ready(Ready::Yes);

    if let Some(server) = server {
        server.stop();
        append(pipeline, vec![upsert("good", 3, &json!({}))]);
        heard.add("/readyz", pipeline.wait_until_ready(Ready::No));
        heard.ask(pipeline);
        server.start_again();
        pipeline.wait_until_ready(Ready::Yes);
    }

    let unborn = |n| upsert(&format!("unborn-{n}"), 1, &json!({ "birthDate": CANARY }));
    append(pipeline, (0..200).map(unborn).collect());
    let said = pipeline.wait_until_ready(Ready::No);
    assert!(said.contains("type_mismatch"), "{said}");
    heard.add("/readyz", said);
    heard.ask(pipeline);
    end(run, &mut heard);

    let run = start(&["--set", "dead_letter.max_ratio=1"]);
    let letters =
        || pipeline.metric("rowcast_records_settled_total", &[("outcome", "dead_lettered")]);
    wait_for("the rest", SOON, || letters().filter(|letters| *letters >= 200.0));
    heard.ask(pipeline);
    end(run, &mut heard);

    let logged: Vec<_> = heard.0.iter().filter(|(who, _)| who == "run").collect();
    for proof_that_it_is_on in ["\"bound\"", "string(", "\"dead letter\"", "\"statement\""] {
        assert!(logged.iter().any(|(_, what)| what.contains(proof_that_it_is_on)));
    }
    // libraries may tell what they like at these levels: they are not let
    for line in logged.iter().flat_map(|(_, what)| what.lines()) {
        let is_detail = line.contains(r#""level":"DEBUG""#) || line.contains(r#""level":"TRACE""#);
        assert!(!is_detail || line.contains(r#""target":"rowcast::"#), "{line}");
    }
    listen_to_commands(pipeline, &mut heard);
    heard.is_silent();
    letters_hold_it_where_they_may(pipeline);
}

fn end(mut run: Rowcast, heard: &mut Heard) {
    run.terminate();
    run.wait(SOON);
    heard.add("run", run.messages());
}

fn listen_to_commands(pipeline: &Pipeline, heard: &mut Heard) {
    let refused = json!({ "resourceType": "Patient", "id": CANARY, "birthDate": CANARY });
    let file = pipeline.path("refused.json");
    std::fs::write(&file, refused.to_string()).expect("it is written");
    let mut ids = BTreeMap::new();
    for letter in pipeline.letters() {
        let named = letter["cause"].as_str().zip(letter["id"].as_str());
        ids.extend(named.map(|(cause, id)| (cause.to_owned(), id.to_owned())));
    }
    let lines = COMMANDS.iter().flat_map(|line| {
        let some = if line.contains("{each}") { ids.len() } else { 1 };
        ids.values().take(some).map(move |id| (*line, id))
    });
    for (line, id) in lines {
        let place =
            |word: &str| word.replace("{id}", id).replace("{each}", id).replace("{json}", &file);
        let words: Vec<String> = line.split(' ').map(place).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = pipeline.command_with(&[words.as_slice(), &SETTINGS].concat(), &LOUD);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("Usage:"), "{line} is no command: {said}");
        heard.add(line, String::from_utf8_lossy(&output.stderr));
        // rows are what `explain` is for
        if !line.starts_with("explain") {
            heard.add(line, String::from_utf8_lossy(&output.stdout));
        }
    }
}

/// Reads the dead-letter topic itself.
fn letters_hold_it_where_they_may(pipeline: &Pipeline) {
    let letters = records(pipeline, "changes.dead-letter");
    let statuses = records(pipeline, "changes.dead-letter.status");
    let holds = |bytes: Option<&Bytes>| {
        let text = String::from_utf8_lossy(bytes.map_or(&[], |bytes| &**bytes)).to_lowercase();
        text.contains(CANARY)
    };
    assert!(letters.len() > 200);
    let mut values = 0;
    for record in &letters {
        assert!(holds(record.key.as_ref()) || holds(record.value.as_ref()), "{record:?}");
        values += usize::from(holds(record.value.as_ref()));
        for Header { name, value } in &record.headers {
            let is_foreign = name == "x-producer" || name == "rowcast.version";
            assert!(is_foreign || !holds(value.as_ref()), "{name} holds data");
            assert!(!name.contains(CANARY));
        }
    }
    assert!(values > 200, "values are kept");
    for status in &statuses {
        assert!(!holds(status.key.as_ref()) && !holds(status.value.as_ref()));
        assert!(status.headers.iter().all(|header| !holds(header.value.as_ref())));
    }
    assert!(!statuses.is_empty());
}

fn records(pipeline: &Pipeline, topic: &str) -> Vec<Record> {
    support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let mut reader = broker.reader(topic).await.expect("a reader");
        let mut all = Vec::new();
        while let Some(records) = reader.next().await.expect("records") {
            all.extend(records);
        }
        all
    })
}

fn wait_for_letters(pipeline: &Pipeline, run: &mut Rowcast, some: usize) {
    let wanted = "integrity_violation";
    wait_for("the refused deletes", SOON, || {
        assert!(run.ended().is_none(), "{}", run.messages());
        let letters = pipeline.letters();
        (letters.iter().filter(|letter| letter["cause"] == wanted).count() > some).then_some(())
    });
}

/// Until every cause there is was met.
fn wait_for_causes(ground: &Ground, run: &Rowcast) {
    let mut wanted: BTreeSet<String> = Cause::ALL.iter().map(ToString::to_string).collect();
    if ground.kind() == "sqlite" {
        // takes all values
        wanted.remove("data_exception");
    }
    let mut met = BTreeSet::new();
    for _ in 0..100 {
        let letters = pipeline_causes(&ground.pipeline);
        met = letters;
        if met == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(met, wanted, "{}", run.messages());
}

fn pipeline_causes(pipeline: &Pipeline) -> BTreeSet<String> {
    let letters = pipeline.letters();
    letters.iter().filter_map(|letter| letter["cause"].as_str().map(str::to_owned)).collect()
}

type Outgoing = (String, Option<Vec<u8>>, Vec<(&'static str, String)>);

fn append(pipeline: &Pipeline, records: Vec<Outgoing>) {
    let outgoing = records.into_iter().map(|(key, value, headers)| {
        let foreign = ("x-producer", format!("{CANARY}-producer"));
        let headers = headers.into_iter().chain([foreign]);
        OutgoingRecord {
            topic: "changes".into(),
            partition: Some(0),
            key: Some(Bytes::from(key)),
            value: value.map(Bytes::from),
            headers: headers.map(|(name, value)| Header::text(name, value)).collect(),
        }
    });
    let outgoing = outgoing.collect();
    support::block_on(async {
        let broker = EmbeddedBroker::open(pipeline.path("log.db")).await.expect("the log opens");
        let sent = broker.producer().expect("a producer").send(outgoing).await;
        assert!(sent.iter().all(Result::is_ok));
    });
}

/// A patient whose every text is a canary's.
fn upsert(id: &str, version: i64, members: &Value) -> Outgoing {
    let mut patient = json!({
        "resourceType": "Patient", "id": format!("{CANARY}-{id}"),
        "meta": { "versionId": version.to_string() },
        "gender": CANARY, "name": [{ "family": CANARY }], "address": [{ "city": CANARY }],
        "telecom": [{ "value": format!("{CANARY}-{id}") }], "maritalStatus": { "text": CANARY },
        "generalPractitioner": [{ "display": CANARY }],
    });
    for (name, value) in members.as_object().into_iter().flatten() {
        patient[name] = value.clone();
    }
    (format!("Patient/{CANARY}-{id}"), Some(patient.to_string().into_bytes()), Vec::new())
}

fn raw(value: impl Into<Vec<u8>>) -> Outgoing {
    (format!("{CANARY}-key"), Some(value.into()), Vec::new())
}

/// Every way in which a record is refused, some good ones between.
fn bad_records(kind: &str) -> Vec<Outgoing> {
    let patient = |more: &str| format!(r#"{{"resourceType":"Patient",{more}}}"#);
    let versioned = format!(r#""id":"{CANARY}","meta":{{"versionId":"1"}}"#);
    let mut records = vec![
        upsert("better", 1, &json!({})),
        raw(format!(r#"{{"resourceType":"Patient","id":"{CANARY}"#)),
        raw([format!(r#"{{"resourceType":"Patient","id":"{CANARY}"#).as_bytes(), b"\xfc\"}"]
            .concat()),
        raw(patient(&format!(r#""id":"{}""#, CANARY.repeat(10_000)))),
        raw(patient(&format!(r#""{CANARY}":{}"#, "[".repeat(1000)))),
        raw(format!(r#"["{CANARY}"]"#)),
        raw(format!(r#"{{"{CANARY}":"{CANARY}"}}"#)),
        // a schema that nobody knows, and one whose value is cut off
        raw([b"\0\0\0\0\x01".as_slice(), CANARY.as_bytes()].concat()),
        raw([b"\0\0\0\0\x02\x7e".as_slice(), CANARY.as_bytes()].concat()),
        raw(format!(r#"{{"resourceType":"{CANARY}",{versioned}}}"#)),
        (format!("Patient/{CANARY}-else"), Some(patient(&versioned).into_bytes()), Vec::new()),
        raw(patient(&format!(r#""meta":{{"versionId":"1"}},"gender":"{CANARY}""#))),
        raw(patient(&format!(r#""id":"{CANARY} / {CANARY}","meta":{{"versionId":"1"}}"#))),
        (format!("{CANARY}-no-resource"), None, Vec::new()),
        raw(patient(&format!(r#""id":"{CANARY}""#))),
        raw(patient(&format!(r#""id":"{CANARY}","meta":{{"versionId":"{CANARY}"}}"#))),
        (
            format!("Patient/{CANARY}"),
            Some(patient(&versioned).into_bytes()),
            vec![("rowcast.version", CANARY.to_owned())],
        ),
        upsert(
            "subset",
            1,
            &json!({ "meta": { "versionId": "1", "tag": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED",
            "display": CANARY }] } }),
        ),
        raw(format!(r#"{{"payload":"{{{CANARY}","operationType":"UPDATE"}}"#)),
        upsert("born", 1, &json!({ "birthDate": CANARY })),
        upsert("cities", 1, &json!({ "address": [{ "city": CANARY }, { "city": CANARY }] })),
        upsert(
            "doctors",
            1,
            &json!({ "generalPractitioner": [{ "display": CANARY }, { "display": CANARY }] }),
        ),
        upsert("phone", 1, &json!({ "telecom": [{ "value": CANARY.repeat(10) }] })),
        upsert("city", 1, &json!({ "address": [{ "city": CANARY.repeat(10) }] })),
        upsert("null", 1, &json!({ "gender": null })),
        upsert("check", 1, &json!({ "gender": format!("{CANARY}-forbidden") })),
        upsert("first", 1, &json!({ "telecom": [{ "value": format!("{CANARY}-same") }] })),
        upsert("second", 1, &json!({ "telecom": [{ "value": format!("{CANARY}-same") }] })),
        upsert("org", 1, &json!({ "managingOrganization": { "reference": CANARY } })),
        upsert("trigger", 1, &json!({ "maritalStatus": { "text": format!("{CANARY}-trigger") } })),
        upsert("births", 1, &json!({ "multipleBirthInteger": 70_000 })),
        (format!("Patient/{CANARY}-kept"), None, vec![("rowcast.version", "2".to_owned())]),
        (format!("Patient/{CANARY}-kept-too"), None, Vec::new()),
    ];
    if kind == "postgres" {
        records.push(upsert("nul", 1, &json!({ "gender": format!("\u{0}{CANARY}") })));
    }
    records
}

/// The delete without version that was refused, delivered again.
fn refused_delete(pipeline: &Pipeline) -> Outgoing {
    let letters = pipeline.letters();
    let letter = letters
        .iter()
        .find(|letter| letter["cause"] == "integrity_violation" && letter["version"].is_null());
    let letter = letter.unwrap_or_else(|| panic!("the delete was refused: {letters:?}"));
    let headers = vec![
        ("rowcast.origin.topic", "changes".to_owned()),
        ("rowcast.origin.partition", letter["partition"].to_string()),
        ("rowcast.origin.offset", letter["offset"].to_string()),
    ];
    (format!("Patient/{CANARY}-kept-too"), None, headers)
}

/// Holds a row, and on SQLite the whole database, until dropped.
struct Held(Option<mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take());
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

fn hold_row(pipeline: &Pipeline, id: &str) -> Held {
    let sql = format!("UPDATE patient SET city = city WHERE id = '{id}'");
    let url = pipeline.url().to_owned();
    let (release, released) = mpsc::channel::<()>();
    let (holding, held) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let until = move || {
            holding.send(()).expect("somebody waits");
            // ends with an error once the other side is dropped
            let _ = released.recv();
        };
        support::block_on(async {
            match url.split(':').next() {
                Some("sqlite") => hold::<sqlx::SqliteConnection>(&url, sql, until).await,
                Some("mysql") => hold::<sqlx::MySqlConnection>(&url, sql, until).await,
                _ => hold::<sqlx::PgConnection>(&url, sql, until).await,
            }
        });
    });
    held.recv().expect("the row is held");
    Held(Some(release), Some(thread))
}

/// Runs a statement and leaves its transaction open until `until` returns.
async fn hold<C>(url: &str, sql: String, until: impl FnOnce())
where
    C: Connection,
    for<'c> &'c mut C: Executor<'c, Database = C::Database>,
{
    let mut connection = C::connect(url).await.expect("connected");
    for sql in ["BEGIN".to_owned(), sql] {
        connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.expect("it is done");
    }
    until();
    connection.execute(sqlx::raw_sql("ROLLBACK")).await.expect("it is undone");
}

impl Ground {
    fn kind(&self) -> &'static str {
        match self.pipeline.url().split(':').next() {
            Some("sqlite") => "sqlite",
            Some("mysql") => "mariadb",
            _ => "postgres",
        }
    }
}

/// Tables with every kind of constraint, and triggers that say what they see.
fn tables(kind: &str) -> Vec<String> {
    let (date, small) = if kind == "sqlite" { ("text", "integer") } else { ("date", "smallint") };
    let characters =
        if kind == "mariadb" { "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" } else { "" };
    let patient = format!(
        "CREATE TABLE patient (id varchar(64) PRIMARY KEY, version bigint NOT NULL, birth_date {date}, \
         gender varchar(64) NOT NULL, city varchar(40), phone varchar(64) UNIQUE, org varchar(64), \
         note varchar(64), doctor varchar(64), births {small}, \
         CHECK (gender NOT LIKE '%-forbidden'), FOREIGN KEY (org) REFERENCES org (id)) {characters}"
    );
    let mut tables =
        vec![format!("CREATE TABLE org (id varchar(64) PRIMARY KEY) {characters}"), patient];
    let triggers: &[&str] = match kind {
        "sqlite" => &[
            "CREATE TRIGGER noted BEFORE INSERT ON patient WHEN NEW.note LIKE '%-trigger' \
             BEGIN SELECT RAISE(ABORT, 'canary-5f1c'); END",
            "CREATE TRIGGER kept BEFORE DELETE ON patient WHEN OLD.id LIKE '%-kept%' \
             BEGIN SELECT RAISE(ABORT, 'canary-5f1c'); END",
        ],
        "mariadb" => &[
            "CREATE TRIGGER noted BEFORE INSERT ON patient FOR EACH ROW \
             IF NEW.note LIKE '%-trigger' THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'canary-5f1c'; END IF",
            "CREATE TRIGGER kept BEFORE DELETE ON patient FOR EACH ROW \
             IF OLD.id LIKE '%-kept%' THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'canary-5f1c'; END IF",
        ],
        _ => &[
            "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE WARNING 'saw %', NEW; IF NEW.note LIKE '%-trigger' THEN \
             RAISE EXCEPTION 'not %', NEW USING DETAIL = NEW::text, HINT = NEW.id; END IF; \
             RETURN NEW; END $$",
            "CREATE TRIGGER noted BEFORE INSERT ON patient FOR EACH ROW EXECUTE FUNCTION noted()",
            "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF OLD.id LIKE '%-kept%' THEN \
             RAISE EXCEPTION 'not %', OLD USING DETAIL = OLD::text; END IF; RETURN OLD; END $$",
            "CREATE TRIGGER kept BEFORE DELETE ON patient FOR EACH ROW EXECUTE FUNCTION kept()",
        ],
    };
    tables.extend(triggers.iter().map(|&trigger| trigger.to_owned()));
    tables
}
