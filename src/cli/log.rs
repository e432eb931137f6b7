//! `rowcast log`: what a running instance logs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failure, Output, TopologyArguments};
use crate::topology::HttpSettings;

/// Longest wait for the instance, which answers at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer.
const MOST_BYTES: usize = 64 << 10;

/// Options of `log`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// The filter to set: LEVEL or TARGET=LEVEL, separated by commas, e.g.
    /// info,rowcast::troubleshooting=debug. Without it the filter in force is shown.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// The former filter comes back by itself after this time, 1s to 24h.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration, requires = "filter")]
    lasting: Option<Duration>,
    /// Ask the instance at this address; default: `http.listen` of the topology, on this machine.
    #[arg(long, value_name = "IP:PORT")]
    at: Option<SocketAddr>,
    /// How to print the filter in force.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn log(arguments: Arguments) -> Result<(), Failure> {
    let application = super::open(&arguments.topology)?;
    let http = &application.topology().http;
    let address = arguments.at.unwrap_or_else(|| reachable(http.listen));
    let answer = tokio::time::timeout(PATIENCE, ask(address, http, &arguments)).await;
    let (status, body) = answer
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
        .map_err(|error| Failure::unavailable(format!("no rowcast at {address}: {error}")))?;
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            return Err(Failure::failed(format!("{address} wants another http.token")));
        }
        StatusCode::BAD_REQUEST => return Err(Failure::usage(body.trim())),
        status => return Err(Failure::failed(format!("{address} answers {status}"))),
    }
    match arguments.output {
        Output::Json => println!("{}", body.trim()),
        Output::Table => println!("{}", told(&body)?),
    }
    Ok(())
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

async fn ask(
    address: SocketAddr,
    http: &HttpSettings,
    arguments: &Arguments,
) -> Result<(StatusCode, String), String> {
    let (method, body) = match &arguments.filter {
        Some(filter) => (Method::PUT, filter.clone()),
        None => (Method::GET, String::new()),
    };
    let path = match arguments.lasting {
        // without spaces, which humantime writes between units
        Some(lasting) => format!("/log?for={}ms", lasting.as_millis()),
        None => "/log".to_owned(),
    };
    let mut request =
        Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
    if let Some(token) = &http.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())?;

    let stream = TcpStream::connect(address).await.map_err(|error| error.kind().to_string())?;
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

fn told(body: &str) -> Result<String, Failure> {
    let in_force: serde_json::Value = serde_json::from_str(body)
        .map_err(|_| Failure::failed("the answer is not rowcast's: is this its address?"))?;
    let filter = in_force["filter"].as_str().unwrap_or_default();
    Ok(match (in_force["then"].as_str(), in_force["seconds_left"].as_u64()) {
        (Some(then), Some(seconds)) => {
            let left = humantime::format_duration(Duration::from_secs(seconds));
            format!("{filter}\n(back to {then} in {left})")
        }
        _ => filter.to_owned(),
    })
}
