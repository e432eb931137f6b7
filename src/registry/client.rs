//! Confluent's protocol, as far as reading schemas needs it.
//!
//! In: the id of a schema. Out: the schema with all that it refers to, or that the registry does not
//! know it. It asks the configured URL only: no proxies, no redirects.

use std::collections::HashSet;
use std::fmt;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use url::Url;

use super::RegistryError;
use crate::http_client::{self, BodyFault};
use crate::source::{AvroSchema, SchemaFault, SchemaId};
use crate::topology::{RegistryCredentials, SchemaRegistrySettings};

/// What an answer should be; every registry accepts it.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// Most bytes of all the answers that one schema takes: all of FHIR R4 in one schema has less.
const MAX_ANSWER: usize = 16 << 20;

/// Most schemas that one refers to, directly and through others.
const MAX_REFERENCES: usize = 1000;

/// What the registry says of an id.
pub(super) enum Answer {
    /// What it has, if that can be used.
    Schema(Result<AvroSchema, SchemaFault>),
    /// It has none.
    Unknown,
}

/// A client of one registry.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    credentials: Option<RegistryCredentials>,
}

/// The client's own holds certificates and addresses of no interest.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// A schema as the registry writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema: String,
    /// Absent: Avro.
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

/// Where the definition of a name stands.
#[derive(Deserialize, Clone, PartialEq, Eq, Hash)]
struct Reference {
    subject: String,
    version: u64,
}

/// An error as the registry writes it.
#[derive(Deserialize)]
struct Refused {
    error_code: u32,
}

impl Client {
    pub(super) fn new(settings: &SchemaRegistrySettings) -> Result<Self, RegistryError> {
        let http = http_client::builder([&settings.url], settings.authorities.as_deref())
            .and_then(|client| {
                client.timeout(settings.timeout).connect_timeout(settings.timeout).build()
            })
            .map_err(RegistryError::Client)?;
        Ok(Self { http, url: settings.url.clone(), credentials: settings.credentials.clone() })
    }

    /// Fetches a schema and all that it refers to.
    pub(super) async fn schema(&self, id: SchemaId) -> Result<Answer, RegistryError> {
        let mut bytes_left = MAX_ANSWER;
        let written = match id {
            SchemaId::Number(number) => {
                self.ask(&["schemas", "ids", &number.to_string()], &mut bytes_left).await?
            }
            SchemaId::Guid(guid) => {
                let guid = uuid::Uuid::from_bytes(guid).hyphenated().to_string();
                self.ask(&["schemas", "guids", &guid], &mut bytes_left).await?
            }
        };
        let Some(written) = written else { return Ok(Answer::Unknown) };
        if written.schema_type.is_some_and(|name| name != "AVRO") {
            return Ok(Answer::Schema(Err(SchemaFault::NotAvro)));
        }
        let references = self.references(written.references, &mut bytes_left).await?;
        Ok(Answer::Schema(AvroSchema::parse(&written.schema, &references)))
    }

    /// The texts of schemas that are referred to, and of those that they refer to.
    async fn references(
        &self,
        mut named: Vec<Reference>,
        bytes_left: &mut usize,
    ) -> Result<Vec<String>, RegistryError> {
        let mut met: HashSet<Reference> = HashSet::new();
        let (mut waiting, mut texts) = (Vec::new(), Vec::new());
        loop {
            waiting.extend(named.into_iter().filter(|reference| met.insert(reference.clone())));
            if met.len() > MAX_REFERENCES {
                return Err(TOO_LARGE);
            }
            let Some(reference) = waiting.pop() else { return Ok(texts) };
            let version = reference.version.to_string();
            let path = ["subjects", &reference.subject, "versions", &version];
            let written = self.ask(&path, bytes_left).await?;
            let written = written.ok_or(RegistryError::LostReference)?;
            texts.push(written.schema);
            named = written.references;
        }
    }

    /// Asks for a schema, and takes what the answer has off `bytes_left`; `None` if the registry has
    /// none there.
    async fn ask(
        &self,
        path: &[&str],
        bytes_left: &mut usize,
    ) -> Result<Option<Written>, RegistryError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.get(url).header(ACCEPT, MEDIA_TYPE);
        let request = match &self.credentials {
            None => request,
            Some(RegistryCredentials::Basic { user, password }) => {
                request.basic_auth(user, Some(password.expose()))
            }
            Some(RegistryCredentials::Bearer(token)) => request.bearer_auth(token.expose()),
        };
        let away = |error: reqwest::Error| RegistryError::Away(error.without_url());
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let body = http_client::body(answer, *bytes_left).await.map_err(|fault| match fault {
            BodyFault::Broken(error) => RegistryError::Away(error),
            BodyFault::TooLarge => TOO_LARGE,
        })?;
        *bytes_left -= body.len();
        understand(status, &body)
    }
}

const TOO_LARGE: RegistryError =
    RegistryError::TooLarge { limit: MAX_ANSWER, references: MAX_REFERENCES };

/// What an answer means. A registry that does not know a schema says so in its own words; a 404 of
/// anybody else is a wrong address.
fn understand(status: StatusCode, body: &[u8]) -> Result<Option<Written>, RegistryError> {
    let number = status.as_u16();
    if status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    {
        return Err(RegistryError::Unable { status: number });
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(RegistryError::Credentials { status: number });
    }
    if status == StatusCode::NOT_FOUND {
        let refused: Option<Refused> = serde_json::from_slice(body).ok();
        // 40401 subject, 40402 version, 40403 schema not found
        if refused.is_some_and(|refused| (40_401..=40_403).contains(&refused.error_code)) {
            return Ok(None);
        }
    }
    let written = status.is_success().then(|| serde_json::from_slice(body).ok()).flatten();
    written.map(Some).ok_or(RegistryError::NoRegistry { status: number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> &'static str {
        let status = StatusCode::from_u16(status).expect("a status");
        match understand(status, body.as_bytes()) {
            Ok(Some(_)) => "schema",
            Ok(None) => "unknown",
            Err(RegistryError::Unable { .. }) => "unable",
            Err(RegistryError::Credentials { .. }) => "credentials",
            Err(_) => "no registry",
        }
    }

    #[test]
    fn only_a_registry_says_that_a_schema_is_unknown() {
        assert_eq!(class(404, r#"{"error_code":40403,"message":"Schema 7 not found"}"#), "unknown");
        assert_eq!(class(404, "<html>"), "no registry");
        assert_eq!(
            class(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            "no registry"
        );
        assert_eq!(class(301, ""), "no registry");
        assert_eq!(class(200, "welcome"), "no registry");
        assert_eq!(class(200, r#"{"schema":"\"string\""}"#), "schema");
    }

    #[test]
    fn a_registry_that_cannot_is_told_from_one_that_will_not() {
        for status in [500, 503, 429, 408] {
            assert_eq!(class(status, r#"{"error_code":50001}"#), "unable");
        }
        for status in [401, 403] {
            assert_eq!(class(status, ""), "credentials");
        }
    }
}
