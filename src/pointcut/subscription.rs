//! The subscriptions that rowcast has at a FHIR server, as resources.
//!
//! In: a type and where its hooks go. Out: the resources that the server must have, with ids that tell
//! whose they are, and whether what it has fits them. R4 has rest-hooks by search criteria, R4B and R5
//! have topics, which are resources of their own.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::fhir_server::FhirVersion;
use crate::model::RESOURCE_TYPES;
use crate::telemetry::metrics::pointcut::SubscriptionState;
use crate::topology::Secret;

/// Longest part of an id for the topology's name: what FHIR's 64 leave beside the longest type.
const NAME_AT_MOST: usize = 20;

/// HAPI sends deletes where this says so.
const SEND_DELETES: &str =
    "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages";
const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition";
const CHANNEL_TYPES: &str = "http://terminology.hl7.org/CodeSystem/subscription-channel-type";
const FHIR_JSON: &str = "application/fhir+json";

/// Whose subscriptions, and where their hooks go.
#[derive(Debug, Clone)]
pub(super) struct Hooked {
    /// The topology's name.
    pub(super) topology: String,
    /// Where the server reaches the hook endpoint.
    pub(super) public_url: Url,
    /// What hooks must show.
    pub(super) token: Option<Secret>,
}

/// What the server must have so that it sends hooks of a type.
pub(super) struct Wanted {
    /// The topic, where there are such.
    pub(super) topic: Option<Value>,
    /// The subscription.
    pub(super) subscription: Value,
}

impl Hooked {
    /// The id of a type's subscription and of its topic: `rowcast-<topology>-<Type>`. A name that
    /// does not fit into an id is told by a hash.
    pub(super) fn id(&self, resource_type: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let name = &self.topology;
        if name.len() <= NAME_AT_MOST && name.chars().all(fits) {
            return format!("rowcast-{name}-{resource_type}");
        }
        let hash = Sha256::digest(name.as_bytes());
        let hash = hash.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
        format!("rowcast-{hash:016x}-{resource_type}")
    }

    /// The type whose subscription of ours this is.
    pub(super) fn type_of(&self, id: &str) -> Option<&'static str> {
        let named = RESOURCE_TYPES.into_iter().find(|name| id.ends_with(&format!("-{name}")))?;
        (self.id(named) == id).then_some(named)
    }

    /// Where the hooks of a type go.
    fn endpoint(&self, resource_type: &str) -> String {
        let base = self.public_url.as_str().trim_end_matches('/');
        format!("{base}/{resource_type}")
    }

    fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.expose()))
    }

    /// What a server of this version of FHIR must have. `base`: the server's own.
    pub(super) fn wanted(&self, version: FhirVersion, base: &Url, resource_type: &str) -> Wanted {
        let id = self.id(resource_type);
        let topic_url = format!("{}/SubscriptionTopic/{id}", base.as_str().trim_end_matches('/'));
        let topic = json!({
            "resourceType": "SubscriptionTopic", "id": id, "url": topic_url, "status": "active",
            "resourceTrigger": [{
                "resource": resource_type, "supportedInteraction": ["create", "update", "delete"],
            }],
        });
        let reason = format!("rowcast, topology {}", self.topology);
        let endpoint = self.endpoint(resource_type);
        match version {
            FhirVersion::R4 => {
                let mut subscription = json!({
                    "resourceType": "Subscription", "id": id, "status": "requested",
                    "reason": reason, "criteria": format!("{resource_type}?"),
                    "channel": {
                        "extension": [{ "url": SEND_DELETES, "valueBoolean": true }],
                        "type": "rest-hook", "endpoint": endpoint, "payload": FHIR_JSON,
                    },
                });
                self.add_header(&mut subscription);
                Wanted { topic: None, subscription }
            }
            FhirVersion::R4B => {
                let content = format!("{BACKPORT}/backport-payload-content");
                let mut subscription = json!({
                    "resourceType": "Subscription", "id": id,
                    "meta": { "profile": [format!("{BACKPORT}/backport-subscription")] },
                    "status": "requested", "reason": reason, "criteria": topic_url,
                    "channel": {
                        "type": "rest-hook", "endpoint": endpoint, "payload": FHIR_JSON,
                        "_payload": {
                            "extension": [{ "url": content, "valueCode": "full-resource" }],
                        },
                    },
                });
                self.add_header(&mut subscription);
                Wanted { topic: Some(topic), subscription }
            }
            FhirVersion::R5 => {
                let mut subscription = json!({
                    "resourceType": "Subscription", "id": id, "status": "requested",
                    "reason": reason, "topic": topic_url,
                    "channelType": { "system": CHANNEL_TYPES, "code": "rest-hook" },
                    "endpoint": endpoint, "contentType": FHIR_JSON, "content": "full-resource",
                });
                if let Some(authorization) = self.authorization() {
                    subscription["parameter"] =
                        json!([{ "name": "Authorization", "value": authorization }]);
                }
                Wanted { topic: Some(topic), subscription }
            }
        }
    }

    fn add_header(&self, subscription: &mut Value) {
        if let Some(authorization) = self.authorization() {
            subscription["channel"]["header"] = json!([format!("Authorization: {authorization}")]);
        }
    }
}

/// How a subscription of the server's stands.
pub(super) fn state(found: &Value) -> SubscriptionState {
    match found.get("status").and_then(Value::as_str) {
        Some("active") => SubscriptionState::Active,
        Some("requested") => SubscriptionState::Requested,
        Some("error") => SubscriptionState::Error,
        _ => SubscriptionState::Off,
    }
}

/// Whether what the server has is what it should have. Servers add members of their own; the status
/// is the server's too, and some do not show headers, which may hold secrets.
pub(super) fn fits(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(name, wanted)| match (name.as_str(), found.get(name)) {
                ("status", _) | ("header" | "parameter", None) => true,
                (_, None) => false,
                (_, Some(found)) => fits(wanted, found),
            })
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.iter().all(|wanted| found.iter().any(|found| fits(wanted, found)))
        }
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooked(topology: &str) -> Hooked {
        Hooked {
            topology: topology.to_owned(),
            public_url: Url::parse("https://rowcast.example/hooks/").expect("a URL"),
            token: Some(Secret::new("secret")),
        }
    }

    fn wanted(version: FhirVersion) -> Wanted {
        let base = Url::parse("http://server/fhir/").expect("a URL");
        hooked("clinical").wanted(version, &base, "Patient")
    }

    #[test]
    fn ids_are_fhirs_and_tell_topology_and_type() {
        assert_eq!(hooked("clinical").id("Patient"), "rowcast-clinical-Patient");
        let longest = RESOURCE_TYPES.into_iter().max_by_key(|name| name.len()).expect("many");
        let awkward = ["with_underscore", &"x".repeat(249), &"y".repeat(NAME_AT_MOST)];
        for name in awkward {
            let id = hooked(name).id(longest);
            assert!(id.len() <= 64, "{id}");
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)), "{id}");
        }
        assert_ne!(hooked("a_b").id("Patient"), hooked("a.b_").id("Patient"));
    }

    #[test]
    fn only_our_own_ids_are_taken_for_ours() {
        let ours = hooked("a");
        assert_eq!(ours.type_of("rowcast-a-Patient"), Some("Patient"));
        for other in ["rowcast-a-b-Patient", "rowcast-b-Patient", "a-Patient", "Patient", ""] {
            assert_eq!(ours.type_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_r4_subscription_asks_for_deletes_and_shows_the_token() {
        let Wanted { topic, subscription } = wanted(FhirVersion::R4);
        assert!(topic.is_none());
        assert_eq!(subscription["criteria"], "Patient?");
        assert_eq!(subscription["channel"]["endpoint"], "https://rowcast.example/hooks/Patient");
        assert_eq!(subscription["channel"]["header"][0], "Authorization: Bearer secret");
        assert_eq!(subscription["channel"]["extension"][0]["valueBoolean"], true);
    }

    #[test]
    fn later_versions_subscribe_to_a_topic_of_ours() {
        for (version, member) in [(FhirVersion::R4B, "criteria"), (FhirVersion::R5, "topic")] {
            let Wanted { topic, subscription } = wanted(version);
            let topic = topic.expect("a topic");
            assert_eq!(
                topic["url"],
                "http://server/fhir/SubscriptionTopic/rowcast-clinical-Patient"
            );
            assert_eq!(subscription[member], topic["url"]);
            let text = subscription.to_string();
            assert!(text.contains("Bearer secret") && text.contains("full-resource"), "{text}");
        }
    }

    #[test]
    fn what_a_server_adds_or_hides_is_no_difference() {
        let wanted = wanted(FhirVersion::R4).subscription;
        let mut found = wanted.clone();
        found["status"] = json!("active");
        found["meta"] = json!({ "versionId": "2" });
        found["channel"]["extension"].as_array_mut().expect("a list").push(json!({ "url": "x" }));
        assert!(fits(&wanted, &found));
        found["channel"].as_object_mut().expect("an object").remove("header");
        assert!(fits(&wanted, &found));
        let mut other = found.clone();
        other["channel"]["header"] = json!(["Authorization: Bearer old"]);
        assert!(!fits(&wanted, &other), "another token");
        other = found.clone();
        other["channel"]["endpoint"] = json!("http://elsewhere/Patient");
        assert!(!fits(&wanted, &other), "another address");
        found["channel"].as_object_mut().expect("an object").remove("extension");
        assert!(!fits(&wanted, &found), "no deletes");
    }

    #[test]
    fn states_are_read_from_the_status() {
        let state = |status: &str| state(&json!({ "status": status }));
        assert_eq!(state("active"), SubscriptionState::Active);
        assert_eq!(state("requested"), SubscriptionState::Requested);
        assert_eq!(state("error"), SubscriptionState::Error);
        assert_eq!(state("off"), SubscriptionState::Off);
        assert_eq!(state("entered-in-error"), SubscriptionState::Off);
    }
}
