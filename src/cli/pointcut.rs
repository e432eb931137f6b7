//! `rowcast pointcut`: follow a FHIR server alone; install and remove the subscriptions at it.

use super::run::{start_log, stop_on_signal};
use super::table::table;
use super::{Failure, Output, TopologyArguments};
use crate::application::ApplicationError;
use crate::pointcut::{Subscribed, Subscriptions};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Fill the ingest topic from the FHIR server and do nothing else.
    ///
    /// `rowcast run` does this too. Several instances may share the hooks behind one `public_url`; each
    /// needs a `listen` and an `http.listen` of its own on a machine.
    Run {
        #[command(flatten)]
        topology: TopologyArguments,
    },
    /// Put the subscriptions at the FHIR server that `run` would put.
    Install {
        #[command(flatten)]
        topology: TopologyArguments,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Remove the topology's subscriptions from the FHIR server, and no others.
    ///
    /// A running instance puts them again: stop it first.
    Uninstall {
        #[command(flatten)]
        topology: TopologyArguments,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
}

pub(super) async fn pointcut(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run { topology } => {
            let application = super::load(&topology)?;
            start_log(&application);
            let stop = stop_on_signal()?;
            Ok(application.run_pointcut(stop).await?)
        }
        Command::Install { topology, output } => {
            let subscriptions = subscriptions(&topology)?;
            print(&subscriptions.install().await?, output);
            Ok(())
        }
        Command::Uninstall { topology, output } => {
            let subscriptions = subscriptions(&topology)?;
            let removed = subscriptions.uninstall().await?;
            if removed.is_empty() {
                return Err(Failure::nothing_matched(
                    "the FHIR server has no subscription of ours",
                ));
            }
            print(&removed, output);
            Ok(())
        }
    }
}

fn subscriptions(topology: &TopologyArguments) -> Result<Subscriptions, Failure> {
    let application = super::open(topology)?;
    application.subscriptions().map_err(ApplicationError::into)
}

fn print(subscribed: &[Subscribed], output: Output) {
    match output {
        Output::Json => {
            for one in subscribed {
                let line = serde_json::json!({
                    "resource_type": &*one.resource_type, "subscription": one.id,
                    "done": one.done.as_str(), "before": one.before.as_str(),
                    "state": one.state().as_str(),
                });
                println!("{line}");
            }
        }
        Output::Table => {
            let rows = subscribed.iter().map(|one| {
                [
                    one.resource_type.to_string(),
                    one.id.clone(),
                    one.done.as_str().to_owned(),
                    one.before.as_str().to_owned(),
                    one.state().as_str().to_owned(),
                ]
            });
            println!("{}", table(["type", "subscription", "done", "before", "state"], rows));
        }
    }
}
