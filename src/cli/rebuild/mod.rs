//! `rowcast rebuild`: tables filled anew after their rules changed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use super::{Failure, Output, TopologyArguments, check, print};
use crate::application::Application;
use crate::broker::Broker;
use crate::model::TopicSelector;
use crate::sink::{Claim, Rulings, SqlSink};

mod again;
mod clear;
mod summary;

const EXAMPLES: &str = "\
Examples:
  rowcast rebuild --topology clinical.yaml --table claim  beside live traffic
  rowcast rebuild --topology clinical.yaml --table claim --from-ndjson claims.ndjson
  rowcast rebuild --topology clinical.yaml --clear        every run of the topology stopped";

/// Options of `rebuild`.
///
/// Without `--clear` the topic is read again up to its present end, and rows are rewritten where they
/// are of the version that was read; no row vanishes meanwhile, what was deleted stays deleted, and
/// `run` may go on, with the new rules. Broken off, it goes on where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of the command line
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// Root table or view to rebuild, as the rules write it, with its child tables. May be repeated;
    /// default: all.
    #[arg(long = "table", value_name = "TABLE")]
    tables: Vec<String>,
    /// Empty the tables, forget their deletes and reset the group's offsets: the next `run` fills them.
    /// Every `run` of the topology must be stopped.
    #[arg(long, conflicts_with_all = ["from_ndjson", "accept_refused"])]
    clear: bool,
    /// Read resources from this NDJSON file instead of the topic.
    #[arg(long, value_name = "FILE")]
    from_ndjson: Option<PathBuf>,
    /// Record the tables as rebuilt though some records were refused.
    #[arg(long)]
    accept_refused: bool,
    /// Make the tables this topology's, whosever they are. The other topology must be stopped for
    /// good.
    #[arg(long, requires = "tables")]
    take_over: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// How to print the summary.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn rebuild(arguments: Arguments) -> Result<(), Failure> {
    let application = super::open(&arguments.topology)?;
    let roots = chosen(&application, &arguments.tables)?;
    let broker = application.broker().await?;
    let cluster_id = broker.cluster_id().await?;
    let sink = application.sink(&cluster_id).await?;
    check::refuse(&sink.check_schema().await?)?;
    claim(&application, &sink, &roots, &arguments).await?;
    let job = Job { application: &application, broker: &*broker, roots, arguments: &arguments };
    if arguments.clear {
        return clear::clear(&job, &sink).await;
    }
    again::again(&job, sink, &cluster_id).await
}

/// What is to be rebuilt, and with what.
struct Job<'a> {
    application: &'a Application,
    broker: &'a dyn Broker,
    /// Places of the roots in the catalog.
    roots: BTreeSet<usize>,
    arguments: &'a Arguments,
}

impl Job<'_> {
    /// The names of the root tables.
    fn tables(&self) -> Vec<String> {
        let all = &self.application.catalog().roots;
        let roots = self.roots.iter().filter_map(|root| all.get(*root));
        roots.map(|root| root.named_table().name.to_string()).collect()
    }

    /// The topics that the topology reads: of a pattern those that it has read from.
    async fn topics(&self, sink: &SqlSink) -> Result<BTreeSet<String>, Failure> {
        let selectors = || self.application.topology().topics.iter().map(|topic| &topic.selector);
        let mut topics: BTreeSet<String> =
            selectors().filter_map(TopicSelector::name).map(str::to_owned).collect();
        if selectors().any(|selector| selector.name().is_none()) {
            let known = sink.next_offsets().await?.into_iter();
            let known = known.map(|(partition, _)| partition.topic.to_string());
            topics.extend(known.filter(|name| selectors().any(|read| read.selects(name))));
        }
        Ok(topics)
    }
}

/// The places of the roots with these names; all if there are none.
fn chosen(application: &Application, tables: &[String]) -> Result<BTreeSet<usize>, Failure> {
    let roots = &application.catalog().roots;
    if tables.is_empty() {
        return Ok((0..roots.len()).collect());
    }
    let mut chosen = BTreeSet::new();
    for table in tables {
        let found = roots.iter().position(|root| root.named_table().name.to_string() == *table);
        if let Some(place) = found {
            chosen.insert(place);
            continue;
        }
        let parent = roots.iter().find(|root| {
            root.declared_tables().iter().any(|child| child.name.to_string() == *table)
        });
        return Err(Failure::usage(if let Some(root) = parent {
            let root = &root.named_table().name;
            format!("`{table}` is a child table of `{root}`: rebuild that")
        } else {
            let all: Vec<_> =
                roots.iter().map(|root| root.named_table().name.to_string()).collect();
            format!("no root table `{table}`; there are: {}", all.join(", "))
        }));
    }
    Ok(chosen)
}

/// Sees to it that the tables are this topology's. What they were filled under stays unknown until
/// the rebuild is through.
async fn claim(
    application: &Application,
    sink: &SqlSink,
    roots: &BTreeSet<usize>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let claims = sink.claims(&application.rules_hashes()).await?;
    let claims: Vec<Claim> =
        claims.into_iter().filter(|claim| roots.contains(&claim.root)).collect();
    let name = &application.topology().name;
    if !arguments.take_over {
        check::refuse_taken(&claims, name)?;
    }
    let taken: Vec<_> = claims.iter().filter_map(|claim| claim.taken.as_ref()).collect();
    if !taken.is_empty() {
        let owners: BTreeSet<&str> = taken.iter().map(|(_, owner)| owner.as_str()).collect();
        let owners: Vec<_> = owners.into_iter().collect();
        let tables: Vec<_> = taken.iter().map(|(table, _)| table.as_str()).collect();
        confirm(
            arguments.yes,
            &format!(
                "make {} of the topology {} the tables of `{name}`; {} must be stopped for good",
                tables.join(", "),
                owners.join(", "),
                if owners.len() == 1 { "it" } else { "they" }
            ),
        )?;
    }
    let ours = claims
        .iter()
        .filter(|claim| claim.taken.is_some() || claim.rules == Rulings::Unclaimed)
        .map(|claim| (claim.root, None));
    Ok(sink.record_claims(ours).await?)
}

/// Asks whether to do it; without a terminal `--yes` is the only answer.
fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("would {what}; say --yes")));
    }
    print::question(format_args!("{what}? [y/N] "));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was done"))
}
