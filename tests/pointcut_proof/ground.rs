//! Where it happens: a FHIR server, a topology that follows it, and the tables, which are compared
//! with what the server has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fhir_server::{Document, FhirServer, Settings, quiet_port};
use crate::support::pipeline::{Pipeline, Ready, SOON};
use crate::support::{self, Instance, Kafka, Rowcast};

/// What hooks must show.
pub(super) const TOKEN: &str = "a-token-of-the-proof";

pub(super) const RULES: &str = r#"{ "transformers": [
  { "resourceType": "Patient", "tableName": "patient",
    "columns": [
      { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING" },
      { "columnName": "gender", "fhirPath": "Patient.gender", "columnType": "STRING" } ],
    "childTables": [{ "fhirPath": "Patient.name", "tableName": "patient_name", "columns": [
      { "columnName": "family", "fhirPath": "family", "columnType": "STRING" } ] }] },
  { "resourceType": "Observation", "tableName": "observation",
    "columns": [
      { "columnName": "id", "fhirPath": "Observation.id", "columnType": "STRING" },
      { "columnName": "code", "fhirPath": "Observation.code.text", "columnType": "STRING" } ] } ] }"#;

/// Shorter than any time between two catch-ups.
const QUIET: Duration = Duration::from_millis(400);

/// A server and a pipeline that follows it.
pub(super) struct Ground {
    pub(super) server: FhirServer,
    pub(super) pipeline: Pipeline,
    /// Where hooks arrive.
    pub(super) hooks: u16,
    /// A broker of the test's own, to be stopped.
    pub(super) broker: Option<Instance>,
}

/// What stands in the tables, or should: by `Type/id` version and cells.
type Tables = BTreeMap<String, (u64, Vec<String>)>;

/// The same behaviour on all grounds; `more` are settings of `source.pointcut`, as YAML.
pub(super) fn on_all(more: &str, behaves: impl Fn(&Ground)) {
    behaves(&Ground::embedded(Settings::default(), more));
    if let Some(ground) = Ground::servers(Settings::default(), more) {
        behaves(&ground);
    }
}

impl Ground {
    /// Embedded broker and SQLite.
    pub(super) fn embedded(settings: Settings, more: &str) -> Self {
        Self::embedded_with(settings, |_| more.to_owned(), "")
    }

    /// The same with settings that depend on the server, and more of `source`.
    pub(super) fn embedded_with(
        settings: Settings,
        more: impl Fn(&FhirServer) -> String,
        more_of_source: &str,
    ) -> Self {
        let (server, hooks) = (FhirServer::start_with(settings), quiet_port());
        let broker = format!("topic: changes, embedded: {{ path: log.db }}, {more_of_source}");
        let source = source(broker.trim_end_matches(", "), &server, hooks, &more(&server));
        let pipeline = Pipeline::embedded_from(&source, RULES, "");
        pipeline.create_tables();
        Self { server, pipeline, hooks, broker: None }
    }

    /// Kafka and PostgreSQL, where they are.
    pub(super) fn servers(settings: Settings, more: &str) -> Option<Self> {
        let kafka = support::requires_kafka()?;
        Self::on_kafka(&kafka, None, settings, more)
    }

    /// The same with a Kafka of its own.
    pub(super) fn own_broker(settings: Settings, more: &str) -> Option<Self> {
        let broker = support::requires_own_kafka()?;
        let kafka = Kafka::at(broker.address());
        Self::on_kafka(&kafka, Some(broker), settings, more)
    }

    fn on_kafka(
        kafka: &Kafka,
        broker: Option<Instance>,
        settings: Settings,
        more: &str,
    ) -> Option<Self> {
        let database = support::requires_postgres()?.database("pointcut");
        let topic = kafka.topic("pointcut", 3);
        let (server, hooks) = (FhirServer::start_with(settings), quiet_port());
        let client = format!(
            "topic: {}, kafka: {{ bootstrap.servers: '{}', session.timeout.ms: 6000, \
             heartbeat.interval.ms: 500 }}",
            topic.name(),
            kafka.servers()
        );
        let source = source(&client, &server, hooks, more);
        let pipeline = Pipeline::servers_from(&source, topic, database, RULES, "");
        pipeline.create_tables();
        Some(Self { server, pipeline, hooks, broker })
    }

    /// Runs until it is dropped, and is followed from now on.
    pub(super) fn run(&self) -> Rowcast {
        let run = self.pipeline.start(&["run"]);
        self.pipeline.wait_until_ready(Ready::Yes);
        self.wait_until_subscribed();
        self.wait_until_quiet();
        run
    }

    /// Waits until what the start had to read is read: it must not do the work of hooks, or of the next
    /// catch-up.
    fn wait_until_quiet(&self) {
        let (mut asked, mut since) = (self.server.asked().len(), Instant::now());
        support::wait_for("a quiet start", SOON, || {
            let now = self.server.asked().len();
            if now != asked {
                (asked, since) = (now, Instant::now());
            }
            (since.elapsed() > QUIET).then_some(())
        });
    }

    /// Waits until the server would tell it of changes.
    pub(super) fn wait_until_subscribed(&self) {
        support::wait_for("active subscriptions", SOON, || {
            let active = self.server.active_subscriptions();
            // one for each type, or one for both
            (!active.is_empty() && active.len() == self.server.subscriptions()).then_some(())
        });
    }

    /// What the tables have in common with the server: everything, and it stays so.
    pub(super) fn equals_the_server(&self, run: &Rowcast) {
        self.server.wait_for_hooks();
        let deadline = Instant::now() + SOON;
        loop {
            let (is, should) = (self.tables(), self.expected());
            if is.as_ref() == Some(&should) {
                break;
            }
            let is = is.unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "after {SOON:?}\n{}\nrowcast said:\n{}",
                difference(&is, &should),
                run.messages()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        // what comes late must change nothing
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(self.tables(), Some(self.expected()), "it does not stay equal");
    }

    /// `Type/id` and version of all rows.
    pub(super) fn versions(&self) -> Vec<(String, u64)> {
        let tables = self.tables().expect("the database is there");
        tables.into_iter().map(|(path, (version, _))| (path, version)).collect()
    }

    /// What the tables hold; `None` while the database cannot be asked.
    fn tables(&self) -> Option<Tables> {
        let query = |sql: &str| self.pipeline.try_query(sql).ok();
        let mut tables = Tables::new();
        for [id, version, gender] in
            rows(query("SELECT id, CAST(version AS TEXT), gender FROM patient")?)
        {
            let version = version.parse().expect("a version is a number");
            tables.insert(format!("Patient/{id}"), (version, vec![gender]));
        }
        for [id, version, code] in
            rows(query("SELECT id, CAST(version AS TEXT), code FROM observation")?)
        {
            let version = version.parse().expect("a version is a number");
            tables.insert(format!("Observation/{id}"), (version, vec![code]));
        }
        let mut names = rows(query("SELECT source_resource_id, family FROM patient_name")?);
        names.sort();
        for [id, family] in names {
            // of nobody: not equal to anything
            let of = tables.entry(format!("Patient/{id}")).or_default();
            of.1.push(family);
        }
        Some(tables)
    }

    /// What the tables should hold.
    fn expected(&self) -> Tables {
        let current = self.server.current().into_iter();
        current
            .filter_map(|((of_type, id), current)| {
                let document = current.document?;
                let cells = match of_type.as_str() {
                    "Patient" => patient_cells(&document),
                    "Observation" => vec![text(&document.member("code")["text"])],
                    _ => return None,
                };
                Some((format!("{of_type}/{id}"), (current.version, cells)))
            })
            .collect()
    }
}

/// The section `source`.
fn source(broker: &str, server: &FhirServer, hooks: u16, more: &str) -> String {
    format!(
        "source: {{ {broker}, pointcut: {{ server: '{}', listen: '127.0.0.1:{hooks}', \
         token: {TOKEN}, {more} }} }}",
        server.url()
    )
}

fn patient_cells(document: &Document) -> Vec<String> {
    let names = document.member("name");
    let names = names.as_array().into_iter().flatten().map(|name| text(&name["family"]));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.insert(0, text(&document.member("gender")));
    names
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn rows<const N: usize>(rows: Vec<Vec<String>>) -> Vec<[String; N]> {
    rows.into_iter().map(|row| row.try_into().expect("as many cells as were asked for")).collect()
}

fn difference(is: &Tables, should: &Tables) -> String {
    let mut told = String::from("rows that are not what the server has (is, should be):");
    let mut paths: Vec<_> = is.keys().chain(should.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let (is, should) = (is.get(path), should.get(path));
        if is != should {
            let _ = write!(told, "\n  {path}: {is:?}, {should:?}");
        }
    }
    told
}
