//! What the topology says of Avro: the schema registry, schemas from files, and where a record has
//! its document.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::file::SourceFile;
use super::load::{cannot_be_read, read};
use super::resolve::{Findings, files, time};
use super::secret::Secret;
use crate::source::{AvroFields, TypeFrom};

const REGISTRY: &str = "/source/schema_registry";

/// Shortest and longest time that an answer of the registry may take.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(5));

/// Largest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// The schema registry that knows the schemas of Avro records: Confluent's, or one that speaks its
/// protocol.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaRegistryFile {
    /// Where it is: `https://registry:8081`, with a path if it has one.
    #[schemars(length(min = 1))]
    pub url: String,
    /// How rowcast shows who it is. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RegistryAuthFile>,
    /// File with further certificates of authorities to trust, in PEM, relative to the topology
    /// file. Default: those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ca: Option<String>,
    /// Longest wait for an answer. Default 10s. It is asked once for each schema.
    #[serde(default = "default_timeout")]
    #[schemars(extend("examples" = ["5s"]))]
    pub timeout: String,
}

/// How rowcast shows the schema registry who it is: one of the two.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryAuthFile {
    /// User and password; for Confluent Cloud, API key and secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicFile>,
    /// A bearer token. Take it from `${VAR}` or `${file:PATH}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
}

/// User and password.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicFile {
    /// The user.
    #[schemars(length(min = 1))]
    pub user: String,
    /// The password. Take it from `${VAR}` or `${file:PATH}`.
    pub password: Secret,
}

/// What Avro records hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AvroFile {
    /// Files with the schemas of records in single-object encoding, as paths or glob patterns
    /// relative to the topology file. They may refer to each other's types. They hold for all
    /// topics, so a topic of several names none of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub schemas: Vec<String>,
    /// Field of the record with the resource, as a record or as JSON text; null if it was deleted.
    /// Default none: the record as a whole is the resource, or one of the other formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub document: Option<String>,
    /// Field that says what happened: `create`, `update`, `upsert`, `insert`, `delete` or their
    /// first letters, in any case. Default none: a document upserts, null deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub operation: Option<String>,
    /// Field with the resource's type, or a type of FHIR (`Patient`) if all records are of one.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub resource_type: Option<String>,
    /// Field with the resource's id. Default none: a delete takes it from the record's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub id: Option<String>,
    /// Field with what `transform.version.from` asks for: a whole number, or an instant for
    /// `last_updated`. Default none: it is the document's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub version: Option<String>,
}

/// Who knows the schemas.
#[derive(Debug, Clone)]
pub struct SchemaRegistrySettings {
    /// `http` or `https`, without user, query and fragment.
    pub url: Url,
    /// How to show who we are.
    pub credentials: Option<RegistryCredentials>,
    /// Further certificates of authorities, in PEM.
    pub authorities: Option<String>,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// How to show the registry who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryCredentials {
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token.
    Bearer(Secret),
}

/// The registry, or nothing and what is wrong with it.
pub(super) fn registry(
    source: &SourceFile,
    folder: &Path,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<SchemaRegistrySettings> {
    let written = source.schema_registry.as_ref()?;
    let url = found.take(&format!("{REGISTRY}/url"), url(&written.url));
    let credentials = match &written.auth {
        None => None,
        Some(auth) => credentials(auth, typed, found),
    };
    let authorities = written.ca.as_ref().and_then(|file| {
        let text = read(&folder.join(file), MAX_CERTIFICATES);
        let text = text.map_err(|error| format!("`{file}` {}", cannot_be_read(&error)));
        found.take(&format!("{REGISTRY}/ca"), text)
    });
    let timeout = time(&written.timeout, TIMEOUTS.0, TIMEOUTS.1);
    let timeout = found.take(&format!("{REGISTRY}/timeout"), timeout);
    let url = url?;
    if credentials.is_some() && url.scheme() == "http" && !is_loopback(&url) {
        found.warning(
            &format!("{REGISTRY}/url"),
            "the credentials go to another machine in the clear: use https",
        );
    }
    Some(SchemaRegistrySettings { url, credentials, authorities, timeout: timeout? })
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("is no URL of a schema registry, as in https://registry:8081")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold user or password: they belong into `auth`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the registry's path".into());
    }
    Ok(url)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn credentials(
    written: &RegistryAuthFile,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<RegistryCredentials> {
    let mut check = |path: &str, secret: &Secret| {
        let path = format!("{REGISTRY}/auth/{path}");
        if secret.expose().is_empty() {
            found.problem(&path, "must not be empty");
        }
        if typed.get(&path).is_none_or(|text| text.chars().any(|c| c != '\0')) {
            found.warning(&path, "a secret stands in the file: use ${VAR} or ${file:PATH}");
        }
    };
    match (&written.basic, &written.bearer) {
        (Some(basic), None) => {
            check("basic/password", &basic.password);
            let (user, password) = (basic.user.clone(), basic.password.clone());
            Some(RegistryCredentials::Basic { user, password })
        }
        (None, Some(token)) => {
            check("bearer", token);
            // it becomes part of a header
            if !token.expose().chars().all(|c| c.is_ascii_graphic()) {
                let path = format!("{REGISTRY}/auth/bearer");
                found.problem(&path, "is no token: it has spaces or characters beyond ASCII");
            }
            Some(RegistryCredentials::Bearer(token.clone()))
        }
        (Some(_), Some(_)) | (None, None) => {
            found
                .problem(&format!("{REGISTRY}/auth"), "needs `basic` or `bearer`, and one of them");
            None
        }
    }
}

/// Name and text of the files with schemas.
pub(super) fn schemas(
    source: &SourceFile,
    folder: &Path,
    found: &mut Findings<'_>,
) -> Vec<(String, String)> {
    let Some(written) = &source.avro else { return Vec::new() };
    files("/source/avro/schemas", &written.schemas, folder, found)
}

/// Where a record of one topic of several has its document.
pub(super) fn fields_of_topic(
    written: &AvroFile,
    place: &str,
    found: &mut Findings<'_>,
) -> Option<Arc<AvroFields>> {
    if !written.schemas.is_empty() {
        let path = format!("{place}/schemas");
        found.problem(&path, "belongs below `source.avro`: files hold for all topics");
    }
    fields(written, place, found)
}

/// Where a record has its document; `None` if it is the document. `place`: of what is written.
pub(super) fn fields(
    written: &AvroFile,
    place: &str,
    found: &mut Findings<'_>,
) -> Option<Arc<AvroFields>> {
    if written.id.is_some() && written.resource_type.is_none() {
        // an id may be a reference, with the type in it
        let path = format!("{place}/id");
        found.warning(&path, "deletes need a `type` too, unless the id is `Type/id`");
    }
    let Some(document) = &written.document else {
        let others = [
            ("operation", &written.operation),
            ("type", &written.resource_type),
            ("id", &written.id),
            ("version", &written.version),
        ];
        for (name, _) in others.iter().filter(|(_, field)| field.is_some()) {
            let path = format!("{place}/{name}");
            found.problem(&path, "says nothing without `document`, the field with the resource");
        }
        return None;
    };
    Some(Arc::new(AvroFields {
        document: document.clone(),
        operation: written.operation.clone(),
        resource_type: written.resource_type.as_deref().map(TypeFrom::parse),
        id: written.id.clone(),
        version: written.version.clone(),
    }))
}

fn default_timeout() -> String {
    "10s".into()
}
