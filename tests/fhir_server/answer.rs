//! An answer as HAPI gives it: its headers, and JSON over many lines.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::bundle::{self, etag, pretty, random_id};
use super::store::{Refused, Version, Written, instant};

/// What is answered.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: String,
    media_type: &'static str,
}

const JSON: &str = "application/fhir+json;charset=UTF-8";

impl Answer {
    /// A resource or a bundle.
    pub(super) fn json(status: u16, text: &str) -> Self {
        let body = pretty(text) + "\n";
        Self { status, headers: Vec::new(), body, media_type: JSON }
    }

    /// Text of another kind, as it is.
    pub(super) fn text(status: u16, media_type: &'static str, body: String) -> Self {
        Self { status, headers: Vec::new(), body, media_type }
    }

    /// A refusal.
    pub(super) fn outcome(status: u16, diagnostics: &str) -> Self {
        let outcome = bundle::outcome("error", "processing", None, diagnostics);
        Self::json(status, &outcome.to_string())
    }

    pub(super) fn unknown(base: &str, path: &str) -> Self {
        Self::outcome(404, &format!("HAPI-2001: Resource {path} is not known"))
            .header(header::CONTENT_LOCATION, format!("{base}/{path}"))
    }

    pub(super) fn refused(base: &str, path: &str, refused: Refused) -> Self {
        match refused {
            Refused::Unknown => Self::unknown(base, path),
            Refused::Conflict => Self::outcome(
                409,
                &format!("HAPI-0989: Trying to update {path} but this is not the current version"),
            ),
        }
    }

    /// A version, and where it is.
    pub(super) fn version(status: u16, base: &str, version: &Version) -> Self {
        let place = format!("{base}/{}/_history/{}", version.path(), version.number);
        let Some(document) = &version.document else {
            let at = instant(version.at);
            return Self::outcome(410, &format!("Resource was deleted at {at}"))
                .header(header::LOCATION, place);
        };
        Self::json(status, &document.to_string())
            .header(header::ETAG, etag(version.number))
            .header(header::CONTENT_LOCATION, place)
            .header(header::LAST_MODIFIED, http_date(version.at))
    }

    /// What a deletion says; HAPI names the version that there was.
    pub(super) fn deletion(base: &str, written: &Written) -> Self {
        let version = written.version();
        let before = match written {
            Written::New(version) => version.number - 1,
            Written::NothingNew(version) => version.number,
        };
        let place = format!("{base}/{}/_history/{before}", version.path());
        Self::json(200, &bundle::of_deletion(written).to_string())
            .header(header::CONTENT_LOCATION, place)
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn value(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }
}

/// As in `Last-Modified`.
pub(super) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        // a stream, so that it is chunked
        let body = futures_util::stream::iter([Ok::<_, Infallible>(answer.body)]);
        let mut response = Response::new(Body::from_stream(body));
        *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
        let headers = response.headers_mut();
        let own = [
            (header::CONTENT_TYPE, answer.media_type.to_owned()),
            (
                HeaderName::from_static("x-powered-by"),
                "HAPI FHIR 8.8.0 REST Server (FHIR Server; FHIR 4.0.1/R4)".to_owned(),
            ),
            (HeaderName::from_static("x-request-id"), random_id()),
        ];
        for (name, value) in own.into_iter().chain(answer.headers) {
            headers.insert(name, HeaderValue::from_str(&value).expect("a header's value"));
        }
        response
    }
}
