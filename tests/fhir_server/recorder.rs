//! The other end of hooks: writes down every request and answers as it is told.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};

use crate::support::Serving;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// A running recorder; ended when dropped.
pub(super) struct Recorder {
    pub(super) port: u16,
    _serving: Serving,
    heard: Arc<Mutex<Heard>>,
}

struct Heard {
    requests: Vec<Request>,
    answer: (u16, &'static str),
}

impl Request {
    /// The values of a header.
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let wanted = self.headers.iter().filter(|(known, _)| known == name);
        wanted.map(|(_, value)| value.as_str()).collect()
    }
}

impl Recorder {
    pub(super) fn start() -> Self {
        let heard = Arc::new(Mutex::new(Heard { requests: Vec::new(), answer: (200, "") }));
        let routes = Router::new().fallback(hear).with_state(Arc::clone(&heard));
        let serving = Serving::start(0, routes);
        Self { port: serving.port(), _serving: serving, heard }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// What came so far, in order.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.heard.lock().expect("nobody panicked").requests.clone()
    }

    /// Answers so from now on.
    pub(super) fn answer(&self, status: u16, body: &'static str) {
        self.heard.lock().expect("nobody panicked").answer = (status, body);
    }
}

async fn hear(
    State(heard): State<Arc<Mutex<Heard>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let headers = headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), value.to_str().expect("a header is text").to_owned())
    });
    let request = Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let mut heard = heard.lock().expect("nobody panicked");
    heard.requests.push(request);
    let (status, body) = heard.answer;
    (StatusCode::from_u16(status).expect("a status"), body)
}
