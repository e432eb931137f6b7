//! FHIR Bulk Data Access: `$export`.
//!
//! In: what is to be exported. Out: a job to ask about, then its files, read as they come. The job is
//! at the server itself; files may be elsewhere, if that was said beforehand, and whoever has them
//! learns our credentials only if the server says that they are needed there.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{ACCEPT, CONTENT_LOCATION, HeaderName};
use reqwest::{Method, Response};
use serde::Deserialize;
use url::{Origin, Url};

use super::request::{Credentials, Request, is_outcome, judge, retry_after};
use super::{Asked, FhirServer, FhirServerError};
use crate::http_client;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What is exported.
#[derive(Clone, PartialEq, Eq)]
pub enum ExportLevel {
    /// All resources.
    System,
    /// What belongs to any patient.
    Patient,
    /// What belongs to the patients of the group with this id.
    Group(String),
}

/// The name of a group may tell of its patients.
impl fmt::Debug for ExportLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Patient => "Patient",
            Self::Group(_) => "Group(…)",
        })
    }
}

/// What is to be exported.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// Of whom.
    pub level: ExportLevel,
    /// Types; empty: all.
    pub types: Vec<String>,
    /// What changed since then, deletes included where the server tells them.
    pub since: Option<DateTime<Utc>>,
    /// Searches that choose among the resources of a type: `Observation?status=final`.
    pub type_filters: Vec<String>,
}

/// Searches may hold what is nobody's business.
impl fmt::Debug for ExportRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportRequest")
            .field("level", &self.level)
            .field("types", &self.types)
            .field("since", &self.since)
            .field("type_filters", &self.type_filters.len())
            .finish()
    }
}

impl ExportRequest {
    /// What tells it from other requests, as texts: the same for as long as load's state files are to
    /// be gone on with.
    #[must_use]
    pub fn identity(&self) -> Vec<String> {
        let (level, group) = match &self.level {
            ExportLevel::System => ("system", ""),
            ExportLevel::Patient => ("patient", ""),
            ExportLevel::Group(group) => ("group", group.as_str()),
        };
        let since = self.since.map(|since| since.to_rfc3339()).unwrap_or_default();
        let mut texts = vec!["export".to_owned(), level.to_owned(), group.to_owned(), since];
        texts.push(self.types.len().to_string());
        texts.extend(self.types.iter().chain(&self.type_filters).cloned());
        texts
    }
}

/// How far a job is.
#[derive(Debug, Clone)]
pub enum ExportProgress {
    /// The server still works on it.
    Running {
        /// When it wants to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// Its files are there.
    Complete(Manifest),
}

/// The files of a job.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// When the export was begun, by the server's clock: the next one's `since`.
    pub transaction_time: String,
    /// Whether the files are given only to whoever shows a token.
    #[serde(default)]
    pub requires_access_token: bool,
    /// Files of resources.
    #[serde(default)]
    pub output: Vec<ManifestFile>,
    /// Files of bundles that tell deletes.
    #[serde(default)]
    pub deleted: Vec<ManifestFile>,
    /// Files of OperationOutcomes.
    #[serde(default)]
    pub error: Vec<ManifestFile>,
}

/// A file.
#[derive(Clone, Deserialize)]
pub struct ManifestFile {
    /// Type of its resources.
    #[serde(rename = "type", default)]
    pub resource_type: String,
    /// Where it is. A secret, if it is signed.
    pub(super) url: String,
}

/// Its address may be signed: whoever has it has the file.
impl fmt::Debug for ManifestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManifestFile")
            .field("resource_type", &self.resource_type)
            .finish_non_exhaustive()
    }
}

/// A file that is being read.
#[derive(Debug)]
pub struct Download {
    asked: Asked,
    answer: Response,
}

impl Download {
    /// Some more of it; `None` at its end.
    ///
    /// # Errors
    /// [`FhirServerError::Away`] if it breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FhirServerError> {
        let asked = self.asked;
        let chunk = http_client::chunk(&mut self.answer).await;
        chunk.map_err(|source| FhirServerError::Away { asked, source })
    }
}

const fn asked(method: &'static str, interaction: &'static str) -> Asked {
    Asked { method, interaction, resource_type: None }
}

impl FhirServer {
    /// Asks the server to begin an export; the address of the job.
    ///
    /// # Errors
    /// [`FhirServerError`]; `NotFhir` if it does not say where the job is.
    pub async fn export(&self, request: &ExportRequest) -> Result<Url, FhirServerError> {
        let asked = asked("GET", "$export");
        let mut url = match &request.level {
            ExportLevel::System => self.url(asked, &["$export"])?,
            ExportLevel::Patient => self.url(asked, &["Patient", "$export"])?,
            ExportLevel::Group(id) => self.url(asked, &["Group", id, "$export"])?,
        };
        if !request.types.is_empty() {
            url.query_pairs_mut().append_pair("_type", &request.types.join(","));
        }
        if let Some(since) = request.since {
            let since = since.to_rfc3339_opts(SecondsFormat::Millis, true);
            url.query_pairs_mut().append_pair("_since", &since);
        }
        for filter in &request.type_filters {
            url.query_pairs_mut().append_pair("_typeFilter", filter);
        }
        let headers = vec![(PREFER, "respond-async")];
        let (answer, headers) =
            self.answer(Request { headers, ..Request::get(asked, url) }).await?;
        if let Some(error) = judge(asked, answer.status, &headers) {
            return Err(error);
        }
        let place = headers.get(CONTENT_LOCATION).and_then(|place| place.to_str().ok());
        let Some(place) = place.filter(|_| answer.status == 202) else {
            let expected = "acceptance of an export (202 with Content-Location)";
            return Err(FhirServerError::NotFhir { asked, status: answer.status, expected });
        };
        self.on_origin(place).ok_or(FhirServerError::Link {
            asked,
            link: "`Content-Location`",
            whither: "away from the configured server",
        })
    }

    /// Asks how far a job is.
    ///
    /// # Errors
    /// [`FhirServerError`]; `Unsupported` or `Refused` if the job is no longer known.
    pub async fn export_progress(&self, job: &Url) -> Result<ExportProgress, FhirServerError> {
        let asked = asked("GET", "$export status");
        let url = self.job(asked, job)?;
        let headers = vec![(ACCEPT, "application/json")];
        let (answer, headers) =
            self.answer(Request { headers, ..Request::get(asked, url) }).await?;
        if answer.status == 202 {
            let retry_after = retry_after(&headers, Utc::now());
            return Ok(ExportProgress::Running { retry_after });
        }
        if let Some(error) = judge(asked, answer.status, &headers) {
            return Err(error);
        }
        let status = answer.status;
        let manifest = serde_json::from_slice(&answer.body.0).map_err(|_| {
            FhirServerError::NotFhir { asked, status, expected: "manifest of an export" }
        })?;
        Ok(ExportProgress::Complete(manifest))
    }

    /// Tells the server that the job and its files are no longer needed. That it is gone already is as
    /// good.
    ///
    /// # Errors
    /// [`FhirServerError`]
    pub async fn delete_export(&self, job: &Url) -> Result<(), FhirServerError> {
        let asked = asked("DELETE", "$export status");
        let url = self.job(asked, job)?;
        let request = Request { method: Method::DELETE, ..Request::get(asked, url) };
        let (answer, headers) = self.answer(request).await?;
        if answer.status == 410 || (answer.status == 404 && is_outcome(&answer.body.0)) {
            return Ok(());
        }
        judge(asked, answer.status, &headers).map_or(Ok(()), Err)
    }

    /// Begins to read a file. `elsewhere`: who may have files besides the server itself.
    ///
    /// # Errors
    /// [`FhirServerError`]; `Link` if the file is with anybody else.
    pub async fn download(
        &self,
        manifest: &Manifest,
        file: &ManifestFile,
        elsewhere: &[Origin],
    ) -> Result<Download, FhirServerError> {
        let asked = asked("GET", "$export file");
        let url = self.base.join(&file.url).ok();
        let url = url.filter(|url| {
            let origin = url.origin();
            origin == self.base.origin() || elsewhere.contains(&origin)
        });
        let url = url.ok_or(FhirServerError::Link {
            asked,
            link: "manifest",
            whither: "to another server that was not named as having files",
        })?;
        let credentials =
            if manifest.requires_access_token { Credentials::Shown } else { Credentials::Withheld };
        let headers = vec![(ACCEPT, "application/fhir+ndjson")];
        let request = Request { headers, credentials, ..Request::get(asked, url) };
        // as long as it takes, while it goes on: the client limits each wait for more
        let opened = tokio::time::timeout(self.timeout, self.send(request, None)).await;
        let answer = opened.map_err(|_| FhirServerError::Unable {
            asked,
            status: 504,
            retry_after: None,
        })??;
        match judge(asked, answer.status().as_u16(), answer.headers()) {
            Some(error) => Err(error),
            None => Ok(Download { asked, answer }),
        }
    }

    fn job(&self, asked: Asked, job: &Url) -> Result<Url, FhirServerError> {
        self.on_origin(job.as_str()).ok_or(FhirServerError::Link {
            asked,
            link: "job",
            whither: "away from the configured server",
        })
    }

    /// An address at the server's origin, below its base or not: jobs need not be.
    fn on_origin(&self, link: &str) -> Option<Url> {
        let url = self.base.join(link).ok()?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        (url.origin() == self.base.origin() && is_plain).then_some(url)
    }
}
