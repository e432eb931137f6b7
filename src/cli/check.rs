//! `rowcast check`: everything that can be known to be wrong before the first record.

use std::path::PathBuf;

use super::{Failure, Output, TopologyArguments, cases};
use crate::error::counted;
use crate::plan::{Mending, SchemaProblem, Severity};
use crate::sink::Claim;
use crate::topology::BrokerChoice;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Look at files only; do not connect to the database.
    #[arg(long)]
    offline: bool,
    /// Run golden cases as well: files or folders; default: `cases` beside the topology file.
    #[arg(long, value_name = "PATH", num_args = 0..)]
    cases: Option<Vec<PathBuf>>,
    /// How to print the cases' results.
    #[arg(long, value_enum, default_value = "table", requires = "cases")]
    output: Output,
}

pub(super) async fn check(arguments: Arguments) -> Result<(), Failure> {
    let application = super::open(&arguments.topology)?;
    let topology = application.topology();
    let tables: usize =
        application.catalog().roots.iter().map(|root| root.declared_tables().len()).sum();
    eprintln!(
        "topology {}: {}, {}",
        topology.name,
        counted(topology.rules.len(), "rules file"),
        counted(tables, "table")
    );
    // Kafka's client judges its properties without contacting anybody
    if !arguments.offline || matches!(topology.broker, BrokerChoice::Kafka(_)) {
        application.broker().await?;
    }
    let failed = match &arguments.cases {
        None => 0,
        Some(paths) if paths.is_empty() => {
            let beside = arguments.topology.topology.with_file_name("cases");
            cases::run(&application, &[beside], arguments.output)?
        }
        Some(paths) => cases::run(&application, paths, arguments.output)?,
    };
    if arguments.offline {
        return held(failed);
    }
    let schema = application.schema()?;
    let problems = schema.check().await?;
    schema.close().await;
    refuse(&problems)?;
    eprintln!("schema: fits, and the role may do what `run` does");
    let sink = application.sink("check").await?;
    let claims = sink.claims(&application.rules_hashes()).await?;
    refuse_taken(&claims, &topology.name)?;
    for warning in claims.iter().filter_map(Claim::warning) {
        eprintln!("warning: {warning}");
    }
    held(failed)
}

/// Refuses tables that belong to other topologies.
pub(super) fn refuse_taken(claims: &[Claim], topology: &str) -> Result<(), Failure> {
    let refusals: Vec<_> = claims.iter().filter_map(|claim| claim.refusal(topology)).collect();
    if refusals.is_empty() { Ok(()) } else { Err(Failure::configuration(&refusals)) }
}

fn held(failed_cases: usize) -> Result<(), Failure> {
    match failed_cases {
        0 => Ok(()),
        1 => Err(Failure::failed("1 case does not hold")),
        many => Err(Failure::failed(format!("{many} cases do not hold"))),
    }
}

/// Says what is wrong with the live schema, with the DDL that mends it; warnings alone let pass.
pub(super) fn refuse(problems: &[SchemaProblem]) -> Result<(), Failure> {
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(refusal(problems));
    }
    warn(problems);
    Ok(())
}

fn warn(problems: &[SchemaProblem]) {
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Warning) {
        eprintln!("warning: {problem}");
    }
}

/// A live schema that does not fit.
pub(super) fn refusal(problems: &[SchemaProblem]) -> Failure {
    warn(problems);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let errors: Vec<_> = errors.map(ToString::to_string).collect();
    let told = problems.iter().filter(|problem| problem.severity > Severity::Information);
    let mending = told.flat_map(|problem| match &problem.mending {
        Mending::Create(statements) | Mending::Change(statements) => {
            statements.iter().map(|ddl| format!("{ddl};")).collect()
        }
        Mending::Advice(advice) => vec![format!("-- {advice}")],
        Mending::Nothing => Vec::new(),
    });
    let mending: Vec<_> = mending.collect();
    let advice = format!(
        "this DDL would mend it (`rowcast schema apply` creates what is missing):\n\n{}\n",
        mending.join("\n")
    );
    Failure::configuration(&errors).advising(advice)
}
