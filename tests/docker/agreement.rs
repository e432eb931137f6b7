//! What compose, the image, the unit and Grafana's files say about the binary and about each other.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::Value;

use super::{compose, docker, read, services, texts, yaml};
use crate::support::Rowcast;

/// Everything that starts rowcast: where it is said, and the arguments.
fn invocations() -> Vec<(String, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut found = Vec::new();
    for (name, service) in services() {
        if !service["image"].as_str().is_some_and(|image| image.starts_with("rowcast:")) {
            continue;
        }
        found.push((format!("the command of {name}"), words(&texts(&service["command"]))));
        let check = texts(&service["healthcheck"]["test"]);
        if check.len() > 2 {
            found.push((format!("the health check of {name}"), words(&check[2..])));
        }
    }
    let unit = read("systemd/rowcast.service");
    let starts = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a start");
    found.push(("the unit".to_owned(), words(&starts.split(' ').skip(1).collect::<Vec<_>>())));
    assert_eq!(found.len(), 4, "compose's run, its check, schema, and the unit");
    found
}

fn help(arguments: &[&str]) -> String {
    let output = Rowcast::run(&[arguments, &["--help"]].concat());
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that the binary's help lists.
fn commands() -> BTreeSet<String> {
    let help = help(&[]);
    let listed = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let name = Regex::new(r"(?m)^  ([a-z-]+) ").unwrap();
    name.captures_iter(listed.expect("a list")).map(|found| found[1].to_owned()).collect()
}

/// What an option's line in the help says.
fn options(help: &str) -> BTreeSet<String> {
    let option = Regex::new(r"(?m)^ +(?:-\w, |    )(--[a-z-]+(?: <[^>]+>)?)").unwrap();
    option.captures_iter(help).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_command_and_option_is_one_of_the_binarys_help_and_every_required_one_is_given() {
    let commands = commands();
    for (place, arguments) in invocations() {
        assert!(commands.contains(&arguments[0]), "{place}: there is no {}", arguments[0]);
        let (command, arguments) =
            arguments.split_at(arguments.iter().take_while(|word| !word.starts_with("--")).count());
        let help = help(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let options = options(&help);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let takes_value = |option: &&String| option.starts_with(&format!("{argument} <"));
            if options.iter().any(|option| takes_value(&option)) {
                let value = rest.next();
                assert!(value.is_some_and(|value| !value.starts_with("--")), "{place}: {argument}");
            } else {
                assert!(options.contains(argument), "{place}: {argument} is none of {options:?}");
            }
        }
        let usage = help.lines().find(|line| line.starts_with("Usage:")).expect("a usage");
        for required in usage.split(' ').filter(|word| word.starts_with("--")) {
            assert!(arguments.iter().any(|given| given == required), "{place}: no {required}");
        }
    }
}

#[test]
fn a_variable_of_ours_in_these_files_is_one_that_the_binary_names() {
    let named = Regex::new(r"\[env: ([A-Z_]+)").unwrap();
    let ours = Regex::new(r"\bROWCAST_[A-Z_]+").unwrap();
    let mut known = BTreeSet::new();
    for command in commands() {
        let help = if command == "help" { String::new() } else { help(&[&command]) };
        known.extend(named.captures_iter(&help).map(|found| found[1].to_owned()));
    }
    assert!(known.iter().all(|name| ours.is_match(name)), "{known:?}");
    assert!(known.contains("ROWCAST_TOPOLOGY"), "{known:?}");
    for file in ["compose.yaml", "Dockerfile", "systemd/rowcast.service", "README.md"] {
        let text = read(file);
        for name in ours.find_iter(&text) {
            assert!(known.contains(name.as_str()), "{file}: {}", name.as_str());
        }
    }
}

#[test]
fn the_port_is_the_binarys_own_everywhere() {
    let schema = fs::read_to_string(docker().join("../topology/schema.json")).expect("a schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let listen = schema.pointer("/$defs/HttpFile/properties/listen/default");
    let listen = listen.and_then(Value::as_str).expect("a default");
    let port = listen.rsplit(':').next().expect("a port");
    let rowcast = &compose()["services"]["rowcast"];
    assert!(texts(&rowcast["command"]).contains(&format!("http.listen=0.0.0.0:{port}").as_str()));
    for published in texts(&rowcast["ports"]) {
        assert!(published.ends_with(&format!(":{port}")), "{published}");
    }
    // each instance has a port of this machine
    let ports = texts(&rowcast["ports"])[0].split(':').nth(1).expect("a range").to_owned();
    let (first, last) = ports.split_once('-').expect("a range");
    let many = last.parse::<u64>().expect("a port") + 1 - first.parse::<u64>().expect("a port");
    assert_eq!(rowcast["deploy"]["replicas"], many);
    let scraped = &yaml("prometheus/prometheus.yaml")["scrape_configs"][0]["dns_sd_configs"][0];
    assert_eq!(scraped["port"].to_string(), port);
}

#[test]
fn versions_and_the_binarys_place_are_the_same_in_all_files() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("Dockerfile").contains(&format!("ARG VERSION={version}\n")));
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        if let Some(tag) = image.strip_prefix("rowcast:") {
            assert_eq!(tag, version, "{name}");
        }
    }
    let needed = env!("CARGO_PKG_RUST_VERSION").split('.').map(|part| part.parse::<u32>().unwrap());
    let dockerfile = read("Dockerfile");
    let built = dockerfile.split("FROM rust:").nth(1).and_then(|rest| rest.split('-').next());
    let built = built.expect("rust").split('.').map(|part| part.parse::<u32>().unwrap());
    assert!(built.ge(needed), "the image is built by a Rust that is new enough");

    let binary = "/usr/local/bin/rowcast";
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{binary}\"]")));
    assert_eq!(compose()["services"]["rowcast"]["healthcheck"]["test"][1], binary);
    assert!(read("systemd/rowcast.service").contains(&format!("ExecStart={binary} ")));
    assert!(read("README.md").contains(&format!("target/release/rowcast {binary}\n")));
}

#[test]
fn the_unit_gives_up_on_the_exit_code_that_the_binary_ends_with() {
    let absent = ["run", "--topology", "/nowhere/clinical.yaml"];
    let code = Rowcast::command(&absent).output().expect("rowcast runs").status.code();
    let code = code.expect("a code").to_string();
    let unit = read("systemd/rowcast.service");
    assert!(unit.lines().any(|line| line == format!("RestartPreventExitStatus={code}")));
    assert!(help(&[]).contains(&format!("{code} configuration")));
    assert!(read("README.md").contains(&format!("(exit code {code})")));

    // each secret is loaded from where the README puts it, and read from where systemd puts it
    let readme = read("README.md");
    for loaded in unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")) {
        let (name, path) = loaded.split_once(':').expect("a path");
        assert!(readme.contains(&format!("/dev/stdin {path}")), "{path}");
        assert!(readme.contains(&format!("${{file:/run/credentials/rowcast.service/{name}}}")));
    }
}

#[test]
fn grafana_is_given_its_source_of_data_its_dashboard_and_its_password() {
    let compose = compose();
    let grafana = &compose["services"]["grafana"];
    let mounts: Vec<_> = texts(&grafana["volumes"])
        .into_iter()
        .map(|volume| volume.split_once(':').expect("source and target"))
        .collect();
    // where Grafana looks without being told
    assert!(mounts.contains(&("./grafana/provisioning", "/etc/grafana/provisioning:ro")));
    let folders: BTreeSet<_> = docker()
        .join("grafana/provisioning")
        .read_dir()
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    assert_eq!(folders, BTreeSet::from(["dashboards".to_owned(), "datasources".to_owned()]));

    let source = yaml("grafana/provisioning/datasources/prometheus.yaml");
    let provider = yaml("grafana/provisioning/dashboards/rowcast.yaml");
    assert_eq!((&source["apiVersion"], &provider["apiVersion"]), (&1.into(), &1.into()));
    let sources = source["datasources"].as_array().expect("a list");
    let [source] = sources.as_slice() else { panic!("one source: {sources:?}") };
    assert_eq!((&source["access"], &source["isDefault"]), (&"proxy".into(), &true.into()));
    let url = url::Url::parse(source["url"].as_str().expect("a url")).expect("a url");
    let asked = &compose["services"][url.host_str().expect("a host")];
    let listens = format!(":{}", url.port().expect("a port"));
    assert!(texts(&asked["ports"]).iter().any(|published| published.ends_with(&listens)));
    let interval = &yaml("prometheus/prometheus.yaml")["global"]["scrape_interval"];
    assert_eq!(&source["jsonData"]["timeInterval"], interval, "what $__rate_interval is made of");

    assert_eq!(provider["providers"][0]["type"], "file");
    let folder = provider["providers"][0]["options"]["path"].as_str().expect("a path");
    let shown: Vec<_> = mounts.iter().filter(|(_, target)| target.starts_with(folder)).collect();
    let [(dashboard, _)] = shown.as_slice() else { panic!("one dashboard in {folder}: {shown:?}") };
    let dashboard = fs::read_to_string(docker().join(dashboard)).expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(dashboard["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "a fixed address");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let chosen = variables.iter().find(|variable| variable["type"] == "datasource");
    let chosen = chosen.expect("a source of data to be chosen");
    assert_eq!(chosen["query"], source["type"], "the provisioned one is among those to choose");
    let chosen = format!("${{{}}}", chosen["name"].as_str().expect("a name"));
    let mut uids = BTreeSet::new();
    collect_sources(&dashboard, &mut uids);
    let ours =
        [chosen, source["uid"].as_str().expect("a uid").to_owned(), "-- Grafana --".to_owned()];
    assert!(uids.iter().all(|uid| ours.contains(uid)), "{uids:?}");

    let password = &grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"];
    let secret = password.as_str().and_then(|path| path.strip_prefix("/run/secrets/"));
    assert!(texts(&grafana["secrets"]).contains(&secret.expect("a secret")));
}

/// Every source of data that something in a dashboard asks.
fn collect_sources(value: &Value, uids: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let uid = members.get("datasource").and_then(|source| source["uid"].as_str());
            uids.extend(uid.map(str::to_owned));
            members.values().for_each(|value| collect_sources(value, uids));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_sources(value, uids)),
        _ => {}
    }
}
