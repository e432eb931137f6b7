//! What tests stand on: the real services, a database and topics of a test's own, and `rowcast`
//! as a child process.
//!
//! In: the environment that `tests/services/with-services.sh` sets. Out: names and addresses that
//! no other test uses. A test that needs a service begins with
//! `let Some(postgres) = support::requires_postgres() else { return };`: without it the test says
//! `skipped: ...` and passes, except that `services::the_services_are_there` fails where they are
//! required (`ROWCAST_TEST_REQUIRE_SERVICES=1`: `make test` and `.ci/run`).

pub(crate) mod browser;
pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod instance;
pub(crate) mod kafka;
pub(crate) mod kip_1034;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod serving;
pub(crate) mod small_disk;
pub(crate) mod tls;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use database::{Database, Mariadb, Postgres};
pub(crate) use instance::Instance;
pub(crate) use kafka::Kafka;
pub(crate) use process::Rowcast;
pub(crate) use serving::Serving;

/// The shared Kafka, or a visible `skipped` and nothing.
pub(crate) fn requires_kafka() -> Option<Kafka> {
    variable("ROWCAST_TEST_KAFKA").map(|servers| Kafka::at(&servers))
}

/// The shared PostgreSQL, or a visible `skipped` and nothing.
pub(crate) fn requires_postgres() -> Option<Postgres> {
    variable("ROWCAST_TEST_POSTGRES").map(|url| Postgres::at(&url))
}

/// The shared MariaDB, or a visible `skipped` and nothing.
pub(crate) fn requires_mariadb() -> Option<Mariadb> {
    variable("ROWCAST_TEST_MARIADB").map(|url| Mariadb::at(&url))
}

/// A Kafka of this test's own, which it may stop, kill and freeze; or `skipped`.
pub(crate) fn requires_own_kafka() -> Option<Instance> {
    variable("ROWCAST_TEST_KAFKA_CTL").map(|script| Instance::start(&script, "kafka"))
}

/// The same with more lines in its configuration.
pub(crate) fn requires_own_kafka_with(options: &str) -> Option<Instance> {
    let environment = vec![("ROWCAST_TEST_KAFKA_OPTIONS", options.to_owned())];
    variable("ROWCAST_TEST_KAFKA_CTL")
        .map(|script| Instance::start_with(&script, "kafka", environment))
}

/// The folder of Apache Kafka's jars, for a test that starts it in its own way; or `skipped`.
pub(crate) fn requires_kafkas_jars() -> Option<std::path::PathBuf> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    variable("ROWCAST_TEST_KAFKA_CTL").map(|_| here.join("target/services/kafka"))
}

/// A second broker of that one's cluster; or `skipped`.
pub(crate) fn requires_second_broker_of(first: &Instance) -> Option<Instance> {
    let controller = first.note("controller_port");
    let meta = first.note("data/meta.properties");
    let cluster = meta.lines().find_map(|line| line.strip_prefix("cluster.id="));
    let options = format!(
        "process.roles=broker\nnode.id=2\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:@PORT@"
    );
    let environment = vec![
        ("ROWCAST_TEST_KAFKA_OPTIONS", options),
        ("ROWCAST_TEST_KAFKA_CLUSTER", cluster.expect("a cluster id").to_owned()),
    ];
    variable("ROWCAST_TEST_KAFKA_CTL")
        .map(|script| Instance::start_with(&script, "kafka", environment))
}

/// A PostgreSQL of this test's own, which it may stop, kill and freeze; or `skipped`.
pub(crate) fn requires_own_postgres() -> Option<Instance> {
    variable("ROWCAST_TEST_POSTGRES_CTL").map(|script| Instance::start(&script, "postgres"))
}

/// A MariaDB of this test's own, which it may stop, kill and freeze; or `skipped`.
pub(crate) fn requires_own_mariadb() -> Option<Instance> {
    variable("ROWCAST_TEST_MARIADB_CTL").map(|script| Instance::start(&script, "mariadb"))
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skipped(&format!("{name} is not set (make test sets it)"));
    }
    value
}

/// Whether a program is on the PATH; a visible `skipped` where it is not, and the test fails where
/// services are required.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let required = std::env::var_os("ROWCAST_TEST_REQUIRE_SERVICES").is_some();
    assert!(found || !required, "{name} is required, see tests/services/obtain.sh");
    if !found {
        skipped(&format!("there is no {name} here"));
    }
    found
}

/// Past the harness's capture: a skipped test must be seen.
fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let told = format!("skipped: {test}: {why}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes());
}

/// A name no other test, run or machine uses: `rowcast_test_<what>_<...>`, fit for topics,
/// databases and consumer groups.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    format!("rowcast_test_{what}_{:x}_{:x}_{next}", now.as_micros(), std::process::id())
}

/// A port of this machine on which nobody listens at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Asks every 50 ms until there is an answer; panics after `within`, saying what was awaited.
pub(crate) fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a future to its end from anywhere, also from inside another runtime and from `drop`.
pub(crate) fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    std::thread::scope(|scope| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        scope.spawn(move || runtime.block_on(future)).join().expect("the future did not panic")
    })
}
