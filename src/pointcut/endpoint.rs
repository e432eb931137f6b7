//! The hook endpoint: what a FHIR server sends, answered once the broker has it.
//!
//! In: HTTP requests as servers really send them: `PUT` and `DELETE` of `…/Type/id`, `POST`s with and
//! without a body. Out: 2xx when every record of the request is in the topic, 503 while that cannot be
//! had, 4xx for what nobody should send again. Requests, their bytes and their time are bounded, and no
//! answer repeats what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures_util::future::{join_all, join3};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::Admission;
use super::appender::Appender;
use super::catch_up::CatchUps;
use super::hook::{Hooks, NotTaken, Told};
use super::resolver::{Away, Resolved, Resolver};
use crate::broker::BrokerError;
use crate::error::ErrorClass;
use crate::model::{ResourceKey, is_resource_type};
use crate::source::resource_key;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::pointcut::HookAnswer;

/// Requests that are worked on at a time; more are told to come again.
const REQUESTS: usize = 512;
/// Bytes of bodies that are held at a time, unless one body alone may be larger.
const MEMORY: usize = 64 << 20;
/// A body is accounted for in steps of this many bytes.
const STEP: usize = 1 << 10;
/// Longest time for a body to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Longest time until a request is answered. HAPI's client waits for 10 s; what takes longer goes on,
/// and is told to be sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Seconds after which to come again.
const RETRY_AFTER: &str = "5";

/// What a client of FHIR takes for the answer to a bundle. HAPI sends a notification again and again
/// that is answered by anything else.
const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"transaction-response"}"#;

/// What requests are answered with.
pub(super) struct Endpoint {
    hooks: Hooks,
    appender: Appender,
    resolver: Resolver,
    catch_ups: CatchUps,
    admission: Admission,
    metrics: Arc<Metrics>,
    /// Largest body, bytes.
    largest: usize,
    /// Whether the ingest topic is known to be there.
    is_open: AtomicBool,
    requests: Semaphore,
    memory: Arc<Semaphore>,
}

/// Why a request is not accepted.
type Refused = HookAnswer;

impl Endpoint {
    pub(super) fn new(
        hooks: Hooks,
        appender: Appender,
        resolver: Resolver,
        catch_ups: CatchUps,
        admission: Admission,
        metrics: Arc<Metrics>,
        largest: usize,
    ) -> Self {
        let memory = MEMORY.max(largest).div_ceil(STEP);
        Self {
            hooks,
            appender,
            resolver,
            catch_ups,
            admission,
            metrics,
            largest,
            is_open: AtomicBool::new(false),
            requests: Semaphore::new(REQUESTS),
            memory: Arc::new(Semaphore::new(memory)),
        }
    }

    /// The ingest topic is there: hooks are taken from now on.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// The endpoint as a service: every path is its own, since servers append to what they were given.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(answer).with_state(Arc::clone(self))
    }

    async fn take(&self, request: Request) -> Result<(HookAnswer, ReplyWith), Refused> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        self.admission.check(&headers)?;
        let hook = Hook::of(&parts.method, parts.uri.path())?;
        if !self.is_open.load(Ordering::Acquire) {
            return Err(HookAnswer::BrokerAway);
        }
        let _turn = self.requests.try_acquire().map_err(|_| HookAnswer::Busy)?;
        let (room, body) = self.read(body).await?;
        let told = self.understand(hook, &headers, &body)?;
        let reply = if body.is_empty() { ReplyWith::Nothing } else { ReplyWith::Bundle };
        if told.is_nothing() {
            return Ok((HookAnswer::Ignored, reply));
        }
        let types = told.all_types();
        let is_read = !told.hints.is_empty() || !told.types.is_empty();
        let settled = tokio::time::timeout(ANSWER_WITHIN, self.settle(told, room)).await;
        let refused = match settled {
            Ok(Ok(())) => return Ok((HookAnswer::Accepted, reply)),
            Ok(Err(refused)) => refused,
            Err(_) if is_read => HookAnswer::ServerAway,
            Err(_) => HookAnswer::BrokerAway,
        };
        if refused != HookAnswer::TooLarge {
            // what the server does not send again is found in its history
            for name in &types {
                self.catch_ups.nudge(name);
            }
        }
        Err(refused)
    }

    /// Reads a body into memory that is set aside for it: at once if its length is announced, else
    /// as it comes.
    async fn read(&self, body: Body) -> Result<(OwnedSemaphorePermit, Bytes), Refused> {
        let announced = body.size_hint().exact().unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > self.largest {
            return Err(HookAnswer::TooLarge);
        }
        let mut room = self.room(announced)?;
        let reading = async {
            let mut body = Limited::new(body, self.largest);
            let mut read = BytesMut::with_capacity(announced);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| {
                    let is_too_large = error.is::<LengthLimitError>();
                    if is_too_large { HookAnswer::TooLarge } else { HookAnswer::Malformed }
                })?;
                let Ok(data) = frame.into_data() else { continue };
                let missing = (read.len() + data.len()).saturating_sub(room.num_permits() * STEP);
                if missing > 0 {
                    room.merge(self.room(missing)?);
                }
                read.extend_from_slice(&data);
            }
            Ok((room, read.freeze()))
        };
        tokio::time::timeout(BODY_WITHIN, reading).await.unwrap_or(Err(HookAnswer::TooSlow))
    }

    /// Sets memory aside.
    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let steps = u32::try_from(bytes.div_ceil(STEP)).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).try_acquire_many_owned(steps).map_err(|_| HookAnswer::Busy)
    }

    fn understand(
        &self,
        hook: Hook<'_>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Told, Refused> {
        let media = Media::of(headers, body);
        let told = match (hook, media) {
            (Hook::Changed(resource) | Hook::Deleted(resource), _)
                if !self.hooks.types().contains(&resource.resource_type) =>
            {
                Ok(Told::default())
            }
            (Hook::Deleted(resource), _)
            | (Hook::Changed(resource), Media::Nothing | Media::Xml) => Ok(Told::hint(resource)),
            (Hook::Changed(resource), Media::Json) => {
                let if_match = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
                self.hooks.put(resource, if_match, body.clone())
            }
            (Hook::Something(resource_type), Media::Nothing) => {
                Ok(self.hooks.something(resource_type))
            }
            (Hook::Something(resource_type), Media::Json) => {
                self.hooks.post(resource_type, body.clone())
            }
            (Hook::Something(_), Media::Xml) | (_, Media::Other) => {
                return Err(HookAnswer::Unsupported);
            }
        };
        told.map_err(|not_taken| match not_taken {
            NotTaken::TooLarge => HookAnswer::TooLarge,
            NotTaken::Malformed(cause) => {
                tracing::debug!(%cause, "a hook is refused");
                HookAnswer::Malformed
            }
        })
    }

    /// Sees to it that the broker has all that was told.
    async fn settle(&self, told: Told, room: OwnedSemaphorePermit) -> Result<(), Refused> {
        let Told { records, hints, types } = told;
        let read = join_all(hints.into_iter().map(|resource| self.resolver.resolve(resource)));
        let caught_up = join_all(types.iter().map(|name| self.catch_ups.catch_up(name)));
        let (appended, read, caught_up) =
            join3(self.appender.append_from(records, Some(room)), read, caught_up).await;
        let mut refused = None;
        for result in appended {
            match result.as_ref().map_err(BrokerError::class) {
                Ok(()) => {}
                Err(ErrorClass::Poison) => refused = refused.or(Some(HookAnswer::TooLarge)),
                // to be sent again, whatever else is wrong
                Err(ErrorClass::Retriable | ErrorClass::Fatal) => {
                    return Err(HookAnswer::BrokerAway);
                }
            }
        }
        let away = read.into_iter().chain(caught_up).find_map(Resolved::err);
        match away {
            Some(Away::Server) => Err(HookAnswer::ServerAway),
            Some(Away::Broker) => Err(HookAnswer::BrokerAway),
            None => refused.map_or(Ok(()), Err),
        }
    }
}

async fn answer(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let is_post = request.method() == Method::POST;
    let taken = endpoint.take(request).await;
    let (answer, reply) = taken.unwrap_or_else(|refused| (refused, ReplyWith::Nothing));
    endpoint.metrics.pointcut().answered(answer);
    let status = StatusCode::from_u16(answer.status()).expect("answers have statuses of HTTP");
    match answer {
        HookAnswer::Unauthorized => {
            (status, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
        }
        _ if status == StatusCode::SERVICE_UNAVAILABLE => {
            (status, [(header::RETRY_AFTER, RETRY_AFTER)]).into_response()
        }
        _ if status.is_success() && is_post && reply == ReplyWith::Bundle => {
            (status, [(header::CONTENT_TYPE, "application/fhir+json")], BUNDLE).into_response()
        }
        _ => status.into_response(),
    }
}

/// What a request that is accepted is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyWith {
    Nothing,
    Bundle,
}

/// What a request is about, by its method and address.
#[derive(Debug, PartialEq, Eq)]
enum Hook<'p> {
    /// This resource is so now.
    Changed(ResourceKey),
    /// This resource is gone.
    Deleted(ResourceKey),
    /// Something happened; of this type, if the address names one.
    Something(Option<&'p str>),
}

impl<'p> Hook<'p> {
    fn of(method: &Method, path: &'p str) -> Result<Self, Refused> {
        let mut segments = path.trim_end_matches('/').rsplit('/');
        let last = segments.next().unwrap_or_default();
        if method == Method::POST {
            return Ok(Self::Something(is_resource_type(last).then_some(last)));
        }
        let mut resource = || {
            let resource_type = segments.next().unwrap_or_default();
            resource_key(resource_type, last).map_err(|_| HookAnswer::NotFound)
        };
        if method == Method::PUT {
            resource().map(Self::Changed)
        } else if method == Method::DELETE {
            resource().map(Self::Deleted)
        } else {
            Err(HookAnswer::WrongMethod)
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Nothing,
    Json,
    Xml,
    Other,
}

impl Media {
    /// By its content type; without one by its first character.
    fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Self::Nothing;
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Self::Other;
        }
        let Some(stated) = headers.get(header::CONTENT_TYPE) else {
            return if body.trim_ascii_start().starts_with(b"<") { Self::Xml } else { Self::Json };
        };
        let stated = stated.to_str().unwrap_or_default();
        let essence = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/fhir+json"
            | "application/json"
            | "application/json+fhir"
            | "text/json" => Self::Json,
            "application/fhir+xml" | "application/xml" | "application/xml+fhir" | "text/xml" => {
                Self::Xml
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(resource_type: &str, id: &str) -> ResourceKey {
        ResourceKey { resource_type: resource_type.into(), id: id.into() }
    }

    #[test]
    fn addresses_name_resources_or_types_wherever_the_endpoint_lies() {
        for path in ["/Patient/1", "/json-del/Patient/1", "/hooks/Patient/Patient/1/"] {
            assert_eq!(Hook::of(&Method::PUT, path), Ok(Hook::Changed(key("Patient", "1"))));
            assert_eq!(Hook::of(&Method::DELETE, path), Ok(Hook::Deleted(key("Patient", "1"))));
        }
        assert_eq!(Hook::of(&Method::POST, "/a/Patient"), Ok(Hook::Something(Some("Patient"))));
        assert_eq!(Hook::of(&Method::POST, "/empty"), Ok(Hook::Something(None)));
        assert_eq!(Hook::of(&Method::POST, "/"), Ok(Hook::Something(None)));
        for path in ["/", "/Patient", "/Nothing/1", "/Patient/a_b", "/Patient/%31", "/Patient//"] {
            assert_eq!(Hook::of(&Method::PUT, path), Err(HookAnswer::NotFound), "{path}");
        }
        assert_eq!(Hook::of(&Method::GET, "/Patient/1"), Err(HookAnswer::WrongMethod));
    }

    #[test]
    fn bodies_are_told_by_their_type_or_their_first_character() {
        let media = |stated: Option<&'static str>, body: &str| {
            let mut headers = HeaderMap::new();
            if let Some(stated) = stated {
                headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(stated));
            }
            Media::of(&headers, body.as_bytes())
        };
        assert_eq!(media(Some("application/x-www-form-urlencoded"), ""), Media::Nothing);
        assert_eq!(media(Some("application/fhir+json; charset=UTF-8"), "{}"), Media::Json);
        assert_eq!(media(Some("application/fhir+xml"), "<Patient/>"), Media::Xml);
        assert_eq!(media(Some("text/plain"), "{}"), Media::Other);
        assert_eq!(media(None, " <Patient/>"), Media::Xml);
        assert_eq!(media(None, "{}"), Media::Json);
    }
}
