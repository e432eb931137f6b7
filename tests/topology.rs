//! Topology files: what is accepted, what is refused and how it is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowcast::dead_letter::RetryPolicy;
use rowcast::error::Cause;
use rowcast::model::DocumentLimits;
use rowcast::problem::Problem;
use rowcast::retry::{Schedule, Strategy};
use rowcast::sink::Keying;
use rowcast::source::{Format, TypeFrom, VersionFrom};
use rowcast::topology::{
    BrokerChoice, Loaded, LogFormat, Setting, Topology, json_schema, load_with,
};
use rowcast::transform::RuleSet;

use crate::support::Rowcast;

/// A secret that must appear nowhere.
const CANARY: &str = "canary-5f1c";

const MINIMAL: &str = "
name: clinical
source: { topic: fhir.changes }
transform: { rules: [rules/*.json] }
sink: { url: 'sqlite://clinical.db' }
";

/// A folder with a topology file and two rules files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(topology: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("rules")).expect("made");
        fs::write(folder.path().join("rules/patient.json"), "{\"a\":1}").expect("written");
        fs::write(folder.path().join("rules/observation.json"), "{\"b\":2}").expect("written");
        fs::write(folder.path().join("t.yaml"), topology).expect("written");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, settings: &[&str]) -> Result<Loaded, Vec<Problem>> {
        let settings: Vec<Setting> =
            settings.iter().map(|text| text.parse().expect("a setting")).collect();
        let variables = BTreeMap::from([
            ("SECRET", CANARY),
            ("URL", "postgres://rowcast:canary-5f1c@db.example:5432/clinical"),
            ("NUMBER", "7"),
            ("WORD", "seven"),
        ]);
        load_with(&self.path().join("t.yaml"), &settings, &|name| {
            variables.get(name).map(|value| (*value).to_owned())
        })
    }

    fn topology(&self, settings: &[&str]) -> Topology {
        self.load(settings).unwrap_or_else(|problems| panic!("{problems:#?}")).topology
    }

    /// The problems, without the folder's name.
    fn problems(&self, settings: &[&str]) -> Vec<String> {
        let problems = self.load(settings).expect_err("problems");
        let folder = format!("{}/", self.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn warnings(&self, settings: &[&str]) -> Vec<String> {
        let loaded = self.load(settings).unwrap_or_else(|problems| panic!("{problems:#?}"));
        loaded.warnings.iter().map(|warning| warning.path.clone()).collect()
    }
}

fn minimal_with(more: &str) -> String {
    format!("{MINIMAL}{more}\n")
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn three_mistakes_in_one_topology_are_all_named_with_their_places() {
    let folder = Folder::new(
        "
name: clinical
source: { topic: fhir.changes, formt: hapi }
transform: { rules: [rules/*.json], version: { from: guess } }
sink: { url: 'oracle://db/clinical' }
",
    );
    assert_eq!(
        folder.problems(&[]),
        [
            "t.yaml#/source/formt: unknown key; did you mean `format`? (accepted: kafka, embedded, pointcut, \
             topic, topics, keyed, format, debezium, schema_registry, avro, max_record_bytes, max_depth)",
            "t.yaml#/transform/version/from: unknown value (accepted: version_id, last_updated, offset)",
            "t.yaml#/sink/url: must be a database URL: postgres://user@host:5432/database, \
             mysql://user@host:3306/database or sqlite://file.db",
        ]
    );
}

#[test]
fn mistakes_of_placeholders_shape_and_meaning_are_told_in_one_run() {
    let folder = Folder::new(
        "
name: clinical
source: { topic: 'no topic', kafka: { bootstrap.servers: '${ABSENT}' }, embedded: {} }
transform: { rules: [none/*.json, rules/*.json] }
sink: { url: '${URL}', connections: zero }
batch: { bytes: much, linger: 1h, rows: 0 }
",
    );
    let problems = folder.problems(&["dead_letter.max_ratio=2"]);
    let places: Vec<&str> = problems.iter().map(|p| p.split(": ").next().unwrap()).collect();
    let mut sorted = places.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "--set#/dead_letter/max_ratio",
            "t.yaml#/batch/bytes",
            "t.yaml#/batch/linger",
            "t.yaml#/batch/rows",
            "t.yaml#/sink/connections",
            "t.yaml#/source",
            "t.yaml#/source/kafka/bootstrap.servers",
            "t.yaml#/source/topic",
            "t.yaml#/transform/rules/0",
        ]
    );
}

#[test]
fn missing_sections_are_named_and_nothing_that_follows_from_them() {
    assert_eq!(
        Folder::new("sink: {}").problems(&[]),
        [
            "t.yaml#/name: is required",
            "t.yaml#/source: is required",
            "t.yaml#/sink/url: is required",
        ]
    );
    assert_eq!(
        Folder::new("").problems(&[]),
        ["t.yaml: must be a mapping with the keys name, source, transform, sink"]
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_line_and_without_its_text() {
    for text in ["a: 1\nb: [canary-5f1c\n", "a: 1\na: canary-5f1c\n", "a: 1\nb: 'canary-5f1c"] {
        let problems = Folder::new(text).problems(&[]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("line 2"), "{}", problems[0]);
        assert!(!problems[0].contains(CANARY), "{}", problems[0]);
    }
}

#[test]
fn a_file_that_is_not_there_is_a_problem_like_any_other() {
    let problems = load_with(Path::new("/nowhere/t.yaml"), &[], &|_| None).expect_err("absent");
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.to_string().starts_with("/nowhere/t.yaml: cannot be read: "), "{problem}");
}

#[test]
fn an_undefined_variable_is_a_problem_and_never_an_empty_text() {
    let folder = Folder::new(&MINIMAL.replace("sqlite://clinical.db", "${DATABASE_URL}"));
    assert_eq!(
        folder.problems(&[]),
        ["t.yaml#/sink/url: the environment variable `DATABASE_URL` is not set"]
    );
    let url = folder.topology(&["sink.url=sqlite:///x.db"]).sink.url;
    assert_eq!(url.expose(), "sqlite:///x.db", "a setting stands in its place");
}

#[test]
fn a_secret_is_shown_nowhere_in_a_topology_that_loads() {
    let folder = Folder::new(
        "
name: clinical
source:
  topic: fhir.changes
  kafka: { bootstrap.servers: 'kafka:9093', sasl.password: '${SECRET}', sasl.pasword: '${SECRET}' }
transform: { rules: [rules/*.json] }
sink: { url: '${URL}?password=${SECRET}' }
http: { token: '${SECRET}' }
",
    );
    let loaded = folder.load(&[]).expect("valid");
    let topology = &loaded.topology;
    let description = topology.describe();
    let shown = format!(
        "{loaded:?} {loaded:#?} {} {} {description} {} {}",
        topology.effective,
        topology.sink.shown(),
        description.mermaid(),
        serde_json::to_string(&description).expect("plain data"),
    );
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("postgres://db.example:5432/clinical"));
    let BrokerChoice::Kafka(properties) = &topology.broker else { panic!("kafka") };
    assert_eq!(properties["sasl.password"], CANARY, "librdkafka needs it all the same");
}

#[test]
fn a_secret_in_the_wrong_place_is_shown_in_no_problem() {
    let places = [
        "name",
        "source.topic",
        "source.format",
        "source.max_record_bytes",
        "source.max_depth",
        "source.kafka",
        "source.embedded",
        "source.kafka.group.id",
        "transform.rules",
        "transform.rules.0",
        "transform.version.from",
        "transform.version",
        "sink.url",
        "sink.connections",
        "sink.connect_timeout",
        "sink.statement_timeout",
        "sink.lock_timeout",
        "sink.idle_in_transaction_session_timeout",
        "sink.tcp_keepalive",
        "sink",
        "dead_letter.topic",
        "dead_letter.status_topic",
        "dead_letter.max_replays",
        "dead_letter.max_ratio",
        "retry",
        "retry.topic",
        "retry.maximum_attempts",
        "retry.delay",
        "retry.maximum_delay",
        "retry.strategy",
        "retry.causes",
        "batch.rows",
        "batch.bytes",
        "batch.linger",
        "http.listen",
        "http.token",
        "log.format",
        "log",
    ];
    for place in places {
        for value in ["${SECRET}", "canary-5f1c x", "[canary-5f1c]", "{canary: canary-5f1c}"] {
            // `[` and `{` are YAML where a list or mapping is needed, and their keys are not secret
            let setting = format!("{place}={value}");
            match Folder::new(MINIMAL).load(&[&setting]) {
                Err(problems) => {
                    let shown = format!("{problems:?}");
                    assert!(!shown.contains(CANARY), "{setting}: {shown}");
                }
                Ok(loaded) => {
                    let shown = format!("{:?}", loaded.warnings);
                    assert!(!shown.contains(CANARY), "{setting}: {shown}");
                }
            }
        }
    }
}

#[test]
fn a_setting_wins_over_the_file_and_may_name_kafka_properties_with_their_dots() {
    let folder = Folder::new(MINIMAL);
    let topology = folder.topology(&[
        "sink.connections=4",
        "source.kafka.bootstrap.servers=127.0.0.1:9092",
        "source.kafka.enable.partition.eof=true",
        "transform.rules=[rules/patient.json]",
        "dead_letter.topic=letters",
        "name=second",
    ]);
    assert_eq!(topology.name, "second");
    assert_eq!(topology.sink.connections.connections, 4);
    assert_eq!(topology.dead_letter.topic, "letters");
    assert_eq!(topology.rules.len(), 1);
    let BrokerChoice::Kafka(properties) = &topology.broker else { panic!("kafka") };
    assert_eq!(properties["bootstrap.servers"], "127.0.0.1:9092");
    assert_eq!(properties["enable.partition.eof"], "true");
    assert_eq!(
        folder.problems(&["sink.conections=4", "batch.rows=many"]),
        [
            "--set#/sink/conections: unknown key; did you mean `connections`? (accepted: url, \
             connections, connect_timeout, statement_timeout, lock_timeout, \
             idle_in_transaction_session_timeout, tcp_keepalive)",
            "--set#/batch/rows: must be a whole number, not text",
        ]
    );
}

#[test]
fn a_setting_of_null_takes_a_section_away() {
    let kafka = MINIMAL.replace("topic:", "kafka: { bootstrap.servers: 'localhost' }, topic:");
    let folder = Folder::new(&kafka);
    assert_eq!(
        folder.topology(&["source.kafka=null"]).broker,
        BrokerChoice::Embedded { path: folder.path().join("rowcast-log.db") }
    );
    let folder = Folder::new(&minimal_with("batch: { rows: 5 }"));
    assert_eq!(folder.topology(&["batch=null"]).batch.rows, 2000);
    assert_eq!(folder.problems(&["source=null"]), ["--set#/source: is required"]);
}

#[test]
fn a_section_without_a_value_is_a_slip() {
    let folder = Folder::new(&MINIMAL.replace("topic:", "kafka: , topic:"));
    assert_eq!(folder.problems(&[]), ["t.yaml#/source/kafka: must be a mapping, not empty"]);
}

#[test]
fn a_placeholder_becomes_a_number_only_where_one_is_needed() {
    let folder = Folder::new(&minimal_with("batch: { rows: '${NUMBER}' }"));
    let topology = folder.topology(&["name=${NUMBER}", "sink.connections=${NUMBER}"]);
    assert_eq!((topology.batch.rows, topology.sink.connections.connections), (7, 7));
    assert_eq!(topology.name, "7");
    let folder = Folder::new(&minimal_with("batch: { rows: '${WORD}' }"));
    assert_eq!(folder.problems(&[]), ["t.yaml#/batch/rows: must be a whole number, not text"]);
}

#[test]
fn paths_are_relative_to_the_topology_file() {
    let folder = Folder::new(&MINIMAL.replace("topic:", "embedded: { path: log.db }, topic:"));
    let topology = folder.topology(&[]);
    let beside = |name: &str| folder.path().join(name);
    assert_eq!(topology.broker, BrokerChoice::Embedded { path: beside("log.db") });
    assert_eq!(topology.sink.url.expose(), format!("sqlite://{}", beside("clinical.db").display()));
    assert_eq!(
        topology.rules,
        [
            ("rules/observation.json".to_owned(), "{\"b\":2}".to_owned()),
            ("rules/patient.json".to_owned(), "{\"a\":1}".to_owned()),
        ]
    );
}

#[test]
fn a_rules_file_that_two_patterns_match_is_read_once() {
    let folder = Folder::new(&MINIMAL.replace("[rules/*", "[rules/patient.json, rules/*"));
    let names: Vec<String> = folder.topology(&[]).rules.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["rules/patient.json", "rules/observation.json"]);
}

#[test]
fn what_is_left_out_has_the_documented_defaults() {
    let topology = Folder::new(MINIMAL).topology(&[]);
    assert_eq!(topology.limits, DocumentLimits::default());
    assert_eq!(topology.sink.connections, rowcast::sink::ConnectionSettings::default());
    assert_eq!(topology.dead_letter.topic, "fhir.changes.dead-letter");
    assert!((topology.dead_letter.max_ratio - 0.5).abs() < f64::EPSILON);
    assert_eq!(topology.retry, None);
    assert_eq!((topology.batch.rows, topology.batch.bytes), (2000, 4 << 20));
    assert_eq!(topology.batch.linger, Duration::from_millis(50));
    assert_eq!(topology.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(topology.log_format, LogFormat::Auto);
}

#[test]
fn http_beyond_loopback_needs_a_token() {
    let open = Folder::new(&minimal_with("http: { listen: '0.0.0.0:9464' }"));
    assert_eq!(
        open.problems(&[]),
        ["t.yaml#/http/token: is required, because `http.listen` is not a loopback address: \
             anybody could call"]
    );
    assert_eq!(open.problems(&["http.token= "]), ["--set#/http/token: must not be empty"]);
    assert!(open.topology(&["http.token=${SECRET}"]).http.token.is_some());
    let closed = Folder::new(&minimal_with("http: { listen: '[::1]:80' }"));
    assert!(closed.topology(&[]).http.token.is_none());
}

#[test]
fn a_topic_that_would_read_its_own_dead_letters_is_refused() {
    let folder = Folder::new(MINIMAL);
    for settings in [
        &["dead_letter.topic=fhir.changes"][..],
        &["source.topic=^fhir\\..*", "dead_letter.topic=fhir.letters"],
        &["source.topic=^fhir"],
    ] {
        let problems = folder.problems(settings);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("#/dead_letter/topic: is re"), "{}", problems[0]);
    }
    folder.topology(&["source.topic=^fhir\\.changes$", "dead_letter.topic=fhir.letters"]);
}

#[test]
fn the_status_topic_is_neither_read_nor_the_dead_letter_topic() {
    let folder = Folder::new(MINIMAL);
    let topology = folder.topology(&["dead_letter.topic=letters"]);
    assert_eq!(topology.dead_letter.status_topic, "letters.status");
    assert_eq!(topology.dead_letter.max_replays, 5);
    for settings in [
        &["dead_letter.status_topic=fhir.changes"][..],
        &["dead_letter.status_topic=fhir.changes.dead-letter"],
        &[
            "source.topic=^fhir\\..*",
            "dead_letter.topic=letters",
            "dead_letter.status_topic=fhir.s",
        ],
        &["dead_letter.status_topic=no topic"],
    ] {
        let problems = folder.problems(settings);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("#/dead_letter/status_topic: is "), "{}", problems[0]);
    }
}

#[test]
fn an_empty_section_turns_retries_on_with_the_documented_defaults() {
    let topology = Folder::new(&minimal_with("retry: {}")).topology(&[]);
    let retry = topology.retry.as_ref().expect("it is on");
    assert_eq!(retry.topic, "fhir.changes.retry");
    assert_eq!(topology.effective["retry"]["topic"], "fhir.changes.retry");
    let schedule = Schedule {
        strategy: Strategy::Exponential,
        delay: Duration::from_secs(1),
        maximum_delay: Duration::from_mins(1),
    };
    let causes = vec![Cause::ConstraintForeignKey];
    assert_eq!(retry.policy, RetryPolicy { maximum_attempts: 10, schedule, causes });
    let waits: Duration = (1..=10).map(|attempts| schedule.delay_after(attempts)).sum();
    assert_eq!(waits.as_secs() / 60, 5, "the default is documented as five minutes");
    let description = topology.describe();
    assert!(description.to_string().contains("      --> retry, dead-letter\n"), "{description}");
    let mermaid = description.mermaid();
    assert!(mermaid.contains("\n    sink -. not yet .-> retry\n"), "{mermaid}");
    assert!(mermaid.contains("\n    retry --> decode\n"), "{mermaid}");
}

#[test]
fn retries_that_cannot_be_are_refused_with_their_places() {
    let folder = Folder::new(&minimal_with("retry: {}"));
    for (settings, expected) in [
        (&["retry.topic=fhir.changes"][..], "/retry/topic: is read by the source"),
        (&["retry.topic=fhir.changes.dead-letter"], "/retry/topic: is the dead-letter topic"),
        (&["retry.topic=no topic"], "/retry/topic: is no topic name"),
        (
            &["source.topic=^fhir\\..*", "dead_letter.topic=letters"],
            "/retry/topic: is required, because the source is a pattern or several topics",
        ),
        (&["retry.delay=1"], "/retry/delay: must be a time with its unit"),
        (&["retry.delay=1ms"], "/retry/delay: must be at least 10ms"),
        (&["retry.maximum_delay=2days"], "/retry/maximum_delay: must be at most 86400s"),
        (&["retry.delay=2m"], "/retry/maximum_delay: must not be shorter than `retry.delay`"),
        (&["retry.maximum_attempts=-1"], "/retry/maximum_attempts: must be at least 0"),
        (&["retry.maximum_attempts=1001"], "/retry/maximum_attempts: must be at most 1000"),
        (
            &["retry.strategy=linear"],
            "/retry/strategy: unknown value (accepted: constant, exponential)",
        ),
        (
            &["retry.causes=[type_mismatch]"],
            "/retry/causes/0: unknown value (accepted: constraint_foreign_key, constraint_unique, integrity_violation)",
        ),
    ] {
        let problems = folder.problems(settings);
        assert_eq!(problems.len(), 1, "{settings:?}: {problems:?}");
        assert!(problems[0].contains(expected), "{settings:?}: {problems:?}");
    }
}

#[test]
fn properties_that_carry_the_guarantees_cannot_be_set() {
    let folder = Folder::new(MINIMAL);
    let local = "source.kafka.bootstrap.servers=localhost";
    assert_eq!(
        folder.problems(&[local, "source.kafka.enable.auto.commit=true"]),
        ["--set#/source/kafka/enable.auto.commit: is set by rowcast itself: remove it"]
    );
    assert_eq!(
        folder.problems(&["source.kafka.linger.ms=5"]),
        ["t.yaml#/source/kafka/bootstrap.servers: is required"]
    );
}

#[test]
fn passwords_in_the_file_and_connections_in_the_clear_are_warned_of() {
    let warnings = |more: &[&str]| Folder::new(MINIMAL).warnings(more);
    assert!(warnings(&[]).is_empty());
    assert!(warnings(&["sink.url=${URL}?sslmode=require"]).is_empty());
    assert_eq!(warnings(&["sink.url=${URL}"]), ["/sink/url"]);
    assert_eq!(warnings(&["sink.url=postgres://u:p@localhost/d"]), ["/sink/url"]);
    assert_eq!(warnings(&["sink.url=postgres://u:p@db/d"]), ["/sink/url", "/sink/url"]);
    let remote = "source.kafka.bootstrap.servers=127.0.0.1:9092,kafka:9092";
    assert_eq!(warnings(&[remote]), ["/source/kafka"]);
    assert!(warnings(&[remote, "source.kafka.security.protocol=SSL"]).is_empty());
    assert!(warnings(&["source.kafka.bootstrap.servers=[::1]:9092"]).is_empty());
    assert_eq!(warnings(&["http.token=literal"]), ["/http/token"]);
}

#[test]
fn the_config_hash_tells_configurations_apart_but_not_folders_or_secrets() {
    let hash = |settings: &[&str]| Folder::new(MINIMAL).topology(settings).config_hash;
    let plain = hash(&[]);
    assert_eq!(plain.len(), 64);
    assert_eq!(plain, hash(&[]), "another folder");
    assert_eq!(plain, hash(&["sink.lock_timeout=10s"]), "a default, written down");
    assert_ne!(plain, hash(&["sink.connections=3"]));
    assert_ne!(plain, hash(&["transform.rules=[rules/patient.json]"]));
    assert_eq!(hash(&["http.token=a"]), hash(&["http.token=b"]));
    let edited = Folder::new(MINIMAL);
    fs::write(edited.path().join("rules/patient.json"), "{}").expect("written");
    assert_ne!(plain, edited.topology(&[]).config_hash);
}

#[test]
fn a_topic_is_keyed_by_resource_unless_it_is_said_not_to_be() {
    let folder = Folder::new(MINIMAL);
    assert_eq!(folder.topology(&[]).keying, Keying::Keyed);
    assert_eq!(folder.topology(&["source.keyed=false"]).keying, Keying::Unkeyed);
    let both = ["source.keyed=false", "transform.version.from=offset"];
    let problems = folder.problems(&both);
    assert!(problems.iter().any(|problem| problem.contains("/source/keyed")), "{problems:?}");
}

const SEVERAL: &str = "
name: clinical
source:
  format: hapi
  topics:
    - { topic: server }
    - { topic: '^rows[.]', format: debezium, version_from: last_updated, debezium: { document: doc, type: Patient } }
transform: { rules: [rules/*.json] }
sink: { url: 'sqlite://clinical.db' }
dead_letter: { topic: letters }
";

#[test]
fn several_topics_have_what_is_written_beside_them_or_what_is_common() {
    let topology = Folder::new(SEVERAL).topology(&[]);
    assert_eq!(topology.only_topic(), None);
    let [server, rows] = topology.topics.as_slice() else { panic!("two topics") };
    assert_eq!((server.format, server.version_from), (Format::Hapi, VersionFrom::VersionId));
    assert_eq!((rows.format, rows.version_from), (Format::Debezium, VersionFrom::LastUpdated));
    assert!(rows.selector.selects("rows.patient") && !rows.selector.selects("server"));
    let columns = rows.debezium.as_deref().expect("columns");
    assert_eq!(columns.document, "doc");
    assert_eq!(columns.resource_type, Some(TypeFrom::Constant("Patient".into())));
    let described = topology.describe().to_string();
    assert!(described.contains("topics: [server, ^rows[.]]"), "{described}");
    assert!(described.contains("format: [hapi, debezium], version: [version_id, last_updated]"));
}

#[test]
fn deletes_without_version_in_an_unkeyed_topic_are_warned_of() {
    let folder = Folder::new(SEVERAL);
    assert!(folder.warnings(&[]).is_empty());
    assert_eq!(folder.warnings(&["source.keyed=false"]), ["/source/keyed"]);
    let hapi = Folder::new(MINIMAL);
    assert!(hapi.warnings(&["source.keyed=false", "source.format=hapi"]).is_empty());
}

#[test]
fn topics_that_cannot_be_are_told_with_their_places() {
    let problems = |source: &str, more: &str| {
        Folder::new(&format!(
            "name: clinical\nsource: {source}\ntransform: {{ rules: [rules/*.json] }}\nsink: {{ url: 'sqlite://c.db' }}\n{more}\n"
        ))
        .problems(&[])
        .into_iter()
        .map(|problem| problem.replace("t.yaml#", ""))
        .collect::<Vec<_>>()
    };
    let letters = "dead_letter: { topic: letters }";
    for (source, more, expected) in [
        ("{}", "", "/source/topic: is required, unless `source.topics` names several"),
        (
            "{ topic: a, topics: [{ topic: b }] }",
            "",
            "/source: has both `topic` and `topics`: keep one of them",
        ),
        (
            "{ topics: [{ topic: a }, { topic: a }] }",
            letters,
            "/source/topics/1/topic: is named twice",
        ),
        (
            "{ topics: [{ topic: 'a b' }] }",
            letters,
            "/source/topics/0/topic: is no topic name: 1 to 249 letters, digits, `.`, `_` or `-`, but not `.` or `..`",
        ),
        (
            "{ topics: [{ topic: '^(' }] }",
            letters,
            "/source/topics/0/topic: begins with `^` but is no regular expression",
        ),
        (
            "{ topics: [{ topic: a }, { topic: b }] }",
            "",
            "/dead_letter/topic: is required, because the source is a pattern or several topics",
        ),
        (
            "{ topics: [{ topic: a }, { topic: letters }] }",
            letters,
            "/dead_letter/topic: is read by the source: dead letters would go round for ever",
        ),
        (
            "{ topics: [{ topic: a, format: debezium }] }",
            letters,
            "/source/topics/0/debezium: is required by the format `debezium`: say which column holds the document",
        ),
        (
            "{ topics: [{ topic: a, format: hapi, debezium: { document: d } }] }",
            letters,
            "/source/topics/0/debezium: has no effect: the format is none of `debezium`, `auto` and `avro`",
        ),
        (
            "{ topic: a, format: debezium }",
            "",
            "/source/debezium: is required by the format `debezium`: say which column holds the document",
        ),
        (
            "{ topic: a, format: fhir, debezium: { document: d } }",
            "",
            "/source/debezium: has no effect: the format is none of `debezium`, `auto` and `avro`",
        ),
        (
            "{ topic: a, debezium: { documnt: d } }",
            "",
            "/source/debezium/documnt: unknown key; did you mean `document`? (accepted: document, type, id, version)",
        ),
        (
            "{ keyed: false, topics: [{ topic: a, version_from: offset }, { topic: b }] }",
            letters,
            "/source/keyed: must be true with `transform.version.from: offset`: offsets of several partitions say nothing about which change is newer",
        ),
    ] {
        let found = problems(source, more);
        assert!(found.iter().any(|problem| problem == expected), "{source}: {found:#?}");
    }
}

#[test]
fn a_description_reads_like_kafka_streams_own() {
    let folder = Folder::new(MINIMAL);
    let topology = folder.topology(&[
        "source.kafka.bootstrap.servers=localhost:9092",
        "sink.url=postgres://rowcast@localhost/clinical",
        "sink.connections=2",
    ]);
    let hash = &topology.config_hash;
    let description = topology.describe();
    assert_eq!(
        description.to_string(),
        format!(
            "\
Topology: clinical (config: {hash})
  Sub-topology: 0
    Source: source (topics: [fhir.changes], broker: kafka localhost:9092, keyed: true)
      --> decode
    Processor: decode (format: auto, version: version_id)
      --> transform, dead-letter
      <-- source
    Processor: transform (rules: [rules/observation.json, rules/patient.json])
      --> plan, dead-letter
      <-- decode
    Processor: plan (batch: 2000 records, 4.0 MiB, 50ms)
      --> sink, dead-letter
      <-- transform
    Sink: sink (database: postgres://localhost:5432/clinical, connections: 2)
      --> dead-letter
      <-- plan
    Sink: dead-letter (topic: fhir.changes.dead-letter, max_ratio: 0.5)
      <-- decode, transform, plan, sink
"
        )
    );
    let mermaid = description.mermaid();
    assert!(mermaid.starts_with("flowchart LR\n    source([\"<b>source</b><br/>"), "{mermaid}");
    assert!(mermaid.contains("\n    sink -. refused .-> dead-letter\n"), "{mermaid}");
    let json = serde_json::to_value(&description).expect("plain data");
    assert_eq!(json["stages"][1]["successors"][0], "transform");
    assert_eq!(json["stages"][0]["settings"]["topics"], "[fhir.changes]");
}

fn is_checked_in(name: &str, schema: &serde_json::Value, source: &str) {
    let path = repository().join("topology").join(name);
    let mut generated = serde_json::to_string_pretty(schema).expect("plain data");
    generated.push('\n');
    if std::env::var_os("ROWCAST_BLESS").is_some() {
        fs::write(&path, &generated).expect("topology/ can be written");
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "topology/{name} is not what {source} generates. Regenerate it with\n    \
         ROWCAST_BLESS=1 cargo test the_checked_in_schema\nand commit it with your change."
    );
}

#[test]
fn the_checked_in_schema_of_topologies_is_the_generated_one() {
    is_checked_in("schema.json", &json_schema(), "src/topology/file.rs");
}

#[test]
fn the_checked_in_schema_of_rules_is_the_generated_one() {
    is_checked_in("rules.schema.json", &RuleSet::schema(), "src/transform/rules/document.rs");
}

#[test]
fn the_checked_in_schema_of_cases_is_the_generated_one() {
    is_checked_in("cases.schema.json", &rowcast::cli::cases_schema(), "src/cli/cases/file.rs");
}

#[test]
fn the_checked_in_schema_of_views_is_the_generated_one() {
    is_checked_in("view.schema.json", &RuleSet::view_schema(), "src/transform/view/document.rs");
}

#[test]
fn the_checked_in_topologies_are_valid() {
    for name in ["clinical.yaml", "demo.yaml"] {
        let text = fs::read_to_string(repository().join("topology").join(name)).expect(name);
        let schema = "# yaml-language-server: $schema=./schema.json\n";
        assert!(text.starts_with(schema), "{name}: editors find the schema by its first line");
        let folder = Folder::new(&text.replace("${DATABASE_URL}", "postgres://localhost/clinical"));
        let loaded = folder.load(&[]).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:#?}", loaded.warnings);
    }
}

#[test]
fn a_setting_that_cannot_be_read_is_refused_without_its_value() {
    for setting in ["sink..url=postgres://u:canary-5f1c@h/db", "canary-5f1c"] {
        for command in ["check", "explain"] {
            let output = Rowcast::command(&[command, "--topology", "t.yaml", "--set", setting])
                .arg(if command == "check" { "--offline" } else { "Cargo.toml" })
                .output()
                .expect("rowcast runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("--set: expected KEY=VALUE"), "{said}");
            assert!(!said.contains(CANARY), "{said}");
        }
    }
}

#[test]
fn a_value_of_another_kind_is_told_with_an_example() {
    let folder = Folder::new(&format!(
        "{MINIMAL}batch: {{ linger: 50 }}\ndead_letter: {{ max_ratio: 50% }}\n"
    ));
    assert_eq!(
        folder.problems(&[]),
        [
            "t.yaml#/batch/linger: must be text such as `50ms`, not a number",
            "t.yaml#/dead_letter/max_ratio: must be a number such as `0.5`, not text",
        ]
    );
}

#[test]
fn a_pattern_that_matches_nothing_is_told_with_the_folder_it_is_looked_for_from() {
    let folder = Folder::new(&MINIMAL.replace("rules/*.json", "rule/*.json"));
    let looked_in = folder.path().display().to_string();
    let problems = folder.problems(&[]);
    let told =
        format!("t.yaml#/transform/rules/0: matches no file; it is looked for from {looked_in} on");
    assert_eq!(problems, [told]);
}

#[test]
fn a_file_is_described_with_the_one_connection_it_has() {
    let folder = Folder::new(MINIMAL);
    let described = folder.topology(&["sink.connections=4"]).describe().to_string();
    assert!(described.contains(", connections: 1)"), "{described}");
    let described = folder.topology(&["sink.connections=4", "sink.url=${URL}"]).describe();
    assert!(described.to_string().contains(", connections: 4)"), "{described}");
}
