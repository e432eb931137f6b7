//! The container files, as far as they can be judged without a container engine.

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
    assert_eq!(published, 3);
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

#[test]
fn git_does_not_see_the_secrets() {
    let ignored = fs::read_to_string(docker().join("../.gitignore")).expect(".gitignore");
    assert!(ignored.lines().any(|line| line == "/docker/secrets"));
    let compose = read("compose.yaml");
    assert!(!compose.contains("POSTGRES_PASSWORD:"), "passwords come from files");
}
