//! The processes of compose, started without a container engine from the very files that it mounts:
//! Kafka (KRaft) by the image's own start program, PostgreSQL, two instances of rowcast, Prometheus.
//! Only addresses and paths are replaced, and the name service by which Prometheus finds rowcast.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::container::{Container, Network};
use super::yaml;
use crate::support::pipeline::SOON;
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::{self, Rowcast, database, http, wait_for};

/// The cluster's id, as the image has it.
const CLUSTER: &str = "5L6g3nShT-eMCtK--X86sw";

const PATIENTS: usize = 200;

/// Kafka as the image starts it; ended when dropped.
struct Kafka(Child);

impl Kafka {
    fn start(container: &Container, jars: &Path) -> Self {
        let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kafka/log4j2.xml");
        let java = |heap: &str| {
            let mut java = Command::new("java");
            java.args([heap, "-XX:TieredStopAtLevel=1", "-cp"])
                .arg(jars.join("*"))
                .arg(format!("-Dlog4j2.configurationFile={}", log.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            java
        };
        // what the image's scripts call
        let tools = container.path("/opt/kafka/bin");
        std::fs::create_dir_all(&tools).expect("made");
        let tool = tools.join("kafka-broker-api-versions.sh");
        let runs = "org.apache.kafka.tools.BrokerApiVersionsCommand";
        let script = format!("#!/bin/sh\nexec java -cp '{}/*' {runs} \"$@\"\n", jars.display());
        std::fs::write(&tool, script).expect("written");
        let executable = Command::new("chmod").arg("+x").arg(&tool).status().expect("chmod runs");
        assert!(executable.success());

        let folder = |name: &str| {
            let folder = container.path(name);
            std::fs::create_dir_all(&folder).expect("made");
            for file in ["server.properties", "log4j2.yaml", "tools-log4j2.yaml"] {
                std::fs::write(folder.join(file), "").expect("written");
            }
            folder
        };
        let made = java("-Xmx256M")
            .args(["kafka.docker.KafkaDockerWrapper", "setup", "-D"])
            .arg(folder("/etc/kafka/docker"))
            .arg("-M")
            .arg(container.path("/mnt/shared/config"))
            .arg("-F")
            .arg(folder("/opt/kafka/config"))
            .env("CLUSTER_ID", CLUSTER)
            .envs(container.environment())
            .status()
            .expect("java runs");
        assert!(made.success(), "the image's set-up takes compose's variables");
        let server = java("-Xmx512M")
            .arg("kafka.Kafka")
            .arg(container.path("/opt/kafka/config/server.properties"))
            .spawn();
        Self(server.expect("java runs"))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives a server the user, the password and the database that compose's variables make.
fn set_up_postgres(server: &Url, container: &Container) -> Url {
    let environment = container.environment();
    let of = |name: &str| {
        let variable = environment.iter().find(|(variable, _)| variable == name);
        variable.unwrap_or_else(|| panic!("no {name}")).1.clone()
    };
    let password = std::fs::read_to_string(of("POSTGRES_PASSWORD_FILE")).expect("a password");
    let (user, database) = (of("POSTGRES_USER"), of("POSTGRES_DB"));
    assert_eq!(server.username(), user, "the tests' servers have this user already");
    let with_password = format!("ALTER ROLE {user} PASSWORD '{password}'");
    for sql in [format!("CREATE DATABASE {database}"), with_password] {
        database::execute(server, &sql).expect("a database and a password");
    }
    let mut url = server.clone();
    url.set_path(&database);
    url.set_password(Some(&password)).expect("a password");
    url
}

/// Prometheus' configuration as compose mounts it, but for where it finds the instances.
fn configuration(container: &Container, instances: &[SocketAddr]) -> String {
    let file = container.path("/etc/prometheus/prometheus.yml");
    let text = std::fs::read_to_string(&file).expect("it is mounted");
    promtool(Path::new("/"), &["check", "config", file.to_str().expect("text")], "");
    let mut configuration: Value = serde_saphyr::from_str(&text).expect("YAML");
    let scraped = configuration["scrape_configs"][0].as_object_mut().expect("a mapping");
    scraped.remove("dns_sd_configs").expect("found by name");
    scraped.insert("static_configs".to_owned(), json!([{ "targets": instances }]));
    configuration.to_string()
}

fn get(address: SocketAddr, path: &str, token: &str) -> Option<http::Answer> {
    let token = format!("Authorization: Bearer {token}\r\n");
    http::request_at(address, "GET", path, &token, "")
}

/// Appends patients with the settings of an instance; their first makes the topic.
fn feed(instance: &Container) {
    let resources: Vec<_> = (0..PATIENTS)
        .map(|n| {
            json!({ "resourceType": "Patient", "id": format!("p{n}"), "meta": { "versionId": "1" } })
                .to_string()
        })
        .collect();
    let file = instance.path("resources.ndjson");
    std::fs::write(&file, resources.join("\n")).expect("written");
    let mut produce = instance.words("/command");
    assert_eq!(produce[0], "run");
    "produce".clone_into(&mut produce[0]);
    produce.push(file.display().to_string());
    Rowcast::run(&produce);
}

/// Prometheus scrapes both instances with the token, has what they wrote, and loaded every rule.
fn sees_both_and_judges_its_rules(prometheus: &Prometheus) {
    wait_for("both targets up", SOON, || {
        let up = prometheus.query("up{job=\"rowcast\"} == 1")?;
        (up.len() == 2).then_some(())
    });
    let written = "sum(rowcast_records_settled_total{outcome=\"written\"})";
    wait_for("what was written", SOON, || {
        let series = prometheus.query(written)?;
        (series.first()?["value"][1].as_str()?.parse() == Ok(PATIENTS)).then_some(())
    });
    wait_for("rules that were judged", SOON, || {
        let groups = prometheus.ask("/api/v1/rules")?["groups"].as_array()?.clone();
        let rules: Vec<_> =
            groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
        assert!(!rules.is_empty(), "no rules were loaded");
        rules.iter().all(|rule| rule["health"] == "ok").then_some(())
    });
    let alerts = yaml("../dashboards/alerts.yaml");
    let rules = prometheus.ask("/api/v1/rules").expect("rules");
    let count = |groups: &Value| -> usize {
        let groups = groups.as_array().expect("groups");
        groups.iter().map(|group| group["rules"].as_array().map_or(0, Vec::len)).sum()
    };
    assert_eq!(count(&rules["groups"]), count(&alerts["groups"]));
}

#[test]
fn the_processes_of_compose_work_together_as_its_files_say() {
    let Some(jars) = support::requires_kafkas_jars() else { return };
    let Some(server) = support::requires_own_postgres() else { return };
    if !support::has_program("prometheus") {
        return;
    }
    let server_url = Url::parse(server.address()).expect("a url");
    let port = server_url.port().expect("a port");
    let network = Network::new(([127, 0, 0, 1], port).into());

    let kafka = network.container("kafka", 1);
    let _kafka = Kafka::start(&kafka, &jars);
    let postgres = network.container("postgres", 1);
    let mut url = set_up_postgres(&server_url, &postgres);
    assert!(postgres.is_healthy(&[("PGPORT", &port.to_string())]));
    assert!(!postgres.is_healthy(&[("PGPORT", &support::free_port().to_string())]));

    let described = network.container("schema", 1);
    assert_eq!(super::compose()["services"]["rowcast"]["deploy"]["replicas"], 2);
    let instances = [network.container("rowcast", 1), network.container("rowcast", 2)];
    let listening = instances.each_ref().map(|instance| instance.port(9464));
    let token = std::fs::read_to_string(instances[0].path("/run/secrets/http_token"));
    let token = token.expect("a token");

    // Prometheus is up before what it scrapes, as it may be
    let prometheus = network.container("prometheus", 1);
    let configured = prometheus.path("/etc/prometheus/prometheus.yml");
    let configuration = configuration(&prometheus, &listening);
    std::fs::write(&configured, configuration).expect("written");
    let Some(prometheus) = Prometheus::start(&configured, prometheus.port(9090)) else { return };

    // the check is a Java program itself: not before somebody listens
    let listens = || std::net::TcpStream::connect(kafka.port(29092)).ok().map(drop);
    wait_for("a listening Kafka", SOON, listens);
    wait_for("a healthy Kafka", SOON, || kafka.is_healthy(&[]).then_some(()));

    // the README's fourth command, which may be given again
    for _ in 0..2 {
        let created = Rowcast::run(&described.words("/command"));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }
    url.set_query(Some("sslmode=disable"));

    let mut running =
        instances.each_ref().map(|instance| Rowcast::start(&instance.words("/command")));
    feed(&instances[0]);
    for address in listening {
        let ready = || http::get_at(address, "/readyz").filter(|answer| answer.status == 200);
        wait_for("an instance that is ready", SOON, ready);
        assert_eq!(http::get_at(address, "/metrics").expect("an answer").status, 401);
    }
    wait_for("rows", SOON, || {
        let rows = database::number(&url, "SELECT count(*) FROM patient").ok()?;
        (usize::try_from(rows) == Ok(PATIENTS)).then_some(())
    });
    for address in listening {
        wait_for("half of the partitions", SOON, || {
            let state = get(address, "/api/v1/state", &token)?.body;
            let state: Value = serde_json::from_str(&state).expect("JSON");
            (state["partitions"].as_array()?.len() == 2).then_some(())
        });
    }

    sees_both_and_judges_its_rules(&prometheus);

    // the health check of compose is the binary's, and knows the one from the other
    let check = |instance: &Container| {
        let words = instance.words("/healthcheck/test");
        assert_eq!(words[..2], ["CMD", "/usr/local/bin/rowcast"]);
        Rowcast::command(&words[2..]).output().expect("rowcast runs").status.code()
    };
    assert_eq!(check(&instances[0]), Some(0));
    assert_eq!(check(&instances[1]), Some(0));
    running[1].terminate();
    assert_eq!(super::compose()["services"]["rowcast"]["stop_grace_period"], "30s");
    assert_eq!(running[1].wait(Duration::from_secs(30)).code(), Some(0));
    assert_eq!(check(&instances[1]), Some(69), "nobody is there");
    assert_eq!(check(&instances[0]), Some(0));
}
