//! What the topology says of POINTCUT: the FHIR server whose changes fill the ingest topic.
//!
//! In: the section `source.pointcut`, and what it must fit. Out: where the server is, where its
//! hooks arrive and what is read from it, or what cannot be. It does not know the rules, from which
//! the types are taken if none are named.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::file::TopologyFile;
use super::load::{cannot_be_read, read};
use super::resolve::{Findings, is_read_by, time};
use super::secret::Secret;
use super::server_auth::{
    ServerAuthFile, accept_auth, check_header, check_secret, in_the_clear, url,
};
use super::topics::{NO_TOPIC, is_topic};
use super::{FhirServerAuth, FhirServerSettings, HttpSettings, SourceTopic};
use crate::model::is_resource_type;
use crate::source::{Format, VersionFrom};

const PATH: &str = "/source/pointcut";

/// The topic if neither the source nor this section names one: of an embedded broker only.
pub(super) const DEFAULT_TOPIC: &str = "changes";

/// Shortest and longest time between two catch-ups: each reads the server's history again.
const CATCH_UPS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));
/// Shortest and longest time that an answer of the server may take.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(10));
/// Largest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;
/// Shortest token: shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// A FHIR server whose changes fill the ingest topic: by subscriptions of type rest-hook, and by
/// reading its history where these left something out.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PointcutFile {
    /// Its base: `https://fhir.example/fhir`, where `/metadata` answers.
    #[schemars(length(min = 1))]
    pub server: String,
    /// How rowcast shows the server who it is. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ServerAuthFile>,
    /// File with further certificates of authorities to trust, in PEM, relative to the topology
    /// file. Default: those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ca: Option<String>,
    /// Longest wait for an answer of the server. Default 30s: a page of its history may take that.
    #[serde(default = "default_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub timeout: String,
    /// Address and port at which the server's hooks arrive. Default 127.0.0.1:9465: from this
    /// machine only. Any other address needs `token` and `public_url`.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// Where the server reaches that address, as a URL: what its subscriptions name. Several
    /// instances share one. Default: `http://` and `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub public_url: Option<String>,
    /// Bearer token that hooks must show; it stands in the server's subscriptions, so it should be
    /// good for nothing else. At least 16 characters. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Resource types to follow. Default: those that the rules use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// How often the server's history is read for what no hook told, and the subscriptions are
    /// looked after. Default 5m.
    #[serde(default = "default_catch_up")]
    #[schemars(extend("examples" = ["10m"]))]
    pub catch_up: String,
    /// Where a type begins that was never followed before. Default `history`, so that nothing is
    /// lacking.
    #[serde(default)]
    pub begin: BeginFile,
    /// The topic that is filled, one that the source reads. Default: the source's, if it is but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub topic: Option<String>,
}

/// Where a type begins that was never followed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BeginFile {
    /// With all of its history that the server has.
    #[default]
    History,
    /// With what changes from now on: for what was loaded otherwise.
    Now,
}

/// A FHIR server whose changes fill the ingest topic.
#[derive(Debug, Clone)]
pub struct PointcutSettings {
    /// The server.
    pub server: FhirServerSettings,
    /// Where hooks arrive; with a token if it is not a loopback address.
    pub listen: SocketAddr,
    /// Where the server reaches that.
    pub public_url: Url,
    /// What hooks must show.
    pub token: Option<Secret>,
    /// The types to follow, all known to FHIR; empty: those that the rules use.
    pub types: BTreeSet<String>,
    /// Between two catch-ups.
    pub catch_up: Duration,
    /// Where a type begins that was never followed before.
    pub begin: PointcutBegin,
    /// The topic that is filled; the source reads it.
    pub topic: String,
}

impl PointcutSettings {
    /// The compacted topic that remembers how far each type was read.
    #[must_use]
    pub fn position_topic(&self) -> String {
        position_topic(&self.topic)
    }
}

/// Where a type begins that was never followed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointcutBegin {
    /// With all of its history that the server has.
    History,
    /// With what changes from now on.
    Now,
}

fn position_topic(topic: &str) -> String {
    format!("{topic}.pointcut")
}

/// The valid settings: `Some(None)` without the section, `None` if something is wrong with it.
#[expect(clippy::option_option, reason = "absent and broken are different answers")]
pub(super) fn accept(
    written: &TopologyFile,
    folder: &Path,
    topics: Option<&[SourceTopic]>,
    http: Option<&HttpSettings>,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<Option<PointcutSettings>> {
    let Some(pointcut) = &written.source.pointcut else { return Some(None) };
    let server = found.take(&format!("{PATH}/server"), url(&pointcut.server));
    let auth = accept_auth(&format!("{PATH}/auth"), pointcut.auth.as_ref(), typed, found);
    let authorities = pointcut.ca.as_ref().and_then(|file| {
        let text = read(&folder.join(file), MAX_CERTIFICATES);
        let text = text.map_err(|error| format!("`{file}` {}", cannot_be_read(&error)));
        found.take(&format!("{PATH}/ca"), text)
    });
    let timeout = time(&pointcut.timeout, TIMEOUTS.0, TIMEOUTS.1);
    let timeout = found.take(&format!("{PATH}/timeout"), timeout);
    let catch_up = time(&pointcut.catch_up, CATCH_UPS.0, CATCH_UPS.1);
    let catch_up = found.take(&format!("{PATH}/catch_up"), catch_up);
    let listen = listen(pointcut, http, found);
    let public_url = public_url(pointcut, listen, found);
    check_token(pointcut, listen, typed, found);
    check_types(&pointcut.types, found);
    let topic = topic(written, pointcut, topics, found);
    if !written.source.keyed {
        let message = "must be true: the records that POINTCUT writes are keyed by resource";
        found.problem("/source/keyed", message);
    }
    let (base, auth, public_url) = (server?, auth?, public_url?);
    if auth != FhirServerAuth::None && in_the_clear(&base) {
        found.warning(
            &format!("{PATH}/server"),
            "the credentials go to another machine in the clear: use https",
        );
    }
    if in_the_clear(&public_url) {
        found.warning(
            &format!("{PATH}/public_url"),
            "resources and the token come from another machine in the clear: use https",
        );
    }
    Some(Some(PointcutSettings {
        server: FhirServerSettings {
            auth,
            authorities,
            timeout: timeout?,
            ..FhirServerSettings::new(base)
        },
        listen: listen?,
        public_url,
        token: pointcut.token.clone(),
        types: pointcut.types.iter().cloned().collect(),
        catch_up: catch_up?,
        begin: match pointcut.begin {
            BeginFile::History => PointcutBegin::History,
            BeginFile::Now => PointcutBegin::Now,
        },
        topic: topic?,
    }))
}

fn listen(
    written: &PointcutFile,
    http: Option<&HttpSettings>,
    found: &mut Findings<'_>,
) -> Option<SocketAddr> {
    let path = format!("{PATH}/listen");
    let address = written.listen.parse::<SocketAddr>();
    let address = address
        .map_err(|_| "must be an IP address with a port, as in 127.0.0.1:9465".to_owned())
        .and_then(|address| match address.port() {
            0 => Err("must name a port: the server's subscriptions name it too".to_owned()),
            _ => Ok(address),
        });
    let address = found.take(&path, address)?;
    if http.is_some_and(|http| http.listen == address) {
        found.problem(&path, "is `http.listen` already: hooks need an address of their own");
    }
    Some(address)
}

fn public_url(
    written: &PointcutFile,
    listen: Option<SocketAddr>,
    found: &mut Findings<'_>,
) -> Option<Url> {
    let path = format!("{PATH}/public_url");
    if let Some(text) = &written.public_url {
        return found.take(&path, url(text));
    }
    let listen = listen?;
    if !listen.ip().is_loopback() {
        let message = "is required, because `listen` is not a loopback address: say where the \
                       server reaches it";
        found.problem(&path, message);
        return None;
    }
    Some(Url::parse(&format!("http://{listen}")).expect("an address with its port is a host"))
}

fn check_token(
    written: &PointcutFile,
    listen: Option<SocketAddr>,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    let path = format!("{PATH}/token");
    let Some(token) = &written.token else {
        if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
            let message = "is required, because `listen` is not a loopback address: anybody could \
                           send resources";
            found.problem(&path, message);
        }
        return;
    };
    check_secret(&path, token, typed, found);
    check_header(&path, token, found);
    if !token.expose().is_empty() && token.expose().len() < SHORTEST_TOKEN {
        found.problem(&path, format!("is too short: take {SHORTEST_TOKEN} characters or more"));
    }
}

fn check_types(types: &[String], found: &mut Findings<'_>) {
    for (index, name) in types.iter().enumerate() {
        if !is_resource_type(name) {
            found.problem(&format!("{PATH}/types/{index}"), "is no resource type of FHIR R4");
        }
    }
}

/// The topic that is filled: one that the source reads, and takes for resources with versions.
fn topic(
    written: &TopologyFile,
    pointcut: &PointcutFile,
    topics: Option<&[SourceTopic]>,
    found: &mut Findings<'_>,
) -> Option<String> {
    let topics = topics?;
    let only = match topics {
        [only] => only.selector.name(),
        _ => None,
    };
    let path = format!("{PATH}/topic");
    let Some(topic) = pointcut.topic.as_deref().or(only) else {
        let message = "is required, because the source is a pattern or several topics";
        found.problem(&path, message);
        return None;
    };
    if !is_topic(topic) || !is_topic(&position_topic(topic)) {
        found.problem(&path, NO_TOPIC);
        return None;
    }
    let Some(read) = topics.iter().find(|read| read.selector.selects(topic)) else {
        found.problem(&path, "is not read by the source: what is written there would go nowhere");
        return None;
    };
    if is_read_by(topics, &position_topic(topic)) {
        let message = "with `.pointcut` appended is read by the source too, and holds no changes";
        found.problem(&path, message);
    }
    if !matches!(read.format, Format::Auto | Format::Fhir) {
        let message = "has a format of its own: POINTCUT writes resources, `fhir` or `auto`";
        found.problem(&path, message);
    }
    if read.version_from == VersionFrom::Offset {
        let is_only = written.source.topics.is_empty();
        let place = if is_only { "/transform/version/from" } else { path.as_str() };
        let message = "must not be `offset` with `source.pointcut`: a history is read newest first";
        found.problem(place, message);
    }
    Some(topic.to_owned())
}

fn default_listen() -> String {
    "127.0.0.1:9465".into()
}

fn default_timeout() -> String {
    "30s".into()
}

fn default_catch_up() -> String {
    "5m".into()
}
