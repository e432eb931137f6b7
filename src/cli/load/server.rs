//! Which FHIR server is asked: the command line's, else the topology's.

use std::path::PathBuf;

use url::Url;

use super::{Failure, print};
use crate::error::messages;
pub(super) use crate::fhir_server::FhirServer as Server;
use crate::fhir_server::{Auth, FhirServerSettings};
use crate::topology::{Secret, Topology, check_token, http_url, is_in_the_clear, secret};

/// The FHIR server, and how rowcast shows it who it is. Secrets are named, never given: `${VAR}` is
/// taken from the environment, `${file:PATH}` from a file.
// texts are read only after clap is through, which quotes what it refuses
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "FHIR server")]
pub(super) struct ServerArguments {
    /// Base of the FHIR server. Default: that of `source.pointcut`, with its
    /// credentials.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Bearer token: '${VAR}' or '${file:PATH}'.
    #[arg(
        long, value_name = "REFERENCE",
        conflicts_with_all = ["user", "token_url"]
    )]
    bearer: Option<String>,
    /// User.
    #[arg(long, value_name = "NAME", requires = "password", conflicts_with = "token_url")]
    user: Option<String>,
    /// The user's password: '${VAR}' or '${file:PATH}'.
    #[arg(long, value_name = "REFERENCE", requires = "user")]
    password: Option<String>,
    /// Where tokens are fetched (OAuth 2 client credentials, SMART backend services with a secret).
    #[arg(long, value_name = "URL", requires_all = ["client_id", "client_secret"])]
    token_url: Option<String>,
    /// The client's name there.
    #[arg(long, value_name = "ID", requires = "token_url")]
    client_id: Option<String>,
    /// The client's secret there: '${VAR}' or '${file:PATH}'.
    #[arg(long, value_name = "REFERENCE", requires = "token_url")]
    client_secret: Option<String>,
    /// What the token shall allow: 'system/*.read'.
    #[arg(long, value_name = "SCOPES", requires = "token_url")]
    scope: Option<String>,
    /// File with further certificates of authorities to trust, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl ServerArguments {
    /// Whether any of it is given.
    pub(super) const fn is_given(&self) -> bool {
        self.server.is_some()
            || self.bearer.is_some()
            || self.user.is_some()
            || self.token_url.is_some()
            || self.ca.is_some()
    }

    /// The server that is meant, and who may have files of its exports.
    pub(super) fn open(
        &self,
        topology: &Topology,
        file_servers: Vec<Url>,
    ) -> Result<Server, Failure> {
        let mut settings = self.settings(configured(topology))?;
        settings.file_servers = file_servers;
        if let Some(auth) = self.auth()? {
            settings.auth = auth;
        }
        if let Some(file) = &self.ca {
            let text = std::fs::read_to_string(file);
            let text =
                text.map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
            settings.authorities = Some(text);
        }
        Server::new(settings).map_err(|error| Failure::failed(messages(&error).join(": ")))
    }

    /// What is configured counts for the server that it was configured for: its credentials go
    /// nowhere else.
    fn settings(
        &self,
        configured: Option<FhirServerSettings>,
    ) -> Result<FhirServerSettings, Failure> {
        let base = self.server.as_deref().map(|text| url("--server", text)).transpose()?;
        match (base, configured) {
            (None, Some(configured)) => Ok(configured),
            (Some(base), Some(configured)) if base == configured.base => Ok(configured),
            (Some(base), _) => Ok(FhirServerSettings::new(base)),
            (None, None) => Err(Failure::usage(
                "which FHIR server? Name it by --server, or in `source.pointcut`",
            )),
        }
    }

    fn auth(&self) -> Result<Option<Auth>, Failure> {
        if let Some(token) = &self.bearer {
            let token = referred("--bearer", token)?;
            check_token(&token).map_err(|fault| Failure::usage(format!("--bearer {fault}")))?;
            return Ok(Some(Auth::Bearer { token }));
        }
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            let password = referred("--password", password)?;
            return Ok(Some(Auth::Basic { user: user.clone(), password }));
        }
        let (Some(token_url), Some(client_id), Some(client_secret)) =
            (&self.token_url, &self.client_id, &self.client_secret)
        else {
            return Ok(None);
        };
        Ok(Some(Auth::ClientCredentials {
            token_url: url("--token-url", token_url)?,
            client_id: client_id.clone(),
            client_secret: referred("--client-secret", client_secret)?,
            scope: self.scope.clone(),
        }))
    }
}

/// The server that the topology names.
fn configured(topology: &Topology) -> Option<FhirServerSettings> {
    topology.pointcut.as_ref().map(|pointcut| pointcut.server.clone())
}

fn referred(option: &str, reference: &str) -> Result<Secret, Failure> {
    secret(reference).map_err(|fault| Failure::usage(format!("{option} {fault}")))
}

/// The address that an option names. The topology's own were warned of when it was read.
pub(super) fn url(option: &str, text: &str) -> Result<Url, Failure> {
    let url = http_url(text).map_err(|fault| Failure::usage(format!("{option} {fault}")))?;
    if is_in_the_clear(&url) {
        print::message(format_args!(
            "warning: {option} is another machine, and what goes there and comes from there can be \
             read on the way: use https"
        ));
    }
    Ok(url)
}
