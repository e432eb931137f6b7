//! History and search: what is found, and its pages.

use axum::http::header;
use chrono::{DateTime, Utc};

use super::Paging;
use super::answer::{Answer, http_date};
use super::bundle::{self, Frame, random_id};
use super::document::Document;
use super::routes::Asked;
use super::shared::Shared;
use super::store::Version;

/// HAPI's when `_count` is not given.
const USUAL_PAGE: usize = 50;

/// `_history` of the server, a type or a resource.
pub(super) fn history(shared: &Shared, asked: &Asked, of: (Option<&str>, Option<&str>)) -> Answer {
    let since = match asked.since() {
        Ok(since) => since,
        Err(refused) => return refused,
    };
    let found = shared.with(|state| state.store.history(of.0, of.1, since));
    if let ((Some(of_type), Some(id)), true) = (of, found.is_empty() && since.is_none()) {
        return Answer::unknown(&shared.base, &format!("{of_type}/{id}"));
    }
    let entries: Vec<_> =
        found.iter().map(|version| bundle::of_history(&shared.base, version)).collect();
    let paging = shared.settings.paging;
    pages(shared, asked, "history", entries, paging)
}

/// Search by type.
pub(super) fn search(shared: &Shared, asked: &Asked, of_type: &str) -> Answer {
    let mut found = shared.with(|state| state.store.of_type(of_type));
    for (name, value) in &asked.query {
        match name.as_str() {
            "_id" => found.retain(|version| value.split(',').any(|id| id == version.key.1)),
            "_lastUpdated" => match bound(value) {
                Some((prefix, at)) => found.retain(|version| holds(prefix, version.at, at)),
                None => return Answer::outcome(400, "Invalid date/time format"),
            },
            "_sort" if value == "-_lastUpdated" => found.reverse(),
            "_sort" if value == "_lastUpdated" => {}
            "_count" | "_offset" | "_elements" | "_total" | "_format" | "_pretty" => {}
            _ => {
                let said = format!("HAPI-0524: Unknown search parameter \"{name}\" for {of_type}");
                return Answer::outcome(400, &said);
            }
        }
    }
    if let Some(elements) = asked.parameter("_elements") {
        let wanted: Vec<_> = elements.split(',').collect();
        for version in &mut found {
            shorten(version, &wanted);
        }
    }
    let entries = found.iter().map(|version| bundle::of_search(&shared.base, version)).collect();
    pages(shared, asked, "searchset", entries, Paging::Snapshot)
}

/// A later page of a snapshot.
pub(super) fn later_page(shared: &Shared, asked: &Asked, name: &str) -> Answer {
    let known = shared.with(|state| state.snapshots.get(name).cloned());
    let Some((kind, entries)) = known else {
        let said = format!("HAPI-0417: Search ID \"{name}\" does not exist and may have expired");
        return Answer::outcome(410, &said);
    };
    let from = asked.number("_getpagesoffset").unwrap_or(0);
    page(shared, asked, (&kind, Some(name)), &entries, from)
}

fn pages(
    shared: &Shared,
    asked: &Asked,
    kind: &str,
    entries: Vec<String>,
    paging: Paging,
) -> Answer {
    let from = asked.number("_offset").unwrap_or(0);
    if paging == Paging::Offset || entries.len() <= size(shared, asked) {
        return page(shared, asked, (kind, None), &entries, from);
    }
    let name = random_id();
    let answer = page(shared, asked, (kind, Some(&name)), &entries, from);
    shared.with(|state| state.snapshots.insert(name, (kind.to_owned(), entries)));
    answer
}

fn size(shared: &Shared, asked: &Asked) -> usize {
    let wanted = asked.number("_count").unwrap_or(USUAL_PAGE);
    wanted.clamp(1, shared.settings.largest_page)
}

fn page(
    shared: &Shared,
    asked: &Asked,
    (kind, snapshot): (&str, Option<&str>),
    entries: &[String],
    from: usize,
) -> Answer {
    let size = size(shared, asked);
    let shown: Vec<_> = entries.iter().skip(from).take(size).cloned().collect();
    let next = from + size;
    let next = (next < entries.len()).then(|| match snapshot {
        Some(name) => format!(
            "{}?_getpages={name}&_getpagesoffset={next}&_count={size}&_bundletype={kind}",
            shared.base
        ),
        None => asked.url_with(&shared.base, &[("_count", size), ("_offset", next)]),
    });
    let own = asked.url_with(&shared.base, &[]);
    let id = random_id();
    let place = format!("{}/Bundle/{id}", shared.base);
    let frame = Frame { id, kind, total: entries.len(), own, next };
    let answer = Answer::json(200, &bundle::bundle(&frame, &shown))
        .header(header::LAST_MODIFIED, http_date(Utc::now()));
    match kind {
        "history" => answer.header(header::CONTENT_LOCATION, place),
        _ => answer,
    }
}

/// Leaves only some elements, and says so.
fn shorten(version: &mut Version, wanted: &[&str]) {
    let Some(document) = &version.document else { return };
    let mut meta = document.member("meta");
    let mut tags = meta["tag"].as_array().cloned().unwrap_or_default();
    tags.push(serde_json::json!({
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED", "display": "Resource encoded in summary mode",
    }));
    meta["tag"] = tags.into();
    let stays =
        |name: &str| matches!(name, "resourceType" | "id" | "meta") || wanted.contains(&name);
    let kept: Vec<_> = document
        .members()
        .filter(|(name, _)| stays(name))
        .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name)))
        .collect();
    let mut kept = Document::parse(&format!("{{{}}}", kept.join(","))).expect("an object");
    kept.set("meta", &meta.to_string());
    version.document = Some(kept);
}

/// `ge2024-01-01T00:00:00Z`.
fn bound(text: &str) -> Option<(&str, DateTime<Utc>)> {
    let split = text.find(|c: char| c.is_ascii_digit())?;
    let (prefix, at) = text.split_at(split);
    Some((prefix, DateTime::parse_from_rfc3339(at).ok()?.with_timezone(&Utc)))
}

fn holds(prefix: &str, at: DateTime<Utc>, bound: DateTime<Utc>) -> bool {
    match prefix {
        "ge" => at >= bound,
        "gt" => at > bound,
        "le" => at <= bound,
        "lt" => at < bound,
        _ => at == bound,
    }
}
