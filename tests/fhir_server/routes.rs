//! Requests to what they ask for.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::answer::Answer;
use super::document::Document;
use super::shared::Shared;
use super::store::{Key, Version};
use super::transaction::Broken;
use super::{Dialect, auth, bundle, export, search};

/// What is asked.
pub(super) struct Asked {
    method: Method,
    /// Below the base.
    path: String,
    pub(super) query: Vec<(String, String)>,
    headers: HeaderMap,
    body: String,
}

impl Asked {
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.parameter(name)?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `_since`, if it can be read.
    pub(super) fn since(&self) -> Result<Option<DateTime<Utc>>, Answer> {
        let since = self.parameter("_since");
        let since = since.map(|text| DateTime::parse_from_rfc3339(&text)).transpose();
        let since = since.map_err(|_| Answer::outcome(400, "Invalid date/time format"))?;
        Ok(since.map(|since| since.with_timezone(&Utc)))
    }

    /// Its own URL, with some parameters replaced.
    pub(super) fn url_with(&self, base: &str, replaced: &[(&str, usize)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.query {
            if !replaced.iter().any(|(known, _)| known == name) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in replaced {
            query.append_pair(name, &value.to_string());
        }
        let mut url = format!("{base}/{}", self.path);
        let query = query.finish();
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        url
    }

    /// The version of `If-Match: W/"3"`.
    fn if_match(&self) -> Option<u64> {
        let tag = self.header("if-match")?;
        tag.trim_start_matches("W/").trim_matches('"').parse().ok()
    }
}

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(shared)
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    let latency = shared.with(|state| {
        state.asked.push(format!("{method} {uri}"));
        state.faults.latency
    });
    tokio::time::sleep(latency).await;
    if let Some(refusal) = refusal(&shared) {
        return refusal.into();
    }
    if uri.path() == "/oauth/token" {
        return auth::token(&shared, &headers, &body).into();
    }
    let Some(path) = uri.path().strip_prefix("/fhir") else {
        return Answer::outcome(404, "nothing here").into();
    };
    let query = uri.query().unwrap_or_default();
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let path = path.trim_matches('/').to_owned();
    let admitted = path == "metadata" || auth::admits(&shared, &headers);
    let asked = Asked { method, path, query, headers, body };
    if !admitted {
        return Answer::outcome(401, "HAPI-0644: Unauthorized")
            .header(header::WWW_AUTHENTICATE, "Bearer")
            .into();
    }
    answer(&shared, &asked).into()
}

/// What the test wants to be answered instead.
fn refusal(shared: &Shared) -> Option<Answer> {
    shared.with(|state| {
        let refusing = state.faults.refusing?;
        if state.chance.f64() >= refusing.share {
            return None;
        }
        let answer = Answer::outcome(refusing.status, "HAPI-0389: Failed to call access method");
        Some(match refusing.retry_after {
            Some(seconds) => answer.header(header::RETRY_AFTER, seconds.to_string()),
            None => answer,
        })
    })
}

fn answer(shared: &Shared, asked: &Asked) -> Answer {
    let segments: Vec<&str> = asked.path.split('/').filter(|part| !part.is_empty()).collect();
    match (asked.method.as_str(), segments.as_slice()) {
        ("GET", ["metadata"]) => metadata(shared),
        ("GET", []) if asked.parameter("_getpages").is_some() => {
            let name = asked.parameter("_getpages").unwrap_or_default();
            search::later_page(shared, asked, &name)
        }
        ("POST", []) => transaction(shared, asked),
        ("GET", ["_history"]) => search::history(shared, asked, (None, None)),
        ("GET", ["$export"]) => export::kick_off(shared, asked),
        ("GET", ["$export-poll-status"]) => export::poll(shared, asked),
        ("DELETE", ["$export-poll-status"]) => export::cancel(shared, asked),
        ("GET", [of_type]) => search::search(shared, asked, of_type),
        ("POST", [of_type]) => create(shared, asked, of_type),
        ("GET", [of_type, "_history"]) => search::history(shared, asked, (Some(of_type), None)),
        ("GET", [of_type, id]) => {
            let file = (*of_type == "Binary").then(|| export::file(shared, id)).flatten();
            file.unwrap_or_else(|| read(shared, &key(of_type, id), None))
        }
        ("PUT", [of_type, id]) => update(shared, asked, &key(of_type, id)),
        ("DELETE", [of_type, id]) => delete(shared, asked, &key(of_type, id)),
        ("GET", [of_type, id, "_history"]) => {
            search::history(shared, asked, (Some(of_type), Some(id)))
        }
        ("GET", [of_type, id, "_history", number]) => {
            read(shared, &key(of_type, id), number.parse().ok().or(Some(0)))
        }
        _ => Answer::outcome(405, "HAPI-0287: Method not allowed"),
    }
}

fn key(of_type: &str, id: &str) -> Key {
    (of_type.to_owned(), id.to_owned())
}

fn metadata(shared: &Shared) -> Answer {
    let version = match shared.settings.dialect {
        Dialect::R4 => "4.0.1",
        Dialect::R4B => "4.3.0",
        Dialect::R5 => "5.0.0",
    };
    let statement = json!({
        "resourceType": "CapabilityStatement", "status": "active", "kind": "instance",
        "software": { "name": "HAPI FHIR Server", "version": "8.8.0" },
        "fhirVersion": version,
        "format": ["application/fhir+xml", "xml", "application/fhir+json", "json"],
        "rest": [{ "mode": "server", "interaction": [
            { "code": "history-system" }, { "code": "transaction" },
        ] }],
    });
    Answer::json(200, &statement.to_string())
}

fn read(shared: &Shared, key: &Key, number: Option<u64>) -> Answer {
    let found: Option<Version> = shared.with(|state| match number {
        None => state.store.latest(key).cloned(),
        Some(number) => state.store.version(key, number).cloned(),
    });
    match found {
        Some(version) => Answer::version(200, &shared.base, &version),
        None => Answer::unknown(&shared.base, &format!("{}/{}", key.0, key.1)),
    }
}

fn create(shared: &Shared, asked: &Asked, of_type: &str) -> Answer {
    let document = match document(asked, of_type) {
        Ok(document) => document,
        Err(refused) => return refused,
    };
    match shared.create(of_type, &document) {
        Ok(written) => {
            let version = written.version();
            let place = format!("{}/{}/_history/1", shared.base, version.path());
            Answer::version(201, &shared.base, version).header(header::LOCATION, place)
        }
        Err(refused) => Answer::refused(&shared.base, of_type, refused),
    }
}

fn update(shared: &Shared, asked: &Asked, key: &Key) -> Answer {
    let document = match document(asked, &key.0) {
        Ok(document) => document,
        Err(refused) => return refused,
    };
    if document.text("id").as_ref() != Some(&key.1) {
        return Answer::outcome(400, "HAPI-0420: Can not update resource, id must match the URL");
    }
    let was_there =
        shared.with(|state| state.store.latest(key).is_some_and(|version| !version.is_deletion()));
    match shared.put(key, &document, asked.if_match()) {
        Ok(written) => {
            let status = if was_there { 200 } else { 201 };
            Answer::version(status, &shared.base, written.version())
        }
        Err(refused) => Answer::refused(&shared.base, &format!("{}/{}", key.0, key.1), refused),
    }
}

fn document(asked: &Asked, of_type: &str) -> Result<Document, Answer> {
    let document = Document::parse(&asked.body)
        .ok_or_else(|| Answer::outcome(400, "HAPI-0450: Failed to parse request body as JSON"))?;
    if document.text("resourceType").as_deref() != Some(of_type) {
        return Err(Answer::outcome(
            400,
            "HAPI-0385: the resource is of another type than the URL",
        ));
    }
    Ok(document)
}

fn delete(shared: &Shared, asked: &Asked, key: &Key) -> Answer {
    match shared.delete(key, asked.if_match()) {
        Ok(written) => Answer::deletion(&shared.base, &written),
        Err(refused) => Answer::refused(&shared.base, &format!("{}/{}", key.0, key.1), refused),
    }
}

fn transaction(shared: &Shared, asked: &Asked) -> Answer {
    let bundle = match document(asked, "Bundle") {
        Ok(bundle) if bundle.text("type").as_deref() == Some("transaction") => bundle,
        Ok(_) => return Answer::outcome(400, "HAPI-0527: Unable to process Bundle of this type"),
        Err(refused) => return refused,
    };
    match shared.transaction(&bundle) {
        Ok(written) => {
            let id = bundle::random_id();
            let place = format!("{}/Bundle/{id}", shared.base);
            Answer::json(200, &bundle::of_transaction(&shared.base, &id, &written))
                .header(header::CONTENT_LOCATION, place.clone())
                .header(header::LOCATION, place)
        }
        Err(Broken::Entry(at)) => Answer::outcome(400, &format!("entry {at} cannot be processed")),
        Err(Broken::Refused(refused)) => Answer::refused(&shared.base, "entry", refused),
    }
}
