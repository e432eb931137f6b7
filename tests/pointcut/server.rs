//! A FHIR server, small enough to be read: histories, and subscriptions that it activates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use rowcast::application::CancellationToken;
use serde_json::{Value, json};

use crate::support::{self, Serving};

/// A version of a resource; a document or a deletion.
#[derive(Clone)]
struct Version {
    number: usize,
    last_updated: String,
    document: Option<Value>,
}

/// What it holds, was asked, and does.
#[derive(Default)]
pub(super) struct World {
    /// `Type/id` and its versions, oldest first.
    resources: BTreeMap<String, Vec<Version>>,
    /// Subscriptions and topics by their paths.
    pub(super) subscriptions: BTreeMap<String, Value>,
    /// Methods, paths and queries it was asked.
    pub(super) asked: Vec<String>,
    /// Answers with this status instead, where the path contains this.
    pub(super) failing: Option<(&'static str, u16)>,
    /// Entries a page at most.
    pub(super) page: usize,
    /// Its version of FHIR; 4.0.1 by default.
    pub(super) fhir_version: Option<&'static str>,
    /// What is asked for waits until this is cancelled.
    pub(super) gate: Option<CancellationToken>,
    /// Seconds of its clock.
    clock: u32,
}

impl World {
    /// A new version of a resource, made at the next second; its number.
    pub(super) fn put(&mut self, name: &str, more: &Value) -> usize {
        self.clock += 1;
        let (resource_type, id) = name.split_once('/').expect("Type/id");
        let last_updated = instant(self.clock);
        let number = self.resources.get(name).map_or(0, Vec::len) + 1;
        let mut document = json!({
            "resourceType": resource_type, "id": id,
            "meta": { "versionId": number.to_string(), "lastUpdated": last_updated },
        });
        document
            .as_object_mut()
            .expect("it is")
            .extend(more.as_object().cloned().unwrap_or_default());
        self.add(name, Version { number, last_updated, document: Some(document) })
    }

    /// Deletes a resource, at the next second; the number of the version that this makes.
    pub(super) fn delete(&mut self, name: &str) -> usize {
        self.clock += 1;
        let number = self.resources.get(name).map_or(0, Vec::len) + 1;
        self.add(name, Version { number, last_updated: instant(self.clock), document: None })
    }

    /// Deletes a resource at this instant.
    pub(super) fn delete_at(&mut self, name: &str, at: &str) {
        let number = self.resources.get(name).map_or(0, Vec::len) + 1;
        self.add(name, Version { number, last_updated: at.to_owned(), document: None });
    }

    /// A version as it is, of a transaction that was begun at this second.
    pub(super) fn put_late(&mut self, name: &str, begun_at: u32) -> usize {
        let clock = std::mem::replace(&mut self.clock, begun_at - 1);
        let number = self.put(name, &json!({}));
        self.clock = clock;
        number
    }

    /// A version with its own text.
    pub(super) fn put_document(&mut self, document: &Value) {
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).expect(pointer);
        let name = format!("{}/{}", text("/resourceType"), text("/id"));
        let number = text("/meta/versionId").parse().expect("a number");
        let last_updated = text("/meta/lastUpdated").to_owned();
        self.add(&name, Version { number, last_updated, document: Some(document.clone()) });
    }

    /// Lets time go by.
    pub(super) const fn wait(&mut self, seconds: u32) {
        self.clock += seconds;
    }

    fn add(&mut self, name: &str, version: Version) -> usize {
        let number = version.number;
        self.resources.entry(name.to_owned()).or_default().push(version);
        number
    }

    /// How often it was asked for something that contains this.
    pub(super) fn times_asked(&self, part: &str) -> usize {
        self.asked.iter().filter(|asked| asked.contains(part)).count()
    }

    fn history(&self, prefix: &str, since: Option<&str>, base: &str) -> Vec<Value> {
        let mut found = Vec::new();
        for (name, versions) in &self.resources {
            if name == prefix || name.starts_with(&format!("{prefix}/")) {
                found.extend(versions.iter().map(|version| (name, version)));
            }
        }
        found.retain(|(_, version)| {
            since.is_none_or(|since| version.last_updated.as_str() >= since)
        });
        found.sort_by(|a, b| (&b.1.last_updated, b.1.number).cmp(&(&a.1.last_updated, a.1.number)));
        let entry = |(name, version): (&String, &Version)| {
            let Version { number, last_updated, document } = version;
            let method = if document.is_some() { "PUT" } else { "DELETE" };
            let mut entry = json!({
                "fullUrl": format!("{base}/{name}"),
                "request": { "method": method, "url": format!("{name}/_history/{number}") },
                "response": {
                    "status": "200 OK", "etag": format!("W/\"{number}\""), "lastModified": last_updated,
                },
            });
            if let Some(document) = document {
                entry["resource"] = document.clone();
            }
            entry
        };
        found.into_iter().map(entry).collect()
    }
}

/// An instant of its clock.
pub(super) fn instant(seconds: u32) -> String {
    let at = chrono::DateTime::from_timestamp(1_800_000_000 + i64::from(seconds), 0);
    at.expect("a time").to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A running server; ended when dropped.
pub(super) struct Server {
    serving: Serving,
    world: Arc<Mutex<World>>,
}

impl Server {
    /// Starts one that has nothing.
    pub(super) fn start() -> Self {
        let world = Arc::new(Mutex::new(World { page: 100, ..World::default() }));
        let port = support::free_port();
        let router = Router::new().fallback(answer).with_state((Arc::clone(&world), port));
        Self { serving: Serving::start(port, router), world }
    }

    pub(super) fn base(&self) -> String {
        format!("http://127.0.0.1:{}/fhir", self.serving.port())
    }

    /// What it holds.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(gate) = self.world().gate.take() {
            gate.cancel();
        }
    }
}

type Shared = (Arc<Mutex<World>>, u16);

async fn answer(State((world, port)): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = format!("{} {path}", parts.method);
    // as of when it was asked, however late it is answered
    let (answer, gate) = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        world.asked.push(asked);
        (respond(&mut world, parts.method.as_str(), &path, &body, port), world.gate.clone())
    };
    if let Some(gate) = gate {
        gate.cancelled().await;
    }
    answer
}

fn respond(world: &mut World, method: &str, path: &str, body: &Bytes, port: u16) -> Response {
    if let Some((part, status)) = world.failing
        && path.contains(part)
    {
        return StatusCode::from_u16(status).expect("a status").into_response();
    }
    let base = format!("http://127.0.0.1:{port}/fhir");
    let url = url::Url::parse(&format!("http://127.0.0.1:{port}{path}")).expect("a URL");
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let below = url.path().trim_start_matches("/fhir/").to_owned();
    if below == "metadata" {
        let version = world.fhir_version.unwrap_or("4.0.1");
        return fhir(&json!({ "resourceType": "CapabilityStatement", "fhirVersion": version }));
    }
    if below == "Subscription" {
        let entries: Vec<_> = world
            .subscriptions
            .iter()
            .filter(|(path, _)| path.starts_with("Subscription/"))
            .map(|(_, resource)| json!({ "resource": resource, "search": { "mode": "match" } }))
            .collect();
        return fhir(&json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries }));
    }
    if let Some(prefix) = below.strip_suffix("/_history") {
        let entries = world.history(prefix, query.get("_since").map(String::as_str), &base);
        if prefix.contains('/') && entries.is_empty() {
            return missing();
        }
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let offset = number("_offset").unwrap_or(0);
        let count = number("_count").unwrap_or(10).min(world.page);
        let page: Vec<_> = entries.iter().skip(offset).take(count).cloned().collect();
        let mut link = Vec::new();
        if entries.len() > offset + count {
            let since = query.get("_since").map(|since| format!("&_since={since}"));
            let next = format!(
                "{base}/{prefix}/_history?_count={count}&_offset={}{}",
                offset + count,
                since.unwrap_or_default()
            );
            link.push(json!({ "relation": "next", "url": next }));
        }
        return fhir(&json!({
            "resourceType": "Bundle", "type": "history", "total": entries.len(), "link": link,
            "meta": { "lastUpdated": instant(world.clock) }, "entry": page,
        }));
    }
    match method {
        "PUT" => {
            let resource: Value = serde_json::from_slice(body).expect("JSON");
            world.subscriptions.insert(below, resource);
            StatusCode::CREATED.into_response()
        }
        "DELETE" => {
            world.subscriptions.remove(&below);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => match world.subscriptions.get_mut(&below) {
            None => missing(),
            Some(subscription) => {
                let answer = fhir(subscription);
                if subscription["status"] == "requested" {
                    subscription["status"] = json!("active");
                }
                answer
            }
        },
    }
}

fn missing() -> Response {
    let outcome = json!({ "resourceType": "OperationOutcome", "issue": [] });
    (StatusCode::NOT_FOUND, outcome.to_string()).into_response()
}

fn fhir(resource: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/fhir+json")], resource.to_string()).into_response()
}
