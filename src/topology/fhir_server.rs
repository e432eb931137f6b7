//! Which FHIR server is asked, and how rowcast shows it who it is.

use std::time::Duration;

use url::Url;

use super::secret::Secret;

/// A FHIR server that may be asked.
#[derive(Debug, Clone)]
pub struct FhirServerSettings {
    /// Its base: `http` or `https`, without user, query and fragment.
    pub base: Url,
    /// How to show who we are.
    pub auth: FhirServerAuth,
    /// Who may have files of an export besides the server itself: of each address the origin counts.
    pub file_servers: Vec<Url>,
    /// Further certificates of authorities to trust, in PEM: of all of these.
    pub authorities: Option<String>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, all of it; of a download for its next part.
    pub timeout: Duration,
    /// Largest answer in bytes; downloads are not held and have none.
    pub max_body_bytes: usize,
}

impl FhirServerSettings {
    /// A server without authentication. 10 s for a connection, a minute for an answer: a page of a
    /// history takes a loaded server many seconds. 64 MiB: a page of a thousand large resources.
    #[must_use]
    pub const fn new(base: Url) -> Self {
        Self {
            base,
            auth: FhirServerAuth::None,
            file_servers: Vec::new(),
            authorities: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_mins(1),
            max_body_bytes: 64 << 20,
        }
    }

    /// Every address that may be asked.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Url> {
        let token_url = match &self.auth {
            FhirServerAuth::ClientCredentials { token_url, .. } => Some(token_url),
            FhirServerAuth::None | FhirServerAuth::Basic { .. } | FhirServerAuth::Bearer { .. } => {
                None
            }
        };
        std::iter::once(&self.base).chain(token_url).chain(&self.file_servers)
    }
}

/// How to show a FHIR server who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FhirServerAuth {
    /// Not at all.
    None,
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// Tokens of an OAuth 2 server, fetched with a secret of ours.
    ClientCredentials {
        /// Where tokens are fetched.
        token_url: Url,
        /// Our name there.
        client_id: String,
        /// Our secret there.
        client_secret: Secret,
        /// What the token shall allow: `system/*.read`.
        scope: Option<String>,
    },
}
