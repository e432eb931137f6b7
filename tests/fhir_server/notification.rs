//! Notifications of topic-based subscriptions: R5's, and the backport to R4.

use serde_json::{Value, json};

use super::Dialect;
use super::bundle::random_id;
use super::hooks::Hook;
use super::shared::Shared;
use super::store::{Interaction, Version, instant};
use super::subscription::{Content, Subscription};

/// A change.
pub(super) fn of(
    shared: &Shared,
    (told, topic, content): (&Subscription, &str, Content),
    version: &Version,
    event: u64,
) -> Hook {
    let focus = format!("{}/{}", shared.base, version.path());
    let event = Event {
        kind: "event-notification",
        number: event,
        focus: (content != Content::Empty).then_some(focus.as_str()),
    };
    let status = status(shared, told, topic, &event);
    let name = format!("urn:uuid:{}", random_id());
    let mut texts = vec![json!({ "fullUrl": name, "resource": status }).to_string()];
    let method = match version.interaction {
        Interaction::Create => "POST",
        Interaction::Update => "PUT",
        Interaction::Delete => "DELETE",
    };
    let request = json!({ "method": method, "url": version.path() });
    match (&version.document, content) {
        (_, Content::Empty) => {}
        (Some(document), Content::FullResource) => texts.push(format!(
            "{{\"fullUrl\":\"{focus}\",\"resource\":{document},\"request\":{request}}}"
        )),
        // a deletion's entry has its request, and no version
        (None, _) => texts.push(json!({ "request": request }).to_string()),
        (Some(_), Content::IdOnly) => {
            texts.push(json!({ "fullUrl": focus, "request": request }).to_string());
        }
    }
    post(shared, told, &texts)
}

/// The first notification of a subscription.
pub(super) fn handshake(shared: &Shared, told: &Subscription, topic: &str) -> Hook {
    let event = Event { kind: "handshake", number: 0, focus: None };
    let status = status(shared, told, topic, &event);
    post(shared, told, &[json!({ "resource": status }).to_string()])
}

struct Event<'a> {
    kind: &'a str,
    number: u64,
    focus: Option<&'a str>,
}

fn status(shared: &Shared, told: &Subscription, topic: &str, event: &Event<'_>) -> Value {
    let subscription = json!({ "reference": format!("{}/Subscription/{}", shared.base, told.id) });
    let number = event.number.to_string();
    if shared.settings.dialect == Dialect::R4 {
        return parameters(&subscription, topic, event);
    }
    let mut status = json!({
        "resourceType": "SubscriptionStatus", "id": random_id(), "status": "active",
        "type": event.kind, "eventsSinceSubscriptionStart": number,
        "subscription": subscription, "topic": topic,
    });
    if event.number > 0 {
        let mut told = json!({ "eventNumber": number });
        if let Some(focus) = event.focus {
            told["focus"] = json!({ "reference": focus });
        }
        status["notificationEvent"] = json!([told]);
    }
    status
}

fn parameters(subscription: &Value, topic: &str, event: &Event<'_>) -> Value {
    let number = event.number.to_string();
    let mut parameters = vec![
        json!({ "name": "subscription", "valueReference": subscription }),
        json!({ "name": "topic", "valueCanonical": topic }),
        json!({ "name": "status", "valueCode": "active" }),
        json!({ "name": "type", "valueCode": event.kind }),
        json!({ "name": "events-since-subscription-start", "valueString": number }),
    ];
    if event.number > 0 {
        let mut parts = vec![json!({ "name": "event-number", "valueString": number })];
        parts.extend(
            event
                .focus
                .map(|focus| json!({ "name": "focus", "valueReference": { "reference": focus } })),
        );
        parameters.push(json!({ "name": "notification-event", "part": parts }));
    }
    json!({ "resourceType": "Parameters", "id": random_id(), "parameter": parameters })
}

fn post(shared: &Shared, told: &Subscription, entries: &[String]) -> Hook {
    let kind = match shared.settings.dialect {
        Dialect::R4 => "history",
        Dialect::R4B | Dialect::R5 => "subscription-notification",
    };
    let head = json!({
        "resourceType": "Bundle", "id": random_id(), "type": kind,
        "timestamp": instant(chrono::Utc::now()),
    })
    .to_string();
    let head = head.trim_end_matches('}');
    Hook {
        method: "POST",
        url: told.endpoint.clone(),
        headers: vec![
            ("accept", "application/fhir+json;q=1.0, application/json+fhir;q=0.9".to_owned()),
            ("content-type", "application/fhir+json; charset=UTF-8".to_owned()),
        ],
        lines: told.lines(),
        body: Some(format!("{head},\"entry\":[{}]}}", entries.join(","))),
        wants_bundle: true,
    }
}
