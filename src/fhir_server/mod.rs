//! The client of a FHIR server's REST interface.
//!
//! In: a server's base and how to show it who we are. Out: resources with their versions, deletes
//! included, as [`Entry`]s, and the canonical [`record`]s of them. It asks the configured server only:
//! redirects are not followed, links only below its base. Answers are bounded. It never shows an id, a
//! body, or what a server says in words; it never waits and tries again, which is its callers' to
//! decide by [`FhirServerError::class`] and [`FhirServerError::retry_after`].

mod entry;
mod error;
mod export;
mod page;
mod request;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Method;
use serde::Deserialize;
use url::{Origin, Url};

pub use crate::topology::{FhirServerAuth as Auth, FhirServerSettings};
pub use entry::{Content, Entry, record, record_at};
pub use error::{Asked, FhirServerError};
pub use export::{Download, ExportLevel, ExportProgress, ExportRequest, Manifest, ManifestFile};
pub use page::{Page, Pages};
pub use request::{Answer, Body};

use crate::http_client;
use crate::model::{ResourceKey, resource_type_label};
use request::{Request, is_outcome, judge};
use token::Token;

/// A FHIR server. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct FhirServer {
    http: reqwest::Client,
    base: Url,
    auth: Auth,
    file_servers: Vec<Origin>,
    timeout: Duration,
    max_body_bytes: usize,
    token: Arc<tokio::sync::Mutex<Option<Token>>>,
}

/// The client's own holds certificates and addresses of no interest.
impl fmt::Debug for FhirServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FhirServer").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// Which version of FHIR a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FhirVersion {
    /// 4.0
    R4,
    /// 4.1 and 4.3
    R4B,
    /// 5.0
    R5,
}

/// What a history is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All resources.
    System,
    /// Those of a type.
    Type(Arc<str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'b> {
    #[serde(borrow)]
    fhir_version: std::borrow::Cow<'b, str>,
}

impl FhirServer {
    /// A client; the server is not asked yet.
    ///
    /// # Errors
    /// [`FhirServerError::Client`] if the certificates cannot be used.
    pub fn new(settings: FhirServerSettings) -> Result<Self, FhirServerError> {
        let http = http_client::builder(settings.addresses(), settings.authorities.as_deref())
            .and_then(|client| {
                client
                    .connect_timeout(settings.connect_timeout)
                    .read_timeout(settings.timeout)
                    .build()
            })
            .map_err(FhirServerError::Client)?;
        let file_servers = settings.file_servers.iter().map(Url::origin).collect();
        let FhirServerSettings { base, auth, timeout, max_body_bytes, .. } = settings;
        Ok(Self { http, base, auth, file_servers, timeout, max_body_bytes, token: Arc::default() })
    }

    /// Its base, as configured.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// The version of FHIR that its CapabilityStatement says.
    ///
    /// # Errors
    /// [`FhirServerError`]; [`FhirServerError::Version`] if it is none of [`FhirVersion`].
    pub async fn fhir_version(&self) -> Result<FhirVersion, FhirServerError> {
        let asked = Asked { method: "GET", interaction: "metadata", resource_type: None };
        let url = self.url(asked, &["metadata"])?;
        let answer = self.ask(Request::get(asked, url)).await?;
        let status = answer.status;
        let metadata: Metadata<'_> = serde_json::from_slice(&answer.body.0).map_err(|_| {
            FhirServerError::NotFhir { asked, status, expected: "CapabilityStatement" }
        })?;
        match metadata.fhir_version.split('.').take(2).collect::<Vec<_>>().as_slice() {
            ["4", "0"] => Ok(FhirVersion::R4),
            ["4", "1" | "3"] => Ok(FhirVersion::R4B),
            ["5", _] => Ok(FhirVersion::R5),
            _ => Err(FhirServerError::Version),
        }
    }

    /// The newest version of a resource, a delete included; `None`: the server never had it.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn current(&self, resource: &ResourceKey) -> Result<Option<Entry>, FhirServerError> {
        let asked = of_type("GET", "history", &resource.resource_type);
        let mut url = self.url(asked, &[&resource.resource_type, &resource.id, "_history"])?;
        url.query_pairs_mut().append_pair("_count", "1");
        let (answer, headers) = self.answer(Request::get(asked, url)).await?;
        if answer.status == 404 && is_outcome(&answer.body.0) {
            return Ok(None);
        }
        if let Some(error) = judge(asked, answer.status, &headers) {
            return Err(error);
        }
        let bundle = self.page(asked, answer.status, &answer.body.0)?;
        let newest = bundle.entries.into_iter().next();
        match newest {
            Some(newest) if newest.resource == *resource => Ok(Some(newest)),
            None if bundle.refused.is_empty() => Ok(None),
            _ => Err(FhirServerError::NotFhir {
                asked,
                status: answer.status,
                expected: "history of the resource",
            }),
        }
    }

    /// All versions that were made since then, deletes included. `count`: entries a page, as a wish.
    #[must_use]
    pub fn history(&self, scope: &Scope, since: Option<DateTime<Utc>>, count: u16) -> Pages {
        let (asked, mut url) = match scope {
            Scope::System => {
                let asked = Asked { method: "GET", interaction: "history", resource_type: None };
                (asked, self.joined(&["_history"]))
            }
            Scope::Type(name) => {
                (of_type("GET", "history", name), self.joined(&[name, "_history"]))
            }
        };
        let mut query = url.query_pairs_mut();
        query.append_pair("_count", &count.to_string());
        if let Some(since) = since {
            // what is cut off asks for more, never for less
            let since = since.to_rfc3339_opts(SecondsFormat::Millis, true);
            query.append_pair("_since", &since);
        }
        drop(query);
        Pages::new(self.clone(), asked, url)
    }

    /// All resources of a type that these search parameters find. `count`: entries a page, as a wish.
    #[must_use]
    pub fn search(&self, name: &str, parameters: &[(String, String)], count: u16) -> Pages {
        let mut url = self.joined(&[name]);
        url.query_pairs_mut().extend_pairs(parameters).append_pair("_count", &count.to_string());
        Pages::new(self.clone(), of_type("GET", "search", name), url)
    }

    /// Pages from one on whose address was kept; `None` if it is not below this server's base.
    #[must_use]
    pub fn pages(&self, first: &Url) -> Option<Pages> {
        let asked = Asked { method: "GET", interaction: "page", resource_type: None };
        Some(Pages::new(self.clone(), asked, self.below(first.as_str())?))
    }

    /// What stands at this path below the base (`["Subscription", "1"]`); `None` if there is nothing or
    /// it was deleted.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn get(&self, path: &[&str]) -> Result<Option<Answer>, FhirServerError> {
        let asked = of_path("GET", "read", path);
        let (answer, headers) = self.answer(Request::get(asked, self.url(asked, path)?)).await?;
        if answer.status == 410 || (answer.status == 404 && is_outcome(&answer.body.0)) {
            return Ok(None);
        }
        judge(asked, answer.status, &headers).map_or(Ok(Some(answer)), Err)
    }

    /// Puts a resource, JSON, at this path.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn put(&self, path: &[&str], json: Bytes) -> Result<Answer, FhirServerError> {
        self.write(Method::PUT, of_path("PUT", "update", path), path, json).await
    }

    /// Posts a resource, JSON, to this path.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn post(&self, path: &[&str], json: Bytes) -> Result<Answer, FhirServerError> {
        self.write(Method::POST, of_path("POST", "create", path), path, json).await
    }

    /// Deletes what stands at this path; that there was nothing is as good.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn delete(&self, path: &[&str]) -> Result<(), FhirServerError> {
        let asked = of_path("DELETE", "delete", path);
        let url = self.url(asked, path)?;
        let request = Request { method: Method::DELETE, ..Request::get(asked, url) };
        let (answer, headers) = self.answer(request).await?;
        if answer.status == 410 || (answer.status == 404 && is_outcome(&answer.body.0)) {
            return Ok(());
        }
        judge(asked, answer.status, &headers).map_or(Ok(()), Err)
    }

    async fn write(
        &self,
        method: Method,
        asked: Asked,
        path: &[&str],
        json: Bytes,
    ) -> Result<Answer, FhirServerError> {
        let url = self.url(asked, path)?;
        self.ask(Request { method, body: Some(json), ..Request::get(asked, url) }).await
    }

    /// The address of a path below the base. Parts that a URL resolves away would lead to something
    /// else: `DELETE Subscription/..` to everything.
    fn url(&self, asked: Asked, path: &[&str]) -> Result<Url, FhirServerError> {
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(FhirServerError::Path { asked });
        }
        Ok(self.joined(path))
    }

    fn joined(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

fn of_type(method: &'static str, interaction: &'static str, name: &str) -> Asked {
    Asked { method, interaction, resource_type: Some(resource_type_label(name)) }
}

fn of_path(method: &'static str, interaction: &'static str, path: &[&str]) -> Asked {
    let resource_type = path.first().map(|name| resource_type_label(name));
    Asked { method, interaction, resource_type }
}
