//! Notifications of topic-based subscriptions.
//!
//! In: a bundle whose first entry is the subscription's status: `SubscriptionStatus` (R5, R4B),
//! `Parameters` (the R4 backport) or `AidboxSubscriptionStatus`. Out: a statement per entry that
//! was created, updated or deleted, and one per resource that the status alone names. Heartbeats,
//! handshakes, answers to `$status` and included context say nothing.

use sonic_rs::{JsonContainerTrait as _, JsonValueTrait as _};

use crate::model::{Document, Node};

use super::bundle::{self, Unmarked};
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
    let Some((first, entries)) = bundle::entries(root).split_first() else {
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
    let focuses: Vec<Reference<'_>> =
        status.focuses.iter().map(|reference| Reference::of_url(reference)).collect();
    let is_subject = |resource: &_| focuses.iter().any(|focus| focus.names(resource));
    let mut said: Vec<Result<Statement, DecodeError>> = entries
        .iter()
        .filter_map(|entry| bundle::entry(entry, Unmarked::Context, is_subject).transpose())
        .collect();
    // a refused entry may be the one that a focus is about: it is told once, by its own refusal
    let all_read = said.iter().all(Result::is_ok);
    for focus in focuses {
        let told = said.iter().flatten().any(|told| focus.names(&told.resource));
        if !told && all_read {
            said.push(
                identity::resource(focus.resource_type, focus.id, "notification's focus")
                    .map(|resource| Statement::new(resource, Content::Hint("the notification"))),
            );
        }
    }
    if said.is_empty() && status.kind == Some("event-notification") {
        return Err(DecodeError::EventWithoutResource);
    }
    Ok(Statements::Bundle(said))
}

/// What the status says.
struct Status<'n> {
    kind: Option<&'n str>,
    /// References to what the events are about.
    focuses: Vec<&'n str>,
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
            let events = children(resource, "notificationEvent");
            Some(Status {
                kind: text(resource, "type"),
                focuses: events.iter().filter_map(focus).collect(),
            })
        }
        "Parameters" => {
            let parameters = children(resource, "parameter");
            let named = |name| parameters.iter().find(move |it| text(it, "name") == Some(name));
            named("subscription")?;
            let events =
                parameters.iter().filter(|it| text(it, "name") == Some("notification-event"));
            let parts = events.flat_map(|event| children(event, "part"));
            let focuses = parts.filter(|part| text(part, "name") == Some("focus"));
            let reference = |focus| text(Node::get(focus, "valueReference")?, "reference");
            Some(Status {
                kind: named("type").and_then(|kind| text(kind, "valueCode")),
                focuses: focuses.filter_map(reference).collect(),
            })
        }
        _ => None,
    }
}

/// The elements of a member that is an array.
fn children<'n>(node: &'n Node, member: &str) -> &'n [Node] {
    let children = node.get(member).and_then(|children| children.as_array());
    children.map_or(&[], |children| children.as_slice())
}
