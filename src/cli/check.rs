//! `rowcast check`: everything that can be known to be wrong before the first record.

use super::opened::Opened;
use super::{Failure, TopologyArguments};
use crate::plan::{SchemaProblem, Severity};
use crate::transform::Transformer as _;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Look at files only; do not connect to the database.
    #[arg(long)]
    offline: bool,
}

pub(super) async fn check(arguments: Arguments) -> Result<(), Failure> {
    let opened = Opened::load(&arguments.topology)?;
    opened.warn();
    let roots = opened.rules.catalog().roots.iter();
    let tables: usize = roots.map(|root| root.declared_tables().len()).sum();
    eprintln!(
        "topology {}: {} rules files, {tables} tables",
        opened.topology.name,
        opened.topology.rules.len()
    );
    opened.broker().await?;
    if arguments.offline {
        return Ok(());
    }
    // the identity matters for writing only
    let sink = opened.sink("check").await?;
    let problems = sink.check_schema().await?;
    refuse(&problems)?;
    eprintln!("schema: fits");
    Ok(())
}

/// Says what is wrong with the live schema, with the DDL that mends it; warnings alone let pass.
pub(super) fn refuse(problems: &[SchemaProblem]) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let mut mending = Vec::new();
    for problem in problems {
        match problem.severity {
            Severity::Warning => eprintln!("warning: {problem}"),
            Severity::Error => errors.push(problem.to_string()),
        }
        let ddl = problem.ddl.trim_end().trim_end_matches(';');
        let ddl = if ddl.starts_with("--") { ddl.to_owned() } else { format!("{ddl};") };
        if !problem.ddl.is_empty() && !mending.contains(&ddl) {
            mending.push(ddl);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let advice = format!("this DDL would mend it:\n\n{}\n", mending.join("\n"));
    Err(Failure::configuration(&errors).advising(advice))
}
