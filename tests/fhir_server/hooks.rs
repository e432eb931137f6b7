//! The requests that subscriptions make: what they hold, and what goes wrong on their way.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::notification;
use super::shared::{Shared, State};
use super::store::Version;
use super::subscription::{self, Kind, Payload, Subscription};
use super::xml;

/// How HAPI names itself.
const AGENT: &str = "HAPI-FHIR/8.8.0 (FHIR Client; FHIR 4.0.1/R4; apache)";

/// How often HAPI sends a notification at most that is not answered with a Bundle: seen 17 times.
const NOTIFICATION_TRIES: u32 = 17;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(150);

/// A request to be made.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Header lines of the subscription.
    pub(super) lines: Vec<String>,
    pub(super) body: Option<String>,
    /// Only a Bundle is an answer.
    pub(super) wants_bundle: bool,
}

/// Tells all subscribers of a new version.
pub(super) fn tell(shared: &Shared, version: &Version) {
    let hooks: Vec<Hook> = shared.with(|state| {
        let subscriptions = subscription::active(state, &shared.settings);
        let told = subscriptions.iter().filter(|subscription| subscription.wants(version));
        told.map(|subscription| hook(shared, state, subscription, version)).collect()
    });
    for hook in hooks {
        send(shared, &hook);
    }
}

/// Shakes hands with whoever subscribed to a topic.
pub(super) fn activated(shared: &Shared, version: &Version) {
    let hook = shared.with(|state| {
        let subscriptions = subscription::active(state, &shared.settings);
        let own = subscriptions.iter().find(|subscription| subscription.id == version.key.1)?;
        let Kind::Topic { url, .. } = &own.kind else { return None };
        Some(notification::handshake(shared, own, url))
    });
    if let Some(hook) = hook {
        send(shared, &hook);
    }
}

fn hook(shared: &Shared, state: &mut State, told: &Subscription, version: &Version) -> Hook {
    match &told.kind {
        Kind::RestHook(payload) => rest_hook(told, *payload, version),
        Kind::Topic { url, content } => {
            let event = state.events.entry(told.id.clone()).or_insert(0);
            *event += 1;
            notification::of(shared, (told, url, *content), version, *event)
        }
    }
}

fn rest_hook(told: &Subscription, payload: Payload, version: &Version) -> Hook {
    let endpoint = told.endpoint.trim_end_matches('/');
    let form = match payload {
        Payload::Json => "json",
        Payload::Xml => "xml",
        Payload::Nothing => return empty(told, endpoint),
    };
    let accept = format!("application/fhir+{form};q=1.0, application/{form}+fhir;q=0.9");
    let mut headers = vec![("accept", accept)];
    let url = format!("{endpoint}/{}", version.path());
    let lines = told.lines();
    let Some(document) = &version.document else {
        return Hook { method: "DELETE", url, headers, lines, body: None, wants_bundle: false };
    };
    headers.push(("if-match", super::bundle::etag(version.number)));
    headers.push(("content-type", format!("application/fhir+{form}; charset=UTF-8")));
    let body = if payload == Payload::Xml { xml::of(document) } else { document.to_string() };
    Hook { method: "PUT", url, headers, lines, body: Some(body), wants_bundle: false }
}

/// HAPI makes a conditional create of nothing of it.
fn empty(told: &Subscription, endpoint: &str) -> Hook {
    let accept = "application/fhir+xml;q=1.0, application/fhir+json;q=1.0, \
                  application/xml+fhir;q=0.9, application/json+fhir;q=0.9";
    let headers = vec![
        ("if-none-exist", endpoint.to_owned()),
        ("if-none-exist", format!("{endpoint}?")),
        ("accept", accept.to_owned()),
        ("content-length", "0".to_owned()),
        ("content-type", "application/x-www-form-urlencoded; charset=UTF-8".to_owned()),
    ];
    let (url, body) = (endpoint.to_owned(), Some(String::new()));
    Hook { method: "POST", url, headers, lines: told.lines(), body, wants_bundle: false }
}

impl Subscription {
    pub(super) fn lines(&self) -> Vec<String> {
        self.headers.clone()
    }
}

/// Sends it, or not, or twice, now or later.
pub(super) fn send(shared: &Shared, hook: &Hook) {
    let copies = shared.with(|state| {
        let State { chance, faults, hooks, .. } = state;
        if chance.f64() < faults.lose {
            hooks.lost += 1;
            return 0;
        }
        let doubled = chance.f64() < faults.double;
        hooks.doubled += usize::from(doubled);
        1 + usize::from(doubled)
    });
    for _ in 0..copies {
        let wait = shared.with(|state| {
            state.hooks.waiting += 1;
            let (from, to) = (state.faults.delay.start, state.faults.delay.end);
            from + to.saturating_sub(from).mul_f64(state.chance.f64())
        });
        let hook = hook.clone();
        let sent = shared.beside(|shared| async move {
            tokio::time::sleep(wait).await;
            deliver(&shared, &hook).await;
            shared.with(|state| state.hooks.waiting -= 1);
        });
        if !sent {
            shared.with(|state| {
                state.hooks.waiting -= 1;
                state.hooks.lost += 1;
            });
        }
    }
}

async fn deliver(shared: &Arc<Shared>, hook: &Hook) {
    let tries = if hook.wants_bundle {
        NOTIFICATION_TRIES
    } else {
        1 + shared.with(|state| state.faults.retries)
    };
    for _ in 0..tries {
        let accepted = once(shared, hook).await;
        shared.with(|state| {
            state.hooks.accepted += usize::from(accepted);
            state.hooks.failed += usize::from(!accepted);
        });
        if accepted {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether it was accepted.
async fn once(shared: &Shared, hook: &Hook) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static(AGENT));
    headers.insert("accept-encoding", HeaderValue::from_static("gzip"));
    for (name, value) in &hook.headers {
        headers.append(*name, HeaderValue::from_str(value).expect("a header's value"));
    }
    for line in &hook.lines {
        let (name, value) = line.split_once(':').expect("a header line");
        let name = HeaderName::from_bytes(name.trim().as_bytes()).expect("a header's name");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("a header's value"));
    }
    let method = hook.method.parse().expect("a method");
    let mut request = shared.client.request(method, &hook.url).headers(headers);
    if let Some(body) = &hook.body {
        request = request.body(body.clone());
    }
    let Ok(answer) = request.send().await else { return false };
    let succeeded = answer.status().is_success();
    if !hook.wants_bundle {
        // the connection is used again only once the answer is read
        let _ = answer.bytes().await;
        return succeeded;
    }
    let body = answer.bytes().await.unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    succeeded && answer["resourceType"] == "Bundle"
}
