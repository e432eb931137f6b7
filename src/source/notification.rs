//! Notifications of topic-based subscriptions.
//!
//! In: a bundle whose first entry is the subscription's status: `SubscriptionStatus` (R5, R4B),
//! `Parameters` (the R4 backport) or `AidboxSubscriptionStatus`. Out: a statement per entry that
//! was created, updated or deleted, and one per resource that the status alone names. Heartbeats,
//! handshakes, answers to `$status` and included context say nothing.

use std::collections::BTreeSet;

use sonic_rs::JsonValueTrait as _;

use crate::model::{Document, Node, ResourceKey};

use super::bundle::{self, MOST_ENTRIES, Unmarked};
use super::identity::{self, Reference};
use super::json::text;
use super::statement::{Content, Statement, Statements};
use super::{DecodeError, Seen};

/// What the entries say.
pub(super) fn read(document: &Document) -> Result<Statements, DecodeError> {
    let root = document.root();
    let is_bundle = text(root, "resourceType") == Some("Bundle")
        && matches!(text(root, "type"), Some("subscription-notification" | "history"));
    if !is_bundle {
        return Err(DecodeError::UnknownFormat { seen: Seen::NoBundle("notification") });
    }
    let Some((first, entries)) = bundle::entries(root)?.split_first() else {
        return Err(DecodeError::UnknownFormat { seen: Seen::NotificationStatus });
    };
    let Some(status) = status(first) else {
        return Err(DecodeError::UnknownFormat { seen: Seen::NotificationStatus });
    };
    match status.kind {
        Some("handshake" | "heartbeat" | "query-status") => return Ok(Statements::Nothing),
        Some("event-notification" | "query-event") => {}
        _ => return Err(DecodeError::UnknownFormat { seen: Seen::NotificationKind }),
    }
    if status.focuses.len() > MOST_ENTRIES {
        return Err(DecodeError::TooManyEntries { limit: MOST_ENTRIES });
    }
    let subjects: BTreeSet<(&str, &str)> =
        status.focuses.iter().filter_map(|focus| Some((focus.resource_type?, focus.id?))).collect();
    let is_subject =
        |resource: &ResourceKey| subjects.contains(&(&*resource.resource_type, &*resource.id));
    let mut said: Vec<Result<Statement, DecodeError>> = entries
        .iter()
        .filter_map(|entry| bundle::entry(entry, Unmarked::Context, is_subject).transpose())
        .collect();
    // a refused entry may be the one that a focus is about: it is told once, by its own refusal
    if said.iter().all(Result::is_ok) {
        said.extend(hints(&status.focuses, &said));
    }
    if said.is_empty() && status.kind == Some("event-notification") {
        return Err(DecodeError::EventWithoutResource);
    }
    Ok(Statements::Bundle(said))
}

/// What the status alone says: the focuses that no entry told of, each once.
fn hints(
    focuses: &[Reference<'_>],
    said: &[Result<Statement, DecodeError>],
) -> Vec<Result<Statement, DecodeError>> {
    let mut told: BTreeSet<ResourceKey> =
        said.iter().flatten().map(|statement| statement.resource.clone()).collect();
    let mut hints = Vec::new();
    for focus in focuses {
        match identity::resource(focus.resource_type, focus.id, "notification's focus") {
            Ok(resource) if !told.insert(resource.clone()) => {}
            resource => hints.push(
                resource
                    .map(|resource| Statement::new(resource, Content::Hint("the notification"))),
            ),
        }
    }
    hints
}

/// What the status says.
struct Status<'n> {
    kind: Option<&'n str>,
    /// What the events are about.
    focuses: Vec<Reference<'n>>,
}

/// Whether an entry is a subscription's status: what tells a notification from a history.
pub(super) fn is_status(entry: &Node) -> bool {
    status(entry).is_some()
}

fn status(entry: &Node) -> Option<Status<'_>> {
    let resource = entry.get("resource")?;
    match text(resource, "resourceType")? {
        "SubscriptionStatus" | "AidboxSubscriptionStatus" => {
            let focus = |event| text(Node::get(event, "focus")?, "reference");
            let events = bundle::elements(resource, "notificationEvent");
            Some(Status {
                kind: text(resource, "type"),
                focuses: events.iter().filter_map(focus).map(Reference::of_url).collect(),
            })
        }
        "Parameters" => {
            let parameters = bundle::elements(resource, "parameter");
            let named = |name| parameters.iter().find(move |it| text(it, "name") == Some(name));
            named("subscription")?;
            let events =
                parameters.iter().filter(|it| text(it, "name") == Some("notification-event"));
            let parts = events.flat_map(|event| bundle::elements(event, "part"));
            let focuses = parts.filter(|part| text(part, "name") == Some("focus"));
            let reference = |focus| text(Node::get(focus, "valueReference")?, "reference");
            Some(Status {
                kind: named("type").and_then(|kind| text(kind, "valueCode")),
                focuses: focuses.filter_map(reference).map(Reference::of_url).collect(),
            })
        }
        _ => None,
    }
}
