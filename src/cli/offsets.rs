//! `rowcast offsets`: what the database remembers about the topic.

use super::table::table;
use super::{Failure, Output, TopologyArguments};
use crate::error::counted;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// The highest offset ever settled, per partition, as the database remembers it.
    Show {
        #[command(flatten)]
        topology: TopologyArguments,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Forget them, after the topic was re-created: its new offsets say nothing about the old.
    ///
    /// Also forgets where remembered deletes came from; that the resources are gone at their
    /// version stays known. The group's committed offsets are Kafka's own: reset them with
    /// Kafka's tools.
    Forget {
        #[command(flatten)]
        topology: TopologyArguments,
        /// Topic to forget; default: the topology's, if it is but one.
        #[arg(long)]
        topic: Option<String>,
        /// Do it; without, only say what would be forgotten.
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn offsets(command: Command) -> Result<(), Failure> {
    let (Command::Show { topology, .. } | Command::Forget { topology, .. }) = &command;
    let application = super::open(topology)?;
    let broker = application.broker().await?;
    let sink = application.sink(&broker.cluster_id().await?).await?;
    let known = sink.next_offsets().await?;
    match command {
        Command::Show { output: Output::Json, .. } => {
            for (partition, offset) in known {
                let line = serde_json::json!({
                    "topic": &*partition.topic, "partition": partition.partition, "next_offset": offset.map(|offset| offset.0),
                });
                println!("{line}");
            }
        }
        Command::Show { .. } => {
            let rows = known.iter().map(|(partition, offset)| {
                [
                    partition.topic.to_string(),
                    partition.partition.to_string(),
                    offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
                ]
            });
            println!("{}", table(["topic", "partition", "next offset"], rows));
        }
        Command::Forget { topic, yes, .. } => {
            let only = application.topology().only_topic().map(str::to_owned);
            let Some(topic) = topic.or(only) else {
                return Err(Failure::usage("the source has several topics; name one by --topic"));
            };
            let partitions =
                known.iter().filter(|(partition, _)| *partition.topic == *topic).count();
            if partitions == 0 {
                return Err(Failure::nothing_matched(format!("nothing is remembered of {topic}")));
            }
            if !yes {
                return Err(Failure::usage(format!(
                    "would forget {partitions} partitions of {topic}; say --yes"
                )));
            }
            sink.forget(&topic).await?;
            eprintln!("forgot {} of {topic}", counted(partitions, "partition"));
        }
    }
    Ok(())
}
