//! `/metrics`, `/livez` and `/readyz`.
//!
//! Loopback by default. With a token, `/metrics` asks for it (`Authorization: Bearer ...`); the
//! two probes never do, since orchestrators cannot send one, and say nothing but names of checks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::metrics::Metrics;

/// Content type of the text exposition format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    token: Option<Arc<str>>,
}

/// Listens and serves until `stop`. Returns the address really bound (port 0 picks one).
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    listen: SocketAddr,
    token: Option<String>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let app = Router::new()
        .route("/metrics", get(exposition))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Served { metrics, health, token: token.map(Into::into) });
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the http listener ended");
        }
    });
    Ok(address)
}

async fn exposition(State(served): State<Served>, headers: HeaderMap) -> Response {
    if let Some(token) = &served.token {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if !same(given.as_bytes(), token.as_bytes()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    ([(header::CONTENT_TYPE, EXPOSITION)], served.metrics.exposition()).into_response()
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
