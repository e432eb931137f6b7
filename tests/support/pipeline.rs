//! A topology of a test's own: a folder with rules, topic, database, and the commands on it.

use std::fmt::Write as _;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, MySqlConnection, PgConnection, SqliteConnection,
};

use super::Database;
use super::kafka::Topic;
use super::{Rowcast, block_on, free_port, http, metrics, unique, wait_for};

/// How long anything may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Rules that most tests use: one root, one child, one column of each awkward kind.
pub(crate) const RULES: &str = r#"{ "transformers": [{
  "resourceType": "Patient", "tableName": "patient",
  "columns": [
    { "columnName": "id", "fhirPath": "Patient.id", "columnType": "STRING" },
    { "columnName": "birth_date", "fhirPath": "Patient.birthDate", "columnType": "DATE" },
    { "columnName": "gender", "fhirPath": "Patient.gender", "columnType": "STRING" },
    { "columnName": "city", "fhirPath": "Patient.address.city", "columnType": "STRING" } ],
  "childTables": [{ "fhirPath": "Patient.name", "tableName": "patient_name", "columns": [
    { "columnName": "family", "fhirPath": "family", "columnType": "STRING" } ] }] }] }"#;

/// Where the rows go and where the records come from.
enum Ground {
    Embedded,
    Servers(Box<(Topic, Database)>),
}

/// A topology with its own topic and database.
pub(crate) struct Pipeline {
    folder: tempfile::TempDir,
    ground: Ground,
    url: String,
    port: u16,
}

impl Pipeline {
    /// Embedded broker and SQLite; `more` is YAML added to the topology.
    pub(crate) fn embedded(rules: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("rows.db").display());
        let source = "source: { topic: changes, embedded: { path: log.db } }";
        Self::laid_out(folder, Ground::Embedded, source, url, rules, more)
    }

    /// The same with a `source` section of the test's own, as YAML.
    pub(crate) fn embedded_from(source: &str, rules: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("rows.db").display());
        Self::laid_out(folder, Ground::Embedded, source, url, rules, more)
    }

    /// Kafka and PostgreSQL or MariaDB at these addresses; `topic` and `database` are dropped with it.
    pub(crate) fn servers(
        servers: &str,
        topic: Topic,
        database: Database,
        rules: &str,
        more: &str,
    ) -> Self {
        Self::servers_with((servers, ""), topic, database, rules, more)
    }

    /// The same with more properties of Kafka's client, as YAML: `, name: value`.
    pub(crate) fn servers_with(
        (servers, properties): (&str, &str),
        topic: Topic,
        database: Database,
        rules: &str,
        more: &str,
    ) -> Self {
        let source = format!(
            "source: {{ topic: {}, kafka: {{ bootstrap.servers: '{servers}', session.timeout.ms: 6000, heartbeat.interval.ms: 500{properties} }} }}",
            topic.name()
        );
        Self::servers_from(&source, topic, database, rules, more)
    }

    /// The same with a `source` section of the test's own, as YAML, which names that topic.
    pub(crate) fn servers_from(
        source: &str,
        topic: Topic,
        database: Database,
        rules: &str,
        more: &str,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = database.url().to_owned();
        let ground = Ground::Servers(Box::new((topic, database)));
        Self::laid_out(folder, ground, source, url, rules, more)
    }

    /// Embedded broker, and a database at this url.
    pub(crate) fn embedded_at(url: String, rules: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = "source: { topic: changes, embedded: { path: log.db } }";
        Self::laid_out(folder, Ground::Embedded, source, url, rules, more)
    }

    fn laid_out(
        folder: tempfile::TempDir,
        ground: Ground,
        source: &str,
        url: String,
        rules: &str,
        more: &str,
    ) -> Self {
        let port = free_port();
        let mut topology = format!("name: {}\n{source}\n", unique("pipeline"));
        let _ = write!(
            topology,
            "transform: {{ rules: [rules.json] }}\nsink: {{ url: '{url}' }}\nhttp: {{ listen: '127.0.0.1:{port}' }}\n{more}\n"
        );
        std::fs::write(folder.path().join("rules.json"), rules).expect("rules are written");
        std::fs::write(folder.path().join("topology.yaml"), topology).expect("it is written");
        Self { folder, ground, url, port }
    }

    /// A command on this topology: exit code, stdout, stderr.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Rowcast::command(&self.arguments(arguments)).output().expect("rowcast runs")
    }

    /// The same with more environment.
    pub(crate) fn command_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let mut command = Rowcast::command(&self.arguments(arguments));
        command.envs(more.iter().copied()).output().expect("rowcast runs")
    }

    /// The same, which must end well; its stdout.
    pub(crate) fn expect(&self, arguments: &[&str]) -> String {
        let output = Rowcast::run(&self.arguments(arguments));
        String::from_utf8(output.stdout).expect("stdout is UTF-8")
    }

    /// A command that goes on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Rowcast {
        Rowcast::start(&self.arguments(arguments))
    }

    /// The same with more environment.
    pub(crate) fn start_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Rowcast {
        Rowcast::start_with(&self.arguments(arguments), more)
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        all.extend(["--topology".to_owned(), self.path("topology.yaml")]);
        all
    }

    /// Its name, which is the consumer group's.
    pub(crate) fn name(&self) -> String {
        let topology = std::fs::read_to_string(self.path("topology.yaml")).expect("it is there");
        let first = topology.lines().next().and_then(|line| line.strip_prefix("name: "));
        first.expect("a name").to_owned()
    }

    /// The database's url.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it serves metrics and health.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Replaces the rules.
    pub(crate) fn write_rules(&self, rules: &str) {
        std::fs::write(self.path("rules.json"), rules).expect("rules are written");
    }

    /// Creates the tables as `rowcast schema` prints them.
    pub(crate) fn create_tables(&self) {
        let ddl = self.expect(&["schema"]);
        self.execute(&ddl);
    }

    /// Executes SQL.
    pub(crate) fn execute(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        block_on(async {
            match self.scheme() {
                "sqlite" => {
                    SqliteConnection::connect(&self.url).await?.execute(sql).await.map(drop)
                }
                "mysql" => MySqlConnection::connect(&self.url).await?.execute(sql).await.map(drop),
                _ => PgConnection::connect(&self.url).await?.execute(sql).await.map(drop),
            }
        })
        .expect("SQL is right");
    }

    /// The text cells of a query, row by row.
    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_query(sql).expect("SQL is right")
    }

    /// The same, or why not: for databases that may be away.
    pub(crate) fn try_query(&self, sql: &str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            match self.scheme() {
                "sqlite" => {
                    let mut connection = SqliteConnection::connect(&self.url).await?;
                    sqlx::query(sql).fetch_all(&mut connection).await.map(|rows| texts(&rows))
                }
                "mysql" => {
                    let mut connection = MySqlConnection::connect(&self.url).await?;
                    sqlx::query(sql).fetch_all(&mut connection).await.map(|rows| texts(&rows))
                }
                _ => {
                    let mut connection = PgConnection::connect(&self.url).await?;
                    sqlx::query(sql).fetch_all(&mut connection).await.map(|rows| texts(&rows))
                }
            }
        })
    }

    fn scheme(&self) -> &str {
        self.url.split(':').next().unwrap_or_default()
    }

    /// The ids in `patient`, sorted.
    pub(crate) fn patients(&self) -> Vec<String> {
        self.query("SELECT id FROM patient ORDER BY id").into_iter().flatten().collect()
    }

    /// Appends records, given as lines of `produce --as records`.
    pub(crate) fn produce(&self, lines: &[String]) {
        let file = self.path("produced.ndjson");
        std::fs::write(&file, lines.join("\n")).expect("records are written");
        self.expect(&["produce", "--as", "records", &file]);
    }

    /// Runs until the topic is settled; its messages.
    pub(crate) fn run_until_idle(&self) -> String {
        let mut run = self.start(&["run", "--until-idle", "1s"]);
        let status = run.wait(SOON * 2);
        assert!(status.success(), "run ended with {status}: {}", run.messages());
        run.messages()
    }

    /// The dead letters that are open.
    pub(crate) fn letters(&self) -> Vec<Value> {
        let listed = self.command(&["dead-letters", "list", "--output", "json"]);
        let said = String::from_utf8_lossy(&listed.stderr);
        // 4: there are none
        assert!(matches!(listed.status.code(), Some(0 | 4)), "{}: {said}", listed.status);
        let printed = String::from_utf8(listed.stdout).expect("stdout is UTF-8");
        printed.lines().map(|line| serde_json::from_str(line).expect("a letter is JSON")).collect()
    }

    /// A metric of the running process.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metrics::value(&http::get(self.port, "/metrics")?.body, name, labels)
    }

    /// Waits until `/readyz` answers so.
    pub(crate) fn wait_until_ready(&self, ready: Ready) -> String {
        let status = if ready == Ready::Yes { 200 } else { 503 };
        http::wait_for_status(self.port, "/readyz", status, SOON).body
    }

    /// Waits until the table `patient` has this many rows.
    pub(crate) fn wait_for_patients(&self, count: usize) {
        let query = "SELECT id FROM patient";
        // also while the database is away
        let found = || self.try_query(query).ok().filter(|rows| rows.len() == count);
        wait_for("rows", SOON, || found().map(drop));
    }
}

impl Pipeline {
    /// The ingest topic: `changes` on the embedded broker.
    pub(crate) fn topic(&self) -> &str {
        match &self.ground {
            Ground::Servers(ours) => ours.0.name(),
            Ground::Embedded => "changes",
        }
    }
}

/// The text cells of rows of either database; NULL as an empty text.
fn texts<R>(rows: &[R]) -> Vec<Vec<String>>
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    Option<String>: for<'r> sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    let cells = |row: &R| {
        (0..row.len()).map(|cell| row.get::<Option<String>, _>(cell).unwrap_or_default()).collect()
    };
    rows.iter().map(cells).collect()
}

/// What `/readyz` should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    No,
}

/// A line of a record that upserts a patient.
pub(crate) fn patient(id: &str, version: i64, members: &Value) -> String {
    let mut patient = serde_json::json!({
        "resourceType": "Patient", "id": id, "meta": { "versionId": version.to_string() },
        "name": [{ "family": format!("F{version}") }],
    });
    if let (Some(patient), Some(members)) = (patient.as_object_mut(), members.as_object()) {
        patient.extend(members.clone());
    }
    serde_json::json!({ "key": format!("Patient/{id}"), "value": patient }).to_string()
}

/// A line of a record that deletes a patient at a version.
pub(crate) fn deleted(id: &str, version: i64) -> String {
    serde_json::json!({
        "key": format!("Patient/{id}"), "value": null, "headers": { "rowcast.version": version.to_string() },
    })
    .to_string()
}
