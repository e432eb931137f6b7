//! Bulk Data export: kick-off, polling, the manifest, its files.

use std::collections::BTreeMap;

use axum::http::{HeaderName, header};
use chrono::Utc;
use serde_json::{Value, json};

use super::answer::Answer;
use super::bundle::random_id;
use super::routes::Asked;
use super::shared::Shared;
use super::store::{Version, instant};

/// An export that was asked for.
pub(super) struct Export {
    polls_left: u32,
    manifest: Value,
    files: BTreeMap<String, String>,
}

const NDJSON: &str = "application/fhir+ndjson";

/// Takes the snapshot that the export will be.
pub(super) fn kick_off(shared: &Shared, asked: &Asked) -> Answer {
    if !asked.header("prefer").is_some_and(|prefer| prefer.contains("respond-async")) {
        return Answer::outcome(400, "HAPI-0513: Must request async processing");
    }
    let since = match asked.since() {
        Ok(since) => since,
        Err(refused) => return refused,
    };
    let types: Option<Vec<String>> =
        asked.parameter("_type").map(|types| types.split(',').map(str::to_owned).collect());
    let wanted = |version: &&Version| {
        types.as_ref().is_none_or(|types| types.contains(&version.key.0))
            && since.is_none_or(|since| version.at >= since)
    };
    let versions: Vec<_> =
        shared.with(|state| state.store.current().filter(wanted).cloned().collect());
    let export = export(shared, asked, &versions, since.is_some());
    let job = random_id();
    let place = format!("{}/$export-poll-status?_jobId={job}", shared.base);
    shared.with(|state| state.exports.insert(job, export));
    Answer::json(202, &json!({ "resourceType": "OperationOutcome" }).to_string())
        .header(header::CONTENT_LOCATION, place)
}

fn export(shared: &Shared, asked: &Asked, versions: &[Version], incremental: bool) -> Export {
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut gone = Vec::new();
    for version in versions {
        match &version.document {
            Some(document) => lines.entry(&version.key.0).or_default().push(document.to_string()),
            None => gone.push(json!({ "request": { "method": "DELETE", "url": version.path() } })),
        }
    }
    let (mut files, mut output) = (BTreeMap::new(), Vec::new());
    let mut file = |of_type: &str, lines: &[String]| {
        let name = random_id();
        let url = format!("{}/Binary/{name}", shared.base);
        files.insert(name, lines.join("\n") + "\n");
        json!({ "type": of_type, "url": url, "count": lines.len() })
    };
    for (of_type, lines) in &lines {
        output.extend(lines.chunks(shared.settings.export_lines).map(|lines| file(of_type, lines)));
    }
    let mut deleted = Vec::new();
    // what is gone matters to those only who have been here before
    if incremental && !gone.is_empty() {
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": gone });
        deleted.push(file("Bundle", &[bundle.to_string()]));
    }
    let manifest = json!({
        "transactionTime": instant(Utc::now()), "request": asked.url_with(&shared.base, &[]),
        "requiresAccessToken": !matches!(shared.settings.auth, super::Auth::None),
        "output": output, "deleted": deleted, "error": [],
    });
    Export { polls_left: shared.settings.export_polls, manifest, files }
}

/// How far it is, or the manifest.
pub(super) fn poll(shared: &Shared, asked: &Asked) -> Answer {
    let job = asked.parameter("_jobId").unwrap_or_default();
    shared.with(|state| {
        let Some(export) = state.exports.get_mut(&job) else {
            return Answer::outcome(404, "HAPI-2040: Unknown job");
        };
        if export.polls_left > 0 {
            export.polls_left -= 1;
            return Answer::text(202, "text/plain", String::new())
                .header(HeaderName::from_static("x-progress"), "Build in progress")
                .header(header::RETRY_AFTER, "1");
        }
        Answer::value(200, &export.manifest).header(
            header::EXPIRES,
            super::answer::http_date(Utc::now() + chrono::TimeDelta::hours(1)),
        )
    })
}

/// Gives the job and its files up.
pub(super) fn cancel(shared: &Shared, asked: &Asked) -> Answer {
    let job = asked.parameter("_jobId").unwrap_or_default();
    match shared.with(|state| state.exports.remove(&job)) {
        Some(_) => Answer::text(202, "text/plain", String::new()),
        None => Answer::outcome(404, "HAPI-2040: Unknown job"),
    }
}

/// A file of an export.
pub(super) fn file(shared: &Shared, name: &str) -> Option<Answer> {
    shared.with(|state| {
        let file = state.exports.values().find_map(|export| export.files.get(name))?;
        Some(Answer::text(200, NDJSON, file.clone()))
    })
}
