//! Tokens of an OAuth 2 server, by client credentials (RFC 6749, 4.4).
//!
//! One is fetched when it is needed first, when it runs out, and when the FHIR server no longer takes
//! it; requests that need a new one at the same time share it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use url::form_urlencoded;

use super::request::{away, judge};
use super::{Asked, Auth, FhirServer, FhirServerError};
use crate::http_client::{self, BodyFault};
use crate::topology::Secret;

/// Largest answer of a token server, bytes.
const MAX_TOKEN: usize = 64 << 10;

/// How long before its end a token is no longer used: clocks differ, requests take time.
const MARGIN: Duration = Duration::from_secs(20);

const ASKED: Asked = Asked { method: "POST", interaction: "token", resource_type: None };

/// A token in use.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) text: Secret,
    /// Which one it is: the first has 1.
    pub(super) number: u64,
    /// When it runs out, if the server said so.
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    /// A number; text to some.
    expires_in: Option<serde_json::Value>,
}

impl FhirServer {
    /// The token to use; another one than `refused`.
    pub(super) async fn token(&self, refused: Option<u64>) -> Result<Token, FhirServerError> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref()
            && refused != Some(token.number)
            && token.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(token.clone());
        }
        let number = held.as_ref().map_or(1, |token| token.number + 1);
        let token = self.fetch(number).await?;
        *held = Some(token.clone());
        Ok(token)
    }

    async fn fetch(&self, number: u64) -> Result<Token, FhirServerError> {
        let not_fhir = |status: StatusCode| FhirServerError::NotFhir {
            asked: ASKED,
            status: status.as_u16(),
            expected: "OAuth 2 token",
        };
        let Auth::ClientCredentials { token_url, client_id, client_secret, scope } = &self.auth
        else {
            return Err(not_fhir(StatusCode::OK));
        };
        let form = form(scope.as_deref());
        // RFC 6749, 2.3.1: both are form-encoded before they become user and password
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let answer = self
            .http
            .post(token_url.clone())
            .timeout(self.timeout)
            .basic_auth(encoded(client_id), Some(encoded(client_secret.expose())))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(|error| away(ASKED, error))?;
        let status = answer.status();
        if let Some(error) = judge(ASKED, status.as_u16(), answer.headers()) {
            // RFC 6749, 5.2: wrong credentials are a 400 to some
            return Err(match error {
                FhirServerError::Refused { asked, status } => {
                    FhirServerError::Credentials { asked, status }
                }
                error => error,
            });
        }
        let body = http_client::body(answer, MAX_TOKEN).await.map_err(|fault| match fault {
            BodyFault::Broken(source) => FhirServerError::Away { asked: ASKED, source },
            BodyFault::TooLarge => FhirServerError::TooLarge { asked: ASKED, limit: MAX_TOKEN },
        })?;
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| not_fhir(status))?;
        let text = granted.access_token;
        let is_token =
            !text.expose().is_empty() && text.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(not_fhir(status));
        }
        let seconds = granted.expires_in.as_ref().and_then(|seconds| {
            seconds.as_f64().or_else(|| seconds.as_str().and_then(|text| text.parse().ok()))
        });
        let lives = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let until = lives.and_then(|lives| {
            let used = lives.saturating_sub(MARGIN.min(lives / 2));
            Instant::now().checked_add(used)
        });
        Ok(Token { text, number, until })
    }
}

fn form(scope: Option<&str>) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = scope {
        form.append_pair("scope", scope);
    }
    form.finish().into()
}
