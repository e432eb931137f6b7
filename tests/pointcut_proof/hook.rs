//! A server's side of the hook endpoint: requests made by hand.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::ground::TOKEN;
use crate::support::block_on;

/// Sends hooks to one endpoint. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sender {
    client: reqwest::Client,
    base: String,
    headers: HeaderMap,
    form: &'static str,
}

impl Sender {
    /// With the token that is asked for.
    pub(super) fn to(port: u16) -> Self {
        Self::with_token(port, Some(TOKEN))
    }

    pub(super) fn with_token(port: u16, token: Option<&str>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let shown = format!("Bearer {token}");
            headers.insert("authorization", HeaderValue::from_str(&shown).expect("a header"));
        }
        let base = format!("http://127.0.0.1:{port}");
        Self { client, base, headers, form: "application/fhir+json; charset=UTF-8" }
    }

    /// As a subscription that asked for XML.
    pub(super) fn of_xml(mut self) -> Self {
        self.form = "application/fhir+xml; charset=UTF-8";
        self
    }

    /// The status of the answer; `None` if there was none.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Option<u16> {
        let method = method.parse().expect("a method");
        let request = self.client.request(method, format!("{}/{path}", self.base));
        let mut request = request.headers(self.headers.clone());
        if !body.is_empty() {
            request = request.header("content-type", self.form).body(body.to_owned());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        // acknowledged is what was wholly answered
        answer.bytes().await.ok()?;
        Some(status)
    }

    /// The same from outside of any runtime.
    pub(super) fn send_now(&self, method: &str, path: &str, body: &str) -> Option<u16> {
        block_on(self.send(method, path, body))
    }
}

/// The body of a hook.
pub(super) fn patient(id: &str, version: u64, padding: usize) -> String {
    let resource: Value = json!({
        "resourceType": "Patient", "id": id,
        "meta": { "versionId": version.to_string(), "lastUpdated": "2026-01-01T00:00:00.000+00:00" },
        "text": { "status": "generated", "div": "x".repeat(padding) },
        "name": [{ "family": format!("F{version}") }], "gender": "female",
    });
    resource.to_string()
}

/// Where HAPI puts a resource.
pub(super) fn path(id: &str) -> String {
    format!("Patient/Patient/{id}")
}
