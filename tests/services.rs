//! The ground under the other tests: that the services are there, and that the helpers which stop,
//! kill and ask them do what they say.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::support::{self, Instance, Kafka, Mariadb, Postgres, Rowcast};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_services_are_there() {
    let required = std::env::var("ROWCAST_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
    let (kafka, postgres) = (support::requires_kafka(), support::requires_postgres());
    let mariadb = support::requires_mariadb();
    assert!(!required || kafka.is_some(), "ROWCAST_TEST_KAFKA is not set");
    assert!(!required || postgres.is_some(), "ROWCAST_TEST_POSTGRES is not set");
    assert!(!required || mariadb.is_some(), "ROWCAST_TEST_MARIADB is not set");
    if let Some(kafka) = kafka {
        let topic = kafka.topic("there", 4);
        assert_eq!(kafka.committed("nobody", topic.name()), [-1; 4], "at {}", kafka.servers());
    }
    if let Some(postgres) = postgres {
        let database = postgres.database("there");
        database.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (40), (2)");
        assert_eq!(database.number("SELECT sum(a)::bigint FROM t"), 42);
    }
    if let Some(mariadb) = mariadb {
        let database = mariadb.database("there");
        database.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (40), (2)");
        assert_eq!(database.number("SELECT CAST(sum(a) AS signed) FROM t"), 42);
    }
}

#[test]
fn a_killed_or_restarted_postgres_comes_back_with_its_data() {
    let Some(server) = support::requires_own_postgres() else { return };
    let database = Postgres::at(server.address()).database("kept");
    database.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)");
    let stop_and_start = |end: fn(&Instance)| {
        end(&server);
        let port = server.address().rsplit(':').next().expect("a port");
        let port = port.split('/').next().expect("a port").parse().expect("a port");
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "still listens");
        server.start_again();
        assert_eq!(database.number("SELECT count(*) FROM t"), 1);
    };
    stop_and_start(Instance::kill);
    stop_and_start(Instance::stop);
    server.restart();
    server.freeze();
    let waiting = std::thread::scope(|scope| {
        let asking = scope.spawn(|| database.number("SELECT count(*) FROM t"));
        std::thread::sleep(Duration::from_millis(300));
        let waiting = !asking.is_finished();
        server.thaw();
        assert_eq!(asking.join().expect("answered"), 1);
        waiting
    });
    assert!(waiting, "a frozen server answered");
}

#[test]
fn a_killed_or_restarted_mariadb_comes_back_with_its_data() {
    let Some(server) = support::requires_own_mariadb() else { return };
    let database = Mariadb::at(server.address()).database("kept");
    database.execute("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1)");
    server.kill();
    server.start_again();
    assert_eq!(database.number("SELECT count(*) FROM t"), 1);
    server.restart();
    server.freeze();
    let waiting = std::thread::scope(|scope| {
        let asking = scope.spawn(|| database.number("SELECT count(*) FROM t"));
        std::thread::sleep(Duration::from_millis(300));
        let waiting = !asking.is_finished();
        server.thaw();
        assert_eq!(asking.join().expect("answered"), 1);
        waiting
    });
    assert!(waiting, "a frozen server answered");
}

#[test]
fn a_killed_kafka_comes_back_with_its_topics() {
    let Some(server) = support::requires_own_kafka() else { return };
    let kafka = Kafka::at(server.address());
    let topic = kafka.topic("kept", 3);
    server.kill();
    server.start_again();
    assert_eq!(kafka.committed("nobody", topic.name()).len(), 3);
}

#[test]
fn a_child_can_be_heard_waited_for_and_killed() {
    let mut child = Rowcast::start(&["no-such-command"]);
    let status = child.wait(SOON);
    assert!(!status.success());
    assert!(child.messages().contains("no-such-command"), "{}", child.messages());
    child.kill();
    assert!(child.ended().is_some());
}

#[test]
fn an_http_answer_is_read_and_its_metrics_are_summed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let _ = stream.read(&mut [0; 1024]);
        let body =
            "# TYPE a counter\na{x=\"1\",y=\"p\"} 2\na{x=\"1\",y=\"q\"} 3\na{x=\"2\"} 4\nab 9\n";
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").expect("written");
    });
    let answer = support::http::wait_for_status(port, "/metrics", 200, SOON);
    serving.join().expect("served");
    let value = |name, labels: &[_]| support::metrics::value(&answer.body, name, labels);
    assert_eq!(value("a", &[("x", "1")]), Some(5.0));
    assert_eq!(value("a", &[]), Some(9.0));
    assert_eq!(value("a", &[("x", "3")]), None);
    assert_eq!(support::http::get(support::free_port(), "/livez"), None);
}
