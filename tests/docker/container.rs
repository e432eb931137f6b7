//! A container of compose without an engine: a folder stands for its root, an address of this
//! machine for its network. What compose mounts lies in the folder, and texts that name paths or
//! hosts of compose come out with those of here; nothing else in them is changed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;

use super::{docker, texts};

/// The secrets, and the names of other containers.
pub(super) struct Network {
    folder: tempfile::TempDir,
    compose: Value,
    /// Bytes 2 and 3 of every address: nobody else's at this moment.
    net: [u8; 2],
    postgres: SocketAddr,
}

/// One container.
pub(super) struct Container {
    service: Value,
    root: PathBuf,
    address: Ipv4Addr,
    /// What is written in compose's files, and what it is here.
    here: Vec<(Regex, String)>,
}

impl Network {
    /// Makes the secrets as the README says. `postgres`: a server's address.
    pub(super) fn new(postgres: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("make-secrets.sh");
        std::fs::copy(docker().join("make-secrets.sh"), &script).expect("copied");
        let made = Command::new("sh").arg(&script).status().expect("sh runs");
        assert!(made.success(), "make-secrets.sh");
        let [.., two, three] = std::process::id().to_be_bytes();
        Self { folder, compose: super::compose(), net: [two | 64, three], postgres }
    }

    /// The `number`th container of a service.
    pub(super) fn container(&self, service: &str, number: u8) -> Container {
        let root = self.folder.path().join(format!("{service}-{number}"));
        let definition = self.compose["services"][service].clone();
        let own = self.address(service, number);
        let mut here = Vec::new();
        let mut means = |written: &str, here_it_is: String| {
            here.push((Regex::new(written).expect("it is right"), here_it_is));
        };
        let mounts = self.mounts(&definition);
        for (from, to) in &mounts {
            let at = root.join(to.trim_start_matches('/'));
            copy(from, &at);
            let whole_path = format!(r"(^|[^\w/.-]){}\b", regex::escape(to));
            means(&whole_path, format!("${{1}}{}", at.display()));
        }
        means("/opt/kafka/bin", root.join("opt/kafka/bin").display().to_string());
        // what binds or asks every address or its own does so at this one
        means(r"\b(0\.0\.0\.0|127\.0\.0\.1):", format!("{own}:"));
        means("://:", format!("://{own}:"));
        means(r"\bkafka:(\d)", format!("{}:$1", self.address("kafka", 1)));
        means(r"\bpostgres:5432\b", self.postgres.to_string());
        let container = Container { service: definition, root, address: own, here };
        for (_, to) in &mounts {
            container.translate_files(&container.path(to));
        }
        container
    }

    fn address(&self, service: &str, number: u8) -> Ipv4Addr {
        let mut services = self.compose["services"].as_object().expect("services").keys();
        let place = services.position(|name| name == service).expect("a service");
        let last = u8::try_from(place * 16).expect("few") + number;
        Ipv4Addr::new(127, self.net[0], self.net[1], last)
    }

    /// What is mounted: from where, and at which path of the container.
    fn mounts(&self, definition: &Value) -> Vec<(PathBuf, String)> {
        let volume = |volume: &str| {
            let mut parts = volume.split(':').map(str::to_owned);
            let (from, to) = (parts.next().expect("a source"), parts.next().expect("a target"));
            (docker().join(from), to)
        };
        let secret = |name: &str| {
            let file = self.compose["secrets"][name]["file"].as_str().expect("a file");
            (self.folder.path().join(file), format!("/run/secrets/{name}"))
        };
        let volumes = texts(&definition["volumes"]).into_iter().map(volume);
        volumes.chain(texts(&definition["secrets"]).into_iter().map(secret)).collect()
    }
}

impl Container {
    /// Where a path of the container is.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Where one of its ports is.
    pub(super) fn port(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// What compose says about it at this place: `/command`, `/healthcheck/test`.
    pub(super) fn words(&self, place: &str) -> Vec<String> {
        let words = texts(self.service.pointer(place).expect("compose says it"));
        words.into_iter().map(|word| self.translate(&word.replace("$$", "$"))).collect()
    }

    /// Its environment variables.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let variables = self.service["environment"].as_object().expect("it has some");
        let text = |value: &Value| self.translate(value.as_str().expect("quoted in compose"));
        variables.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// Runs its health check, which is a line for a shell; whether it is healthy.
    pub(super) fn is_healthy(&self, environment: &[(&str, &str)]) -> bool {
        let check = self.words("/healthcheck/test");
        assert_eq!(check[0], "CMD-SHELL");
        let shell = Command::new("sh")
            .args(["-c", &check[1]])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        shell.expect("sh runs").success()
    }

    /// A text of compose's files, as it must be here.
    fn translate(&self, text: &str) -> String {
        self.here.iter().fold(text.to_owned(), |text, (written, here)| {
            written.replace_all(&text, here).into_owned()
        })
    }

    fn translate_files(&self, path: &Path) {
        if path.is_dir() {
            for entry in path.read_dir().expect("readable") {
                self.translate_files(&entry.expect("an entry").path());
            }
        } else if let Ok(text) = std::fs::read_to_string(path) {
            std::fs::write(path, self.translate(&text)).expect("written");
        }
    }
}

/// Copies a file or a folder; what does not exist is a volume, which is empty at first.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::create_dir_all(to.parent().expect("below the root")).expect("made");
        std::fs::copy(from, to).expect("copied");
        return;
    }
    std::fs::create_dir_all(to).expect("made");
    for entry in from.read_dir().into_iter().flatten() {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
