//! `/metrics`, `/log`, `/livez` and `/readyz`.
//!
//! Loopback by default. With a token, `/metrics` and `/log` ask for it (`Authorization: Bearer ...`);
//! the two probes never do, since orchestrators cannot send one, and say nothing but names of checks.
//! No answer repeats what was sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::filter::BadFilter;
use super::health::Health;
use super::metrics::Metrics;
use super::switch::{LONGEST, LogSwitch};

/// Content type of the text exposition format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    log: Option<LogSwitch>,
    token: Option<Arc<str>>,
}

/// Listens and serves until `stop`. `log`: what changes the log filter, if the log is ours. Returns
/// the address really bound (port 0 picks one).
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    token: Option<String>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    log: Option<LogSwitch>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/metrics", get(exposition))
        .route("/log", get(filter_in_force).put(set_filter))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Served { metrics, health, log, token: token.map(Into::into) });
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the http listener ended");
        }
    });
    Ok(address)
}

async fn exposition(State(served): State<Served>, headers: HeaderMap) -> Response {
    if !served.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    ([(header::CONTENT_TYPE, EXPOSITION)], served.metrics.exposition()).into_response()
}

async fn filter_in_force(State(served): State<Served>, headers: HeaderMap) -> Response {
    match &served.log {
        _ if !served.admits(&headers) => StatusCode::UNAUTHORIZED.into_response(),
        None => no_log(),
        Some(log) => Json(log.in_force()).into_response(),
    }
}

/// The body is the filter; `?for=10m` takes it back by itself after that time.
async fn set_filter(
    State(served): State<Served>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    directives: String,
) -> Response {
    if !served.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some(log) = &served.log else { return no_log() };
    let Ok(lasting) = lasting(query.as_deref().unwrap_or_default()) else {
        return (StatusCode::BAD_REQUEST, NO_TIME).into_response();
    };
    match log.set(directives.trim(), lasting) {
        Ok(in_force) => Json(in_force).into_response(),
        Err(error @ BadFilter) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

const NO_TIME: &str = "the only parameter is `for`, a time from 1s to 24h: ?for=10m\n";

fn no_log() -> Response {
    (StatusCode::NOT_FOUND, "the log of this process is not rowcast's own\n").into_response()
}

/// The one parameter that there is.
fn lasting(query: &str) -> Result<Option<Duration>, ()> {
    let mut lasting = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let time = humantime::parse_duration(&value).map_err(|_| ())?;
        if name != "for" || lasting.is_some() || time < Duration::from_secs(1) || time > LONGEST {
            return Err(());
        }
        lasting = Some(time);
    }
    Ok(lasting)
}

impl Served {
    /// Whether the caller may see more than the probes.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        same(given.as_bytes(), token.as_bytes())
    }
}

async fn livez(State(served): State<Served>) -> Response {
    if served.health.alive() {
        "alive\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the main loop makes no progress\n").into_response()
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    let readiness = served.health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Compares without stopping at the first difference, so that timing tells nothing of the token.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}
