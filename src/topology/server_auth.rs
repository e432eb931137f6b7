//! How the topology file says who rowcast is to a FHIR server.
//!
//! In: one of basic, bearer and client credentials, as written. Out: what the client takes. Secrets
//! come by reference; one that stands in the file is warned of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FhirServerAuth;
use super::avro::BasicFile;
use super::remote::{accept_secret, accept_token, http_url, is_in_the_clear};
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
            accept_secret(&format!("{path}/basic/password"), &basic.password, typed, found);
            let (user, password) = (basic.user.clone(), basic.password.clone());
            Some(FhirServerAuth::Basic { user, password })
        }
        (None, Some(token), None) => {
            accept_token(&format!("{path}/bearer"), token, typed, found);
            Some(FhirServerAuth::Bearer { token: token.clone() })
        }
        (None, None, Some(client)) => {
            let path = format!("{path}/client_credentials");
            accept_secret(&format!("{path}/client_secret"), &client.client_secret, typed, found);
            let token_url =
                found.take(&format!("{path}/token_url"), http_url(&client.token_url))?;
            if is_in_the_clear(&token_url) {
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
