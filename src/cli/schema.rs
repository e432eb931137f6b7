//! `rowcast schema`: the DDL for the rules.

use super::opened::Opened;
use super::{Failure, TopologyArguments};
use crate::plan::{bookkeeping_ddl, catalog_ddl};
use crate::transform::Transformer as _;

/// Options of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
}

pub(super) fn schema(arguments: &Arguments) -> Result<(), Failure> {
    let opened = Opened::load(&arguments.topology)?;
    opened.warn();
    println!("{}", ddl(&opened));
    Ok(())
}

/// All tables, the bookkeeping tables first, as one script.
fn ddl(opened: &Opened) -> String {
    let dialect = opened.dialect();
    let bookkeeping = bookkeeping_ddl(dialect).into_iter().map(|(_, ddl)| ddl);
    let mut statements: Vec<_> = bookkeeping.collect();
    statements.extend(catalog_ddl(dialect, opened.rules.catalog()));
    statements
        .iter()
        .map(|ddl| format!("{};", ddl.trim_end().trim_end_matches(';')))
        .collect::<Vec<_>>()
        .join("\n\n")
}
