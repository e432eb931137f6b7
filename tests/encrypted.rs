//! FHIR servers, token endpoints and file servers behind TLS, each with or without it for itself.

use axum::Router;
use axum::routing::get;
use rowcast::error::ErrorClass;
use rowcast::fhir_server::{
    Auth, FhirServer, FhirServerError, FhirServerSettings, FhirVersion, Manifest,
};
use rowcast::topology::Secret;
use serde_json::json;
use url::Url;

use crate::fhir_server::{self, Settings};
use crate::support::pipeline::{Pipeline, RULES};
use crate::support::tls::Authority;
use crate::support::{Serving, block_on};

fn url(text: &str) -> Url {
    text.parse().expect("a URL")
}

fn port(text: &str) -> u16 {
    url(text).port().expect("a port")
}

/// What a client makes of the server's version.
fn version(settings: FhirServerSettings) -> Result<FhirVersion, FhirServerError> {
    let server = FhirServer::new(settings).expect("a client");
    block_on(server.fhir_version())
}

/// A server that wants tokens, which it gives for this name and secret.
fn with_tokens() -> fhir_server::FhirServer {
    let auth = fhir_server::Auth::ClientCredentials { id: "rowcast".into(), secret: "hush".into() };
    fhir_server::FhirServer::start_with(Settings { auth, ..Settings::default() })
}

#[test]
fn a_server_is_asked_if_its_authority_is_trusted() {
    let (authority, server) = (Authority::new(), fhir_server::FhirServer::start());
    let tls = authority.before(port(&server.url()));
    let mut settings = FhirServerSettings::new(url(&tls.url("/fhir")));
    let error = version(settings.clone()).expect_err("nobody knows this authority");
    assert_eq!(error.class(), ErrorClass::Retriable, "{error:?}");
    settings.authorities = Some(Authority::new().pem());
    assert!(version(settings.clone()).is_err(), "that is another one");
    settings.authorities = Some(authority.pem());
    assert_eq!(version(settings).expect("it is trusted"), FhirVersion::R4);
}

#[test]
fn tokens_come_by_tls_though_the_server_itself_has_none() {
    let (authority, server) = (Authority::new(), with_tokens());
    let tls = authority.before(port(&server.url()));
    let auth = |token_url: String| Auth::ClientCredentials {
        token_url: url(&token_url),
        client_id: "rowcast".into(),
        client_secret: Secret::new("hush"),
        scope: None,
    };
    for (base, token_url) in [
        (server.url(), tls.url("/oauth/token")),
        (tls.url("/fhir"), server.token_url()),
        (tls.url("/fhir"), tls.url("/oauth/token")),
    ] {
        let settings = FhirServerSettings {
            auth: auth(token_url.clone()),
            authorities: Some(authority.pem()),
            ..FhirServerSettings::new(url(&base))
        };
        assert_eq!(version(settings).ok(), Some(FhirVersion::R4), "{base} {token_url}");
    }
}

#[test]
fn files_of_an_export_come_by_tls_though_the_server_itself_has_none() {
    let authority = Authority::new();
    let files = Serving::start(0, Router::new().route("/1", get(|| async { "a line\n" })));
    let tls = authority.before(files.port());
    let settings = FhirServerSettings {
        authorities: Some(authority.pem()),
        file_servers: vec![url(&tls.url("/"))],
        ..FhirServerSettings::new(url("http://127.0.0.1:1/fhir"))
    };
    let server = FhirServer::new(settings).expect("a client");
    let manifest = json!({ "transactionTime": "2026-11-23T10:00:00Z",
        "output": [{ "type": "Patient", "url": tls.url("/1") }] });
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    block_on(async {
        let download = server.download(&manifest, &manifest.output[0]).await;
        let chunk = download.expect("it is trusted").chunk().await.expect("it is read");
        assert_eq!(chunk.as_deref(), Some(&b"a line\n"[..]));
    });
}

#[test]
fn a_load_takes_the_authority_that_it_is_told() {
    let (authority, server) = (Authority::new(), with_tokens());
    server.put("Patient/1", &json!({ "resourceType": "Patient", "id": "1" }));
    let tls = authority.before(port(&server.url()));
    let pipeline = Pipeline::embedded(RULES, "");
    let ca = pipeline.path("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("written");
    let (base, token_url) = (server.url(), tls.url("/oauth/token"));
    let arguments = ["load", "--history", "--type", "Patient", "--server", &base, "--ca", &ca];
    let client =
        ["--token-url", &token_url, "--client-id", "rowcast", "--client-secret", "${SECRET}"];
    let output =
        pipeline.command_with(&[&arguments[..], &client[..]].concat(), &[("SECRET", "hush")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
