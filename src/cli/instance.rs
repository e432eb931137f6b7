//! A running instance, asked over HTTP: by `rowcast log` and `rowcast status`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::error::messages;
use crate::http_client::{self, BodyFault};
use crate::topology::Topology;

/// Longest wait for the instance, which answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer: the state of some ten thousand partitions.
const MOST_BYTES: usize = 4 << 20;

/// Where it listens, and what it wants to see.
pub(super) struct Instance<'a> {
    address: SocketAddr,
    topology: &'a Topology,
}

impl<'a> Instance<'a> {
    /// The instance at this address, or where the topology says that one listens on this machine.
    pub(super) fn of(topology: &'a Topology, at: Option<SocketAddr>) -> Self {
        let address = at.unwrap_or_else(|| reachable(topology.http.listen));
        Self { address, topology }
    }

    /// Two topologies may listen at one address, one after the other: makes sure that it is ours.
    ///
    /// # Errors
    /// 1 if another topology's instance answers, 69 if nobody does.
    pub(super) async fn is_ours(&self) -> Result<(), Failure> {
        let (status, body) = self.ask(Method::GET, "/version", String::new()).await?;
        if status != StatusCode::OK {
            return Err(self.refused(status));
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        match answer["topology"].as_str() {
            Some(name) if name == self.topology.name => Ok(()),
            Some(name) => Err(Failure::failed(format!(
                "{} answers for topology `{name}`, not `{}`: name the instance with --at, or set http.listen",
                self.address, self.topology.name
            ))),
            None => Err(Failure::failed("the answer is not rowcast's: is this its address?")),
        }
    }

    /// Asks once; status and body.
    ///
    /// # Errors
    /// 69 if nobody answers.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), Failure> {
        self.exchange(method, path, body).await.map_err(|error| {
            Failure::unavailable(format!("no rowcast at {}: {error}", self.address))
        })
    }

    /// What an answer means that nobody asked for.
    pub(super) fn refused(&self, status: StatusCode) -> Failure {
        let address = self.address;
        Failure::failed(match status {
            StatusCode::UNAUTHORIZED => format!("{address} wants another http.token"),
            status => format!("{address} answers {status}"),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, String), String> {
        let url: Url = format!("http://{}{path}", self.address)
            .parse()
            .map_err(|_| "its address makes no URL".to_owned())?;
        let failed = |error: reqwest::Error| {
            if error.is_timeout() {
                return "no answer in time".to_owned();
            }
            messages(&error.without_url()).join(": ")
        };
        let client =
            http_client::builder([&url], None).and_then(|client| client.timeout(PATIENCE).build());
        let mut request = client.map_err(failed)?.request(method, url).body(body);
        if let Some(token) = &self.topology.http.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let body = http_client::body(answer, MOST_BYTES).await.map_err(|fault| match fault {
            BodyFault::Broken(error) => failed(error),
            BodyFault::TooLarge => "its answer is too large".to_owned(),
        })?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Where an address that stands for all of this machine is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
