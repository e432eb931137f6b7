//! Transactions: all entries at one instant, their references to one another resolved.

use chrono::TimeDelta;

use super::document::Document;
use super::shared::Shared;
use super::store::{Key, Refused, Written};

/// Why a transaction is none.
#[derive(Debug)]
pub(super) enum Broken {
    /// An entry that is none of `POST Type`, `PUT Type/id`, `DELETE Type/id`.
    Entry(usize),
    /// A write that is refused.
    Refused(Refused),
}

struct Entry {
    deletes: bool,
    key: Key,
    resource: Option<Document>,
}

impl Shared {
    /// All or nothing; subscribers are told once it is there.
    pub(super) fn transaction(&self, bundle: &Document) -> Result<Vec<Written>, Broken> {
        let entries = self.entries(bundle)?;
        let written = self.with(|state| {
            let unknown =
                |entry: &&Entry| entry.deletes && state.store.latest(&entry.key).is_none();
            if entries.iter().find(unknown).is_some() {
                return Err(Broken::Refused(Refused::Unknown));
            }
            let backdated = TimeDelta::from_std(state.faults.backdated).expect("a short time");
            let write = |entry: &Entry| match &entry.resource {
                Some(resource) if !entry.deletes => {
                    state.store.put(&entry.key, resource, None, backdated)
                }
                _ => state.store.delete(&entry.key, None, backdated),
            };
            entries.iter().map(write).collect::<Result<Vec<_>, _>>().map_err(Broken::Refused)
        })?;
        for written in &written {
            self.tell(written);
        }
        Ok(written)
    }

    fn entries(&self, bundle: &Document) -> Result<Vec<Entry>, Broken> {
        let raw = bundle.raw("entry").unwrap_or("[]");
        let raw: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_str(raw).map_err(|_| Broken::Entry(0))?;
        let (mut entries, mut renamed) = (Vec::new(), Vec::new());
        let first: usize = self.with(|state| state.store.next_id().parse().expect("a number"));
        let mut created = 0;
        for (at, text) in raw.iter().enumerate() {
            let entry = Document::parse(text.get()).ok_or(Broken::Entry(at))?;
            let request = entry.member("request");
            let url = request["url"].as_str().unwrap_or_default();
            let key = match (request["method"].as_str(), url.split_once('/')) {
                (Some("POST"), None) => {
                    created += 1;
                    (url.to_owned(), (first + created - 1).to_string())
                }
                (Some("PUT" | "DELETE"), Some((of_type, id))) => {
                    (of_type.to_owned(), id.to_owned())
                }
                _ => return Err(Broken::Entry(at)),
            };
            if let Some(name) = entry.text("fullUrl").filter(|name| name.starts_with("urn:uuid:")) {
                renamed.push((format!("\"{name}\""), format!("\"{}/{}\"", key.0, key.1)));
            }
            let deletes = request["method"] == "DELETE";
            let resource = entry.raw("resource").map(str::to_owned);
            entries.push((deletes, key, resource));
        }
        let resolve = |text: String| {
            renamed.iter().fold(text, |text, (name, reference)| text.replace(name, reference))
        };
        Ok(entries
            .into_iter()
            .map(|(deletes, key, resource)| Entry {
                deletes,
                key,
                resource: resource.and_then(|text| Document::parse(&resolve(text))),
            })
            .collect())
    }
}
