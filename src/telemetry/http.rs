//! The page at `/`, `/api/v1/state`, `/metrics`, `/log`, `/version`, `/livez` and `/readyz`.
//!
//! Loopback by default. With a token, all but the probes ask for it: `Authorization: Bearer ...`, or
//! as the password that a browser asks its user for, with any name. The two probes never do, since
//! orchestrators cannot send one; whoever may not see more is told the names of checks, and whether they
//! hold. Without a token, all but the
//! probes want to be called by an address or `localhost`: a page in a browser could have bound a name of
//! its own to this machine. No answer repeats what was sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::filter::BadFilter;
use super::health::Health;
use super::metrics::Metrics;
use super::page;
use super::readings::EVERY;
use super::state::Watch;
use super::switch::{LONGEST, LogSwitch};
use super::token::is_same;
use crate::http_server::{self, caller};

/// Content type of the text exposition format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at a time: probes, scrapers and browsers need a few. Each takes a file, and the database
/// and the broker need some too.
const CONNECTIONS: usize = 256;
/// Longest time for the body of a request to come, and for its answer to be made.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    watch: Watch,
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
    watch: Watch,
    log: Option<LogSwitch>,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    tokio::spawn(keep_readings(watch.clone(), stop.clone()));
    let served = Served { metrics, health, watch, log, token: token.map(Into::into) };
    let app = Router::new()
        .route("/", get(state_page))
        .route("/api/v1/state", get(state))
        .route("/version", get(version))
        .route("/metrics", get(exposition))
        .route("/log", get(filter_in_force).put(set_filter))
        .route_layer(middleware::from_fn_with_state(served.clone(), admit))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .layer(middleware::from_fn(answer_in_time))
        .layer(middleware::map_response(guard_answer))
        .with_state(served);
    tokio::spawn(http_server::serve(listener, app, CONNECTIONS, stop));
    Ok(address)
}

/// What rates are made of.
async fn keep_readings(watch: Watch, stop: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => watch.keep(),
        }
    }
}

/// Lets through who may see more than the probes. A browser is told to ask for a password.
async fn admit(State(served): State<Served>, request: Request, next: Next) -> Response {
    if *request.method() == Method::PUT && caller::is_from_a_browser(request.headers()) {
        return (StatusCode::FORBIDDEN, NO_PAGE).into_response();
    }
    if served.admits(request.headers()) {
        return next.run(request).await;
    }
    if served.token.is_none() {
        return (StatusCode::FORBIDDEN, NO_NAME).into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"rowcast\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

/// Does not wait for a body that does not come.
async fn answer_in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

/// No cache keeps an answer, and no browser takes it for more than it is.
async fn guard_answer(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    answer
}

async fn state_page(State(served): State<Served>) -> Response {
    let state = served.watch.state();
    let policy = [(header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY)];
    (policy, Html(page::page(&state, EVERY.as_secs()).into_string())).into_response()
}

async fn state(State(served): State<Served>) -> Response {
    Json(served.watch.state()).into_response()
}

async fn version(State(served): State<Served>) -> Response {
    let (version, topology) = (env!("CARGO_PKG_VERSION"), served.watch.topology());
    Json(json!({ "name": "rowcast", "version": version, "topology": topology })).into_response()
}

async fn exposition(State(served): State<Served>) -> Response {
    ([(header::CONTENT_TYPE, EXPOSITION)], served.metrics.exposition()).into_response()
}

async fn filter_in_force(State(served): State<Served>) -> Response {
    match &served.log {
        None => no_log(),
        Some(log) => Json(log.in_force()).into_response(),
    }
}

/// The body is the filter; `?for=10m` takes it back by itself after that time.
async fn set_filter(
    State(served): State<Served>,
    RawQuery(query): RawQuery,
    directives: String,
) -> Response {
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

const NO_PAGE: &str = "nothing is changed from a page in a browser; see `rowcast log`\n";

const NO_NAME: &str = "without http.token this machine is called by its address, or localhost, and by no other name\n";

impl Served {
    /// Whether the caller may see more than the probes: shows the token; or, without one, calls this
    /// machine by what no page in a browser can have made a name of its own mean.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            let is_ours = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok();
            return caller::host(headers).is_some_and(|host| is_ours(&host));
        };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        given.and_then(shown).is_some_and(|given| is_same(&given, token.as_bytes()))
    }
}

/// The token that the header shows: a bearer's, or the password of HTTP's basic authentication.
fn shown(authorization: &str) -> Option<Vec<u8>> {
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return Some(token.as_bytes().to_vec());
    }
    let credentials = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some(credentials[colon + 1..].to_vec())
}

async fn livez(State(served): State<Served>) -> Response {
    if served.health.alive() {
        "alive\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the main loop makes no progress\n").into_response()
    }
}

async fn readyz(State(served): State<Served>, headers: HeaderMap) -> Response {
    let readiness = served.health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if served.admits(&headers) {
        (status, Json(readiness)).into_response()
    } else {
        (status, Json(readiness.bare())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::super::health::Check;
    use super::super::state::Described;
    use super::*;

    async fn start(token: Option<&str>) -> (SocketAddr, CancellationToken) {
        let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
        health.notice("a notice");
        health.down(Check::Circuit, "fhir.changes-2", "open");
        let described = Described {
            name: "test".into(),
            file: String::new(),
            config_hash: String::new(),
            stages: Vec::new(),
        };
        let watch = Watch::new(described, Arc::clone(&metrics), Arc::clone(&health));
        let (listen, stop) = (SocketAddr::from(([127, 0, 0, 1], 0)), CancellationToken::new());
        let token = token.map(str::to_owned);
        let address = serve(listen, token, metrics, health, watch, None, stop.clone());
        (address.await.expect("a port"), stop)
    }

    /// What comes back until the connection is closed, which must be within two minutes.
    async fn closed(address: SocketAddr, sent: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(sent.as_bytes()).await.expect("it is sent");
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_mins(2), stream.read_to_string(&mut answer));
        read.await.expect("it is closed").expect("text");
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_finish_a_request_is_not_waited_for() {
        let (address, _stop) = start(None).await;
        assert_eq!(closed(address, "GET /livez HTTP/1.1\r\nHost: 127.0.0.1").await, "");
        let body = "PUT /log HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\ninf";
        let answer = closed(address, body).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    /// The status that this request is answered with. `headers`: each with its end of line.
    async fn status(address: SocketAddr, line: &str, headers: &str) -> u16 {
        let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answer = closed(address, &request).await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{line}: {answer}"))
    }

    #[tokio::test]
    async fn without_a_token_no_name_but_this_machines_is_answered() {
        let (address, _stop) = start(None).await;
        for path in ["/", "/api/v1/state", "/version", "/metrics"] {
            for host in ["127.0.0.1:9464", "localhost:9464", "[::1]:9464", "10.0.0.7"] {
                let host = format!("Host: {host}\r\n");
                assert_eq!(status(address, &format!("GET {path}"), &host).await, 200, "{host}");
            }
            for host in ["page.example", "page.example:9464", "127.0.0.1.page.example"] {
                let host = format!("Host: {host}\r\n");
                assert_eq!(status(address, &format!("GET {path}"), &host).await, 403, "{host}");
            }
            assert_eq!(status(address, &format!("GET {path}"), "").await, 403);
        }
        let page = "Host: page.example\r\n";
        assert_eq!(status(address, "PUT /log", page).await, 403);
        assert_eq!(status(address, "GET /livez", page).await, 200, "probes never ask");
        assert_eq!(status(address, "GET /readyz", page).await, 503, "probes never ask");
    }

    #[tokio::test]
    async fn with_a_token_any_name_is_answered() {
        let (address, _stop) = start(Some("open-sesame-1001")).await;
        let headers = "Host: rowcast:9464\r\nAuthorization: Bearer open-sesame-1001\r\n";
        assert_eq!(status(address, "GET /metrics", headers).await, 200);
        assert_eq!(status(address, "GET /metrics", "Host: rowcast:9464\r\n").await, 401);
    }

    #[tokio::test]
    async fn no_page_in_a_browser_changes_the_log() {
        for (token, shown) in
            [(None, ""), (Some("open-sesame-1001"), "Authorization: Bearer open-sesame-1001\r\n")]
        {
            let (address, _stop) = start(token).await;
            let host = format!("Host: 127.0.0.1\r\n{shown}");
            assert_eq!(status(address, "PUT /log", &host).await, 404, "there is no log to change");
            for page in
                ["Origin: https://page.example", "Origin: null", "Sec-Fetch-Site: cross-site"]
            {
                let headers = format!("{host}{page}\r\n");
                assert_eq!(status(address, "PUT /log", &headers).await, 403, "{page}");
            }
        }
    }

    #[tokio::test]
    async fn why_it_is_not_ready_is_told_to_whoever_may_see_more_than_the_probes() {
        let told = async |token: Option<&str>, headers: &str| {
            let (address, _stop) = start(token).await;
            let request = format!("GET /readyz HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
            let answer = closed(address, &request).await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            serde_json::from_str::<serde_json::Value>(body).expect("JSON")
        };
        let (token, kubelet) = (Some("open-sesame-1001"), "Host: 10.0.0.7:9464\r\n");
        let bare = told(token, kubelet).await;
        assert_eq!(
            (&bare["ready"], &bare["checks"]["circuit"]),
            (&json!(false), &json!({ "ok": false }))
        );
        assert_eq!(bare["notice"], json!(null));
        let shown = format!("{kubelet}Authorization: Bearer open-sesame-1001\r\n");
        let circuit = json!({ "ok": false, "message": "fhir.changes-2: open" });
        for whole in [told(token, &shown).await, told(None, kubelet).await] {
            assert_eq!(whole["checks"]["circuit"], circuit);
            assert_eq!(whole["notice"], "a notice");
        }
        let page = told(None, "Host: page.example\r\n").await;
        assert_eq!(page["checks"]["circuit"], json!({ "ok": false }));
    }
}
