//! A real Prometheus, and its tool that judges rules and metrics.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::http;

/// A running Prometheus; ended when dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Prometheus {
    /// With this configuration; `None`, and a visible `skipped`, where there is none.
    pub(crate) fn start(configuration: &Path, address: SocketAddr) -> Option<Self> {
        if !super::has_program("prometheus") {
            return None;
        }
        let data = tempfile::tempdir().expect("a folder");
        let child = Command::new("prometheus")
            .current_dir(data.path())
            .arg(format!("--config.file={}", configuration.display()))
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Some(Self { child, address, _data: data })
    }

    /// The series that an expression yields; `None` while it does not answer.
    pub(crate) fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let data = self.ask(&format!("/api/v1/query?query={query}"))?;
        data["result"].as_array().cloned()
    }

    /// What its API answers at a path; `None` while it does not.
    pub(crate) fn ask(&self, path: &str) -> Option<Value> {
        let answer = http::get_at(self.address, path)?;
        let mut answer: Value = serde_json::from_str(&answer.body).ok()?;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs promtool in a folder, which must find nothing wrong. It comes with prometheus.
pub(crate) fn promtool(folder: &Path, arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool comes with prometheus");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}
