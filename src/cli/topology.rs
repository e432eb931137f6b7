//! `rowcast topology`.

use super::{Failure, TopologyArguments, print};

const EXAMPLES: &str = "\
Examples:
  rowcast topology --topology clinical.yaml
  rowcast topology --topology clinical.yaml --output mermaid";

/// Options of `topology`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// How to print it.
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// In the manner of Kafka Streams' TopologyDescription.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// JSON.
    Json,
}

pub(super) fn topology(arguments: &Arguments) -> Result<(), Failure> {
    let description = super::open(&arguments.topology)?.topology().describe();
    match arguments.output {
        Form::Text => print::text(description)?,
        Form::Mermaid => print::text(description.mermaid())?,
        Form::Json => print::line(
            serde_json::to_string(&description)
                .map_err(|error| Failure::failed(error.to_string()))?,
        )?,
    }
    Ok(())
}
