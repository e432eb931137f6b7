//! A running instance, asked over HTTP: by `rowcast log` and `rowcast status`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Failure;
use crate::topology::{HttpSettings, Topology};

/// Longest wait for the instance, which answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer: the state of some ten thousand partitions.
const MOST_BYTES: usize = 4 << 20;

/// Where it listens, and what it wants to see.
pub(super) struct Instance<'a> {
    address: SocketAddr,
    http: &'a HttpSettings,
}

impl<'a> Instance<'a> {
    /// The instance at this address, or where the topology says that one listens on this machine.
    pub(super) fn of(topology: &'a Topology, at: Option<SocketAddr>) -> Self {
        let address = at.unwrap_or_else(|| reachable(topology.http.listen));
        Self { address, http: &topology.http }
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
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        answer.unwrap_or_else(|_| Err("no answer in time".to_owned())).map_err(|error| {
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
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string());
        if let Some(token) = &self.http.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request =
            request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;

        let stream =
            TcpStream::connect(self.address).await.map_err(|error| error.kind().to_string())?;
        let failed = |error: hyper::Error| error.to_string();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driving = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|_| "its answer breaks off or is too large".to_owned())?;
        driving.abort();
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
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
