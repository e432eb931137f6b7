//! `rowcast run`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Failure, TopologyArguments};
use crate::application::Application;
use crate::telemetry::logs;
use crate::topology::{LogFormat, Topology};

const EXAMPLES: &str = "\
Examples:
  rowcast run --topology clinical.yaml
  rowcast run --topology clinical.yaml --set sink.connections=4 --set batch.rows=2000
  rowcast run --topology clinical.yaml --until-idle 10s  a job: ends once all is settled

SIGTERM and SIGINT stop it in order, within 25 seconds. What it logs: RUST_LOG, and rowcast log.";

/// Options of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Exit 0 once committed offsets have reached every log end, nothing waits for a retry, and
    /// nothing arrived for this long.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    until_idle: Option<Duration>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let application = super::load(&arguments.topology)?;
    start_log(&application);
    let stop = stop_on_signal()?;
    Ok(application.run(arguments.until_idle, stop).await?)
}

/// Starts the log of a process that goes on, with the topology's warnings.
pub(super) fn start_log(application: &Application) {
    logs::start(
        log_format(application.topology()),
        std::env::var("RUST_LOG").ok().as_deref(),
        application.topology().log_repeats,
        application.topology().reveal,
    );
    for warning in application.warnings() {
        tracing::warn!(target: logs::START, "{warning}");
    }
}

const fn log_format(topology: &Topology) -> logs::LogFormat {
    match topology.log_format {
        LogFormat::Auto => logs::LogFormat::Auto,
        LogFormat::Human => logs::LogFormat::Human,
        LogFormat::Json => logs::LogFormat::Json,
    }
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once.
pub(super) fn stop_on_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping: settling what is in hand");
        stopping.cancel();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!(target: logs::END, "stopped at once; unsettled records are delivered again");
        logs::finish();
        std::process::exit(1);
    });
    Ok(stop)
}
