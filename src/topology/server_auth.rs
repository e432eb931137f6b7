//! How the topology file says who rowcast is to a FHIR server.
//!
//! In: one of basic, bearer and client credentials, as written. Out: what the client takes. Secrets
//! come by reference; one that stands in the file is warned of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::FhirServerAuth;
use super::avro::{BasicFile, is_loopback};
use super::resolve::Findings;
use super::secret::Secret;

/// How rowcast shows the FHIR server who it is: one of the three.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerAuthFile {
    /// User and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicFile>,
    /// A bearer token. Take it from `${VAR}` or `${file:PATH}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
    /// Tokens of an authorisation server (OAuth 2.0 client credentials, SMART backend services with
    /// a secret).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentialsFile>,
}

/// Who asks an authorisation server for tokens.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientCredentialsFile {
    /// Its token endpoint.
    #[schemars(length(min = 1))]
    pub token_url: String,
    /// The client.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// The client's secret. Take it from `${VAR}` or `${file:PATH}`.
    pub client_secret: Secret,
    /// Scopes to ask for, separated by spaces: `system/*.read system/Subscription.write`. Default:
    /// what the authorisation server gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub scope: Option<String>,
}

/// What the client takes; `None` if something is wrong with it. `path`: where it stands.
pub(super) fn accept_auth(
    path: &str,
    written: Option<&ServerAuthFile>,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) -> Option<FhirServerAuth> {
    let Some(written) = written else { return Some(FhirServerAuth::None) };
    match (&written.basic, &written.bearer, &written.client_credentials) {
        (Some(basic), None, None) => {
            check_secret(&format!("{path}/basic/password"), &basic.password, typed, found);
            let (user, password) = (basic.user.clone(), basic.password.clone());
            Some(FhirServerAuth::Basic { user, password })
        }
        (None, Some(token), None) => {
            check_secret(&format!("{path}/bearer"), token, typed, found);
            check_header(&format!("{path}/bearer"), token, found);
            Some(FhirServerAuth::Bearer { token: token.clone() })
        }
        (None, None, Some(client)) => {
            let path = format!("{path}/client_credentials");
            check_secret(&format!("{path}/client_secret"), &client.client_secret, typed, found);
            let token_url = found.take(&format!("{path}/token_url"), url(&client.token_url))?;
            if in_the_clear(&token_url) {
                found.warning(
                    &format!("{path}/token_url"),
                    "the secret goes to another machine in the clear: use https",
                );
            }
            Some(FhirServerAuth::ClientCredentials {
                token_url,
                client_id: client.client_id.clone(),
                client_secret: client.client_secret.clone(),
                scope: client.scope.clone(),
            })
        }
        _ => {
            found.problem(path, "needs one of `basic`, `bearer` and `client_credentials`");
            None
        }
    }
}

/// Whether what goes there can be read on the way.
pub(super) fn in_the_clear(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("is no http or https URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold user or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path".into());
    }
    Ok(url)
}

pub(super) fn check_secret(
    path: &str,
    secret: &Secret,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    if secret.expose().is_empty() {
        found.problem(path, "must not be empty");
    }
    if typed.get(path).is_none_or(|text| text.chars().any(|c| c != '\0')) {
        found.warning(path, "a secret stands in the file: use ${VAR} or ${file:PATH}");
    }
}

/// It becomes part of a header.
pub(super) fn check_header(path: &str, token: &Secret, found: &mut Findings<'_>) {
    if !token.expose().chars().all(|c| c.is_ascii_graphic()) {
        found.problem(path, "is no token: it has spaces or characters beyond ASCII");
    }
}
