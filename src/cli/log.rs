//! `rowcast log`: what a running instance logs.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, StatusCode};

use super::instance::Instance;
use super::{Failure, Output, TopologyArguments, print};

const EXAMPLES: &str = "\
Examples:
  rowcast log --topology clinical.yaml       the filter in force
  rowcast log --topology clinical.yaml warn  trouble only, until it is started again
  rowcast log --topology clinical.yaml --for 10m info,rowcast::troubleshooting=debug";

/// Options of `log`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    let instance = Instance::of(application.topology(), arguments.at);
    let (method, filter) = match arguments.filter {
        Some(filter) => (Method::PUT, filter),
        None => (Method::GET, String::new()),
    };
    let path = match arguments.lasting {
        // without spaces, which humantime writes between units
        Some(lasting) => format!("/log?for={}ms", lasting.as_millis()),
        None => "/log".to_owned(),
    };
    instance.is_ours().await?;
    let (status, body) = instance.ask(method, &path, filter).await?;
    match status {
        StatusCode::OK => {}
        StatusCode::BAD_REQUEST => return Err(Failure::usage(body.trim())),
        status => return Err(instance.refused(status)),
    }
    match arguments.output {
        Output::Json => print::line(body.trim())?,
        Output::Table => print::line(told(&body)?)?,
    }
    Ok(())
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
