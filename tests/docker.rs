//! The container files, as far as they can be judged without a container engine.

mod agreement;
mod container;
mod native;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

fn read(name: &str) -> String {
    fs::read_to_string(docker().join(name)).unwrap_or_else(|error| panic!("docker/{name}: {error}"))
}

fn compose() -> Value {
    serde_saphyr::from_str(&read("compose.yaml")).expect("compose.yaml is YAML")
}

fn services() -> Vec<(String, Value)> {
    let compose = compose();
    let services = compose["services"].as_object().expect("a mapping");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn compose_has_kafka_a_database_and_rowcast_in_the_order_they_are_needed() {
    let compose = compose();
    for dependency in ["kafka", "postgres"] {
        assert!(compose["services"][dependency]["healthcheck"]["test"].is_array());
        assert_eq!(
            compose["services"]["rowcast"]["depends_on"][dependency]["condition"],
            "service_healthy"
        );
    }
}

#[test]
fn every_image_is_pinned_to_a_release() {
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image}"));
        assert!(tag.matches('.').count() >= 1 && tag != "latest", "{name}: {image}");
    }
    for line in read("Dockerfile").lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = line.split(' ').next().expect("an image");
        assert!(image.contains(':') && !image.ends_with(":latest"), "{image}");
    }
}

#[test]
fn every_port_is_published_on_loopback_only() {
    let mut published = 0;
    for (name, service) in services() {
        let ports = service["ports"].as_array().map_or(0, Vec::len);
        assert_eq!(texts(&service["ports"]).len(), ports, "{name}: ports in the short form");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} publishes {port}");
            published += 1;
        }
        assert!(service.get("network_mode").is_none(), "{name}");
    }
    assert_eq!(published, 5);
}

#[test]
fn every_file_that_compose_refers_to_exists_or_is_made_by_the_script() {
    let script = read("make-secrets.sh");
    for (name, secret) in compose()["secrets"].as_object().expect("a mapping") {
        let file = secret["file"].as_str().expect("secrets come from files");
        assert!(script.contains(&format!("> {file}\n")), "nothing makes the secret {name}");
    }
    let compose = compose();
    let volumes = compose["volumes"].as_object().expect("a mapping");
    for (name, service) in services() {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().expect("a source");
            let exists = volumes.contains_key(source)
                || (source.starts_with('.') && docker().join(source).exists());
            assert!(exists, "{name} mounts {source}");
        }
        for secret in texts(&service["secrets"]) {
            assert!(compose["secrets"].get(secret).is_some(), "{name} uses the secret {secret}");
        }
        if let Some(build) = service.get("build") {
            let context = docker().join(build["context"].as_str().expect("a folder"));
            assert!(context.join(build["dockerfile"].as_str().expect("a file")).is_file());
        }
        for argument in texts(&service["command"]) {
            if let Some(file) = argument.strip_prefix("/topology/") {
                assert!(docker().join("../topology").join(file).is_file(), "{name}: {argument}");
            }
        }
    }
}

#[test]
fn the_settings_in_compose_make_a_valid_topology() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "postgres://rowcast:canary@postgres:5432/clinical\n").expect("written");
    fs::create_dir(folder.path().join("rules")).expect("made");
    fs::write(folder.path().join("rules/a.json"), "{}").expect("written");
    let topology = folder.path().join("clinical.yaml");
    fs::copy(docker().join("../topology/clinical.yaml"), &topology).expect("copied");
    for (name, service) in services() {
        // the mounted secrets are not here: this file stands for each of them
        let mut settings = Vec::new();
        for pair in texts(&service["command"]).windows(2).filter(|pair| pair[0] == "--set") {
            let mut setting = pair[1].replace("$$", "$");
            for mounted in texts(&service["secrets"]) {
                let path = format!("/run/secrets/{mounted}");
                setting = setting.replace(&path, &secret.display().to_string());
            }
            settings.push(setting.parse().expect("a setting"));
        }
        if settings.is_empty() {
            continue;
        }
        let loaded = rowcast::topology::load_with(&topology, &settings, &|_| None);
        assert!(loaded.is_ok(), "{name}: {loaded:?}");
    }
}

#[test]
fn the_image_does_not_run_as_root_and_holds_no_secret() {
    let dockerfile = read("Dockerfile");
    let instructions: Vec<&str> = dockerfile
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let last_from = instructions.iter().rposition(|line| line.starts_with("FROM ")).expect("FROM");
    let image = &instructions[last_from..];
    assert!(image[0].ends_with(":nonroot"));
    assert_eq!(
        image.iter().filter(|line| line.starts_with("USER ")).collect::<Vec<_>>(),
        [&"USER 65532:65532"]
    );
    let copies: Vec<_> =
        image.iter().filter(|line| line.starts_with("COPY ") || line.starts_with("ADD ")).collect();
    assert_eq!(copies, [&"COPY --from=build /usr/local/bin/rowcast /usr/local/bin/rowcast"]);
    for line in &instructions {
        let lower = line.to_lowercase();
        for word in ["password", "secret", "token", "_key", "credential"] {
            assert!(!lower.contains(word), "{line}");
        }
    }
    for hidden in [".git", "docker", "target", "**/secrets"] {
        assert!(read("Dockerfile.dockerignore").lines().any(|line| line == hidden), "{hidden}");
    }
}

/// What a file says, or may be asked of the binary.
fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn prometheus_finds_every_instance_and_shows_the_token_and_grafana_finds_prometheus() {
    let (compose, prometheus) = (compose(), yaml("prometheus/prometheus.yaml"));
    let scraped = &prometheus["scrape_configs"][0];
    assert_eq!(scraped["job_name"], "rowcast", "the alerts ask for this name");
    let named = &scraped["dns_sd_configs"][0];
    assert!(compose["services"].get(named["names"][0].as_str().expect("a name")).is_some());
    let listens = texts(&compose["services"]["rowcast"]["command"]);
    let port = named["port"].as_u64().expect("a port");
    assert!(listens.contains(&format!("http.listen=0.0.0.0:{port}").as_str()));
    let secret = scraped["authorization"]["credentials_file"].as_str().expect("a file");
    let secret = secret.strip_prefix("/run/secrets/").expect("a secret");
    for service in ["prometheus", "rowcast"] {
        assert!(texts(&compose["services"][service]["secrets"]).contains(&secret), "{service}");
    }
    let volumes = texts(&compose["services"]["prometheus"]["volumes"]);
    let rules = prometheus["rule_files"][0].as_str().expect("a file");
    assert!(volumes.iter().any(|volume| volume.contains(&format!("alerts.yaml:{rules}:ro"))));

    let source = yaml("grafana/provisioning/datasources/prometheus.yaml");
    let ports = texts(&compose["services"]["prometheus"]["ports"]);
    let url = source["datasources"][0]["url"].as_str().expect("a url");
    let (_, port) = url.strip_prefix("http://prometheus:").map(|port| ("", port)).expect("it");
    assert!(ports.iter().any(|published| published.ends_with(&format!(":{port}"))));
    let folder = yaml("grafana/provisioning/dashboards/rowcast.yaml");
    let folder = folder["providers"][0]["options"]["path"].as_str().expect("a path").to_owned();
    let volumes = texts(&compose["services"]["grafana"]["volumes"]);
    assert!(volumes.iter().any(|volume| volume.contains(&format!(":{folder}/rowcast.json:ro"))));
}

/// The arguments must be those of the binary: it is asked, and the answer is that nobody is there.
fn is_understood(arguments: &[String]) {
    let output = crate::support::Rowcast::command(arguments).output().expect("rowcast runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(!said.contains("unexpected argument"), "{arguments:?}: {said}");
}

#[test]
fn the_health_check_and_the_unit_say_what_the_binary_understands() {
    let compose = compose();
    let check = texts(&compose["services"]["rowcast"]["healthcheck"]["test"]);
    assert_eq!(check[..2], ["CMD", "/usr/local/bin/rowcast"]);
    let absent = |argument: &&str| argument.replace("/topology/", "/nowhere/").replace("$$", "$");
    is_understood(&check[2..].iter().map(absent).collect::<Vec<_>>());

    let unit = read("systemd/rowcast.service");
    let starts = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a start");
    let (binary, arguments) = starts.split_once(' ').expect("arguments");
    assert_eq!(binary, "/usr/local/bin/rowcast");
    is_understood(
        &arguments.replace("/etc/", "/nowhere/").split(' ').map(str::to_owned).collect::<Vec<_>>(),
    );
    for line in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "RestartPreventExitStatus=78",
    ] {
        assert!(unit.lines().any(|had| had == line), "{line}");
    }
    let grace = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("a time");
    assert!(grace.parse::<u32>().expect("seconds") > 25, "it settles within 25 s");
}

#[test]
fn git_does_not_see_the_secrets() {
    let ignored = fs::read_to_string(docker().join("../.gitignore")).expect(".gitignore");
    assert!(ignored.lines().any(|line| line == "/docker/secrets"));
    let compose = read("compose.yaml");
    assert!(!compose.contains("POSTGRES_PASSWORD:"), "passwords come from files");
}
