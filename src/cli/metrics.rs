//! `rowcast metrics`: every metric there can be.

use super::table::table;
use super::{Failure, Output, print};
use crate::telemetry::metrics::Metrics;

const EXAMPLES: &str = "\
Examples:
  rowcast metrics --list
  rowcast metrics --list --output json | jq -r .name";

/// Options of `metrics`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// List name, type, labels and meaning of each; what a running instance counts stands on its
    /// `/metrics`.
    #[arg(long, required = true)]
    list: bool,
    /// How to print them.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn metrics(arguments: &Arguments) -> Result<(), Failure> {
    let families = Metrics::new().families();
    match arguments.output {
        Output::Json => {
            for family in families {
                let line = serde_json::json!({
                    "name": family.name, "type": family.kind, "labels": family.labels, "help": family.help,
                });
                print::line(line)?;
            }
            Ok(())
        }
        Output::Table => {
            let rows = families.into_iter().map(|family| {
                [family.name, family.kind.to_owned(), family.labels.join(", "), family.help]
            });
            print::line(table(["name", "type", "labels", "meaning"], rows))
        }
    }
}
