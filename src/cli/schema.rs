//! `rowcast schema`: the DDL for the rules.

use super::{Failure, TopologyArguments};
use crate::application::Application;
use crate::plan::{bookkeeping_ddl, catalog_ddl};

/// Options of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
}

pub(super) fn schema(arguments: &Arguments) -> Result<(), Failure> {
    println!("{}", ddl(&super::open(&arguments.topology)?));
    Ok(())
}

/// All tables, the bookkeeping tables first, as one script.
fn ddl(application: &Application) -> String {
    let dialect = application.dialect();
    let bookkeeping = bookkeeping_ddl(dialect).into_iter().map(|(_, ddl)| ddl);
    let mut statements: Vec<_> = bookkeeping.collect();
    statements.extend(catalog_ddl(dialect, application.catalog()));
    statements
        .iter()
        .map(|ddl| format!("{};", ddl.trim_end().trim_end_matches(';')))
        .collect::<Vec<_>>()
        .join("\n\n")
}
