//! What cannot be reached, or does not let us in, is told with its place: address, user, database,
//! topic, and never the password.

use std::net::TcpListener;

use crate::support::pipeline::{Pipeline, RULES};
use crate::support::{self, Database};

const PASSWORD: &str = "s3cret-91be";

/// Exit code and messages.
fn ends(pipeline: &Pipeline, arguments: &[&str]) -> (i32, String) {
    let output = pipeline.command(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains(PASSWORD), "{said}");
    (output.status.code().expect("it ended"), said)
}

#[test]
fn a_database_that_is_not_there_is_told_by_its_address() {
    for (address, why) in [
        ("127.0.0.1:1", "127.0.0.1:1: connection refused"),
        ("no-such-host.invalid:5432", "no-such-host.invalid:5432: the name does not resolve"),
    ] {
        for scheme in ["postgres", "mysql"] {
            let url = format!("{scheme}://anna:{PASSWORD}@{address}/clinical?ssl-mode=disabled");
            let url = if scheme == "postgres" { url.replace("ssl-mode=disabled", "") } else { url };
            let (code, said) = ends(&Pipeline::embedded_at(url, RULES, ""), &["check"]);
            assert_eq!(code, 69, "{said}");
            assert!(said.contains(why), "{said}");
        }
    }
}

/// The database's url with this user, password and path.
fn at(database: &Database, user: &str, path: &str) -> String {
    let mut url = url::Url::parse(database.url()).expect("a url");
    url.set_username(user).expect("it takes a user");
    url.set_password(Some(PASSWORD)).expect("it takes a password");
    url.set_path(path);
    url.into()
}

#[test]
fn a_database_that_does_not_let_us_in_is_told_with_user_and_database() {
    let postgres = support::requires_postgres().map(|server| server.database("addresses"));
    let mariadb = support::requires_mariadb().map(|server| server.database("addresses"));
    for database in [postgres, mariadb].into_iter().flatten() {
        let url = at(&database, "nobody_here", "clinical_not_there");
        let (code, said) = ends(&Pipeline::embedded_at(url, RULES, ""), &["check"]);
        assert_eq!(code, 78, "{said}");
        let place = "user `nobody_here`, database `clinical_not_there` at 127.0.0.1:";
        assert!(said.contains(place) && said.contains("check user and password"), "{said}");

        let right = url::Url::parse(database.url()).expect("a url");
        let mut url = right.clone();
        url.set_path("clinical_not_there");
        let (code, said) = ends(&Pipeline::embedded_at(url.into(), RULES, ""), &["check"]);
        assert_eq!(code, 78, "{said}");
        let place = format!("user `{}`, database `clinical_not_there` at", right.username());
        assert!(said.contains(&place), "{said}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_told_once_by_its_address() {
    let topology = "source: { topic: changes, kafka: { bootstrap.servers: '127.0.0.1:1' } }";
    let pipeline = Pipeline::embedded_from(topology, RULES, "");
    let (code, said) = ends(&pipeline, &["dead-letters", "summary"]);
    assert_eq!(code, 69, "{said}");
    let told = "no broker answers at 127.0.0.1:1; see `source.kafka.bootstrap.servers`";
    assert_eq!(said.matches(told).count(), 1, "{said}");
    assert!(!said.contains("BrokerTransportFailure"), "{said}");
}

#[test]
fn a_port_that_is_taken_says_by_whom_and_what_to_do() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _taken = TcpListener::bind(("127.0.0.1", pipeline.port())).expect("the port is free");
    let (code, said) = ends(&pipeline, &["run", "--until-idle", "1s"]);
    assert_eq!(code, 1, "{said}");
    let told = format!("http.listen 127.0.0.1:{} is taken, perhaps by another", pipeline.port());
    assert!(said.contains(&told) && said.contains("choose another `http.listen`"), "{said}");
}

#[test]
fn a_letter_that_is_not_there_is_told_by_id_and_topic() {
    let pipeline = Pipeline::embedded(RULES, "dead_letter: { topic: letters }");
    pipeline.create_tables();
    pipeline.expect(&["run", "--until-idle", "1s"]);
    let (code, said) = ends(&pipeline, &["dead-letters", "show", "3f8d"]);
    assert_eq!(code, 4, "{said}");
    assert_eq!(said, "no letter in letters has an id that begins with `3f8d`\n");
}

#[test]
fn one_of_a_thing_is_told_in_the_singular() {
    let (_, said) = ends(&Pipeline::embedded(RULES, ""), &["check", "--offline"]);
    assert!(said.contains(": 1 rules file, 2 tables\n"), "{said}");
}
