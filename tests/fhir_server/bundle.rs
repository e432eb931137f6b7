//! What HAPI answers, member by member: history and search bundles, responses to transactions,
//! outcomes of operations.

use serde_json::{Value, json};

use super::store::{Interaction, Version, Written, instant};

/// What a bundle says besides its entries.
pub(super) struct Frame<'a> {
    pub(super) id: String,
    pub(super) kind: &'a str,
    pub(super) total: usize,
    pub(super) own: String,
    pub(super) next: Option<String>,
}

/// A bundle over these entries.
pub(super) fn bundle(frame: &Frame<'_>, entries: &[String]) -> String {
    let mut links = vec![json!({ "relation": "self", "url": frame.own })];
    links.extend(frame.next.as_ref().map(|url| json!({ "relation": "next", "url": url })));
    let head = json!({
        "resourceType": "Bundle", "id": frame.id,
        "meta": { "lastUpdated": instant(chrono::Utc::now()) },
        "type": frame.kind, "total": frame.total, "link": links,
    });
    // HAPI leaves an empty list out
    let entries = match entries {
        [] => String::new(),
        entries => format!(",\"entry\":[{}]", entries.join(",")),
    };
    opened(&head) + &entries + "}"
}

/// An entry of a history.
pub(super) fn of_history(base: &str, version: &Version) -> String {
    let (method, status) = match version.interaction {
        Interaction::Create => ("POST", "201 Created"),
        Interaction::Update => ("PUT", "200 OK"),
        Interaction::Delete => ("DELETE", "200 OK"),
    };
    let (path, number) = (version.path(), version.number);
    let resource = resource_member(version);
    let request = json!({ "method": method, "url": format!("{path}/_history/{number}") });
    let response = json!({ "status": status, "etag": etag(number) });
    format!(
        "{{\"fullUrl\":\"{base}/{path}\",{resource}\"request\":{request},\"response\":{response}}}"
    )
}

/// An entry of a search.
pub(super) fn of_search(base: &str, version: &Version) -> String {
    let resource = resource_member(version);
    format!(
        "{{\"fullUrl\":\"{base}/{}\",{resource}\"search\":{{\"mode\":\"match\"}}}}",
        version.path()
    )
}

/// The answer to a transaction.
pub(super) fn of_transaction(base: &str, id: &str, written: &[Written]) -> String {
    let entries: Vec<Value> = written.iter().map(response_entry).collect();
    json!({
        "resourceType": "Bundle", "id": id, "type": "transaction-response",
        "link": [{ "relation": "self", "url": base }], "entry": entries,
    })
    .to_string()
}

fn response_entry(written: &Written) -> Value {
    let version = written.version();
    let at = format!("{}/_history/{}", version.path(), version.number);
    let (status, code, told) = match (written, version.interaction) {
        (Written::New(_), Interaction::Create) => {
            ("201 Created", "SUCCESSFUL_CREATE", format!("Successfully created resource \"{at}\"."))
        }
        (Written::New(_), Interaction::Update) => {
            ("200 OK", "SUCCESSFUL_UPDATE", format!("Successfully updated resource \"{at}\"."))
        }
        (Written::New(_), Interaction::Delete) => {
            let told = "Successfully deleted 1 resource(s).".to_owned();
            ("204 No Content", "SUCCESSFUL_DELETE", told)
        }
        (Written::NothingNew(_), _) => {
            let told = format!("Successfully updated resource \"{at}\" with no changes detected.");
            ("200 OK", "SUCCESSFUL_UPDATE_NO_CHANGE", told)
        }
    };
    let outcome = outcome("information", "informational", Some((code, summary(code))), &told);
    let mut response = json!({
        "status": status, "location": at, "etag": version.number.to_string(),
        "lastModified": instant(version.at), "outcome": outcome,
    });
    if version.is_deletion()
        && let Some(members) = response.as_object_mut()
    {
        members.retain(|name, _| matches!(name.as_str(), "status" | "outcome"));
    }
    json!({ "response": response })
}

fn summary(code: &str) -> &'static str {
    match code {
        "SUCCESSFUL_CREATE" => "Create succeeded.",
        "SUCCESSFUL_DELETE" => "Delete succeeded.",
        "SUCCESSFUL_DELETE_ALREADY_DELETED" => {
            "Delete succeeded: Resource was already deleted so no action was taken."
        }
        "SUCCESSFUL_UPDATE_NO_CHANGE" => "Update succeeded: No changes were detected.",
        _ => "Update succeeded.",
    }
}

/// What a deletion is answered with.
pub(super) fn of_deletion(written: &Written) -> Value {
    let (code, told) = match written {
        Written::New(_) => {
            ("SUCCESSFUL_DELETE", "Successfully deleted 1 resource(s). Took 45ms.".to_owned())
        }
        Written::NothingNew(version) => (
            "SUCCESSFUL_DELETE_ALREADY_DELETED",
            format!(
                "Not deleted, resource {}/_history/{} was already deleted.",
                version.path(),
                version.number
            ),
        ),
    };
    outcome("information", "informational", Some((code, summary(code))), &told)
}

/// An `OperationOutcome`.
pub(super) fn outcome(
    severity: &str,
    code: &str,
    coding: Option<(&str, &str)>,
    diagnostics: &str,
) -> Value {
    let mut issue = json!({ "severity": severity, "code": code });
    if let Some((code, display)) = coding {
        let system = "https://hapifhir.io/fhir/CodeSystem/hapi-fhir-storage-response-code";
        let coding = json!({ "system": system, "code": code, "display": display });
        issue["details"] = json!({ "coding": [coding] });
    }
    issue["diagnostics"] = Value::from(diagnostics);
    json!({ "resourceType": "OperationOutcome", "issue": [issue] })
}

pub(super) fn etag(number: u64) -> String {
    format!("W/\"{number}\"")
}

/// An id that nobody can guess the form of.
pub(super) fn random_id() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    uuid::Uuid::from_u64_pair(high, low).hyphenated().to_string()
}

fn resource_member(version: &Version) -> String {
    version
        .document
        .as_ref()
        .map(|document| format!("\"resource\":{document},"))
        .unwrap_or_default()
}

/// The text of an object without its last brace.
fn opened(value: &Value) -> String {
    let mut text = value.to_string();
    text.pop();
    text
}

/// JSON as HAPI prints it: objects over lines, arrays in a line.
pub(super) fn pretty(text: &str) -> String {
    let text = super::document::compact(text);
    let mut printed = String::with_capacity(text.len() * 2);
    // true: an object
    let mut open: Vec<bool> = Vec::new();
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside {
            printed.push(c);
            inside = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                inside = true;
                printed.push(c);
            }
            '{' => {
                open.push(true);
                printed.push(c);
                line(&mut printed, &open);
            }
            '}' => {
                open.pop();
                line(&mut printed, &open);
                printed.push(c);
            }
            '[' => {
                open.push(false);
                printed += "[ ";
            }
            ']' => {
                open.pop();
                printed += " ]";
            }
            ',' if open.last() == Some(&true) => {
                printed.push(c);
                line(&mut printed, &open);
            }
            ',' => printed += ", ",
            ':' => printed += ": ",
            c => printed.push(c),
        }
    }
    printed
}

/// A new line, as deep as there are open objects.
fn line(printed: &mut String, open: &[bool]) {
    printed.push('\n');
    for _ in open.iter().filter(|is_object| **is_object) {
        printed.push_str("  ");
    }
}
