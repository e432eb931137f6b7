//! librdkafka's properties: handed over as they are, except for the few that rowcast owns.
//!
//! Which names and values are right is librdkafka's business, which says so at start.

use std::collections::BTreeMap;

use super::file::KafkaValue;
use super::resolve::Findings;
use super::{REDACTED, remote};
use crate::problem::pointer;

/// Properties of librdkafka that rowcast sets: its guarantees rest on them.
const OWNED_PROPERTIES: [&str; 3] = ["enable.auto.commit", "enable.auto.offset.store", "group.id"];

/// Properties whose values may be shown. All others count as secrets: librdkafka has many that
/// are, and a misspelt one cannot be told from its name.
const HARMLESS_PROPERTIES: [&str; 14] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "client.rack",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.poll.interval.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "session.timeout.ms",
];

/// The properties as librdkafka takes them: all of them text.
pub(super) fn accept(
    written: &BTreeMap<String, KafkaValue>,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    for (name, value) in written {
        let path = pointer::join("/source/kafka", name);
        if OWNED_PROPERTIES.contains(&name.as_str()) {
            found.problem(&path, "is set by rowcast itself: remove it");
        }
        let text = match value {
            KafkaValue::Switch(switch) => switch.to_string(),
            KafkaValue::Whole(number) => number.to_string(),
            KafkaValue::Text(text) => text.clone(),
            KafkaValue::Other(_) => {
                found.problem(&path, "is a number too large to be read exactly: put it in quotes");
                continue;
            }
        };
        if name.contains("password")
            && typed.get(&path).is_none_or(|t| t.chars().any(|c| c != '\0'))
        {
            found.warning(&path, "a password stands in the file: use ${VAR} or ${file:PATH}");
        }
        properties.insert(name.clone(), text);
    }
    let Some(servers) = bootstrap_servers(&properties) else {
        found.problem("/source/kafka/bootstrap.servers", "is required");
        return None;
    };
    let protocol = properties.get("security.protocol").map_or("plaintext", String::as_str);
    if protocol.to_ascii_lowercase().contains("plaintext") && !servers.split(',').all(is_local) {
        found.warning(
            "/source/kafka",
            "the connection to another machine is not encrypted: set security.protocol to ssl or \
             sasl_ssl",
        );
    }
    Some(properties)
}

/// Where the cluster is: either name of the property will do.
pub(super) fn bootstrap_servers(properties: &BTreeMap<String, String>) -> Option<&str> {
    ["bootstrap.servers", "metadata.broker.list"]
        .into_iter()
        .find_map(|name| properties.get(name))
        .map(|servers| servers.trim())
        .filter(|servers| !servers.is_empty())
}

/// Whether `host:port` is this machine.
fn is_local(server: &str) -> bool {
    let server = server.trim();
    let server = server.split_once("://").map_or(server, |(_, address)| address);
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    remote::is_loopback(host)
}

/// The properties with what is not known to be harmless redacted.
pub(super) fn harmless(properties: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    properties
        .iter()
        .map(|(name, value)| {
            let shown = HARMLESS_PROPERTIES.contains(&name.as_str());
            (name.as_str(), if shown { value.as_str() } else { REDACTED })
        })
        .collect()
}
