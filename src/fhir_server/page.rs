//! Pages of a history or a search.
//!
//! In: bundles as a server sends them. Out: their entries, page by page. Links to the next page are
//! followed on the server itself only, whatever else it names.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use url::Url;

use super::entry::Written;
use super::request::Request;
use super::{Asked, Entry, FhirServer, FhirServerError};
use crate::source::DecodeError;

/// Pages that follow each other. Made by [`FhirServer::history`], [`FhirServer::search`] and
/// [`FhirServer::pages`].
pub struct Pages {
    server: FhirServer,
    asked: Asked,
    next: Option<Url>,
    /// A page met before, the last whose number was a power of two: who meets it again goes round in a
    /// circle.
    met: Option<Url>,
    number: u64,
}

/// Addresses of pages hold what was searched for.
impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({}, {} read)", self.asked, self.number)
    }
}

/// A page.
pub struct Page {
    /// What it says, in its order: a history has the newest first.
    pub entries: Vec<Entry>,
    /// Entries that name no resource of FHIR, or not the whole of it; each says why.
    pub refused: Vec<DecodeError>,
    /// When the server made the page, by its own clock.
    pub last_updated: Option<DateTime<Utc>>,
    /// How many entries all pages have together, if the server says so.
    pub total: Option<u64>,
    /// The next page: below the server's base. `None`: this was the last.
    pub next: Option<Url>,
}

/// The address of the next page holds what was searched for.
impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("entries", &self.entries)
            .field("refused", &self.refused)
            .field("is_last", &self.next.is_none())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle<'b> {
    #[serde(borrow)]
    resource_type: Cow<'b, str>,
    #[serde(borrow)]
    meta: Option<Meta<'b>>,
    total: Option<u64>,
    #[serde(borrow, default)]
    link: Vec<Link<'b>>,
    #[serde(borrow, default)]
    entry: Vec<Written<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'b> {
    #[serde(borrow)]
    last_updated: Option<Cow<'b, str>>,
}

#[derive(Deserialize)]
struct Link<'b> {
    #[serde(borrow)]
    relation: Option<Cow<'b, str>>,
    #[serde(borrow)]
    url: Option<Cow<'b, str>>,
}

impl Pages {
    pub(super) const fn new(server: FhirServer, asked: Asked, first: Url) -> Self {
        Self { server, asked, next: Some(first), met: None, number: 0 }
    }

    /// The next page; `None` after the last. After an error the same page can be asked for again.
    ///
    /// # Errors
    /// [`FhirServerError`] says by its class whether to ask again.
    pub async fn next(&mut self) -> Result<Option<Page>, FhirServerError> {
        let Some(url) = self.next.clone() else { return Ok(None) };
        let answer = self.server.ask(Request::get(self.asked, url.clone())).await?;
        let page = self.server.page(self.asked, answer.status, &answer.body.0)?;
        self.number += 1;
        if self.number.is_power_of_two() {
            self.met = Some(url);
        }
        if page.next.is_some() && page.next == self.met {
            return Err(FhirServerError::Link {
                asked: self.asked,
                link: "`next` link",
                whither: "round in a circle",
            });
        }
        self.next.clone_from(&page.next);
        Ok(Some(page))
    }
}

impl FhirServer {
    /// Reads a bundle.
    pub(super) fn page(
        &self,
        asked: Asked,
        status: u16,
        body: &Bytes,
    ) -> Result<Page, FhirServerError> {
        let bundle = serde_json::from_slice::<Bundle<'_>>(body).ok();
        let Some(bundle) = bundle.filter(|bundle| bundle.resource_type == "Bundle") else {
            return Err(FhirServerError::NotFhir { asked, status, expected: "Bundle" });
        };
        let (mut entries, mut refused) = (Vec::with_capacity(bundle.entry.len()), Vec::new());
        for written in &bundle.entry {
            match written.read(body) {
                Ok(entry) => entries.extend(entry),
                Err(error) => refused.push(error),
            }
        }
        let mut links = bundle.link.iter();
        let next = links.find(|link| link.relation.as_deref() == Some("next"));
        let next = match next.and_then(|link| link.url.as_deref()) {
            None => None,
            Some(link) => Some(self.below(link).ok_or(FhirServerError::Link {
                asked,
                link: "`next` link",
                whither: "away from the configured base",
            })?),
        };
        let made = bundle.meta.and_then(|meta| meta.last_updated);
        let made = made.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        let last_updated = made.map(|instant| instant.with_timezone(&Utc));
        Ok(Page { entries, refused, last_updated, total: bundle.total, next })
    }

    /// What a bundle says that came without links: a line of deletes of an export.
    ///
    /// # Errors
    /// [`FhirServerError::NotFhir`] if it is no bundle.
    pub fn bundle(&self, json: &Bytes) -> Result<Page, FhirServerError> {
        let asked = Asked { method: "GET", interaction: "$export file", resource_type: None };
        self.page(asked, 200, json)
    }

    /// The address of a link of the server's, if it leads nowhere else than below its base. Servers
    /// page at the base itself too: `http://server/fhir?_getpages=…`.
    pub(super) fn below(&self, link: &str) -> Option<Url> {
        let mut folder = self.base.clone();
        if !folder.path().ends_with('/') {
            folder.set_path(&format!("{}/", folder.path()));
        }
        let url = folder.join(link).ok()?;
        let base = folder.path();
        let is_below = url.path().starts_with(base) || url.path() == base.trim_end_matches('/');
        let is_plain = url.username().is_empty() && url.password().is_none();
        (url.origin() == folder.origin() && is_below && is_plain).then_some(url)
    }
}
