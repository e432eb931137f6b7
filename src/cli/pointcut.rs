//! `rowcast pointcut`: follow a FHIR server alone; install and remove the subscriptions at it.

use super::run::{start_log, stop_on_signal};
use super::table::table;
use super::{Failure, Output, TopologyArguments, print};
use crate::application::ApplicationError;
use crate::pointcut::{Subscribed, Subscriptions};

const RUN_EXAMPLES: &str = "\
Examples:
  rowcast pointcut run --topology clinical.yaml";

const INSTALL_EXAMPLES: &str = "\
Examples:
  rowcast pointcut install --topology clinical.yaml
  rowcast pointcut install --topology clinical.yaml --output json";

const UNINSTALL_EXAMPLES: &str = "\
Examples:
  rowcast pointcut uninstall --topology clinical.yaml

Exit code 4 if there was none.";

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Fill the ingest topic from the FHIR server and do nothing else.
    ///
    /// `rowcast run` does this too. Several instances may share the hooks behind one `public_url`; each
    /// needs a `listen` and an `http.listen` of its own on a machine.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        #[command(flatten)]
        topology: TopologyArguments,
    },
    /// Put the subscriptions at the FHIR server that `run` would put.
    #[command(after_help = INSTALL_EXAMPLES)]
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
    #[command(after_help = UNINSTALL_EXAMPLES)]
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
            tell(&subscriptions.install().await?, output)
        }
        Command::Uninstall { topology, output } => {
            let subscriptions = subscriptions(&topology)?;
            let removed = subscriptions.uninstall().await?;
            if removed.is_empty() {
                return Err(Failure::nothing_matched(
                    "the FHIR server has no subscription of ours",
                ));
            }
            tell(&removed, output)
        }
    }
}

fn subscriptions(topology: &TopologyArguments) -> Result<Subscriptions, Failure> {
    let application = super::open(topology)?;
    application.subscriptions().map_err(ApplicationError::into)
}

fn tell(subscribed: &[Subscribed], output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => {
            for one in subscribed {
                let line = serde_json::json!({
                    "resource_type": &*one.resource_type, "subscription": one.id,
                    "done": one.done.as_str(), "before": one.before.as_str(),
                    "state": one.state().as_str(),
                });
                print::line(line)?;
            }
            Ok(())
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
            print::line(table(["type", "subscription", "done", "before", "state"], rows))
        }
    }
}
