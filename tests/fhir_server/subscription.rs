//! Subscriptions as they are stored: whom they tell what, in which form.

use serde_json::{Value, json};

use super::document::Document;
use super::store::{Interaction, Key, Version};
use super::{Dialect, Settings, Topic, shared};

/// HAPI's own way to ask for deletions.
const SEND_DELETES: &str =
    "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages";

/// An active subscription.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) endpoint: String,
    /// Header lines: `X-Name: value`.
    pub(super) headers: Vec<String>,
    pub(super) kind: Kind,
    /// None: all.
    types: Option<Vec<String>>,
    deletes: bool,
}

/// What it is told.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A request for each change.
    RestHook(Payload),
    /// A notification bundle.
    Topic { url: String, content: Content },
}

/// What the request of a rest-hook holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    Nothing,
    Json,
    Xml,
}

/// What a notification holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Empty,
    IdOnly,
    FullResource,
}

impl Subscription {
    pub(super) fn wants(&self, version: &Version) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&version.key.0))
            && (self.deletes || version.interaction != Interaction::Delete)
    }
}

/// What HAPI adds to a subscription.
pub(super) fn as_stored(key: &Key, document: &Document) -> Document {
    let mut document = document.clone();
    if key.0 == "Subscription" && document.raw("channel").is_some() {
        let mut meta = document.member("meta");
        if !meta.is_object() {
            meta = json!({});
        }
        meta["tag"] = json!([{
            "system": "http://hapifhir.io/fhir/StructureDefinition/subscription-matching-strategy",
            "code": "IN_MEMORY", "display": "In-memory",
        }]);
        document.set("meta", &meta.to_string());
    }
    document
}

/// Whether it is a subscription that becomes active by itself.
pub(super) fn is_requested(version: &Version) -> bool {
    let Some(document) = version.document.as_ref().filter(|_| version.key.0 == "Subscription")
    else {
        return false;
    };
    let channel = match document.member("channelType")["code"].as_str() {
        Some(code) => code.to_owned(),
        None => document.member("channel")["type"].as_str().unwrap_or_default().to_owned(),
    };
    channel == "rest-hook" && document.text("status").as_deref() == Some("requested")
}

pub(super) fn requested(state: &shared::State) -> Vec<Key> {
    let requested = state.store.current().filter(|version| is_requested(version));
    requested.map(|version| version.key.clone()).collect()
}

pub(super) fn active(state: &shared::State, settings: &Settings) -> Vec<Subscription> {
    let topics = topics(state, settings);
    let subscriptions = state.store.of_type("Subscription");
    subscriptions.iter().filter_map(|version| read(version, settings.dialect, &topics)).collect()
}

fn read(version: &Version, dialect: Dialect, topics: &[Topic]) -> Option<Subscription> {
    let document = version.document.as_ref()?;
    if document.text("status").as_deref() != Some("active") {
        return None;
    }
    let id = version.key.1.clone();
    match dialect {
        Dialect::R5 => of_r5(id, document, topics),
        Dialect::R4 | Dialect::R4B => of_r4(id, document, topics),
    }
}

fn of_r4(id: String, document: &Document, topics: &[Topic]) -> Option<Subscription> {
    let (criteria, channel) = (document.text("criteria")?, document.member("channel"));
    if channel["type"] != "rest-hook" {
        return None;
    }
    let topic = topics.iter().find(|topic| topic.url == criteria);
    let payload = match channel["payload"].as_str() {
        None => Payload::Nothing,
        Some(form) if form.contains("xml") => Payload::Xml,
        Some(_) => Payload::Json,
    };
    let extensions = channel["extension"].as_array().cloned().unwrap_or_default();
    let sends =
        |extension: &Value| extension["url"] == SEND_DELETES && extension["valueBoolean"] == true;
    Some(Subscription {
        id,
        endpoint: channel["endpoint"].as_str()?.to_owned(),
        headers: texts(&channel["header"]),
        kind: match topic {
            Some(topic) => {
                let content = channel["_payload"]["extension"].as_array().and_then(|extensions| {
                    let code = |it: &Value| it["valueCode"].as_str().map(content);
                    extensions.iter().find_map(code)
                });
                let content = content.unwrap_or(Content::Empty);
                Kind::Topic { url: topic.url.clone(), content }
            }
            None => Kind::RestHook(payload),
        },
        deletes: topic.is_some() || extensions.iter().any(sends),
        types: topic.map_or_else(|| of_criteria(&criteria), |topic| Some(topic.types.clone())),
    })
}

fn of_r5(id: String, document: &Document, topics: &[Topic]) -> Option<Subscription> {
    let url = document.text("topic")?;
    let topic = topics.iter().find(|topic| topic.url == url)?;
    let filters = document.member("filterBy");
    let filtered: Vec<String> = filters
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|filter| filter["resourceType"].as_str().map(str::to_owned))
        .collect();
    let wanted = |of_type: &&String| filtered.is_empty() || filtered.contains(of_type);
    let header = |parameter: &Value| -> Option<String> {
        Some(format!("{}: {}", parameter["name"].as_str()?, parameter["value"].as_str()?))
    };
    let parameters = document.member("parameter");
    Some(Subscription {
        id,
        endpoint: document.text("endpoint")?,
        headers: parameters.as_array().into_iter().flatten().filter_map(header).collect(),
        kind: Kind::Topic { url, content: content(&document.text("content").unwrap_or_default()) },
        deletes: true,
        types: Some(topic.types.iter().filter(wanted).cloned().collect()),
    })
}

fn content(code: &str) -> Content {
    match code {
        "full-resource" => Content::FullResource,
        "id-only" => Content::IdOnly,
        _ => Content::Empty,
    }
}

/// The types of `Patient?`, `[Patient,Observation]` or `[*]`.
fn of_criteria(criteria: &str) -> Option<Vec<String>> {
    let criteria = criteria.split('?').next().unwrap_or_default();
    let list = criteria.trim_start_matches('[').trim_end_matches(']');
    (list != "*").then(|| list.split(',').map(|name| name.trim().to_owned()).collect())
}

fn topics(state: &shared::State, settings: &Settings) -> Vec<Topic> {
    let mut topics = settings.topics.clone();
    for version in state.store.of_type("SubscriptionTopic") {
        let Some(document) = &version.document else { continue };
        let triggers = document.member("resourceTrigger");
        let triggers = triggers.as_array().cloned().unwrap_or_default();
        let name = |trigger: &Value| -> Option<String> {
            trigger["resource"].as_str()?.rsplit('/').next().map(str::to_owned)
        };
        let types = triggers.iter().filter_map(name).collect();
        topics.extend(document.text("url").map(|url| Topic { url, types }));
    }
    topics
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
