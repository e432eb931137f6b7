//! One request and its answer: credentials, time limits, statuses.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use super::{Asked, Auth, FhirServer, FhirServerError};
use crate::http_client::{self, BodyFault};
use crate::source::version_of_etag;

/// What FHIR servers speak.
pub(super) const FHIR_JSON: &str = "application/fhir+json";

/// Longest time that a server may ask to be left alone; it says more only by mistake.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What is asked for.
pub(super) struct Request {
    pub(super) asked: Asked,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, &'static str)>,
    pub(super) body: Option<Bytes>,
    pub(super) credentials: Credentials,
}

/// Whether whoever is asked may learn who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    Shown,
    Withheld,
}

impl Request {
    /// `GET`s what stands there.
    pub(super) const fn get(asked: Asked, url: Url) -> Self {
        Self {
            asked,
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
            credentials: Credentials::Shown,
        }
    }
}

/// What a server answered, all of it.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The version in the `ETag`, if there is one.
    pub version_id: Option<String>,
    /// The body as it was sent. Payload: `Debug` shows its length.
    pub body: Body,
}

/// Bytes that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl FhirServer {
    /// Asks and reads the whole answer, whatever its status.
    pub(super) async fn answer(
        &self,
        request: Request,
    ) -> Result<(Answer, HeaderMap), FhirServerError> {
        let asked = request.asked;
        let answer = self.send(request, Some(self.timeout)).await?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = http_client::body(answer, self.max_body_bytes).await;
        let body = body.map_err(|fault| match fault {
            BodyFault::Broken(source) => FhirServerError::Away { asked, source },
            BodyFault::TooLarge => FhirServerError::TooLarge { asked, limit: self.max_body_bytes },
        })?;
        let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        let version_id = etag.map(|etag| version_of_etag(etag).to_owned());
        Ok((Answer { status, version_id, body: Body(body) }, headers))
    }

    /// Asks and reads the whole answer of a request that succeeds.
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, FhirServerError> {
        let asked = request.asked;
        let (answer, headers) = self.answer(request).await?;
        judge(asked, answer.status, &headers).map_or(Ok(answer), Err)
    }

    /// Sends a request. A token that is no longer taken is fetched anew, once. `within`: time limit of
    /// the whole answer.
    pub(super) async fn send(
        &self,
        request: Request,
        within: Option<Duration>,
    ) -> Result<Response, FhirServerError> {
        let needs_token = matches!(self.auth, Auth::ClientCredentials { .. })
            && request.credentials == Credentials::Shown;
        if !needs_token {
            return self.send_once(&request, within, None).await;
        }
        let token = self.token(None).await?;
        let answer = self.send_once(&request, within, Some(token.text.expose())).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let token = self.token(Some(token.number)).await?;
        self.send_once(&request, within, Some(token.text.expose())).await
    }

    async fn send_once(
        &self,
        request: &Request,
        within: Option<Duration>,
        token: Option<&str>,
    ) -> Result<Response, FhirServerError> {
        let mut sent = self.http.request(request.method.clone(), request.url.clone());
        if !request.headers.iter().any(|(name, _)| *name == ACCEPT) {
            sent = sent.header(ACCEPT, FHIR_JSON);
        }
        for (name, value) in &request.headers {
            sent = sent.header(name, *value);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, FHIR_JSON).body(body.clone());
        }
        if let Some(within) = within {
            sent = sent.timeout(within);
        }
        if request.credentials == Credentials::Shown {
            sent = self.authorized(sent, token);
        }
        sent.send().await.map_err(|error| away(request.asked, error))
    }

    fn authorized(&self, request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
        match &self.auth {
            Auth::None => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(password.expose())),
            Auth::Bearer { token } => request.bearer_auth(token.expose()),
            Auth::ClientCredentials { .. } => match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            },
        }
    }
}

/// Why a request got no answer; its URL taken out.
pub(super) fn away(asked: Asked, error: reqwest::Error) -> FhirServerError {
    let source = error.without_url();
    if source.is_builder() {
        return FhirServerError::Client(source);
    }
    FhirServerError::Away { asked, source }
}

/// What an answer's status means; `None`: it succeeded.
pub(super) fn judge(asked: Asked, status: u16, headers: &HeaderMap) -> Option<FhirServerError> {
    Some(match status {
        200..=299 => return None,
        300..=399 => FhirServerError::Redirected { asked, status },
        401 | 403 => FhirServerError::Credentials { asked, status },
        404 | 405 | 501 => FhirServerError::Unsupported { asked, status },
        408 | 425 | 429 | 500.. => {
            FhirServerError::Unable { asked, status, retry_after: retry_after(headers, Utc::now()) }
        }
        _ => FhirServerError::Refused { asked, status },
    })
}

/// How long a server wants to be left alone: seconds, or an instant as HTTP writes it.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let until = DateTime::parse_from_rfc2822(text).ok()?;
        (until.with_timezone(&Utc) - now).to_std().unwrap_or_default()
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Whether a server says that something is not there, and not somebody who knows no FHIR.
pub(super) fn is_outcome(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'b> {
        #[serde(rename = "resourceType", borrow)]
        resource_type: std::borrow::Cow<'b, str>,
    }
    serde_json::from_slice::<Kind<'_>>(body)
        .is_ok_and(|kind| kind.resource_type == "OperationOutcome")
}
