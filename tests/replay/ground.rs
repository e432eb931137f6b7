//! Where letters are replayed, and all that could change there.

use std::process::Output;

use rowcast::application::Application;
use rowcast::model::Record;
use serde_json::{Value, json};

use crate::support::pipeline::{Pipeline, RULES};
use crate::support::{self, Database};

/// A pipeline on one of the databases.
pub(super) struct Ground {
    pub(super) pipeline: Pipeline,
    /// Dropped after the pipeline.
    _database: Option<Database>,
}

/// The tables and their columns; `?` stands for the quotes of the database.
const TABLES: [(&str, &[&str]); 5] = [
    ("patient", &["id", "version", "birth_date", "gender", "city"]),
    ("patient_name", &["id", "parent_reference", "source_resource_id", "family"]),
    ("rowcast_task", &["name", "topic", "?partition?", "epoch", "next_offset"]),
    (
        "rowcast_tombstone",
        &["table_name", "source_resource_id", "version", "?at?", "origin_offset", "refused_offset"],
    ),
    ("rowcast_table", &["table_name", "topology", "rules_hash"]),
];

/// The same behaviour on all grounds.
pub(super) fn on_all(rules: &str, more: &str, behaves: impl Fn(&Ground)) {
    behaves(&Ground::embedded(rules, more));
    if let Some(mariadb) = support::requires_mariadb() {
        let database = mariadb.database("replay");
        let pipeline = Pipeline::embedded_at(database.url().to_owned(), rules, more);
        behaves(&Ground { pipeline, _database: Some(database) });
    }
    if let Some(ground) = Ground::servers(rules, more) {
        behaves(&ground);
    }
}

impl Ground {
    /// Embedded broker and SQLite.
    pub(super) fn embedded(rules: &str, more: &str) -> Self {
        Self { pipeline: Pipeline::embedded(rules, more), _database: None }
    }

    /// Kafka and PostgreSQL, where they are.
    pub(super) fn servers(rules: &str, more: &str) -> Option<Self> {
        let kafka = support::requires_kafka()?;
        let postgres = support::requires_postgres()?;
        let (topic, database) = (kafka.topic("replay", 2), postgres.database("replay"));
        let pipeline = Pipeline::servers(kafka.servers(), topic, database, rules, more);
        Some(Self { pipeline, _database: None })
    }

    /// Every cell of the tables and of what rowcast remembers, save when it was remembered by whom.
    pub(super) fn rows(&self) -> Vec<Vec<Vec<String>>> {
        TABLES.iter().map(|(table, columns)| self.table(table, columns)).collect()
    }

    /// Every cell of the rules' tables.
    pub(super) fn data(&self) -> Vec<Vec<Vec<String>>> {
        TABLES.iter().take(2).map(|(table, columns)| self.table(table, columns)).collect()
    }

    fn table(&self, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
        let (quote, text) =
            if self.pipeline.url().starts_with("mysql") { ("`", "CHAR") } else { ("\"", "TEXT") };
        let cells: Vec<String> = columns
            .iter()
            .map(|column| format!("CAST({} AS {text})", column.replace('?', quote)))
            .collect();
        let mut rows = self.pipeline.query(&format!("SELECT {} FROM {table}", cells.join(", ")));
        rows.sort();
        rows
    }

    /// Every record of ingest, dead-letter and status topic.
    pub(super) fn topics(&self) -> Vec<Record> {
        let topic = self.pipeline.topic();
        let letters = format!("{topic}.dead-letter");
        let mut all = self.records(topic);
        all.extend(self.records(&letters));
        all.extend(self.records(&format!("{letters}.status")));
        all
    }

    /// The records of the dead-letter topic.
    pub(super) fn letters(&self) -> Vec<Record> {
        self.records(&format!("{}.dead-letter", self.pipeline.topic()))
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        let application =
            Application::load(self.pipeline.path("topology.yaml")).expect("it is valid");
        support::block_on(async {
            let broker = application.broker().await.expect("a broker");
            let mut reader = broker.reader(topic).await.expect("a reader");
            let mut all = Vec::new();
            while let Some(records) = reader.next().await.expect("records") {
                all.extend(records);
            }
            all.sort_by_key(|record| (record.source.partition, record.offset));
            all
        })
    }
}

/// What a patient has too much of: the rules take one city.
pub(super) fn two_cities() -> Value {
    json!({ "address": [{ "city": "A" }, { "city": "B" }] })
}

/// Rules that take the first of two cities.
pub(super) fn mended() -> String {
    RULES.replace("Patient.address.city", "Patient.address.first().city")
}

/// What a replay told, and its exit code, which must be this.
pub(super) fn counts(output: &Output, code: i32) -> (i32, Value) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (code, told)
}
