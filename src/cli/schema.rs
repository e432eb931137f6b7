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
pub(super) fn ddl(opened: &Opened) -> String {
    let dialect = opened.dialect();
    let mut statements = bookkeeping_ddl(dialect);
    statements.extend(catalog_ddl(dialect, opened.rules.catalog()));
    statements.join("\n\n")
}
