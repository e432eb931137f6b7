//! librdkafka's properties: what the user gave, what we preset, what we insist on.
//!
//! In: the properties of the configuration. Out: one client configuration per kind of client.
//! Values never leave this file except into librdkafka: many of them are secrets.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::context::LOG_TARGET;
use crate::broker::{Begin, BrokerError};

/// What at-least-once delivery rests on, with the reason that is given to who tries to change it.
const OURS: [(&str, &str); 11] = [
    ("enable.auto.commit", "offsets are committed only once their records are settled"),
    ("auto.commit.enable", "offsets are committed only once their records are settled"),
    ("enable.auto.offset.store", "offsets are committed only once their records are settled"),
    ("acks", "a dead letter must be on all in-sync replicas before its offset is committed"),
    (
        "request.required.acks",
        "a dead letter must be on all in-sync replicas before its offset is committed",
    ),
    ("enable.idempotence", "it keeps the order of what is produced"),
    ("transactional.id", "rowcast produces without transactions"),
    ("group.id", "the consumer group is the topology's name"),
    ("enable.partition.eof", "rowcast asks for it where it needs it"),
    ("allow.auto.create.topics", "a topic is created deliberately or not at all"),
    ("delivery.report.only.error", "every delivery is awaited"),
];

/// Properties that only a consumer knows (column C of librdkafka's CONFIGURATION.md).
const CONSUMER_ONLY: [&str; 26] = [
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Properties of group membership: a reader outside any group must not carry them.
const MEMBER_ONLY: [&str; 8] = [
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "session.timeout.ms",
];

/// Properties that only a producer knows (column P of librdkafka's CONFIGURATION.md).
const PRODUCER_ONLY: [&str; 21] = [
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "enable.gapless.guarantee",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queuing.strategy",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

/// Valid properties of one cluster. `Debug` shows names only.
#[derive(Clone)]
pub(super) struct Properties {
    given: BTreeMap<String, String>,
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.given.keys().map(|name| (name, "***"))).finish()
    }
}

impl Properties {
    /// Checks names and values; reports everything that is wrong at once.
    pub(super) fn new(given: BTreeMap<String, String>) -> Result<Self, BrokerError> {
        let mut problems = Vec::new();
        for (name, reason) in OURS {
            if given.contains_key(name) {
                problems.push(format!("`{name}` may not be set: {reason}"));
            }
        }
        if !given.contains_key("bootstrap.servers") && !given.contains_key("metadata.broker.list") {
            problems.push("`bootstrap.servers` is missing".to_owned());
        }
        // librdkafka stops at the first bad property, so each is tried by itself
        for (name, value) in &given {
            let mut single = ClientConfig::new();
            single.set(name, value);
            if let Err(error) = single.create_native_config() {
                problems.push(property_problem(name, &error));
            }
        }
        if problems.is_empty() {
            Ok(Self { given })
        } else {
            Err(BrokerError::Refused {
                attempted: "reading the broker's properties",
                reason: problems.join("; "),
            })
        }
    }

    /// The brokers to begin with.
    pub(super) fn servers(&self) -> &str {
        let given = ["bootstrap.servers", "metadata.broker.list"];
        let given = given.iter().find_map(|name| self.given.get(*name));
        given.map_or("", String::as_str)
    }

    /// A member of the group `group`.
    pub(super) fn member(&self, group: &str, begin: Begin) -> ClientConfig {
        let mut config = self.base(&PRODUCER_ONLY);
        match begin {
            Begin::AsConfigured => self.preset(&mut config, &["auto.offset.reset"], "earliest"),
            Begin::Earliest => {
                config.set("auto.offset.reset", "earliest");
            }
        }
        // the next-generation protocol assigns on the broker and refuses the classic setting
        let classic = self.given.get("group.protocol").is_none_or(|protocol| protocol == "classic");
        if classic {
            let name = "partition.assignment.strategy";
            self.preset(&mut config, &[name], "cooperative-sticky");
        }
        // prefetched for each partition: what a few fetches bring
        self.preset(&mut config, &["queued.max.messages.kbytes"], "4096");
        // and looked at again soon, or it would run empty meanwhile
        self.preset(&mut config, &["fetch.queue.backoff.ms"], "5");
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A reader of whole topics outside any group.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut config = self.base(&PRODUCER_ONLY);
        for name in MEMBER_ONLY {
            config.remove(name);
        }
        // manual assignment still wants a name; nothing is ever committed under it
        config
            .set("group.id", "rowcast-reader")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        config
    }

    /// A client for questions about topics: of the consuming kind, because a producer's question
    /// about a missing topic makes brokers create it.
    pub(super) fn inquirer(&self) -> ClientConfig {
        let mut config = self.base(&PRODUCER_ONLY);
        for name in MEMBER_ONLY {
            config.remove(name);
        }
        config.set("allow.auto.create.topics", "false");
        config
    }

    /// A client that creates topics.
    pub(super) fn administrator(&self) -> ClientConfig {
        let mut config = self.base(&PRODUCER_ONLY);
        for name in CONSUMER_ONLY {
            config.remove(name);
        }
        config
    }

    /// A producer with `acks=all`.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.base(&CONSUMER_ONLY);
        // the same partition for a key as Kafka's Java clients choose
        self.preset(&mut config, &["partitioner"], "murmur2_random");
        self.preset(&mut config, &["linger.ms", "queue.buffering.max.ms"], "5");
        // 64 MiB waiting to be sent, where librdkafka's default is 1 GiB
        self.preset(&mut config, &["queue.buffering.max.kbytes"], "65536");
        // how long an unreachable broker goes unnoticed; the caller tries again
        self.preset(&mut config, &["delivery.timeout.ms", "message.timeout.ms"], "30000");
        // whether a record is too large is for the topic to say
        self.preset(&mut config, &["message.max.bytes"], "16777216");
        config.set("acks", "all").set("enable.idempotence", "true");
        config
    }

    /// A text of librdkafka's without the values of properties that are or name a secret.
    pub(super) fn redact(&self, text: &str) -> String {
        const SECRET: [&str; 8] =
            ["password", "secret", "pem", "key", "username", "certificate", "oauthbearer", "jaas"];
        let mut text = text.to_owned();
        for (name, value) in &self.given {
            if value.len() > 2 && SECRET.iter().any(|part| name.contains(part)) {
                text = text.replace(value, "***");
            }
        }
        text
    }

    fn base(&self, except: &[&str]) -> ClientConfig {
        let mut config = ClientConfig::new();
        self.preset(&mut config, &["client.id"], "rowcast");
        // new partitions and topics of a pattern are noticed within this time
        self.preset(&mut config, &["topic.metadata.refresh.interval.ms"], "30000");
        self.preset(&mut config, &["log.connection.close"], "false");
        for (name, value) in &self.given {
            if !except.contains(&name.as_str()) {
                config.set(name, value);
            }
        }
        config.set_log_level(if tracing::enabled!(target: LOG_TARGET, tracing::Level::DEBUG) {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        config
    }

    /// Sets the first of `names` unless the user gave any of them: they are aliases, and between
    /// two aliases librdkafka's choice would be a matter of chance.
    fn preset(&self, config: &mut ClientConfig, names: &[&str], value: &str) {
        let given = names.iter().any(|name| self.given.contains_key(*name));
        if let (false, Some(name)) = (given, names.first()) {
            config.set(*name, value);
        }
    }
}

/// librdkafka's own text repeats the value, so it is not used.
fn property_problem(name: &str, error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            format!("`{name}` is no property that librdkafka knows")
        }
        KafkaError::ClientConfig(..) => {
            format!("`{name}` has a value that librdkafka refuses, or is not built in")
        }
        _ => format!("`{name}` cannot be set"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(given: &[(&str, &str)]) -> Result<Properties, BrokerError> {
        let mut map: BTreeMap<String, String> =
            given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        map.insert("bootstrap.servers".into(), "localhost:9092".into());
        Properties::new(map)
    }

    #[test]
    fn what_delivery_rests_on_cannot_be_overridden() {
        let error = properties(&[("acks", "1"), ("enable.auto.commit", "true")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`acks` may not be set: a dead letter"), "{text}");
        assert!(text.contains("`enable.auto.commit` may not be set: offsets"), "{text}");
    }

    #[test]
    fn every_bad_property_is_reported_and_no_value() {
        let error = properties(&[("sasl.pasword", "hunter2"), ("linger.ms", "soon")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`sasl.pasword` is no property"), "{text}");
        assert!(text.contains("`linger.ms` has a value"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("soon"), "{text}");
    }

    #[test]
    fn values_are_not_shown() {
        let properties = properties(&[("sasl.password", "hunter2")]).unwrap();
        assert!(!format!("{properties:?}").contains("hunter2"));
        assert_eq!(properties.redact("login with hunter2 failed"), "login with *** failed");
    }

    #[test]
    fn defaults_give_way_to_the_user_also_under_an_alias() {
        let properties =
            properties(&[("auto.offset.reset", "latest"), ("queue.buffering.max.ms", "50")])
                .unwrap();
        let reset =
            |begin| properties.member("g", begin).get("auto.offset.reset").map(str::to_owned);
        assert_eq!(reset(Begin::AsConfigured).as_deref(), Some("latest"));
        assert_eq!(reset(Begin::Earliest).as_deref(), Some("earliest"));
        assert_eq!(properties.producer().get("linger.ms"), None);
    }

    #[test]
    fn each_kind_of_client_gets_only_what_it_knows() {
        let properties = properties(&[
            ("group.instance.id", "a"),
            ("compression.type", "zstd"),
            ("security.protocol", "ssl"),
        ])
        .unwrap();
        let member = properties.member("g", Begin::AsConfigured);
        assert_eq!(member.get("group.instance.id"), Some("a"));
        assert_eq!(member.get("compression.type"), None);
        let producer = properties.producer();
        assert_eq!(producer.get("group.instance.id"), None);
        assert_eq!(producer.get("compression.type"), Some("zstd"));
        assert_eq!(properties.reader().get("group.instance.id"), None);
        for config in [
            member,
            producer,
            properties.reader(),
            properties.inquirer(),
            properties.administrator(),
        ] {
            assert_eq!(config.get("security.protocol"), Some("ssl"));
            config.create_native_config().unwrap();
        }
    }
}
