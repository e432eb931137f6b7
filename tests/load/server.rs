//! A FHIR server, no larger than these tests need it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::Serving;

/// An answer.
#[derive(Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Breaks off behind so many bytes.
    pub(super) breaks_at: Option<usize>,
    /// Between parts of a thousand bytes.
    pub(super) pause: Option<Duration>,
}

impl Answer {
    pub(super) fn json(body: &Value) -> Self {
        Self { status: 200, body: body.to_string().into_bytes(), ..Self::default() }
    }

    pub(super) fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// A request that it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Method, and path with query.
    pub(super) what: String,
    pub(super) authorization: Option<String>,
    pub(super) accept: String,
    pub(super) prefer: Option<String>,
}

#[derive(Default)]
struct Contents {
    /// By method, and path with query: answers that are given once, in their order, and the last one
    /// for ever.
    answers: BTreeMap<String, Vec<Answer>>,
    asked: Vec<Asked>,
}

/// A running server; ended when dropped.
pub(super) struct Server {
    serving: Serving,
    contents: Arc<Mutex<Contents>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let contents = Arc::new(Mutex::new(Contents::default()));
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&contents));
        Self { serving: Serving::start(0, routes), contents }
    }

    /// Its address, without the base.
    pub(super) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.serving.port())
    }

    /// Its base.
    pub(super) fn base(&self) -> String {
        self.origin() + "/fhir"
    }

    /// Gives these answers, one after the other, the last one for ever.
    pub(super) fn answers(&self, what: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        self.change(|contents| contents.answers.insert(what.to_owned(), answers));
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.change(|contents| contents.asked.clone())
    }

    /// How often it was asked this.
    pub(super) fn times(&self, what: &str) -> usize {
        self.asked().iter().filter(|asked| asked.what == what).count()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents) -> T) -> T {
        change(&mut self.contents.lock().expect("nobody panicked"))
    }
}

async fn answer(State(contents): State<Arc<Mutex<Contents>>>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let what = format!("{} {path}", request.method());
    let answer = {
        let mut contents = contents.lock().expect("nobody panicked");
        contents.asked.push(Asked {
            what: what.clone(),
            authorization: header("authorization"),
            accept: header("accept").unwrap_or_default(),
            prefer: header("prefer"),
        });
        match contents.answers.get_mut(&what) {
            Some(answers) if answers.len() > 1 => Some(answers.remove(0)),
            Some(answers) => answers.first().cloned(),
            None => None,
        }
    };
    let nothing = || {
        let outcome = json!({ "resourceType": "OperationOutcome" });
        Answer { status: 404, ..Answer::json(&outcome) }
    };
    let Answer { status, headers, body, breaks_at, pause } = answer.unwrap_or_else(nothing);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = match (breaks_at, pause) {
        (Some(bytes), _) => {
            let part = Bytes::copy_from_slice(&body[..bytes]);
            let broken = std::io::Error::other("broken off");
            Body::from_stream(futures_util::stream::iter([Ok(part), Err(broken)]))
        }
        (None, Some(pause)) => {
            let parts: Vec<Bytes> = body.chunks(1000).map(Bytes::copy_from_slice).collect();
            let slowly = futures_util::stream::iter(parts).then(move |part| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(part)
            });
            Body::from_stream(slowly)
        }
        (None, None) => Body::from(body),
    };
    response.body(body).expect("an answer")
}
