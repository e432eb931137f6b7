//! A schema registry as Confluent's answers, small enough to be read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::support::{self, Serving};

/// What it has and what it was asked.
#[derive(Default)]
pub(crate) struct Contents {
    /// Paths and what stands there: `/schemas/ids/7`, `/subjects/name/versions/1`.
    pub(crate) schemas: BTreeMap<String, Value>,
    /// What the header `Authorization` must be, if anything.
    pub(crate) authorization: Option<String>,
    /// Answers with this status instead.
    pub(crate) failing: Option<u16>,
    /// The paths it was asked for.
    pub(crate) asked: Vec<String>,
}

/// A running registry; ended when dropped.
pub(crate) struct Server {
    serving: Serving,
    contents: Arc<Mutex<Contents>>,
}

impl Server {
    /// Starts one.
    pub(crate) fn start() -> Self {
        Self::start_at(support::free_port())
    }

    /// Starts one at this port, on which nobody listened so far.
    pub(crate) fn start_at(port: u16) -> Self {
        let contents = Arc::new(Mutex::new(Contents::default()));
        let serving = Serving::start(port, routes(Arc::clone(&contents)));
        Self { serving, contents }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.serving.port())
    }

    /// Puts a schema at `/schemas/ids/ID` or wherever else.
    pub(crate) fn put(&self, path: &str, schema: &Value) {
        self.put_with(path, schema, &json!([]));
    }

    /// The same with references.
    pub(crate) fn put_with(&self, path: &str, schema: &Value, references: &Value) {
        let text = schema.as_str().map_or_else(|| schema.to_string(), str::to_owned);
        let answer = json!({ "schema": text, "references": references });
        self.change(|contents| drop(contents.schemas.insert(path.to_owned(), answer)));
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(&mut self.contents.lock().expect("nobody panicked"))
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.change(|contents| contents.asked.clone())
    }
}

fn routes(contents: Arc<Mutex<Contents>>) -> Router {
    Router::new()
        .route("/schemas/ids/{id}", get(answer))
        .route("/schemas/guids/{id}", get(answer))
        .route("/subjects/{subject}/versions/{version}", get(answer_subject))
        .fallback(|| async { (StatusCode::NOT_FOUND, "nothing here") })
        .with_state(contents)
}

async fn answer(
    State(contents): State<Arc<Mutex<Contents>>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    respond(&contents, uri.path(), &headers, 40_403)
}

async fn answer_subject(
    State(contents): State<Arc<Mutex<Contents>>>,
    Path((subject, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    respond(&contents, &format!("/subjects/{subject}/versions/{version}"), &headers, 40_401)
}

fn respond(contents: &Mutex<Contents>, path: &str, headers: &HeaderMap, code: u32) -> Response {
    let mut contents = contents.lock().expect("nobody panicked");
    contents.asked.push(path.to_owned());
    if let Some(status) = contents.failing {
        let status = StatusCode::from_u16(status).expect("a status");
        return (status, [(LOCATION, "/elsewhere")], "not now").into_response();
    }
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if contents.authorization.is_some() && shown != contents.authorization.as_deref() {
        let refused = json!({ "error_code": 401, "message": "Unauthorized" });
        return (StatusCode::UNAUTHORIZED, Json(refused)).into_response();
    }
    let media_type = [(CONTENT_TYPE, "application/vnd.schemaregistry.v1+json")];
    if let Some(schema) = contents.schemas.get(path) {
        return (media_type, schema.to_string()).into_response();
    }
    let refused = json!({ "error_code": code, "message": "Schema not found" }).to_string();
    (StatusCode::NOT_FOUND, media_type, refused).into_response()
}
