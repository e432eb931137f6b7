//! `rowcast status`: how a running instance is doing, in a sentence; for people, and for health checks
//! of whoever starts processes.

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::instance::Instance;
use super::{Failure, Output, TopologyArguments, print};

const EXAMPLES: &str = "\
Examples:
  rowcast status --topology clinical.yaml
  rowcast status --topology clinical.yaml --at 127.0.0.1:9465 --output json
  rowcast status --topology clinical.yaml --live  for a health check that restarts it

Exit code 1 if it is not ready (--live: makes no progress), 69 if nobody answers.";

/// Options of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Ask the instance at this address; default: `http.listen` of the topology, on this machine.
    #[arg(long, value_name = "IP:PORT")]
    at: Option<SocketAddr>,
    /// Only whether the process makes progress, whatever it waits for: for a health check that
    /// restarts it.
    #[arg(long, conflicts_with = "output")]
    live: bool,
    /// How to print the state.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Ends with 0 if the instance is ready (with `--live`: alive), 1 if it is not, 69 if nobody answers.
pub(super) async fn status(arguments: Arguments) -> Result<(), Failure> {
    let application = super::load(&arguments.topology)?;
    let instance = Instance::of(application.topology(), arguments.at);
    if arguments.live {
        let (status, _) = instance.ask(Method::GET, "/livez", String::new()).await?;
        return match status {
            StatusCode::OK => Ok(()),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(Failure::failed("alive, but its main loop makes no progress"))
            }
            status => Err(instance.refused(status)),
        };
    }
    instance.is_ours().await?;
    let (status, body) = instance.ask(Method::GET, "/api/v1/state", String::new()).await?;
    if status != StatusCode::OK {
        return Err(instance.refused(status));
    }
    let state: Value = serde_json::from_str(&body)
        .map_err(|_| Failure::failed("the answer is not rowcast's: is this its address?"))?;
    match arguments.output {
        Output::Json => print::line(body.trim())?,
        Output::Table => print::text(told(&state))?,
    }
    if state["readiness"]["ready"] == true {
        return Ok(());
    }
    Err(Failure::failed("it is not ready"))
}

fn told(state: &Value) -> String {
    let sentence = state["sentence"].as_str().unwrap_or_default();
    match state["next"].as_str() {
        Some(next) => format!("{sentence}\nnext: {next}\n"),
        None => format!("{sentence}\n"),
    }
}
