//! Searches and histories of a FHIR server, page by page.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::patience::Patience;
use super::portion::RefusedItem;
use super::resolve::resolve;
use super::{At, Input, LoadError, Portion, Position, Shape};
use crate::fhir_server::{FhirServer, FhirServerError, Pages, Scope};

/// What is read, one after the other.
#[derive(Clone, PartialEq, Eq)]
pub enum Part {
    /// What a search finds: a type and its parameters.
    Search(String, Vec<(String, String)>),
    /// All versions that were made since then.
    History(Scope, Option<DateTime<Utc>>),
}

/// The parameters of a search may hold what is nobody's business.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Search(name, parameters) => {
                write!(f, "Search({name}, {} parameters)", parameters.len())
            }
            Self::History(scope, since) => {
                f.debug_tuple("History").field(scope).field(since).finish()
            }
        }
    }
}

impl Part {
    /// What tells it from other parts, as texts: the same for as long as load's state files are to be
    /// gone on with.
    #[must_use]
    pub fn identity(&self) -> Vec<String> {
        match self {
            Self::Search(name, parameters) => {
                let mut texts =
                    vec!["search".to_owned(), name.clone(), parameters.len().to_string()];
                texts.extend(parameters.iter().flat_map(|(name, value)| [name, value]).cloned());
                texts
            }
            Self::History(scope, since) => {
                let name = match scope {
                    Scope::System => "",
                    Scope::Type(name) => name,
                };
                let since = since.map(|since| since.to_rfc3339()).unwrap_or_default();
                vec!["history".to_owned(), name.to_owned(), since]
            }
        }
    }
}

/// Searches or histories of a server.
#[derive(Debug)]
pub struct PagesInput {
    server: FhirServer,
    parts: Vec<Part>,
    /// Entries a page, as a wish.
    count: u16,
    shape: Shape,
    /// The part that is being read.
    part: usize,
    pages: Option<Pages>,
    /// Pages that were read by this process.
    number: u64,
    /// Whether it went on where another process was.
    goes_on: bool,
    done: u64,
}

impl PagesInput {
    /// These parts from the position on.
    #[must_use]
    pub fn new(
        server: FhirServer,
        parts: Vec<Part>,
        count: u16,
        shape: Shape,
        position: &Position,
    ) -> Self {
        let mut part = 0;
        let mut pages = None;
        let mut goes_on = false;
        if let Position::Page { part: at, next } = position {
            part = *at;
            pages = next.as_ref().and_then(|next| server.pages(next));
            goes_on = pages.is_some();
        }
        Self { server, parts, count, shape, part, pages, number: 0, goes_on, done: 0 }
    }
}

#[async_trait]
impl Input for PagesInput {
    async fn next(&mut self) -> Result<Option<Portion>, LoadError> {
        loop {
            let Some(part) = self.parts.get(self.part) else { return Ok(None) };
            let pages = self.pages.get_or_insert_with(|| match part {
                Part::Search(name, parameters) => self.server.search(name, parameters, self.count),
                Part::History(scope, since) => self.server.history(scope, *since, self.count),
            });
            let mut patience = Patience::new();
            let page = loop {
                match pages.next().await {
                    Ok(page) => break page,
                    Err(
                        source @ (FhirServerError::Refused { .. }
                        | FhirServerError::Unsupported { .. }),
                    ) if self.goes_on => {
                        let what = "the page that the load was to go on with";
                        return Err(LoadError::Gone { what, source });
                    }
                    Err(error) => patience.wait(error).await?,
                }
            };
            self.goes_on = false;
            let Some(page) = page else {
                self.part += 1;
                self.pages = None;
                continue;
            };
            self.number += 1;
            let name: Arc<str> = format!("page {}", self.number).into();
            let at = || At { name: Arc::clone(&name), line: None };
            let mut portion = Portion::default();
            self.done += (page.entries.len() + page.refused.len()) as u64;
            portion.refused.extend(page.refused.iter().map(|error| RefusedItem::new(at(), error)));
            for record in resolve(&self.server, &self.shape, page.entries).await? {
                portion.add(at(), record);
            }
            portion.position = match page.next {
                Some(next) => Position::Page { part: self.part, next: Some(next) },
                None => Position::Page { part: self.part + 1, next: None },
            };
            portion.done = self.done;
            // of several parts nobody knows the others' totals
            portion.of = page.total.filter(|_| self.parts.len() == 1);
            return Ok(Some(portion));
        }
    }
}
